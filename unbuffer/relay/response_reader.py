"""Reads one response from bytes, however they are split: heads, body, trailers. No I/O.

The status line is read by a pattern, the fields by llhttp; a body of known length is counted, one that ends with the
connection is passed. llhttp knows no sizes, so every byte of a head is counted here against the limits.
"""

import re

import httptools

from unbuffer.http.framing import CHUNKED, UNTIL_CLOSE, FramingError, next_stop
from unbuffer.http.request import Fields
from unbuffer.http.response import STATUS_LINE, ResponseHead
from unbuffer.relay.chunked_reader import ChunkedReader
from unbuffer.settings.model import Limits

# What llhttp is given for a status line: what a status means for the body is decided in `unbuffer.http.framing`.
_LINE_FOR_PARSER = b"HTTP/1.1 200 OK\r\n"

# Everything a status line may be cut to.
_LINE_BEGINS = re.compile(
    rb"H(?:T(?:T(?:P(?:/(?:1(?:\.(?:[01](?: (?:[1-9][0-9]{0,2}(?:\r| [\t\x20-\x7e\x80-\xff]*\r?)?)?)?)?)?)?)?)?)?)?\Z"
)


class BadResponse(Exception):
    """The upstream's bytes are no response that can be relayed."""


class ResponseReader:
    """One response, informational heads before it included.

    head: the final head; None until it is complete. over: the response is complete. surplus: bytes came behind its end.
    damage: why the rest of the body cannot be read; empty = it can. trailers: the fields behind a chunked body.
    """

    __slots__ = (
        "_chunked",
        "_fields",
        "_head_done",
        "_head_request",
        "_http11",
        "_limits",
        "_line",
        "_parser",
        "_reason",
        "_remaining",
        "_size",
        "_status",
        "damage",
        "head",
        "over",
        "surplus",
        "trailers",
        "untouched",
    )

    def __init__(self, limits: Limits, head_request: bool) -> None:
        self.head: ResponseHead | None = None
        self.over = False
        self.surplus = False
        self.damage = ""
        self.trailers: Fields = []
        self.untouched = True
        """Not a byte has come."""
        self._limits = limits
        self._head_request = head_request
        self._chunked: ChunkedReader | None = None
        self._remaining = 0
        self._line = b""
        self._expect_head()

    def _expect_head(self) -> None:
        self._parser: httptools.HttpResponseParser | None = None
        self._fields: Fields = []
        self._http11 = True
        self._status = self._size = 0
        self._reason = b""
        self._head_done = False

    def read_head(self, data: bytes) -> tuple[list[ResponseHead], bytes]:
        """Read on until the final head is complete.

        Returns the heads that are complete, informational ones first, and what stands behind the final one.
        Raises BadResponse.
        """
        self.untouched = False
        heads: list[ResponseHead] = []
        start = 0
        while start < len(data) and self.head is None:
            if self._parser is None:
                data = self._line + data[start:]
                start = self._read_line(data)
                continue
            stop = next_stop(data, start)
            self._feed_head(data[start:stop])
            start = stop
            if self._head_done:
                heads.append(self._complete_head())
        data = data[start:]
        if self.over and data:
            self.surplus = True
            data = b""
        return heads, data

    def read_body(self, data: bytes) -> bytes:
        """Read on in the body; returns its bytes. What cannot be read sets `damage`: what came before it stands."""
        chunked = self._chunked
        if chunked is not None:
            body = chunked.read(data)
            if chunked.over:
                self.over = True
                self.surplus = chunked.surplus
                self.trailers = chunked.trailers
            elif chunked.damage:
                self.damage = chunked.damage
            return body
        if self._remaining == UNTIL_CLOSE:
            return data
        rest = self._remaining - len(data)
        if rest < 0:
            self.surplus = True
            data = data[: self._remaining]
            rest = 0
        self._remaining = rest
        self.over = not rest
        return data

    @property
    def ends_with_connection(self) -> bool:
        """Whether a clean close of the connection completes the response."""
        return self.head is not None and self.head.framing == UNTIL_CLOSE

    def _read_line(self, line: bytes) -> int:
        """Where the fields begin, behind the status line; the end of the data while it is not complete."""
        match = STATUS_LINE.match(line)
        if match is None:
            if len(line) > self._limits.head:
                raise BadResponse("the response head exceeds limits.head")
            if not _LINE_BEGINS.match(line):
                raise BadResponse("bad status line: is this HTTP/1.1?")
            self._line = line
            return len(line)
        minor, status, reason = match.groups()
        self._http11 = minor == b"1"
        self._status = int(status)
        self._reason = reason or b""
        self._line = b""
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(_LINE_FOR_PARSER)
        size = self._size = match.end()
        return size

    def _feed_head(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limits.head:
            raise BadResponse("the response head exceeds limits.head")
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            raise BadResponse(f"bad response head: {error}") from None
        if len(self._fields) > self._limits.headers:
            raise BadResponse("the response has more header fields than limits.headers")

    def _complete_head(self) -> ResponseHead:
        status = self._status
        try:
            head = ResponseHead(status, self._reason, self._http11, self._fields, self._head_request)
        except FramingError as error:
            raise BadResponse(f"bad response head: {error}") from None
        if status < 200 and status != 101:
            self._expect_head()
            return head
        self.head = head
        self._parser = None  # it refers to us: nothing is left for the cyclic garbage collector
        if head.framing == CHUNKED:
            self._chunked = ChunkedReader(self._limits.head)
            return head
        self._remaining = head.framing
        self.over = head.framing == 0 and status != 101
        return head

    # -- what llhttp tells

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self._head_done = True
