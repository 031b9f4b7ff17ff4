"""What must be known of a stream's text to add something to it, or to tell whether it is whole: its latest line.

Server-sent events are those of the HTML standard, section 9.2.
"""

import json
from typing import Final

# An empty line ends an event. A lone CR at the very end may be half of a CRLF, so the last line's CR counts only behind
# another CR: such a stream ends its lines by CR alone.
_EVENT_ENDS: Final[tuple[bytes, ...]] = (b"\n\n", b"\n\r\n", b"\r\r\n", b"\r\r")

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class Tail:
    """The end of a body, as far as it has come. Bounded: of a line only what may become a marker is kept."""

    __slots__ = ("_bytes", "_comment", "_line", "_marked", "_marker", "_said")

    def __init__(self, marker: bytes) -> None:
        """marker: the terminal marker to look for; empty for none."""
        self._marker = marker
        self._bytes = b""
        self._line = b""
        """The end of the line under way; empty where that line is."""
        self._comment = False
        """Whether the line under way is a comment."""
        self._marked = False
        """Whether the line under way contains the marker."""
        self._said = not marker
        """Whether the latest complete line that says something contained the marker."""

    def feed(self, data: bytes) -> None:
        """Read on."""
        self._bytes = data[-3:] if len(data) > 2 else (self._bytes + data)[-3:]
        if self._marker:
            self._read_lines(data)

    @property
    def at_event_boundary(self) -> bool:
        """Whether no event is under way: what is written now becomes no part of one."""
        return not self._bytes or self._bytes.endswith(_EVENT_ENDS)

    @property
    def heartbeat(self) -> bytes:
        """A comment to write at an event boundary.

        No empty line behind it: some clients make an empty event of that (httpx-sse 0.4, once an id was seen). It ends
        as the line before it did, so that the LF for which a CR may be waiting makes no empty line of its own.
        """
        return b":\r" if self._bytes.endswith(b"\r") else b":\n"

    @property
    def terminated(self) -> bool:
        """Whether the last line that says something, empty ones and comments do not, contains the marker, if any."""
        return self._marked if self._line and not self._comment else self._said

    def _read_lines(self, data: bytes) -> None:
        first, *others = data.replace(b"\r", b"\n").split(b"\n")
        self._read_line(first)
        if not others:
            return
        self._said = self.terminated
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
