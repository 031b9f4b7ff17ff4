"""What a response head says (RFC 9110, RFC 9112)."""

import re
from collections.abc import Sequence
from typing import Final

from unbuffer.http.coding import parse_codings
from unbuffer.http.framing import UNTIL_CLOSE, number, response_framing
from unbuffer.http.memory import lower_name, remember
from unbuffer.http.request import Fields, list_members

# HTTP-version SP status-code SP [reason] (RFC 9112, section 4). Servers exist that leave out the second space.
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?")

_READ: Final = frozenset((b"connection", b"content-length", b"transfer-encoding", b"content-encoding", b"content-type"))

_NDJSON: Final = frozenset((b"application/x-ndjson", b"application/jsonl", b"application/stream+json"))

_STORED: Final = frozenset((b"etag", b"last-modified", b"content-disposition"))
"""Fields of what is stored somewhere, or handed out as a file. (Accept-Ranges is none: lighttpd adds it to all.)"""


class StatusLine:
    """A status line, word by word."""

    __slots__ = ("http11", "reason", "status")

    def __init__(self, http11: bool, status: int, reason: bytes) -> None:
        self.http11 = http11
        self.status = status
        self.reason = reason


_lines: Final[dict[bytes, StatusLine]] = {}
"""Status lines that came: an upstream has a handful."""


def status_line(line: bytes) -> StatusLine | None:
    """Read a status line, given without its CR LF; None = it is none."""
    known = _lines.get(line)
    if known is not None:
        return known
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        return None
    return remember(_lines, line, StatusLine(match[1] == b"1", int(match[2]), match[3] or b""))


class ResponseHead:
    """A response head that was understood.

    framing: see `unbuffer.http.framing`. length: the bytes that Content-Length states, -1 without one (it may state the
    length of a body that is not sent: HEAD, 304). codings: content codings, in the order they were applied.
    kind: "sse", "ndjson", "stream" (unknown length) or "plain".
    """

    __slots__ = ("codings", "connection", "fields", "framing", "keep_alive", "kind", "length", "reason", "status")

    def __init__(self, status: int, reason: bytes, http11: bool, fields: Fields, head_request: bool) -> None:
        """Read the head; raises FramingError."""
        self.status = status
        self.reason = reason
        self.fields = fields
        self.connection: Sequence[bytes] = ()
        lengths: Sequence[bytes] = ()
        transfer: Sequence[bytes] = ()
        coding = media = b""
        for name, value in fields:
            key = lower_name(name)
            if key not in _READ:
                continue
            if key == b"content-type":
                media = value
            elif key == b"content-length":
                lengths = (*lengths, value) if lengths else (value,)
            elif key == b"transfer-encoding":
                transfer = (*transfer, value) if transfer else (value,)
            elif key == b"content-encoding":
                coding = coding + b", " + value if coding else value
            elif key == b"connection":
                self.connection = [*self.connection, *list_members(value)]
        framing = self.framing = response_framing(status, head_request, http11, lengths, transfer)
        if framing > 0:
            self.length = framing
        else:
            self.length = number(lengths[0]) if len(lengths) == 1 and not transfer else -1
        self.codings = parse_codings(coding) if coding else ()
        self.kind = _media_kind(media) or ("stream" if framing < 0 else "plain")
        self.keep_alive = http11 and framing != UNTIL_CLOSE and b"close" not in self.connection

    @property
    def streams(self) -> bool:
        """Whether the body is a stream: of a streaming media type, or of unknown length."""
        return self.kind != "plain"


def maker(fields: Fields) -> tuple[bytes, bool]:
    """Who made a response: the Server field, 64 bytes at most, and whether Vary names Accept-Encoding."""
    server, varies = b"", False
    for name, value in fields:
        key = lower_name(name)
        if key == b"server":
            server = value[:64]
        elif key == b"vary":
            varies = varies or b"accept-encoding" in list_members(value)
    return server, varies


def is_fresh_text(fields: Fields) -> bool:
    """Whether a response is plain text that was made for it: neither a stored document (RFC 9110, section 8.8) nor in a
    format with a version, as an exposition of metrics is."""
    text = False
    for name, value in fields:
        key = name.lower()
        if key in _STORED:
            return False
        if key == b"content-type":
            media, _, parameters = value.lower().partition(b";")
            text = media.strip() == b"text/plain" and b"version=" not in parameters
    return text


_kinds: Final[dict[bytes, str]] = {}


def _media_kind(value: bytes) -> str:
    """The kind that a Content-Type makes by itself; empty when the framing decides."""
    known = _kinds.get(value)
    if known is not None:
        return known
    media = value.partition(b";")[0].strip(b" \t").lower()
    if media == b"text/event-stream":
        return remember(_kinds, value, "sse")
    return remember(_kinds, value, "ndjson" if media in _NDJSON else "")
