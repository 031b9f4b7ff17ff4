"""Tells what a stream says from what only keeps its connection alive, read by read, wherever a read is cut.

An event-stream is read as the HTML standard interprets one (section 9.2.6): a comment, an empty line, and an event to
which no `data` belongs reach no listener. Of NDJSON the empty lines are nothing. Bounded: of a line that goes on in the
next read so much is kept as tells what it is.
"""

from typing import Final

LF: Final = 0x0A
CR: Final = 0x0D
BRACE: Final = 0x7B
_LF: Final = b"\n"
_CR: Final = b"\r"
_CRLF: Final = b"\r\n"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

DATA: Final = b"data:"
ID: Final = b"id"
_EVENT: Final = b"event:"
_DATA_LINE: Final = b"\ndata:"
_COMMENT: Final = b":"
_OTHER: Final = b"id:"
"""In place of any line that is neither a comment nor one of the two above."""

_SHORT: Final = 2048
"""Bytes of a read up to which it is worth splitting; a longer one is looked at from its two ends."""

# What ends an event and the read with it. After a lone CR a LF may come; such a stream is read line by line.
_EVENT_ENDS: Final[tuple[bytes, ...]] = (b"\n\n", b"\n\r\n")


class ContentReader:
    """One body. `usual` tells most reads, and cheaply; `read` tells any.

    between: nothing is under way, as at the end of a read that ended with an event.
    event_end: how events end here.
    """

    __slots__ = ("between", "event_end")

    def __init__(self, between: bool) -> None:
        self.between = between
        self.event_end = b"\n\n"

    def usual(self, data: bytes, wants_id: bool) -> bool:
        """Whether these bytes, one read, are whole events with content and nothing else. Then `read` has no need of
        them, and they leave everything as it was. wants_id: one with an `id` is none of them."""
        raise NotImplementedError

    def read(self, data: bytes) -> bool:
        """Read on. Returns whether these bytes brought content."""
        raise NotImplementedError


class EventReader(ContentReader):
    """An event-stream.

    Content is every byte of a `data` line from the name on, what else comes of the same event after that, and the
    empty line that ends it. The type counts where its line comes before the data: what was said is not taken back.
    """

    __slots__ = ("_alive", "_begun", "_data", "_line", "_line_end", "_longest", "_types", "_was_cr")

    def __init__(self, keepalives: tuple[bytes, ...] = ()) -> None:
        """keepalives: types of events that are keep-alives, whatever their data."""
        super().__init__(between=False)
        self._line_end = b"\n"
        self._types = keepalives
        self._longest = max(map(len, keepalives), default=0)
        self._begun = False
        """Whether the place of a byte order mark is behind us."""
        self._line = b""
        """The line under way, or a shorter one that means the same."""
        self._alive = False
        """Whether the event under way is of a type that is a keep-alive."""
        self._data = False
        """Whether the event under way has data that is content."""
        self._was_cr = False
        """Whether the latest byte was a CR: a LF after it is part of that line end."""

    def usual(self, data: bytes, wants_id: bool) -> bool:
        """One event, of a line of data, or of another line and a line of data."""
        if not self.between or len(data) > _SHORT:
            return False
        end = self._line_end
        line, _, rest = data.partition(end)
        if LF in line or CR in line:
            return False
        if rest == end:
            return line[:5] == DATA
        if rest[:5] != DATA or self._types or (wants_id and line[:2] == ID):
            return False
        line, _, rest = rest.partition(end)
        return rest == end and LF not in line and CR not in line

    def read(self, data: bytes) -> bool:
        if data.endswith(_CRLF):
            self._line_end = _CRLF
            self.event_end = _CRLF + _CRLF
        # What the beginning tells, or a line of data where the type of no event can be a keep-alive's.
        if not self.between or (data[:5] != DATA and (data.find(_DATA_LINE) < 0 or self._may_be_typed(data))):
            return self._read_lines(data)
        if data[-1] != LF or not data.endswith(_EVENT_ENDS):
            over = max(data.rfind(b"\n\n") + 2, data.rfind(b"\n\r\n") + 3)
            self._read_lines(data[over:] if over > 2 else data)
        return True

    def _may_be_typed(self, data: bytes) -> bool:
        return any(data.find(name) >= 0 for name in self._types)

    def _read_lines(self, data: bytes) -> bool:
        if not data:
            return False
        if self._was_cr and data.startswith(_LF):
            self._was_cr = False
            return self._read_lines(data[1:])
        self._was_cr = data.endswith(_CR)
        text = self._line + data
        if not self._begun:
            if len(text) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(text):
                self._line = text
                return False
            self._begun = True
            text = text.removeprefix(_BYTE_ORDER_MARK)
        *lines, rest = text.replace(_CRLF, _LF).replace(_CR, _LF).split(_LF)
        content = False
        for line in lines:
            if line:
                content = self._says(line) or content
            else:
                content = content or self._data
                self._data = self._alive = False
        content = (bool(rest) and self._goes_on(rest)) or content
        self._line = self._short(rest)
        self.between = not (rest or self._data or self._alive or self._was_cr)
        return content

    def _says(self, line: bytes) -> bool:
        """A whole line that is not empty. Returns whether it is content."""
        if line.startswith(_COMMENT):
            return False
        name, _, value = line.partition(b":")
        if name == b"event":
            self._alive = value.removeprefix(b" ") in self._types
        elif name == b"data" and not self._alive:
            self._data = True
        return self._data

    def _goes_on(self, line: bytes) -> bool:
        """As much as there is of a line. A type is known at the end of its line, a name at the colon."""
        if line.startswith(_COMMENT):
            return False
        if line.startswith(DATA) and not self._alive:
            self._data = True
        return self._data

    def _short(self, line: bytes) -> bytes:
        """What has to be kept of a line under way."""
        if line.startswith(DATA):
            return DATA
        if line.startswith(_COMMENT):
            return _COMMENT
        if line.startswith(_EVENT):
            return line[: len(_EVENT) + self._longest + 2]
        return line if DATA.startswith(line) or _EVENT.startswith(line) else _OTHER


class LineReader(ContentReader):
    """NDJSON: content is every line that is not empty, and its end."""

    def __init__(self) -> None:
        super().__init__(between=True)

    def usual(self, data: bytes, wants_id: bool) -> bool:
        return self.between and bool(data) and data[0] == BRACE and data[-1] == LF

    def read(self, data: bytes) -> bool:
        if not data:
            return False
        content = not self.between or not data.isspace()
        end = data.rfind(_LF)
        self.between = not content if end < 0 else not data[end + 1 :].strip()
        return content


def content_reader(kind: str, keepalives: tuple[bytes, ...]) -> ContentReader | None:
    """For a body of this kind, as `ResponseHead` has it; None where every read is content."""
    if kind == "sse":
        return EventReader(keepalives)
    return LineReader() if kind == "ndjson" else None
