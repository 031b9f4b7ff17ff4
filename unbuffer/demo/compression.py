"""A gzip middleware that shows two mistakes: output held back, and compression nobody asked for.

Pure ASGI, so that it wraps one mounted app and leaves the rest of the demo alone.
"""

import zlib
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Fields = Iterable[tuple[bytes, bytes]]

# zlib's window bits: 15 is the largest window, 16 more asks for the gzip container.
_GZIP = 15 + 16


class Compress:
    """Compress every response of `app` with gzip.

    hold: bytes of text kept back before a piece goes out, as compressing middlewares did that never flush: a short
    answer leaves in one lump at its end. 0 flushes each chunk, which is right.
    always: compress also for clients that did not ask for it (RFC 9110, section 12.5.3, leaves them without an answer
    they can read). False is right.
    """

    def __init__(self, app: ASGIApp, *, hold: int, always: bool) -> None:
        self._app = app
        self._hold = hold
        self._always = always

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (self._always or accepts_gzip(scope["headers"])):
            send = _GzipSend(send, self._hold)
        await self._app(scope, receive, send)


def accepts_gzip(headers: Fields) -> bool:
    """Whether Accept-Encoding names gzip with a weight above 0 (RFC 9110, section 12.5.3). Names are in lower case."""
    listed = b",".join(value for name, value in headers if name == b"accept-encoding")
    for item in listed.lower().split(b","):
        coding, _, weight = item.partition(b";")
        if coding.strip() == b"gzip":
            # A weight of 0, also as 0.0 to 0.000, means "not acceptable".
            return weight.replace(b" ", b"").rstrip(b".0") != b"q="
    return False


class _GzipSend:
    """An ASGI `send` that compresses one response."""

    def __init__(self, send: Send, hold: int) -> None:
        self._send = send
        self._hold = hold
        self._compressor = zlib.compressobj(wbits=_GZIP)
        self._start: Message | None = None
        self._coded = b""
        self._held = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = {**message, "headers": _gzip_headers(message["headers"])}
        elif message["type"] == "http.response.body":
            await self._body(message.get("body", b""), message.get("more_body", False))
        else:
            await self._send(message)

    async def _body(self, text: bytes, more: bool) -> None:
        self._coded += self._compressor.compress(text)
        self._held += len(text)
        if more and self._held < self._hold:
            return
        coded = self._coded + self._compressor.flush(zlib.Z_SYNC_FLUSH if more else zlib.Z_FINISH)
        self._coded, self._held = b"", 0
        if self._start is not None:
            await self._send(self._start)
            self._start = None
        await self._send({"type": "http.response.body", "body": coded, "more_body": more})


def _gzip_headers(headers: Fields) -> list[tuple[bytes, bytes]]:
    kept = [(name, value) for name, value in headers if name != b"content-length"]
    return [*kept, (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
