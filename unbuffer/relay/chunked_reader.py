"""Reads a request's chunked body (RFC 9112, section 7.1) with llhttp, up to its end and not a byte further. No I/O.

llhttp is given a head of its own, so that nothing in the message's real head can make it read the body otherwise than
`unbuffer.http.framing` decided; an Upgrade field would.
"""

from typing import Any, Final

import httptools

from unbuffer.http.framing import next_stop
from unbuffer.http.request import Fields
from unbuffer.settings.model import Limits

_HEAD_FOR_PARSER: Final = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"

# What every body ends with. llhttp swallows further line ends after it.
_END: Final = b"\r\n\r\n"


class ChunkedReader:
    """One chunked body.

    over: its end was read. surplus: bytes came after it. trailers: the fields after it. damage: why the rest cannot
    be read, empty = it can; oversize: because what is not body (sizes, extensions, trailers) exceeds the limits of a
    head.
    """

    __slots__ = (
        "_limits",
        "_parser",
        "_parts",
        "_size",
        "damage",
        "over",
        "oversize",
        "surplus",
        "trailers",
    )

    def __init__(self, limits: Limits) -> None:
        self.over = self.surplus = self.oversize = False
        self.damage = ""
        self.trailers: Fields = []
        self._limits = limits
        self._parts: list[bytes] = []
        self._size = 0
        """Bytes read since the last one that was body."""
        self._parser: Any = httptools.HttpRequestParser(self)
        self._parser.feed_data(_HEAD_FOR_PARSER)
        self.trailers.clear()

    def read(self, data: bytes) -> bytes:
        """Read on; returns the body bytes, unframed. What cannot be read sets `damage`: what was before it stays."""
        parser, parts = self._parser, self._parts
        if parser is None:
            self.surplus = True
            return b""
        try:
            if len(data) > len(_END):
                parser.feed_data(data)
            else:
                self._feed_bytes(parser, data)
        except httptools.HttpParserError as error:
            if not self.over:
                self.damage = f"bad chunked coding: {error}"
        # What stands before the end of a body, in a read that is longer, is never a line end itself.
        if self.over and len(data) > len(_END) and (not data.endswith(_END) or data[-len(_END) - 1] in _END):
            self.surplus = True
        if self.trailers:
            self._check_trailers()
        if self.over or self.damage:
            self._parser = None  # it refers to us: nothing is left for the cyclic garbage collector
        if not parts:
            self._size += len(data)
            if self._size > self._limits.head and not self.over and not self.damage:
                self.oversize = True
                self.damage = "chunk extensions or trailers exceed limits.head"
            return b""
        self._size = 0
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        return body

    def read_to_end(self, data: bytes) -> tuple[bytes, bytes]:
        """Read on where another message may follow; returns the body bytes, and what comes after the body's end."""
        bodies: list[bytes] = []
        start = 0
        while start < len(data) and not self.over and not self.damage:
            stop = next_stop(data, start)
            bodies.append(self.read(data[start:stop]))
            start = stop
        return b"".join(bodies), data[start:]

    def _feed_bytes(self, parser: Any, data: bytes) -> None:
        """What may be nothing but the second part of the end has to end with it."""
        for at in range(len(data)):
            if self.over:
                self.surplus = True
                return
            parser.feed_data(data[at : at + 1])

    def _check_trailers(self) -> None:
        """However many one read brought: they count like the fields of a head, each with its colon and line end."""
        size = sum(len(name) + len(value) + 3 for name, value in self.trailers)
        if size > self._limits.head:
            self.damage = "trailers exceed limits.head"
        elif len(self.trailers) > self._limits.headers:
            self.damage = "more trailer fields than limits.headers"
        else:
            return
        self.oversize = True
        self.over = False

    # -- what llhttp tells

    def on_message_begin(self) -> None:
        if self.over:
            # Another message begins: not a byte of it belongs here.
            self.surplus = True
            raise StopIteration

    def on_header(self, name: bytes, value: bytes) -> None:
        self.trailers.append((name, value.rstrip(b" \t")))

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)

    def on_message_complete(self) -> None:
        self.over = True
