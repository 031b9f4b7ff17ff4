"""Tells what a stream says from what only keeps its connection alive, read by read, wherever a read is cut.

An event-stream is read as the HTML standard interprets one (section 9.2.6): a comment, an empty line, and an event to
which no `data` belongs reach no listener. Of NDJSON the empty lines are nothing. Bounded: of a line that goes on in the
next read so much is kept as tells what it is.
"""

from typing import Final

_LINE_FEED: Final = 0x0A
_CARRIAGE_RETURN: Final = 0x0D
_SPACE: Final = 0x20
_LF: Final = b"\n"
_CR: Final = b"\r"
_CRLF: Final = b"\r\n"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_MARK_BEGINS: Final = b"\xef"

_DATA: Final = b"data:"
_EVENT: Final = b"event:"
_I: Final = b"i"
"""What an `id` begins with, and nothing else that anybody sends."""
_DATA_LINE: Final = b"\ndata:"
_KEPT: Final = 64
"""Bytes of the beginning of an event that are kept, so that the next one like it is known by it."""
_COMMENT: Final = b":"
_OTHER: Final = b"id:"
"""In place of any line that is neither a comment nor one of the two above."""

# What ends an event and the read with it. After a lone CR a LF may come; such a stream is read line by line.
_EVENT_ENDS: Final[tuple[bytes, ...]] = (b"\n\n", b"\n\r\n")


class ContentReader:
    """One body. `usual` tells most reads, and cheaply; `read` tells any.

    between: nothing is under way, as at the end of a read that ended with an event.
    event_end: how events end here.
    """

    __slots__ = ("between", "event_end")

    def __init__(self) -> None:
        self.between = True
        self.event_end = b"\n\n"

    def usual(self, data: bytes) -> bool:
        """Whether these bytes, one read, are seen at a glance to be one event with content, or whole lines of NDJSON.
        Then `read` has no need of them: they leave everything as it was. Of an `id` no more than the first line is
        one."""
        raise NotImplementedError

    def read(self, data: bytes) -> bool:
        """Read on. Returns whether these bytes brought content."""
        raise NotImplementedError


class EventReader(ContentReader):
    """An event-stream.

    Content is every byte of a `data` line from the name on, what else comes of the same event after that, and the
    empty line that ends it. The type counts where its line comes before the data: what was said is not taken back.
    """

    __slots__ = ("_alive", "_begin", "_begun", "_data", "_id_length", "_line", "_telling", "_types", "_was_cr")

    def __init__(self, keepalives: tuple[bytes, ...] = ()) -> None:
        """keepalives: types of events that are keep-alives, whatever their data."""
        super().__init__()
        self._begin = _DATA
        """What the latest event with data began with, up to the name of its data."""
        self._id_length = 0
        """Bytes of its first line, if that was an `id`."""
        self._types = keepalives
        self._telling = len(_EVENT) + (max(map(len, keepalives)) if keepalives else 0) + 2
        """Bytes of a line that tell what it is: the rest of a long one is never copied."""
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

    def usual(self, data: bytes) -> bool:
        """One event with one line of data, of which all before that is known, but for an `id` of a known length.

        Compiled, these few steps are far cheaper than one call of a method such as `find`.
        """
        if not self.between:
            return False
        if data.startswith(_I):
            over = self._id_length
            if over == 0 or len(data) <= over or data[over - 1] != _LINE_FEED or self._types:
                return False
            data = data[over:]
        begin, end = self._begin, self.event_end
        if not (data.startswith(begin) and data.endswith(end)):
            return False
        value = data[len(begin) : -len(end)]
        if _LINE_FEED in value or _CARRIAGE_RETURN in value:
            return False
        self._begun = True
        return True

    def read(self, data: bytes) -> bool:
        if data.endswith(_LF):
            self.event_end = b"\r\n\r\n" if data.endswith(_CRLF) else b"\n\n"
        if not self.between or (not self._begun and data.startswith(_MARK_BEGINS)):
            return self._read_lines(data)
        at = 0 if data.startswith(_DATA) else data.find(_DATA_LINE) + 1
        # What the beginning tells, or a line of data where the type of no event can be a keep-alive's.
        if (at == 0 and not data.startswith(_DATA)) or self._may_be_typed(data[:at]):
            return self._read_lines(data)
        self._begun = True
        self._learn(data[: at + len(_DATA)])
        if not data.endswith(_EVENT_ENDS):
            self._read_lines(data[_after_last_event(data) :])
        return True

    def _learn(self, begun: bytes) -> None:
        """What an event like this one begins with, up to the name of its data; none of what is long, and no empty
        line, which would be the end of another one."""
        if begun.startswith(_I):
            self._id_length = begun.find(_LF) + 1
            begun = begun[self._id_length :]
        plain = len(begun) <= _KEPT and not any(not line or line.startswith(_I) for line in begun.splitlines())
        self._begin = begun if plain else _DATA

    def _may_be_typed(self, data: bytes) -> bool:
        return any(data.find(name) >= 0 for name in self._types)

    def _read_lines(self, data: bytes) -> bool:
        if not data:
            return False
        if self._was_cr and data.startswith(_LF):
            self._was_cr = False
            return self._read_lines(data[1:])
        self._was_cr = data.endswith(_CR)
        text = self._line + data if self._line else data
        if not self._begun:
            if len(text) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(text):
                self._line = text
                self.between = False
                return False
            self._begun = True
            text = text.removeprefix(_BYTE_ORDER_MARK)
        if _CARRIAGE_RETURN in text:
            text = text.replace(_CRLF, _LF).replace(_CR, _LF)
        content = False
        start, telling = 0, self._telling
        while (end := text.find(_LF, start)) >= 0:
            if end > start:
                content = self._says(text[start : min(end, start + telling)]) or content
            else:
                content = content or self._data
                self._data = self._alive = False
            start = end + 1
        rest = text[start : start + telling]
        content = (bool(rest) and self._goes_on(rest)) or content
        self._line = self._short(rest)
        self.between = not (rest or self._data or self._alive or self._was_cr)
        return content

    def _says(self, line: bytes) -> bool:
        """What tells of a whole line that is not empty. Returns whether it is content."""
        if line.startswith(_COMMENT):
            return False
        name, _, value = line.partition(b":")
        if name == b"event":
            self._alive = value.removeprefix(b" ") in self._types
        elif name == b"data" and not self._alive:
            self._data = True
        return self._data

    def _goes_on(self, line: bytes) -> bool:
        """What tells of a line, as much as there is of it. A type is known at its end, a name at the colon."""
        if line.startswith(_COMMENT):
            return False
        if line.startswith(_DATA) and not self._alive:
            self._data = True
        return self._data

    def _short(self, line: bytes) -> bytes:
        """What has to be kept of a line under way."""
        if line.startswith(_DATA):
            return _DATA
        if line.startswith(_COMMENT):
            return _COMMENT
        if line.startswith(_EVENT):
            return line
        return line if _DATA.startswith(line) or _EVENT.startswith(line) else _OTHER


def _after_last_event(data: bytes) -> int:
    """Where the last event in these bytes ends; 0 = none does. One byte is looked for: that is ten times as fast."""
    end = data.rfind(_LF)
    while end > 0:
        before = data[end - 1]
        if before == _LINE_FEED or (before == _CARRIAGE_RETURN and end > 1 and data[end - 2] == _LINE_FEED):
            return end + 1
        end = data.rfind(_LF, 0, end)
    return 0


class LineReader(ContentReader):
    """NDJSON: content is every line that is not empty, and its end."""

    def usual(self, data: bytes) -> bool:
        return self.between and bool(data) and data[-1] == _LINE_FEED and data[0] > _SPACE

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
