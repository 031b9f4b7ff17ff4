"""The path templates of the upstream, read from its OpenAPI document, as FastAPI serves one.

Asked for after a request that reached the upstream, never before one. No answer, or none that helps, is no failure:
streams then count under the route `default`.
"""

import asyncio
import contextlib
import logging
from urllib.parse import urlsplit

import msgspec

from unbuffer.relay.plane import Plane
from unbuffer.relay.templates import Templates
from unbuffer.server.fetch import LargeBody, NoAnswer, UnusableBody, fetch

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
        except NoAnswer as error:
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
        plane = self._plane
        try:
            async with asyncio.timeout(PATIENCE):
                status, body = await fetch(plane.pool.dialer, path, "application/json", plane.settings.limits, LARGEST)
        except TimeoutError:
            raise NoAnswer(f"none within {PATIENCE:g}s") from None
        except UnusableBody as error:
            raise _NoTemplates(str(error)) from None
        except LargeBody as error:
            raise _NoTemplates(f"{error}; {_INSTEAD}", logging.WARNING) from None
        if status >= 500:
            raise NoAnswer(f"status {status}")
        if status != 200:
            raise _NoTemplates(f"status {status}")
        # In a thread: a thousand templates take the loop some milliseconds.
        return await asyncio.to_thread(_templates, body)


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
