"""Reads one request from bytes, however they are split: head, then body. No I/O.

The request line is read by a pattern (any method, the exact target), the fields by llhttp. Neither knows sizes, so the
bytes of a head are counted here against the limits.
"""

import re
from typing import Final

from unbuffer.http.framing import CHUNKED
from unbuffer.http.request import HTTP2_PREFACE, BadRequest, RequestHead, RequestLine, request_line
from unbuffer.http.tokens import TCHAR
from unbuffer.relay.chunked_reader import ChunkedReader
from unbuffer.relay.field_parser import LONE_LINE_END, FieldError, read_fields
from unbuffer.settings.model import Limits

# Everything a request line may be cut to.
_LINE_BEGINS = re.compile(
    rb"%b{1,64}"
    rb"(?: [\x21-\x7e]*(?: (?:H(?:T(?:T(?:P(?:/[0-9.\r]{0,4})?)?)?)?)?)?)?\Z" % TCHAR
)

_HTTP2: Final = HTTP2_PREFACE[:16]
"""The request line that it begins with."""

MOST_EMPTY_LINES = 4
"""Before a request line they are to be ignored (RFC 9112, section 2.2), but not without end."""


class RequestReader:
    """One request. `head` is None while `in_head`; `whole` tells that the body is complete, too."""

    __slots__ = (
        "_chunked",
        "_empty_lines",
        "_limits",
        "_partial",
        "_remaining",
        "head",
        "in_head",
        "method",
        "target",
        "whole",
    )

    def __init__(self, limits: Limits) -> None:
        self.head: RequestHead | None = None
        self.in_head = True
        self.whole = False
        self.method = b""
        self.target = b""
        self._limits = limits
        self._partial = b""
        """What came of a head that is not complete."""
        self._empty_lines = 0
        self._remaining = 0
        self._chunked: ChunkedReader | None = None

    @property
    def started(self) -> bool:
        """Whether a part of the head has come; empty lines before it are none."""
        return bool(self._partial)

    @property
    def preface(self) -> bytes:
        """What has come, where it is the preface of HTTP/2, or begins like it, and was refused for that; else empty."""
        return self._partial if self._partial.startswith(_HTTP2) else b""

    def read_head(self, data: bytes) -> bytes:
        """Read on until the head is complete; returns what comes after it. Raises BadRequest."""
        if self._partial:
            data = self._partial + data
            self._partial = b""
        if data.startswith(b"\r"):
            data = self._skip_empty_lines(data)
        # `partition` takes half as long as `find`.
        text, ended, rest = data.partition(b"\r\n\r\n")
        first = text.partition(b"\r\n")[0]
        line = request_line(first) if ended else None
        if line is None:
            self._partial = data
            self._check_partial(data)
            return b""
        self.method, self.target = line.method, line.target
        if not line.spoken or len(line.target) > self._limits.target:
            self._partial = data
            self._check_line(line)
        end = len(text) + 4
        if end > self._limits.head:
            self._check_fields(data)
        try:
            fields = read_fields(data[len(first) + 2 : end])
        except FieldError as error:
            raise BadRequest(400, f"bad header section: {error}") from None
        if len(fields) > self._limits.headers:
            raise BadRequest(431, "more header fields than limits.headers")
        head = self.head = RequestHead(line.method, line.target, line.http11, fields)
        self.in_head = False
        framing = head.framing
        if framing == CHUNKED:
            self._chunked = ChunkedReader(self._limits)
        else:
            self._remaining = framing
            self.whole = framing == 0
        return rest

    def read_body(self, data: bytes) -> tuple[bytes, bytes]:
        """Read on in the body; returns its bytes, and what comes after its end. Raises BadRequest."""
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

    def _skip_empty_lines(self, data: bytes) -> bytes:
        while data[:2] == b"\r\n":
            data = data[2:]
            self._empty_lines += 1
            if self._empty_lines > MOST_EMPTY_LINES:
                raise BadRequest(400, "empty lines where a request should be")
        return data

    def _check_line(self, line: RequestLine) -> None:
        if len(line.target) > self._limits.target:
            raise BadRequest(414, "the request target exceeds limits.target")
        if not line.spoken:
            raise BadRequest(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")

    def _check_partial(self, data: bytes) -> None:
        """An incomplete head goes on waiting only while it can still become one."""
        first, ended, _ = data.partition(b"\r\n")
        line = request_line(first) if ended else None
        if line is not None:
            self.method, self.target = line.method, line.target
            self._check_line(line)
            self._check_fields(data)
            return
        # What a read brought beyond the limit must not change the answer.
        most = self._limits.target + 80
        if data not in (b"", b"\r") and not _LINE_BEGINS.match(data[:most]):
            raise BadRequest(400, "bad request line: is this HTTP?")
        if len(data) > most:
            raise BadRequest(414, "the request line exceeds limits.target")

    def _check_fields(self, data: bytes) -> None:
        if LONE_LINE_END.search(data[: self._limits.head]):
            raise BadRequest(400, "bad header section: a line that does not end in CR LF")
        if len(data) > self._limits.head:
            raise BadRequest(431, "the request head exceeds limits.head")
