"""What a response head says (RFC 9110, RFC 9112)."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from unbuffer.http.coding import parse_codings
from unbuffer.http.framing import UNTIL_CLOSE, response_framing
from unbuffer.http.request import Fields, list_members

# HTTP-version SP status-code SP [reason] (RFC 9112, section 4). Servers exist that leave out the second space.
STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n")

_READ: Final = frozenset((b"connection", b"content-length", b"transfer-encoding", b"content-encoding", b"content-type"))

_NDJSON: Final = frozenset((b"application/x-ndjson", b"application/jsonl", b"application/stream+json"))

_STORED: Final = frozenset((b"etag", b"last-modified", b"content-disposition"))
"""Fields of what is stored somewhere, or handed out as a file. (Accept-Ranges is none: lighttpd adds it to all.)"""


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
        lengths: list[bytes] = []
        transfer: list[bytes] = []
        coding = media = b""
        for name, value in fields:
            key = name.lower()
            if key not in _READ:
                continue
            if key == b"content-type":
                media = value
            elif key == b"content-length":
                lengths.append(value)
            elif key == b"transfer-encoding":
                transfer.append(value)
            elif key == b"content-encoding":
                coding = coding + b", " + value if coding else value
            elif key == b"connection":
                self.connection = [*self.connection, *list_members(value)]
        framing = self.framing = response_framing(status, head_request, http11, lengths, transfer)
        if framing > 0:
            self.length = framing
        else:
            self.length = int(lengths[0]) if len(lengths) == 1 and lengths[0].isdigit() and not transfer else -1
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
        key = name.lower()
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


@lru_cache(maxsize=256)  # an application has a handful of media types
def _media_kind(media: bytes) -> str:
    """The kind that a Content-Type makes by itself; empty when the framing decides."""
    media = media.partition(b";")[0].strip(b" \t").lower()
    if media == b"text/event-stream":
        return "sse"
    return "ndjson" if media in _NDJSON else ""
