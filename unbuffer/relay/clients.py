"""Who is connected to the data port, and what becomes of them all when the process ends."""

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.relay.watchdog import Subject
from unbuffer.totals import Totals

LAST_WORDS = 1.0
"""Seconds in which a stream that was ended may still be written out, so that the client sees how it ended."""


class Connection(Subject, Protocol):
    """A connection to the data port, whatever is spoken on it."""

    transport: asyncio.Transport

    @property
    def records(self) -> Sequence[Record]:
        """Of the streams that have not ended."""
        ...

    @property
    def unsent(self) -> int:
        """Bytes written for the client that the system has not taken."""
        ...

    def reload(self) -> None:
        """The settings have changed."""
        ...

    def reload_options(self) -> None:
        """The kernel's deadlines have changed (`tcp.client_options`)."""
        ...

    def drain(self) -> None:
        """Take no new request. Close if nothing can be on its way, else once nothing has come."""
        ...

    def end_streams(self, outcome: Outcome) -> None:
        """End whatever runs, and the connection. What was written of a whole response may still go out."""
        ...

    def abort(self) -> None:
        """End the connection at once, by a reset."""
        ...


class Unattended:
    """Streams that may go on without a client. A native base class: it is asked where thousands run."""

    __slots__ = ()

    @abstractmethod
    def running(self) -> Iterator[Record]:
        """Those that have no client now and have not ended."""

    @abstractmethod
    def drain(self) -> None:
        """The listeners are closed: nobody comes back to this process."""

    @abstractmethod
    def end_streams(self, outcome: Outcome) -> None:
        """End them."""


class Clients:
    """The client connections of one process.

    draining: every response says that its connection ends after it. closing: the listeners are closed as well, so a
    connection without a request is given up soon. refused: how many connections are beyond limits.connections, and
    being closed. on_stream: called with each stream and tunnel that begins, while somebody watches them. unattended:
    the streams whose clients may come back; None = there can be none.
    """

    def __init__(self, totals: Totals) -> None:
        self.connections: dict[Connection, None] = {}  # a set of thousands takes up to four times as much
        self.refused = 0
        self.draining = False
        self.closing = False
        self.on_stream: Callable[[Record], None] | None = None
        self.unattended: Unattended | None = None
        self._totals = totals
        self._empty: asyncio.Event | None = None

    def joined(self, connection: Connection) -> None:
        """A connection was accepted."""
        self.connections[connection] = None
        self._totals.client_connections += 1

    def left(self, connection: Connection) -> None:
        """A connection has ended, or another protocol has it."""
        self.connections.pop(connection, None)
        self._totals.client_connections -= 1
        self.ended()

    def ended(self) -> None:
        """A connection, or a stream without one, has ended: it may have been the last."""
        if self._empty is not None and self._idle:
            self._empty.set()

    @property
    def _idle(self) -> bool:
        return not self.connections and (self.unattended is None or next(self.unattended.running(), None) is None)

    def full(self, limit: int) -> bool:
        """Whether one more connection would be beyond the limit; 0 = there is none."""
        return bool(limit) and len(self.connections) - self.refused >= limit

    def running(self) -> Iterator[Record]:
        """The streams that have not ended."""
        for connection in self.connections:
            yield from connection.records
        if self.unattended is not None:
            yield from self.unattended.running()

    def buffered(self) -> Iterator[int]:
        """For each client, the bytes written that the system has not taken yet; others may come and go meanwhile."""
        for connection in list(self.connections):
            yield connection.unsent

    def is_closing(self) -> bool:
        """Whether a drain has closed the listeners."""
        return self.closing

    def reload(self, options: bool) -> None:
        """The settings have changed. options: the kernel's deadlines are among what has."""
        for connection in self.connections:
            connection.reload()
            if options:
                connection.reload_options()

    def announce_end(self) -> None:
        """From here on every response says that its connection ends after it."""
        self.draining = True

    def drain(self) -> None:
        """The listeners are closed: connections close after a response that says so, or once nothing has come."""
        if self.closing:
            return
        self.draining = self.closing = True
        for connection in list(self.connections):
            connection.drain()
        if self.unattended is not None:
            self.unattended.drain()

    async def shutdown(self, seconds: float) -> None:
        """Wait up to so many seconds for the connections to end, then end what still runs, visibly."""
        self._empty = asyncio.Event()
        if await self._all_closed(seconds):
            return
        self.end_streams()
        if await self._all_closed(LAST_WORDS):
            return
        for connection in list(self.connections):
            connection.abort()
        await self._all_closed(LAST_WORDS)

    def end_streams(self) -> None:
        """End every stream now, visibly broken where its head went out."""
        for connection in list(self.connections):
            connection.end_streams(Outcome.DRAINING)
        if self.unattended is not None:
            self.unattended.end_streams(Outcome.DRAINING)

    async def _all_closed(self, seconds: float) -> bool:
        assert self._empty is not None
        try:
            async with asyncio.timeout(seconds):
                # A connection is gone a moment before its stream is one without a client: look once more.
                while not self._idle:
                    self._empty.clear()
                    await self._empty.wait()
        except TimeoutError:
            return False
        return True
