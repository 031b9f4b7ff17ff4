"""Reads a response's chunked body (RFC 9112, section 7.1), up to its end and not a byte further. No I/O.

As strict as llhttp, which reads requests, but for two things that servers write and that nginx, HAProxy, Envoy and
curl read: white space after a size (`28 `) or within extensions (`28 ; a=b`), which the grammar allows around
extensions, and white space before the colon of a trailer field. A request with any of it is refused, since another
recipient could see another message.
"""

import re
from typing import Final

from unbuffer.http.framing import LAST_CHUNK
from unbuffer.http.request import NO_FIELDS
from unbuffer.http.tokens import TCHAR
from unbuffer.relay.field_parser import LONE_LINE_END, FieldError, read_response_fields
from unbuffer.settings.model import Limits
from unbuffer.totals import SPACE_AFTER_CHUNK_SIZE, SPACE_BEFORE_COLON

_TOKEN: Final = TCHAR + b"+"
_VALUE: Final = rb'(?:%b|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*")' % _TOKEN
_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*%b)?)*[ \t]*\r\n" % (_TOKEN, _VALUE))
_STRICT: Final = re.compile(rb"[0-9A-Fa-f]{1,16}(?:;%b(?:=%b)?)*\r\n" % (_TOKEN, _VALUE))
# What may still become such a line.
_BEGINS: Final = re.compile(rb"[0-9A-Fa-f]{1,16}[ \t]*(?:;[^\r\n]*)?\r?")

_CRLF: Final = b"\r\n"
_FRAMING: Final = frozenset((b"content-length", b"transfer-encoding"))
_DIGITS: Final = 8
_CR: Final = 0x0D
_LF: Final = 0x0A

_TOO_LONG: Final = "chunk extensions or trailers exceed limits.head"
_NO_SIZE: Final = "bad chunked coding: invalid line of a chunk size"

# What comes next.
_SIZE: Final = 0
_DATA: Final = 1
_LINE_END: Final = 2
_TRAILERS: Final = 3


class ChunkedBody:
    """A chunked body, as a part of whoever reads its response: a stream has one object less.

    over: its end was read. surplus: bytes came after it. trailers: the fields after it. damage: why the rest cannot be
    read, empty = it can.
    """

    __slots__ = (
        "_left",
        "_limits",
        "_next",
        "_oddities",
        "_padded",
        "_partial",
        "damage",
        "over",
        "surplus",
        "trailers",
    )

    def __init__(self, limits: Limits, oddities: dict[str, int]) -> None:
        """oddities: what is tolerated is counted there, once; see `unbuffer.totals`."""
        self.over = self.surplus = False
        self.damage = ""
        self.trailers = NO_FIELDS
        self._limits = limits
        self._oddities = oddities
        self._padded = False
        """Whether white space after a size has been counted."""
        self._next = _SIZE
        self._left = 0
        """Bytes of the current chunk still to come."""
        self._partial = b""
        """What came of a line, or of a head or trailers, that are not complete."""

    def read_chunks(self, data: bytes) -> bytes:
        """Read on; returns the body bytes, unframed. What cannot be read sets `damage`: what was before it stays."""
        if self._partial:
            data = self._partial + data
            self._partial = b""
        at, end = 0, len(data)
        if self._next == _SIZE:
            # One chunk and nothing else: most reads of a stream.
            size, begin = _plain_size(data, 0, end)
            if size > 0 and begin + size + 2 == end and data.endswith(_CRLF):
                return data[begin : begin + size]
            if data == LAST_CHUNK:
                self.over = True
                return b""
        parts: list[bytes] = []
        while at < end and not self.damage:
            if self._next == _DATA:
                stop = min(at + self._left, end)
                self._left -= stop - at
                parts.append(data[at:stop])
                at = stop
                if not self._left:
                    self._next = _LINE_END
            elif self._next == _LINE_END:
                if data.startswith(_CRLF, at):
                    self._next = _SIZE
                    at += 2
                elif data[at] == _CR and at + 1 == end:
                    self._partial = b"\r"
                    break
                else:
                    self.damage = "bad chunked coding: a chunk that does not end with its size"
            elif self._next == _SIZE:
                size, over = _plain_size(data, at, end)
                if size >= 0:
                    self._left = size
                    self._next = _DATA if size else _TRAILERS
                    at = over
                else:
                    at = self._read_size(data, at)
            elif self.over:
                self.surplus = True
                break
            else:
                at = self._read_trailers(data, at)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_size(self, data: bytes, at: int) -> int:
        """Read the line at this place; returns where it is over."""
        over = data.find(b"\n", at) + 1 or len(data)
        line = data[at:over]
        if len(line) > self._limits.head:
            self.damage = _TOO_LONG
        elif line.endswith(b"\n"):
            size, padded = _size_of(line)
            if size < 0:
                self.damage = _NO_SIZE
            self._left = size
            self._next = _DATA if size else _TRAILERS
            if padded and not self._padded:
                self._padded = True
                self._oddities[SPACE_AFTER_CHUNK_SIZE] += 1
        elif _BEGINS.fullmatch(line):
            self._partial = line
        else:
            self.damage = _NO_SIZE
        return over

    def _read_trailers(self, data: bytes, at: int) -> int:
        """Read the fields at this place, and the empty line after them; returns where they are over."""
        if data.startswith(_CRLF, at):
            self.over = True
            return at + 2
        over = data.find(b"\r\n\r\n", at) + 4
        if over == 3:
            over = len(data)
            self._partial = data[at:]
            if len(self._partial) > self._limits.head:
                self.damage = _TOO_LONG
            elif LONE_LINE_END.search(self._partial):
                self.damage = "bad trailers: a line that does not end in CR LF"
        elif over - at > self._limits.head:
            self.damage = _TOO_LONG
        else:
            self._take_trailers(data[at:over])
        return over

    def _take_trailers(self, section: bytes) -> None:
        try:
            fields, spaced = read_response_fields(section)
        except FieldError as error:
            self.damage = f"bad trailers: {error}"
            return
        if any(name.lower() in _FRAMING for name, _ in fields):
            self.damage = "bad trailers: a field of the framing"  # RFC 9110, section 6.5.1
            return
        if len(fields) > self._limits.headers:
            self.damage = "more trailer fields than limits.headers"
            return
        self._oddities[SPACE_BEFORE_COLON] += spaced
        self.trailers = fields
        self.over = True


def _size_of(line: bytes) -> tuple[int, bool]:
    """The size that a whole line states, and whether it has white space; -1 = it is no such line."""
    match = _LINE.fullmatch(line)
    return (int(match[1], 16), not _STRICT.fullmatch(line)) if match else (-1, False)


def _plain_size(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The size that a line at this place states, and where the line is over; -1 = it has more than a size of a few
    digits. (Compiled, this takes a tenth of what a pattern takes.)"""
    size, begin = 0, at
    last = min(end - 2, at + _DIGITS)
    while at < last:
        byte = data[at]
        if 0x30 <= byte <= 0x39:
            size = size * 16 + byte - 0x30
        elif 0x61 <= byte <= 0x66:
            size = size * 16 + byte - 0x57
        elif 0x41 <= byte <= 0x46:
            size = size * 16 + byte - 0x37
        else:
            break
        at += 1
    if at > begin and at + 1 < end and data[at] == _CR and data[at + 1] == _LF:
        return size, at + 2
    return -1, begin
