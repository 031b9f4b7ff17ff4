"""Reads a header section with llhttp: strictly, whole, and as a function of its bytes.

llhttp refuses folded lines, bare line feeds, white space before the colon and control bytes. One parser serves every
head of the process: it is given a status line that no body can follow (304), so that it is ready for the next
head whatever the fields say about a body. What they say is decided in `unbuffer.http.framing`.
"""

import re
from typing import Final

import httptools

from unbuffer.http.request import Fields
from unbuffer.http.tokens import TCHAR

LONE_LINE_END = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
"""Half a line end, which no head may hold: with it no empty line may ever come that this reader would know."""

_LINE_FOR_PARSER: Final = b"HTTP/1.1 304 -\r\n"


# Only at the beginning of a line; one that begins with white space is folded, and refused.
_SPACE_BEFORE_COLON = re.compile(rb"(?:(?<=\r\n)|\A)(%b+)[ \t]+(?=:)" % TCHAR)


class FieldError(Exception):
    """The header section is not valid."""


class _FieldParser:
    """llhttp, and what it told about the latest header section."""

    __slots__ = ("_fields", "_parser", "_whole")

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._fields: Fields = []
        self._whole = False

    def parse(self, section: bytes) -> Fields:
        fields: Fields = []
        self._fields = fields
        self._whole = False
        self._parser.feed_data(_LINE_FOR_PARSER + section)
        if not self._whole:
            raise FieldError("it does not end where its empty line is")
        return fields

    def on_header(self, name: bytes, value: bytes) -> None:
        if value and value[-1] in (0x20, 0x09):
            value = value.rstrip(b" \t")
        self._fields.append((name, value))

    def on_message_complete(self) -> None:
        self._whole = True


_shared = _FieldParser()


def read_fields(section: bytes) -> Fields:
    """The fields of a complete header section, which ends with its empty line. Raises FieldError."""
    global _shared
    try:
        return _shared.parse(section)
    except (httptools.HttpParserError, FieldError):
        # After "Connection: close", or an error, llhttp takes nothing more: a fresh parser has the last word.
        _shared = _FieldParser()
    try:
        return _shared.parse(section)
    except (httptools.HttpParserError, FieldError) as error:
        _shared = _FieldParser()
        raise FieldError(str(error)) from None


def read_response_fields(section: bytes) -> tuple[Fields, bool]:
    """As strictly as a request's, but for white space before a colon: a proxy has to remove it from a response (RFC
    9112, section 5.1). Returns whether there was any, too."""
    try:
        return read_fields(section), False
    except FieldError:
        if not _SPACE_BEFORE_COLON.search(section):
            raise
    return read_fields(_SPACE_BEFORE_COLON.sub(rb"\1", section)), True
