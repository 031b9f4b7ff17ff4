"""What must be known of a stream's text to add something to it, or to tell whether it is whole: its latest line.

Server-sent events are those of the HTML standard, section 9.2.
"""

import json
import re
from typing import Final

from unbuffer.http.request import Fields

# An empty line ends an event. A lone CR at the very end may be half of a CRLF, so the last line's CR counts only after
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

# Single bytes, as numbers: looked for in a third of the time.
_CR: Final = 0x0D
_SMALL_I: Final = 0x69
_ID_LINE: Final = b"\nid"
_ID_BEGUN: Final = b"id"
"""Ends of a read in which an `id` may have begun."""
_ID: Final = re.compile(rb"[\r\n]id[:\r\n]")

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_NO_DATA: Final = frozenset((b"id", b"retry"))
"""Fields that are known to say nothing to a listener, as `event`. Applications exist that send bare text by this media
type: what else they write is data."""


class Tail:
    """The end of a body, as far as it has come. Bounded: of a line only what may become a marker is kept."""

    __slots__ = ("_last", "_shape", "last_bytes", "marker", "wants_id")

    def __init__(self, marker: bytes, shape: str = COMMENT, keepalives: tuple[bytes, ...] | None = None) -> None:
        """marker: the terminal marker to look for; empty for none. shape: of heartbeats. keepalives: the types of
        events that are keep-alives; None = this is no event-stream."""
        self.last_bytes = b"\n\n"
        """The last bytes, three where there are so many. A stream begins as if an empty line were before it."""
        self.marker = bool(marker)
        self._last: _LastEvent | _LastLine | None = None
        if marker.startswith(b"event:") or (marker and keepalives is not None):
            self._last = _LastEvent(marker, keepalives or ())
        elif marker:
            self._last = _LastLine(marker)
        self._shape = shape
        self.wants_id = shape == AUTO
        """Whether the first `id` will make a difference."""

    def feed(self, data: bytes) -> None:
        """Read on. Not empty. (`Answer.body` has a shorter way for most reads, by `has_no_news`.)"""
        # The pattern alone would cost five times as much. A byte order mark before the field makes another name of it,
        # for those to whom it matters.
        if (
            self.wants_id
            and (
                data.find(_ID_LINE) >= 0
                or (_CR in data and data.find(b"\rid") >= 0)
                or data[0] == _SMALL_I
                or self.last_bytes[-1] in _ID_BEGUN
            )
            and _ID.search(self.last_bytes + data)
        ):
            self.wants_id = False
            self._shape = COMMENT
        self.last_bytes = data[-3:] if len(data) > 2 else (self.last_bytes + data)[-3:]
        if self._last is not None:
            self._last.feed(data)

    def has_no_news(self, data: bytes) -> bool:
        """Whether all that there is to find in a usual read (`ContentReader.usual`) is that it ends with an event."""
        return not self.marker and not (self.wants_id and data[0] == _SMALL_I)

    @property
    def at_event_boundary(self) -> bool:
        """Whether no event is under way: what is written now becomes no part of one."""
        return self.last_bytes.endswith(_EVENT_ENDS)

    @property
    def heartbeat(self) -> bytes:
        """What to write at an event boundary: nothing to a reader that follows the standard, whatever its shape.

        Lines end as the one before did: some readers cut at two ends of one kind, and the LF for which a CR may be
        waiting makes no empty line of its own.
        """
        end = b"\r" if self.last_bytes.endswith(b"\r") else b"\r\n" if self.last_bytes.endswith(b"\r\n") else b"\n"
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
    """Whether the last event that says something has a marker: as its name, or in its last line.

    One without data says nothing, and neither does one of a type that is a keep-alive, unless it has the marker. What
    comes of an event before the end of the stream is one, since more was to come.
    """

    __slots__ = (
        "_after_cr",
        "_alive",
        "_begun",
        "_end",
        "_found",
        "_has",
        "_keepalives",
        "_line",
        "_longest",
        "_marker",
        "_name",
        "_said",
        "_says",
    )

    def __init__(self, marker: bytes, keepalives: tuple[bytes, ...]) -> None:
        """marker: `event: NAME`, or a part of a line. keepalives: the types that are keep-alives."""
        self._name = marker.removeprefix(b"event:").strip() if marker.startswith(b"event:") else b""
        self._marker = b"" if self._name else marker
        self._keepalives = keepalives
        self._longest = max(map(len, (*keepalives, self._name))) + len(b"event: ") + 1
        """Bytes of a line that tell which of these it names."""
        self._line = b""
        """The beginning of the line under way."""
        self._end = b""
        """Its end, where the marker may have begun."""
        self._has = False
        """Whether it contains the marker."""
        self._after_cr = False
        self._begun = self._says = self._alive = False
        """Whether the event under way has a line, one that says something, the type of a keep-alive."""
        self._found = False
        """Whether the event under way has the marker."""
        self._said = False
        """Whether the latest event that was over and says something had the marker."""

    @property
    def marked(self) -> bool:
        """Whether it has."""
        if self._line and not self._line.startswith(b":") and not self._alive:
            return self._found if self._name else self._has
        return self._found or (self._said and (self._alive or not self._begun))

    def feed(self, data: bytes) -> None:
        """Read on."""
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r") if data else False
        *complete, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in complete:
            self._read(line)
            self._line_over(self._line)
            self._line = self._end = b""
            self._has = False
        self._read(rest)

    def _read(self, data: bytes) -> None:
        """More of the line under way."""
        self._line = (self._line + data)[: self._longest]
        if self._marker:
            end = self._end + data
            self._has = self._has or self._marker in end
            self._end = end[-len(self._marker) :]

    def _line_over(self, line: bytes) -> None:
        if not line:
            if self._found or (self._says and not self._alive):
                self._said = self._found
            self._begun = self._says = self._alive = self._found = False
        elif not line.startswith(b":"):
            self._begun = True
            field, _, value = line.partition(b":")
            if field == b"event":
                value = value.removeprefix(b" ")
                self._alive = value in self._keepalives
                self._found = value == self._name
            elif field not in _NO_DATA:
                self._says = True
            if self._marker:
                self._found = self._has


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
