"""What goes to a client over one connection: frames, the connection's window, and who waits for it."""

import asyncio
import time
from typing import TYPE_CHECKING, Final

from unbuffer.http.request import Fields
from unbuffer.relay.http2.budget import Budget
from unbuffer.relay.response_writer import LARGE

if TYPE_CHECKING:
    from unbuffer.relay.http2.session import Session
    from unbuffer.relay.http2.writer import StreamWriter

RESERVE: Final = 65536
"""Bytes of the connection's window, at the most, that a stream leaves to the others; see `Output.room`."""


class Output:
    """One connection's way to its client.

    failed: after a connection error nothing but GOAWAY is sent. stalled: the client has yet to take what was written;
    until it has, no byte of a body and no end is added, so that the limit of concurrent streams bounds what waits.
    stalled_at, resumed_at: when it last came to that, and when the client last had taken it; 0.0 = never.
    waits_since: since when streams wait for the connection's window and it has not been opened; 0.0 = none does.
    """

    __slots__ = (
        "_budget",
        "_reserve",
        "_session",
        "_waiting",
        "failed",
        "resumed_at",
        "stalled",
        "stalled_at",
        "transport",
        "waits_since",
        "windows",
    )

    def __init__(self, transport: asyncio.Transport, session: "Session", budget: Budget) -> None:
        self.transport = transport
        self._session = session
        self._budget = budget
        self.windows = session.connection
        """With the connection's window and those of its streams."""
        self.failed = False
        self.stalled = False
        self.stalled_at = self.resumed_at = 0.0
        self.waits_since = 0.0
        self._reserve = 65535 // 5
        """Of the largest window that the connection had."""
        self._waiting: dict[StreamWriter, None] = {}
        """Who has bytes, or an end, that there is no room for, in the order of their turns."""

    def write(self, data: bytes) -> None:
        """Hand bytes to the kernel, now."""
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def frame(self, head: bytes, data: memoryview) -> None:
        """Hand a frame to the kernel: in parts that nobody joins, where joining costs more."""
        if not self.transport.is_closing():
            if len(data) < LARGE:
                self.transport.write(head + data)
            else:
                self.transport.writelines((head, data))

    @property
    def closed(self) -> bool:
        """Whether nothing that is written arrives any more."""
        return self.failed or self.transport.is_closing()

    def flush(self) -> None:
        """Write what the state machine has to say."""
        self.write(self._session.take())

    # -- what the streams write

    def headers(self, stream_id: int, fields: Fields, end: bool) -> None:
        """A field section, written by `flush` or with the last bytes; end: with it the stream ends."""
        self._session.headers(stream_id, fields, end)

    def last(self, stream_id: int, data: memoryview) -> None:
        """The last bytes of a stream, for which there is room."""
        self._budget.sent(len(data))
        self._session.last(stream_id, data)
        self.flush()

    def reset(self, stream_id: int, code: int) -> None:
        """The end of a stream before its end."""
        if not self.closed:
            self._session.reset(stream_id, code)
            self.flush()

    def sent(self, size: int) -> None:
        """Bytes of a body were written as DATA."""
        self.windows.outbound_flow_control_window -= size
        self._budget.sent(size)

    # -- the connection's window

    def room(self, unacknowledged: int, size: int) -> int:
        """How many of `size` bytes the connection's window has room for, on behalf of a stream that has sent so many
        which its client has not acknowledged by opening the stream's window.

        No stream takes the last share: a quarter of what it has on its way stays free for the others, but no more than
        a fifth of the window, or 64 KiB. One that its client does not read then holds up nobody, though all of them
        share one window and the client may have no more of it than a single stream (Node: 65,535 bytes for both). What
        is left to the stream is more than any client waits for before it opens a window again (nginx: three quarters).
        """
        if self.stalled:
            return 0
        left: int = self.windows.outbound_flow_control_window
        share = (unacknowledged + size) // 4
        if left - size >= (share if share < self._reserve else self._reserve):
            return size
        # What satisfies size + min((unacknowledged + size) / 4, reserve) <= left.
        return max(min((4 * left - unacknowledged) // 5, size), left - self._reserve, 0)

    def wait(self, writer: "StreamWriter") -> None:
        """Have `writer` called when there may be room."""
        self._waiting[writer] = None

    def forget(self, writer: "StreamWriter") -> None:
        """It waits no more."""
        self._waiting.pop(writer, None)

    @property
    def pending(self) -> int:
        """Bytes that no window has room for."""
        return sum([len(writer.pending) for writer in self._waiting])

    def opened(self, whole: bool) -> None:
        """There may be room: each that waits writes a frame, in turn, until there is none. whole: the connection's
        window is larger."""
        if whole:
            self.waits_since = 0.0
            self._reserve = max(self._reserve, min(self.windows.outbound_flow_control_window // 5, RESERVE))
        progress = True
        while progress:
            progress = False
            for writer in list(self._waiting):
                if not writer.go_on():
                    continue
                progress = True
                if writer in self._waiting:  # behind the others
                    del self._waiting[writer]
                    self._waiting[writer] = None
        if not self._waiting:
            self.waits_since = 0.0

    def to_blame(self, writer: "StreamWriter") -> bool:
        """Whether none of those that wait has more on its way that its client has not acknowledged."""
        return writer.unacknowledged >= max([other.unacknowledged for other in self._waiting], default=0)

    def no_room(self) -> None:
        """A stream has to wait for the connection's window."""
        if not self.waits_since:
            self.waits_since = time.monotonic()
