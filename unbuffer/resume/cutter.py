"""Reads a stream of events as the HTML standard does (section 9.2.6), wherever a read is cut, and numbers its events.

An event without an `id` of its own gets one as its last line: a reader that takes an id as soon as its line has come
would lose the event if its connection broke after it. An empty line that ends nothing, as after a comment, becomes a
comment: some readers make an event of it once there has been an id. Everything else passes as it came, at once.
"""

import re
from typing import Final

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_CR: Final = 0x0D
_LF: Final = 0x0A
_COLON: Final = 0x3A
_EMPTY_LINE: Final = b"\n\n"
_DATA: Final = b"data:"
_EVENT: Final = b"event:"
_ID_LINE: Final = b"\nid"
_DATA_LINE: Final = b"\ndata:"
_MARK: Final = b"\xef\xbb\xbf"

_LONGEST_ID: Final = 1024
"""Bytes of a line that are kept to read an id of the application's from; a longer one is not remembered."""


class Cutter:
    """The events of one stream, as its bytes come.

    count: events so far; one is what reaches a listener, so it has data. between: no event is under way.
    ends: of the latest bytes that `cut` returned, where each event ends in them, with its own id or None.
    kept: where the latest block ends in them that is no event, yet says something: an id alone, or `retry`; -1 = none.
    """

    __slots__ = (
        "_after_cr",
        "_begun",
        "_data",
        "_id",
        "_line",
        "_line_end",
        "_numbers",
        "_prefix",
        "_said",
        "_start",
        "between",
        "count",
        "ends",
        "kept",
    )

    def __init__(self, prefix: bytes, numbers: bool = True, count: int = 0) -> None:
        """prefix: of the ids. numbers: False where the events have them already. count: of the events before."""
        self._prefix = prefix
        self._numbers = numbers
        self._begun = False
        """Whether the place of a byte order mark is behind us. None is passed on: in a replay it would stand elsewhere,
        where it spoils the name of a field."""
        self._start = b""
        """The first bytes while they may be one."""
        self._line = b""
        """The line under way, as much of it as tells what it is."""
        self._line_end = b"\n"
        """Of the line before."""
        self._after_cr = False
        self._data = self._said = False
        """Whether the event under way has data, or another line that is no comment."""
        self._id: bytes | None = None
        self.between = False
        self.count = count
        self.ends: list[tuple[int, bytes | None]] = []
        self.kept = -1

    def is_one(self, data: bytes) -> bool:
        """Whether these bytes, one read between two events, are an event without an id and nothing else, its lines
        ended by LF: then `numbered` is all that has to be done."""
        if data.find(_EMPTY_LINE) != len(data) - 2 or data.find(b"\r") >= 0 or data.find(_ID_LINE) >= 0:
            return False
        return data[:5] == _DATA or (data[:6] == _EVENT and data.find(_DATA_LINE) >= 0)

    def numbered(self, data: bytes) -> bytes:
        """Such an event with its id."""
        self.count = count = self.count + 1
        return b"%bid: %b%d\n\n" % (data[:-1], self._prefix, count)

    def cut(self, data: bytes) -> bytes:
        """Any bytes, as they go out."""
        self.ends = []
        self.kept = -1
        if not self._begun:
            data = self._start + data
            if len(data) < 3 and _MARK.startswith(data):
                self._start = data
                return b""
            self._start = b""
            self._begun = True
            data = data.removeprefix(_MARK)
        out: list[bytes] = []
        sent = size = at = 0
        if self._after_cr and data[:1] == b"\n":
            at = 1
            self._line_end = b"\r\n"
        self._after_cr = False
        while True:
            match = _LINE_END.search(data, at)
            if match is None:
                break
            start, end = match.span()
            if start > at or self._line:
                self._read(_shortened(self._line, data, at, start))
                self._line = b""
            else:
                if self._data:
                    self.count += 1
                    if self._id is None and self._numbers:
                        piece = b"%bid: %b%d%b" % (data[sent:start], self._prefix, self.count, self._line_end)
                        out.append(piece)
                        size += len(piece)
                        sent = start
                    self.ends.append((size + end - sent, self._id))
                elif self._said:
                    self.kept = size + end - sent
                elif self._numbers:
                    out.append(data[sent:start] + b":")
                    size += len(out[-1])
                    sent = start
                self._data = self._said = False
                self._id = None
            self._line_end = data[start:end]
            at = end
        if at < len(data):
            self._line = _shortened(self._line, data, at, len(data))
        self._after_cr = bool(data) and data[-1] == _CR
        self.between = not (self._line or self._data or self._said or self._after_cr)
        if not out:
            return data
        out.append(data[sent:])
        return b"".join(out)

    def _read(self, line: bytes) -> None:
        """A whole line that is not empty."""
        if line[0] == _COLON:
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data = True
            return
        self._said = True
        if name == b"id" and value.find(b"\0") < 0:  # with a NUL it is none, by the standard
            self._id = value.removeprefix(b" ") if len(line) < _LONGEST_ID else b""
            if not self._numbers and self._id.startswith(self._prefix):
                self._id = None


def _shortened(line: bytes, data: bytes, start: int, end: int) -> bytes:
    """More of a line: of one that may be an id much, of any other one what tells its name."""
    line += data[start : min(end, start + _LONGEST_ID)]
    return line[:_LONGEST_ID] if line[:2] == b"id" else line[:6]
