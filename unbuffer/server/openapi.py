"""The path templates of the upstream, read from its OpenAPI document, as FastAPI serves one.

Asked for behind a request that reached the upstream, never before one. No answer, or none that helps, is no failure:
streams then count under the route `default`.
"""

import asyncio
import contextlib
import logging
from urllib.parse import urlsplit

import msgspec

from unbuffer import __version__
from unbuffer.http.coding import CodingError, Decoder, decodable, parse_codings
from unbuffer.relay.plane import Plane
from unbuffer.relay.templates import Templates
from unbuffer.server.lean import ClientError, ClientResponse, ClientSession, ClientTimeout, TCPConnector, UnixConnector
from unbuffer.settings.addresses import UpstreamTarget

log = logging.getLogger("unbuffer")

PATIENCE = 5.0
"""Seconds for the whole answer."""

LARGEST = 1 << 20
"""Bytes of a document; FastAPI writes some hundred for each operation."""

PAUSE = 1.0
"""Seconds between two questions at the least, however often the upstream comes and goes."""

RETRY = 60.0
"""Seconds until the upstream is asked again that gave no answer."""


SERVERS = 100
"""Servers of a document whose prefix is looked at; FastAPI names one at the most."""

_INSTEAD = "give the routes names in the settings, or switch metrics.openapi off"


class _Server(msgspec.Struct):
    url: str = ""


class _Document(msgspec.Struct):
    paths: dict[str, msgspec.Raw]
    servers: list[_Server] = []


class _NoAnswer(Exception):
    """The upstream may give one later."""


class _NoTemplates(Exception):
    """The upstream has answered, and has none. level: of the line in the log; what looks like a document is news."""

    def __init__(self, text: str, level: int = logging.DEBUG) -> None:
        super().__init__(text)
        self.level = level


class TemplateReader:
    """Keeps what the plane knows of the upstream's paths up to date."""

    def __init__(self, plane: Plane, asked: asyncio.Event) -> None:
        """asked: set when the upstream is reached, `Plane.on_upstream`."""
        self._plane = plane
        self._asked = asked
        self._told = ""

    async def run(self) -> None:
        """Read when the upstream is first reached, after each reload, and when it is back after a failure."""
        pause: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), pause)
            self._asked.clear()
            pause = None if await self._read() else RETRY
            await asyncio.sleep(PAUSE)

    async def _read(self) -> bool:
        """Read once. Whether there is nothing to be had by asking once more."""
        path = self._plane.settings.metrics.openapi
        if path == "off":
            return True
        routes = self._plane.routes
        try:
            templates = await self._fetch(path)
        except _NoAnswer as error:
            self._tell(f"no path templates from {path} yet: {error}")
            return False
        except _NoTemplates as error:
            self._tell(f"no path templates from {path}: {error}", error.level)
            templates = Templates()
        except Exception as error:  # whatever an application answers, its next answer is read
            self._tell(f"no path templates from {path}: {type(error).__name__}: {error}", logging.WARNING)
            templates = Templates()
        else:
            self._tell(f"{len(templates.names)} path templates from {path}")
        if routes is self._plane.routes:
            self._plane.know(templates)
        return True

    def _tell(self, text: str, level: int = logging.DEBUG) -> None:
        """Once, until there is something else to tell."""
        if text != self._told:
            log.log(level, "%s", text)
        self._told = text

    async def _fetch(self, path: str) -> Templates:
        dialer = self._plane.pool.dialer
        target = dialer.target
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"unbuffer/{__version__}"}
        try:
            async with (
                ClientSession(
                    connector=_connector(target), timeout=ClientTimeout(total=PATIENCE), auto_decompress=False
                ) as session,
                session.get(
                    f"{_origin(target)}{path}",
                    headers=headers,
                    allow_redirects=False,
                    ssl=dialer.tls or True,
                    server_hostname=dialer.server_name if dialer.tls else None,
                ) as response,
            ):
                if response.status >= 500:
                    raise _NoAnswer(f"status {response.status}")
                if response.status != 200:
                    raise _NoTemplates(f"status {response.status}")
                body = await _body(response)
        except (ClientError, OSError) as error:  # TimeoutError is an OSError
            raise _NoAnswer(str(error) or type(error).__name__) from None
        # In a thread: a thousand templates take the loop some milliseconds.
        return await asyncio.to_thread(_templates, body)


async def _body(response: ClientResponse) -> bytes:
    """The whole body, decoded. A few bytes may stand for many: it never grows beyond what is allowed by more than a
    read."""
    codings = parse_codings(", ".join(response.headers.getall("Content-Encoding", ())).encode())
    if not decodable(codings):
        raise _NoTemplates(f"the content coding {', '.join(codings)}")
    decoder = Decoder(codings)
    body = bytearray()
    try:
        async for data in response.content.iter_any():
            decoder.feed(data)
            while piece := decoder.read():
                body += piece
                if len(body) > LARGEST:
                    raise _NoTemplates(f"it has more than {LARGEST} bytes; {_INSTEAD}", logging.WARNING)
        decoder.finish()
    except CodingError as error:
        raise _NoTemplates(str(error)) from None
    return bytes(body)


def _origin(target: UpstreamTarget) -> str:
    if target.path:
        return "http://localhost"
    return f"{'https' if target.tls else 'http'}://{target.authority}"


def _connector(target: UpstreamTarget) -> TCPConnector | UnixConnector:
    return UnixConnector(target.path) if target.path else TCPConnector()


def _templates(body: bytes) -> Templates:
    try:
        document = msgspec.json.decode(body, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _NoTemplates(f"not an OpenAPI document: {error}") from None
    except RecursionError:
        raise _NoTemplates(f"it is nested too deeply; {_INSTEAD}", logging.WARNING) from None
    # A proxy in front may have removed the prefix (FastAPI's root_path), or not.
    return Templates(document.paths, [_prefix(server.url) for server in document.servers[:SERVERS]])


def _prefix(url: str) -> str:
    try:
        return urlsplit(url).path.rstrip("/")
    except ValueError:
        return ""
