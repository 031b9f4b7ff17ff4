"""What must be known of a stream's text to add something to it, or to tell whether it is whole: its latest line.

Server-sent events are those of the HTML standard, section 9.2.
"""

import json
import re
from typing import Final

from unbuffer.http.request import Fields

# An empty line ends an event. A lone CR at the very end may be half of a CRLF, so the last line's CR counts only behind
# another CR: such a stream ends its lines by CR alone.
_EVENT_ENDS: Final[tuple[bytes, ...]] = (b"\n\n", b"\n\r\n", b"\r\r\n", b"\r\r")

# Shapes of a heartbeat. What libraries make of them is in tests/clients/test_heartbeat_shapes.py.
AUTO: Final = "auto"
"""Two empty lines until an `id:` has been seen, a comment from then on: an event without data, which empty lines make
of an id, repeats it."""
COMMENT: Final = "comment"
COMMENT_BLOCK: Final = "comment_block"
"""A comment and an empty line."""
BLANK: Final = "blank"
"""Two empty lines."""

# Single bytes, as numbers: looked for in a tenth of the time.
_LF, _CR, _I = b"\n\ri"
_ID_BEGUN: Final = b"id"
"""Ends of a read in which an `id` may have begun."""
_ID: Final = re.compile(rb"[\r\n]id[:\r\n]")

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Tail:
    """The end of a body, as far as it has come. Bounded: of a line only what may become a marker is kept."""

    __slots__ = ("_bytes", "_last", "_shape")

    def __init__(self, marker: bytes, shape: str = COMMENT) -> None:
        """marker: the terminal marker to look for; empty for none. shape: of heartbeats."""
        self._bytes = b"\n\n"
        """The last three at the most. A stream begins as if an empty line were before it."""
        self._last: _LastEvent | _LastLine | None = None
        if marker.startswith(b"event:"):
            self._last = _LastEvent(marker)
        elif marker:
            self._last = _LastLine(marker)
        self._shape = shape

    def feed(self, data: bytes) -> None:
        """Read on. Not empty."""
        if self._shape == AUTO:
            # An event that is one line in one read, as most are, is told by three looks at single bytes.
            begun = data[:-3]
            if _LF in begun or _CR in begun or data[0] == _I or self._bytes[-1] in _ID_BEGUN:
                self._look_for_id(data)
        self._bytes = data[-3:] if len(data) > 2 else (self._bytes + data)[-3:]
        if self._last is not None:
            self._last.feed(data)

    def _look_for_id(self, data: bytes) -> None:
        # The pattern alone would cost five times as much. A byte order mark before the field makes another name of it,
        # for those to whom it matters.
        if (
            data.find(b"\nid") >= 0 or data.find(b"\rid") >= 0 or data[0] == _I or self._bytes[-1] in _ID_BEGUN
        ) and _ID.search(self._bytes + data):
            self._shape = COMMENT

    @property
    def at_event_boundary(self) -> bool:
        """Whether no event is under way: what is written now becomes no part of one."""
        return self._bytes.endswith(_EVENT_ENDS)

    @property
    def heartbeat(self) -> bytes:
        """What to write at an event boundary: nothing to a reader that follows the standard, whatever its shape.

        Lines end as the one before did: some readers cut at two ends of one kind, and the LF for which a CR may be
        waiting makes no empty line of its own.
        """
        end = b"\r" if self._bytes.endswith(b"\r") else b"\r\n" if self._bytes.endswith(b"\r\n") else b"\n"
        if self._shape == COMMENT:
            return b":" + end
        return b":" + end + end if self._shape == COMMENT_BLOCK else end + end

    @property
    def terminated(self) -> bool:
        """Whether the marker, if any, was the last word."""
        return self._last is None or self._last.marked


class _LastLine:
    """Whether the last line that says something, empty ones and comments do not, contains a marker."""

    __slots__ = ("_comment", "_line", "_marked", "_marker", "_said")

    def __init__(self, marker: bytes) -> None:
        self._marker = marker
        self._line = b""
        """The end of the line under way; empty where that line is."""
        self._comment = False
        """Whether the line under way is a comment."""
        self._marked = False
        """Whether the line under way contains the marker."""
        self._said = False
        """Whether the latest complete line that says something contained the marker."""

    @property
    def marked(self) -> bool:
        """Whether it does."""
        return self._marked if self._line and not self._comment else self._said

    def feed(self, data: bytes) -> None:
        """Read on."""
        first, *others = data.replace(b"\r", b"\n").split(b"\n")
        self._read_line(first)
        if not others:
            return
        self._said = self.marked
        said = next((line for line in reversed(others[:-1]) if line and not line.startswith(b":")), b"")
        if said:
            self._said = self._marker in said
        self._line = b""
        self._read_line(others[-1])

    def _read_line(self, data: bytes) -> None:
        """More of the line under way."""
        if not self._line:
            self._comment = data.startswith(b":")
            self._marked = False
        line = self._line + data
        self._marked = self._marked or self._marker in line
        self._line = line[-len(self._marker) :]


class _LastEvent:
    """Whether the last event that says something, one of comments alone does not, has a name."""

    __slots__ = ("_after_cr", "_line", "_longest", "_named", "_names", "_over")

    def __init__(self, marker: bytes) -> None:
        """marker: `event: NAME`."""
        name = marker.removeprefix(b"event:").strip()
        self._names = (b"event:" + name, b"event: " + name)
        self._longest = len(self._names[1]) + 1
        """Bytes of a line that tell whether it is one of these."""
        self._line = b""
        """The beginning of the line under way."""
        self._after_cr = False
        self._named = False
        """Whether a complete line of the latest event has the name."""
        self._over = False
        """Whether an empty line has ended that event."""

    @property
    def marked(self) -> bool:
        """Whether it has."""
        begun = self._over and self._line and not self._line.startswith(b":")
        return self._named and not begun

    def feed(self, data: bytes) -> None:
        """Read on."""
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r") if data else False
        *complete, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in complete:
            self._line_over(self._line + line)
            self._line = b""
        self._line = (self._line + rest)[: self._longest]

    def _line_over(self, line: bytes) -> None:
        if not line:
            self._over = True
        elif not line.startswith(b":"):
            if self._over:
                self._named = self._over = False
            if line.startswith(b"event:"):
                self._named = line in self._names


def reads_events(fields: Fields) -> bool:
    """Whether a request asks for an event-stream by its media type: such a reader knows what a comment is.

    EventSource and its like do. Of those that do not, many look for lines that begin with `data: ` and take any other
    for a broken one.
    """
    return any(name.lower() == b"accept" and value.lower().find(b"text/event-stream") >= 0 for name, value in fields)


def padded(heartbeat: bytes, size: int) -> bytes:
    """The heartbeat, filled up to so many bytes if it has fewer: a comment with spaces, empty lines with more."""
    more = size - len(heartbeat)
    if heartbeat.startswith(b":"):
        return heartbeat[:1] + b" " * more + heartbeat[1:]
    end = heartbeat[: len(heartbeat) // 2]
    return heartbeat + end * (more // len(end))


def unmarked(data: bytes) -> bytes:
    """The first bytes of a stream in which something was written before them, as long as they were.

    A byte order mark is one at the very beginning only; further on it spoils the name of a field. A comment stands for
    it then.
    """
    return b"::\n" + data[3:] if data.startswith(_BYTE_ORDER_MARK) else data


def error_event(name: str, status: int, message: str) -> bytes:
    """An event that tells of a stream's failure, in the shape that OpenAI's clients raise as an error.

    name: the outcome. status: what would have been answered before the head; 0 = nothing.
    """
    data = json.dumps({"error": {"message": message, "type": name, "code": status or None}}, ensure_ascii=True)
    return b"event: error\ndata: %b\n\n" % data.encode("ascii")
