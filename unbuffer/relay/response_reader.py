"""Reads one response from bytes, however they are split: heads, body, trailers. No I/O.

The status line is read by a pattern, the fields by llhttp, a chunked body by `response_chunks`; a body of known length
is counted, one that ends with the connection is passed. The bytes of a head are counted here against the limits.
"""

import re

from unbuffer.http.framing import CHUNKED, UNTIL_CLOSE, FramingError
from unbuffer.http.response import ResponseHead, status_line
from unbuffer.relay.field_parser import LONE_LINE_END, FieldError, read_response_fields
from unbuffer.relay.response_chunks import ChunkedBody
from unbuffer.settings.model import Limits
from unbuffer.totals import IDENTITY, SPACE_BEFORE_COLON

# Everything a status line may be cut to.
_LINE_BEGINS = re.compile(
    rb"(?:H(?:T(?:T(?:P(?:/(?:1(?:\.(?:[01](?: (?:[1-9][0-9]{0,2}"
    rb"(?:\r| [\t\x20-\x7e\x80-\xff]*\r?)?)?)?)?)?)?)?)?)?)?)?\Z"
)


class BadResponse(Exception):
    """The upstream's bytes are no response that can be relayed."""


class ResponseReader(ChunkedBody):
    """One response, informational heads before it included.

    begun: the final head has come. keep_alive: what it says of the connection. over: the response is complete. surplus:
    bytes came after its end. damage: why the rest of the body cannot be read; empty = it can. trailers: the fields
    after a chunked body. untouched: not a byte has come.
    """

    __slots__ = ("_head_request", "_informational", "_remaining", "begun", "keep_alive", "untouched")

    def __init__(self, limits: Limits, head_request: bool, oddities: dict[str, int]) -> None:
        """oddities: what is tolerated is counted there, see `unbuffer.totals`."""
        super().__init__(limits, oddities)
        self.begun = False
        self.keep_alive = False
        self.untouched = True
        self._head_request = head_request
        self._informational = 0
        """Bytes of the informational heads so far."""
        self._remaining = 0
        """Bytes of the body still to come, or its framing."""

    def read_head(self, data: bytes) -> tuple[ResponseHead | None, bytes]:
        """Read on until a head is complete, be it an informational one: then it has not `begun`.

        Returns that head, or None while it is not complete, and what comes after it. Raises BadResponse.
        """
        self.untouched = False
        if self._partial:
            data = self._partial + data
            self._partial = b""
        # `partition` takes half as long as `find`.
        text, ended, rest = data.partition(b"\r\n\r\n")
        first = text.partition(b"\r\n")[0]
        line = status_line(first) if ended else None
        if line is None:
            self._check_partial(data)
            self._partial = data
            return None, b""
        end = len(text) + 4
        if end > self._limits.head:
            raise BadResponse("the response head exceeds limits.head")
        try:
            fields, spaced = read_response_fields(data[len(first) + 2 : end])
            head = ResponseHead(line.status, line.reason, line.http11, fields, self._head_request)
        except (FieldError, FramingError) as error:
            raise BadResponse(f"bad response head: {error}") from None
        if spaced:
            self._oddities[SPACE_BEFORE_COLON] += 1
        if len(fields) > self._limits.headers:
            raise BadResponse("the response has more header fields than limits.headers")
        if head.status >= 200:
            self._take(head)
        elif head.status == 101:
            if not any(name.lower() == b"upgrade" for name, _ in fields):
                # RFC 9110, section 15.2.2: it must name the protocol that follows.
                raise BadResponse("101 Switching Protocols without Upgrade")
            self._take(head)
        else:
            # A client that waits cannot slow them down: together they may take what one head may, as in Go.
            self._informational += end
            if self._informational > self._limits.head:
                raise BadResponse("the informational responses exceed limits.head")
        return head, rest

    def _check_partial(self, data: bytes) -> None:
        """An incomplete head goes on waiting only while it can still become one."""
        if len(data) > self._limits.head:
            raise BadResponse("the response head exceeds limits.head")
        line, ended, _ = data.partition(b"\r\n")
        if not ended or status_line(line) is None:
            if not _LINE_BEGINS.match(data):
                raise BadResponse("bad response head: no status line of HTTP/1.1 or HTTP/1.0")
        elif LONE_LINE_END.search(data):
            raise BadResponse("bad response head: a line that does not end in CR LF")

    def read_body(self, data: bytes) -> bytes:
        """Read on in the body; returns its bytes. What cannot be read sets `damage`: what came before it stands."""
        if self._remaining == CHUNKED:
            return self.read_chunks(data)
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
        return self.begun and self._remaining == UNTIL_CLOSE

    def _take(self, head: ResponseHead) -> None:
        self.begun = True
        self.keep_alive = head.keep_alive
        self._remaining = head.framing
        self.over = head.framing == 0 and head.status != 101
        if head.framing == UNTIL_CLOSE and any(name.lower() == b"transfer-encoding" for name, _ in head.fields):
            self._oddities[IDENTITY] += 1
