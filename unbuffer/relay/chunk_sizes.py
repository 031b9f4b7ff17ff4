"""Lines of chunk sizes (RFC 9112, section 7.1) as some servers write them: with white space that llhttp refuses.

The grammar allows it around extensions (`28 ; a=b`), which nobody should send; behind a bare size (`28 `) servers write
it that pad their sizes. nginx, HAProxy, Envoy and curl read both. Only responses are read so: a request with it is
refused, since another recipient could see another size.
"""

import re
from typing import Any, Final

import httptools

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE: Final = rb'(?:%b|"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*")' % _TOKEN
_STRICT: Final = re.compile(rb"[0-9A-Fa-f]{1,16}(?:;%b(?:=%b)?)*\r\n" % (_TOKEN, _VALUE))
_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*%b)?)*[ \t]*\r\n" % (_TOKEN, _VALUE))
# What may still become such a line.
_BEGINS: Final = re.compile(rb"[0-9A-Fa-f]{1,16}[ \t]*(?:;[^\r\n]*)?\r?")
# The last chunk, at the very end. Padded sizes show here at the latest: a zero leaves room.
_LAST: Final = re.compile(rb"(?:\n|\A)0{1,16}[ \t]+(?:;[^\r\n]*)?\r\n\r\n\Z")


def is_plain(data: bytes) -> bool:
    """Whether the data begins with a line of a size that llhttp takes."""
    return _STRICT.match(data) is not None


def begins(data: bytes) -> bool:
    """Whether all of this may be the beginning of a line of a size."""
    return _BEGINS.fullmatch(data) is not None


def is_odd(data: bytes) -> bool:
    """Whether the data begins with a line of a size that is not plain, but for white space."""
    return _LINE.match(data) is not None


def ends_odd(data: bytes) -> bool:
    """Whether a chunked body that ends with this data ends with such a line."""
    return not data.endswith(b"0\r\n\r\n") and _LAST.search(data, max(0, len(data) - 64)) is not None


class BareSizes:
    """A parser that is given a chunked body without its chunk extensions, which nobody here looks at.

    llhttp takes white space behind a size, if asked to, but none in an extension. Here a chunk costs Python's time, so
    only a body that begins with an odd line is read so.
    """

    __slots__ = ("_left", "_line", "_over", "_parser")

    def __init__(self, parser: Any) -> None:
        """parser: an httptools.HttpRequestParser that expects the first chunk."""
        self._parser = parser
        self._left = 0
        """Bytes of the current chunk still to come, and of its line end."""
        self._line = b""
        """What came of a line that is not complete."""
        self._over = False
        """The last chunk's size was read: trailers follow."""

    def feed_data(self, data: bytes) -> None:
        """As the parser's. Raises HttpParserError."""
        out: list[bytes] = []
        at, size = 0, len(data)
        while at < size:
            if self._over:
                out.append(data[at:])
                break
            if self._left:
                step = min(self._left, size - at)
                out.append(data[at : at + step])
                self._left -= step
                at += step
                continue
            end = data.find(b"\n", at) + 1
            line = self._line + data[at : end or size]
            at = end or size
            if not end:
                self._line = line
                break
            self._line = b""
            match = _LINE.fullmatch(line)
            if match is None:
                self._parser.feed_data(b"".join(out))
                raise httptools.HttpParserError("Invalid line of a chunk size")
            out.append(match[1] + b"\r\n")
            length = int(match[1], 16)
            self._over = not length
            self._left = length + 2 if length else 0
        self._parser.feed_data(b"".join(out))
