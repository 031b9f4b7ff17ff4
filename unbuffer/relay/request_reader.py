"""Reads one request from bytes, however they are split: head, then body. No I/O.

The request line is read by a pattern (any method, the exact target), the fields by llhttp, strictly. llhttp knows no
sizes, so every byte of the head is counted here against the limits.
"""

import re

import httptools

from unbuffer.http.framing import CHUNKED, next_stop
from unbuffer.http.request import REQUEST_LINE, BadRequest, Fields, RequestHead
from unbuffer.relay.chunked_reader import ChunkedReader
from unbuffer.settings.model import Limits

# What llhttp is given for a request line; the real one is not its business.
_LINE_FOR_PARSER = b"POST / HTTP/1.1\r\n"

# Everything a request line may be cut to.
_LINE_BEGINS = re.compile(
    rb"(?:\r\n){0,4}(?:\r|[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}"
    rb"(?: [\x21-\x7e]*(?: (?:H(?:T(?:T(?:P(?:/[0-9.\r]{0,4})?)?)?)?)?)?)?)?\Z"
)


class RequestReader:
    """One request. `head` is None until it is complete, `whole` tells that the body is, too."""

    __slots__ = (
        "_chunked",
        "_fields",
        "_head_done",
        "_http11",
        "_limits",
        "_line",
        "_parser",
        "_remaining",
        "_size",
        "head",
        "method",
        "target",
        "whole",
    )

    def __init__(self, limits: Limits) -> None:
        self.head: RequestHead | None = None
        self.whole = False
        self.method = b""
        self.target = b""
        self._limits = limits
        self._line = b""
        self._http11 = True
        self._parser: httptools.HttpRequestParser | None = None
        self._fields: Fields = []
        self._head_done = False
        self._size = 0
        self._remaining = 0
        self._chunked: ChunkedReader | None = None

    @property
    def started(self) -> bool:
        """Whether a byte of the request has come. Empty lines before it are none (RFC 9112, section 2.2)."""
        return self._parser is not None or bool(self._line.lstrip(b"\r\n"))

    def read_head(self, data: bytes) -> bytes:
        """Read on until the head is complete; returns what stands behind it. Raises BadRequest."""
        start = 0
        if self._parser is None:
            data = self._line + data
            start = self._read_line(data)
        while start < len(data):
            stop = next_stop(data, start)
            self._feed_head(data[start:stop])
            start = stop
            if self._head_done:
                self._complete_head()
                break
        return data[start:]

    def read_body(self, data: bytes) -> tuple[bytes, bytes]:
        """Read on in the body; returns its bytes, and what stands behind its end. Raises BadRequest."""
        chunked = self._chunked
        if chunked is not None:
            # Trailer fields are dropped: servers exist that take them for header fields.
            body, rest = chunked.read_to_end(data)
            if chunked.damage:
                raise BadRequest(431 if chunked.oversize else 400, chunked.damage)
            self.whole = chunked.over
            return body, rest
        body = data if len(data) <= self._remaining else data[: self._remaining]
        self._remaining -= len(body)
        self.whole = not self._remaining
        return body, data[len(body) :]

    def _read_line(self, line: bytes) -> int:
        """Where the fields begin, behind the request line; the end of the data while it is not complete."""
        match = REQUEST_LINE.match(line)
        if match is None:
            self._check_line(line)
            self._line = line
            return len(line)
        self.method, self.target, major, minor = match.groups()
        if len(self.target) > self._limits.target:
            raise BadRequest(414, "the request target exceeds limits.target")
        if major != b"1" or minor not in b"01":
            raise BadRequest(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        self._http11 = minor == b"1"
        self._line = b""
        self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(_LINE_FOR_PARSER)
        size = self._size = match.end()
        return size

    def _check_line(self, line: bytes) -> None:
        """An incomplete line goes on waiting only while it can still become one."""
        if len(line) > self._limits.target + 80:
            raise BadRequest(414, "the request line exceeds limits.target")
        if not _LINE_BEGINS.match(line):
            raise BadRequest(400, "bad request line: is this HTTP?")

    def _feed_head(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limits.head:
            raise BadRequest(431, "the request head exceeds limits.head")
        assert self._parser is not None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the message is over for llhttp; whether an upgrade happens is the upstream's to say
        except httptools.HttpParserError as error:
            raise BadRequest(400, f"bad header section: {error}") from None
        if len(self._fields) > self._limits.headers:
            raise BadRequest(431, "more header fields than limits.headers")

    def _complete_head(self) -> None:
        self._parser = None  # it refers to us: nothing is left for the cyclic garbage collector
        self.head = RequestHead(self.method, self.target, self._http11, self._fields)
        framing = self.head.framing
        if framing == CHUNKED:
            self._chunked = ChunkedReader(self._limits.head)
        else:
            self._remaining = framing
            self.whole = framing == 0

    # -- what llhttp tells

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self._head_done = True
