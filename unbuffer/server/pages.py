"""The admin port's HTTP: which page a request gets, one request after the other on each connection.

Heads are read by the relay's own means, as strictly as those of clients. A page is a coroutine; its answer is whole, or
comes in parts.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from unbuffer.http.coded import value_of
from unbuffer.http.date import date_line
from unbuffer.http.framing import LAST_CHUNK, chunk
from unbuffer.http.headers import REASONS
from unbuffer.http.request import BadRequest, Fields, RequestHead
from unbuffer.relay.request_reader import RequestReader
from unbuffer.settings.model import Limits

KEEP_ALIVE = 75.0
"""Seconds in which a whole request has to come, counted from the last one: nginx's keepalive_timeout."""

PATIENCE = 10.0
"""Seconds for a client to take what was written to it."""

LAST_WORDS = 1.0
"""Seconds for an answer that is being written when the port closes, all else having ended."""

_READ = 65536
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for. path: percent-decoded. query: the first value of each name. peer: the other side as the
    transport tells it, a tuple for TCP. over: set when the client has left or closed its side, or the port closes: an
    answer without an end stops then."""

    method: str
    path: str
    query: Mapping[str, str]
    fields: Fields
    peer: object
    over: asyncio.Event

    def field(self, name: bytes) -> str | None:
        """The value of a field, its lines as one list; None where there is none. name: in lower case."""
        values = [value.decode("latin-1") for key, value in self.fields if key.lower() == name]
        return ", ".join(values) if values else None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a page says. body: a generator gives it in parts, the first of which leave with the head."""

    body: bytes | AsyncGenerator[bytes, None]
    status: int = 200
    content_type: str = _TEXT
    fields: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):
    """A page refuses a request: the status and the text to answer."""

    def __init__(self, status: int, text: str, **fields: str) -> None:
        super().__init__(text)
        self.answer = Answer(f"{status}: {text}\n".encode(), status, fields=fields)


Page = Callable[[Request], Awaitable[Answer]]
"""May raise Refused."""


class Pages:
    """What the port serves.

    beside: what runs for as long as the port is open. ending: it closes; no page may hold it.
    """

    def __init__(self, admit: Callable[[Request], None]) -> None:
        """admit: looks at every request first, and raises Refused for those that get no page."""
        self.beside: list[Callable[[], Coroutine[object, object, None]]] = []
        self.ending = False
        self._admit = admit
        self._pages: dict[str, dict[str, Page]] = {}

    def add(self, path: str, page: Page, *methods: str) -> None:
        """Serve a page; without methods it is for GET and HEAD."""
        self._pages.setdefault(path, {}).update(dict.fromkeys(methods or ("GET", "HEAD"), page))

    async def answer(self, request: Request) -> Answer:
        """The answer of the page. Raises Refused."""
        self._admit(request)
        pages = self._pages.get(request.path)
        if pages is None:
            raise Refused(404, "Not Found")
        page = pages.get(request.method)
        if page is None:
            raise Refused(405, "Method Not Allowed", Allow=", ".join(pages))
        return await page(request)


class PageServer:
    """Serves the pages to whoever connects."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._talks: dict[asyncio.Task[None], _Talk] = {}
        self._beside: list[asyncio.Task[None]] = []

    def protocol(self) -> asyncio.Protocol:
        """For a connection that was accepted."""
        return _Connection(_Reader(), self._connected)

    def start(self) -> None:
        """The port is open."""
        self._beside = [asyncio.ensure_future(run()) for run in self._pages.beside]

    async def close(self) -> None:
        """End every connection: at once where nothing is asked, else after its answer, if that does not take long."""
        self._pages.ending = True
        for talk in self._talks.values():
            talk.over.set()
        for task in (*self._beside, *(task for task, talk in self._talks.items() if not talk.answering)):
            task.cancel()
        tasks = (*self._beside, *self._talks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=LAST_WORDS)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, _Reader)
        talk = _Talk(self._pages, reader, writer)
        task = asyncio.ensure_future(talk.run())
        self._talks[task] = talk
        task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        self._talks.pop(task).end()


class _Reader(asyncio.StreamReader):
    """over: set when there is no more to read. The streams of asyncio tell nobody who does not read."""

    def __init__(self) -> None:
        super().__init__()
        self.over = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.over.set()


class _Connection(asyncio.StreamReaderProtocol):
    """A client that breaks the connection has left, as one that closes it. Its exception would be kept for readers and
    writers, and what nobody asks for once the port closes, asyncio reports with a traceback."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(None)


class _Lost(Exception):
    """The client has left, or neither asks nor takes anything."""


class _Talk:
    """One connection. answering: a request is there, and its answer not whole. over: see `Request`."""

    def __init__(self, pages: Pages, reader: _Reader, writer: asyncio.StreamWriter) -> None:
        self.answering = False
        self.over = reader.over
        self._pages = pages
        self._reader = reader
        self._writer = writer
        self._early = b""
        """What came of the next request."""

    async def run(self) -> None:
        """Answer request after request, then close."""
        with contextlib.suppress(_Lost):
            while not self._pages.ending and await self._request_answered():
                pass
            self._writer.close()
            with contextlib.suppress(OSError):
                async with asyncio.timeout(PATIENCE):
                    await self._writer.wait_closed()

    def end(self) -> None:
        """It is over. What was not closed until now breaks, so that an answer that is not whole is seen to be none."""
        if not self._writer.is_closing():
            self._writer.transport.abort()

    async def _request_answered(self) -> bool:
        """Returns whether the connection goes on."""
        request = RequestReader(_LIMITS)
        try:
            async with asyncio.timeout(KEEP_ALIVE):
                head = await self._head(request)
            if head is None:
                return False
            self.answering = True
            goes_on = await self._answer(head)
            self.answering = False
            # What waits for a whole body may wait for ever, and no page asks for one.
            async with asyncio.timeout(KEEP_ALIVE):
                return await self._body_dropped(request) and goes_on
        except BadRequest as error:
            await self._send(Refused(error.status, str(error)).answer, None)
            return False
        except OSError:  # TimeoutError is one
            raise _Lost from None

    async def _head(self, request: RequestReader) -> RequestHead | None:
        """The next request's. None = the client has closed."""
        while request.head is None:
            if not self._early and not await self._more():
                return None
            self._early = request.read_head(self._early)
        if not request.whole and _waits(request.head):
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return request.head

    async def _body_dropped(self, request: RequestReader) -> bool:
        """Returns whether it was whole. Nothing is said of one that cannot be read: its request has its answer."""
        with contextlib.suppress(BadRequest):
            while not request.whole:
                if not self._early and not await self._more():
                    return False
                _, self._early = request.read_body(self._early)
        return request.whole

    async def _more(self) -> bool:
        """Returns whether the client says more."""
        self._early = await self._reader.read(_READ)
        return bool(self._early)

    async def _answer(self, head: RequestHead) -> bool:
        """Returns whether the connection goes on."""
        path, _, query = head.target.decode("ascii").partition("?")
        request = Request(
            head.method.decode("ascii"),
            unquote(path),
            dict(reversed(parse_qsl(query, keep_blank_values=True))),
            head.fields,
            self._writer.get_extra_info("peername"),
            self.over,
        )
        try:
            answer = await self._pages.answer(request)
        except Refused as refusal:
            answer = refusal.answer
        except Exception as error:
            self._failed(request, error)
            answer = Refused(500, "Internal Server Error").answer
        try:
            return await self._send(answer, head)
        except _Lost:
            raise
        except Exception as error:
            self._failed(request, error)
            raise _Lost from None

    def _failed(self, request: Request, error: Exception) -> None:
        what = {"message": f"unbuffer failed on {request.path} of the admin port", "exception": error}
        asyncio.get_running_loop().call_exception_handler(what)

    async def _send(self, answer: Answer, head: RequestHead | None) -> bool:
        """Write the answer. head: of its request, None where that could not be read. Returns whether the connection
        goes on."""
        http11 = head is None or head.http11
        whole = isinstance(answer.body, bytes)
        close = head is None or not head.keep_alive or self._pages.ending or not (whole or http11)
        lines = [
            f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, b'Error').decode('ascii')}",
            f"Content-Type: {answer.content_type}",
            "X-Content-Type-Options: nosniff",
            "Cache-Control: no-store",
            *(f"{name}: {value}" for name, value in answer.fields.items()),
        ]
        if isinstance(answer.body, bytes):
            lines.append(f"Content-Length: {len(answer.body)}")
        elif http11:
            lines.append("Transfer-Encoding: chunked")
        if close:
            lines.append("Connection: close")
        elif not http11:
            lines.append("Connection: keep-alive")
        start = "".join(f"{line}\r\n" for line in lines).encode("latin-1") + date_line() + b"\r\n"
        if head is not None and head.method == b"HEAD":
            await self._write(start)
        elif isinstance(answer.body, bytes):
            await self._write(start + answer.body)
        else:
            await self._send_parts(start, answer.body, http11)
        return not close

    async def _send_parts(self, start: bytes, parts: AsyncGenerator[bytes, None], chunked: bool) -> None:
        async with contextlib.aclosing(parts):
            async for part in parts:
                if part:
                    await self._write(start + (chunk(part) if chunked else part))
                    start = b""
        await self._write(start + (LAST_CHUNK if chunked else b""))

    async def _write(self, data: bytes) -> None:
        self._writer.write(data)
        try:
            async with asyncio.timeout(PATIENCE):
                await self._writer.drain()
        except OSError:
            raise _Lost from None


_LIMITS = Limits()


def _waits(head: RequestHead) -> bool:
    """Whether the client sends its body only when it is told to (RFC 9110, section 10.1.1)."""
    return head.http11 and value_of(head.fields, b"expect").lower() == b"100-continue"
