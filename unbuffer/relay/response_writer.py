"""Writes responses to a client in HTTP/1.1 or HTTP/1.0: heads, bodies in their framing, and ends.

How a body is delimited stands here alone.
"""

import asyncio
from typing import Final

from unbuffer.http.framing import CHUNKED, LAST_CHUNK, UNTIL_CLOSE
from unbuffer.http.headers import (
    Delivery,
    informational_to_downstream,
    response_to_downstream,
    trailers_to_downstream,
)
from unbuffer.http.request import Fields
from unbuffer.http.response import ResponseHead
from unbuffer.relay.client import Writer
from unbuffer.relay.tcp import half_close

LARGE: Final = 16384
"""Bytes of a chunk from which on its frame is written beside it, and not around a copy of it."""


_SIZES: Final[tuple[bytes, ...]] = tuple(b"%x\r\n" % size for size in range(512))
"""The line before a chunk, by its size: most events are no larger. (To write a number in hexadecimal costs bytes as
much as a tenth of all that is done for such a chunk.)"""


class ResponseWriter(Writer):
    """The writer of one connection; `begin` before each response."""

    __slots__ = ("_framing", "_head", "_http11", "_trailers", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.begin(http11=True, trailers=False)

    def begin(self, http11: bool, trailers: bool) -> None:
        """A request has come. http11: the client's version. trailers: it takes trailer fields."""
        self._http11 = http11
        self._trailers = trailers
        self._framing = 0
        self._head = b""
        """A head that has not gone out."""

    def informational(self, head: ResponseHead) -> None:
        """A 1xx head: passed on at once. HTTP/1.0 knows none (RFC 9110, section 15.2)."""
        if self._http11:
            self._write(informational_to_downstream(head))

    def head(self, head: ResponseHead, changed: bool, close: bool, waited: float) -> bool:
        """The final head. It goes out with what comes next of the body, or by `flush`.

        changed, waited: see `Delivery`. close: the connection ends after this response. Returns whether it must.
        """
        framing, length = head.framing, -1 if head.status == 204 or changed else head.length
        if framing and (changed or framing < 0):
            framing, length = CHUNKED if self._http11 else UNTIL_CLOSE, -1
        close = close or framing == UNTIL_CLOSE
        self._framing = framing
        self._head = response_to_downstream(
            head, Delivery(framing, length, close, changed, self._http11, self._trailers, waited)
        )
        return close

    def switch(self, head: ResponseHead) -> None:
        """The head of a 101: what follows has no framing."""
        self._head = informational_to_downstream(head)

    def flush(self) -> None:
        """Send a head that came alone: before any byte of the body exists."""
        self._write(b"")

    def body(self, data: bytes, last: bool) -> None:
        """Bytes of the body, not empty; last: with them it ends."""
        if self._framing == CHUNKED:
            if len(data) >= LARGE:
                self._large_chunk(data, last)
                return
            size = len(data)
            line = _SIZES[size] if size < len(_SIZES) else b"%x\r\n" % size
            data = b"%b%b%b\r\n%b" % (self._head, line, data, LAST_CHUNK if last else b"")
            self._head = b""
        elif self._head:
            data = self._head + data
            self._head = b""
        transport = self._transport
        if not transport.is_closing():
            transport.write(data)

    def _large_chunk(self, data: bytes, last: bool) -> None:
        """One chunk in parts that nobody joins."""
        transport = self._transport
        if not transport.is_closing():
            start, end = b"%x\r\n" % len(data), b"\r\n"
            transport.writelines((self._head + start, data, end + LAST_CHUNK if last else end))
        self._head = b""

    def end(self, trailers: Fields) -> None:
        """Every byte of the body has been given; trailer fields go to clients that take them."""
        last = b""
        if self._framing == CHUNKED:
            last = trailers_to_downstream(trailers) if trailers and self._trailers else LAST_CHUNK
        self._write(last)

    @property
    def close_delimited(self) -> bool:
        """Whether only the end of the connection tells the client that the body ended."""
        return self._framing == UNTIL_CLOSE

    def half_close(self) -> bool:
        """The client reads the end of the connection. With TLS there is none of one direction."""
        return half_close(self._transport)

    @property
    def lost(self) -> bool:
        """Whether nothing that is written arrives any more."""
        return self._transport.is_closing()

    @property
    def waiting(self) -> int:
        """Bytes written that the system has not taken."""
        return self._transport.get_write_buffer_size()

    def _write(self, data: bytes) -> None:
        data = self._head + data
        self._head = b""
        if data and not self._transport.is_closing():
            self._transport.write(data)
