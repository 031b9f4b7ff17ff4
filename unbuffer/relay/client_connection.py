"""A client's connection on which one exchange runs at a time: how it is accepted, waited for, and ended.

What is read on it is the business of `downstream.py`.
"""

import asyncio
import contextlib
import time
from abc import abstractmethod
from collections.abc import Sequence

from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.relay import patience
from unbuffer.relay.client import Client
from unbuffer.relay.exchange import Exchange
from unbuffer.relay.patience import Closing, Stall, sooner
from unbuffer.relay.plane import Plane
from unbuffer.relay.states import BODY, CLOSED, ENDING, IDLE, NAMES, moved
from unbuffer.relay.tcp import OFF, WRITE_BUFFER, client_options, kernel_timeout, reset, set_options
from unbuffer.relay.trust import Origin
from unbuffer.relay.watchdog import TICK


class ClientConnection(Client, asyncio.Protocol):
    """A client's connection, from accept to its loss."""

    __slots__ = ("_breaking", "_closing", "_exchange", "_origin", "_refused", "_stall", "_state", "plane", "transport")

    transport: asyncio.Transport

    def __init__(self, plane: Plane, origin: Origin | None = None) -> None:
        """origin: whose connection it is, where it was admitted already and that is known; None = as it is accepted."""
        super().__init__()
        self.plane = plane
        self._state = IDLE
        self._exchange: Exchange | None = None
        self._stall: Stall | None = None
        """While the client has yet to take what was written to it."""
        self._closing: Closing | None = None
        """While the connection is being closed."""
        self._breaking: asyncio.TimerHandle | None = None
        """Until the client has read why its response breaks."""
        self._refused = False
        """Beyond limits.connections: it takes nobody's place."""
        self._origin = origin

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.peer.address or 'unix'} {NAMES[self._state]}>"

    def _move(self, to: int) -> None:
        self._state = moved(self._state, to)

    def _accepted(self, transport: asyncio.BaseTransport) -> bool:
        """The connection is there. False where it is beyond limits.connections, and has to be refused."""
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)
        clients = self.plane.clients
        if self._origin is None:
            self._refused = clients.full(self.plane.settings.limits.connections)
            self._origin = Origin.of(transport)
        self.peer = self.plane.trust.peer(self._origin)
        clients.joined(self)
        if self._refused:
            clients.refused += 1
        return not self._refused

    def _lost(self) -> None:
        """The connection is gone."""
        if self._refused:
            self.plane.clients.refused -= 1
        if self._breaking is not None:
            self._breaking.cancel()
        self._move(CLOSED)
        self.plane.watchdog.forget(self)
        self.plane.clients.left(self)

    # -- reading and writing

    def pause_writing(self) -> None:
        now = time.monotonic()
        self.stalled = True
        self._stall = Stall(now, self.transport.get_write_buffer_size())
        if self._exchange is not None:
            self._exchange.client_full()
        self._wait(now, self._stall_timeout)

    def resume_writing(self) -> None:
        self.stalled = False
        self._stall = None
        if self._exchange is not None:
            self._exchange.client_has_room()

    def pause_reading(self) -> None:
        """Stop reading the client."""
        if not self.reading_paused and not self.transport.is_closing():
            self.reading_paused = True
            self.transport.pause_reading()

    def _write(self, data: bytes) -> None:
        if data and not self.transport.is_closing():
            self.transport.write(data)

    # -- as one of the clients: see `clients.Connection`

    @property
    def records(self) -> Sequence[Record]:
        """Of the stream that runs, if one does."""
        return (self._exchange.record,) if self._exchange is not None else ()

    @property
    def unsent(self) -> int:
        return self.transport.get_write_buffer_size()

    def reload(self) -> None:
        """The settings have changed: whether the client's forwarding fields are believed is decided anew, and a wait
        that runs has another end."""
        if self._origin is not None:
            self.peer = self.plane.trust.peer(self._origin)
        if self._exchange is None:
            self.plane.watchdog.watch(self, time.monotonic())

    def reload_options(self) -> None:
        """The kernel's deadlines have changed. A stream that runs keeps its client_stall, and is not cut before it."""
        options = client_options(self.plane.settings, self._stall_timeout)
        with contextlib.suppress(OSError):  # of a connection that has just ended
            set_options(self.transport.get_extra_info("socket"), options or OFF)

    @abstractmethod
    def drain(self) -> None:
        """See `clients.Connection`."""

    def end_streams(self, outcome: Outcome) -> None:
        """End whatever runs. What was written of a response that is complete may still go out."""
        if self._exchange is not None:
            self._exchange.finish(outcome)
        elif self._state != ENDING:
            self._close()

    # -- endings

    def why_lost(self, exc: Exception | None) -> str:
        """What the kernel gave the connection up for, or the error's own words."""
        return kernel_timeout(exc, self.transport, "client") or str(exc or "")

    def _linger(self) -> None:
        """Close after what was written, and read away what the client still sends."""
        if self.transport.is_closing():
            return
        half_close = self.transport.can_write_eof()
        if not half_close and self._state != BODY:
            self._close()
            return
        self._begin_ending()
        if half_close:
            with contextlib.suppress(OSError):  # of asyncio's own transport, where the client has reset the connection
                self.transport.write_eof()
        # With TLS nothing can be read after a close of ours. The client knows by the length where its answer ends.
        self.transport.resume_reading()

    def _close(self) -> None:
        """Close once everything written has been taken, but do not wait for that for ever."""
        self._begin_ending()
        self.transport.close()

    def abort(self) -> None:
        """End the connection at once, by a reset: the end of a body that ends with its connection looks otherwise, and
        with TLS the close_notify is missing."""
        if self._state != CLOSED:
            self._begin_ending()
            reset(self.transport)

    def _begin_ending(self) -> None:
        """The wait for the connection's end begins, or begins anew."""
        if self._state != ENDING:
            self._move(ENDING)
        now = time.monotonic()
        self._closing = Closing(now, self.transport.get_write_buffer_size())
        self._wait(now, patience.LINGER)

    def _failed(self, error: Exception) -> None:
        """A mistake of ours: it costs this stream, or this connection."""
        if self._exchange is not None:
            self._exchange.fail(error)
        else:
            self.plane.failed(self, error)
            self.abort()

    # -- deadlines

    def look(self, now: float) -> float:
        """Compare the deadlines with the clock; the watchdog calls this."""
        if self._state == CLOSED:
            return 0.0
        try:
            return self._look(now)
        except Exception as error:
            self._failed(error)  # the clock goes on for the others
            return 0.0

    def _look(self, now: float) -> float:
        exchange, stall, closing = self._exchange, self._stall, self._closing
        due = again = 0.0
        over = False
        if exchange is not None:
            due = exchange.look(now)
            if exchange.record.outcome is not None:
                return due
        elif closing is not None:
            again, over = closing.look(now, self.transport.get_write_buffer_size(), self._stall_timeout)
        elif stall is None:
            return self._look_request(now)
        if closing is None and stall is not None:
            again, over = stall.look(now, self.transport.get_write_buffer_size(), self._stall_timeout)
        if not over:
            return sooner(due, again)
        if exchange is not None:
            exchange.finish(Outcome.CLIENT_STALL_TIMEOUT)
        else:
            self.abort()
        return 0.0

    @abstractmethod
    def _look_request(self, now: float) -> float:
        """Nothing runs, and nothing waits to be taken: how long may that last?"""

    @property
    def _stall_timeout(self) -> float:
        """Seconds for which the client may take nothing, as the stream that runs has it; 0 = for ever."""
        if self._exchange is not None:
            return self._exchange.policy.client_stall_timeout
        return self.plane.settings.timeouts.client_stall

    def _wait(self, now: float, seconds: float) -> None:
        """Have the deadlines looked at in so many seconds; 0 = the wait may last."""
        # A look that is due earlier, as between the requests of a busy connection, arms the right one by itself.
        if seconds and not 0 <= self.watched_slot * TICK <= now + seconds:
            self.plane.watchdog.watch(self, now + seconds)
