"""One client connection that speaks HTTP/2: frames come in, each request is a stream with an exchange of its own.

What an exchange does is the relay's. Here stand what the streams of a connection share: its state machine, its window,
its budget against abuse, and its end.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from h2.exceptions import ProtocolError

from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.relay import patience
from unbuffer.relay.http2.budget import Budget
from unbuffer.relay.http2.client_stream import Http2Stream
from unbuffer.relay.http2.frames import ENHANCE_YOUR_CALM, INTERNAL_ERROR, NO_ERROR, FrameError
from unbuffer.relay.http2.output import Output
from unbuffer.relay.http2.receiver import Receiver
from unbuffer.relay.http2.session import Session, goaway
from unbuffer.relay.patience import Stall
from unbuffer.relay.refusals import note
from unbuffer.relay.tcp import OFF, client_options, half_close, kernel_timeout, reset, set_options
from unbuffer.relay.watchdog import NOT_WATCHED
from unbuffer.totals import BAD_REQUEST, HTTP2_FLOOD

if TYPE_CHECKING:
    from unbuffer.relay.plane import Plane
    from unbuffer.relay.trust import Origin

_MOST: Final = 2**31 - 1


class Http2Connection(asyncio.Protocol):
    """A client's connection, from the preface of HTTP/2 to its loss.

    streams: by their numbers. since: start of the current wait, without a stream or for the end of the connection.
    ending: GOAWAY has gone out and nothing follows, what comes is dropped.
    """

    __slots__ = (
        "_last",
        "_leaving_at",
        "_origin",
        "_receiver",
        "_session",
        "_stall",
        "_unsent",
        "ending",
        "output",
        "peer",
        "plane",
        "since",
        "streams",
        "transport",
        "watched_slot",
    )

    def __init__(self, plane: "Plane", origin: "Origin", transport: asyncio.Transport) -> None:
        """origin: whose connection it is. It has been admitted."""
        limits = plane.settings.limits
        now = time.monotonic()
        self.plane = plane
        self.transport = transport
        self.peer = plane.trust.peer(origin)
        self.watched_slot = NOT_WATCHED
        self._origin = origin
        self.streams: dict[int, Http2Stream] = {}
        self._stall: Stall | None = None
        """While the client has yet to take what was written to it."""
        self._unsent = 0
        """Bytes that the system had not taken at the latest look."""
        self._last = False
        """No further stream is waited for."""
        self._session = Session(limits)
        budget = Budget(limits.http2_frames, now)
        self.output = Output(transport, self._session, budget)
        self._receiver = Receiver(self, self._session, budget)
        self.since = now
        self._leaving_at = 0.0
        """When the client was told to open no further stream; 0.0 = it was not."""
        self.ending = False
        plane.clients.joined(self)
        plane.totals.http2_connections += 1

    def __repr__(self) -> str:
        return f"<Http2Connection {self.peer.address or 'unix'}{' ending' if self.ending else ''}>"

    # -- what the transport tells

    def begin(self, data: bytes) -> None:
        """Take over from HTTP/1.1. data: what has come, which begins with the preface."""
        self.transport.set_protocol(self)
        self.output.write(self._session.greeting)
        self.data_received(data)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self.ending:
            self.since = now
            return
        try:
            self._receiver.read(data, now)
            if self._receiver.owes_since == now:
                self._watch(self.plane.settings.timeouts.request_head)
        # A name for each: compiled, one name has one type.
        except FrameError as broken:
            self._fail(broken.code, str(broken))
        except ProtocolError as refused:
            self._session.take()  # h2's own GOAWAY
            self._fail(int(refused.error_code), str(refused))
        except Exception as error:
            self.plane.failed(self, error)
            self._fail(INTERNAL_ERROR, type(error).__name__)

    def eof_received(self) -> bool:
        self._lose_streams(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        plane = self.plane
        self._lose_streams(exc)
        self.ending = True
        plane.totals.http2_connections -= 1
        plane.watchdog.forget(self)
        plane.clients.left(self)

    def pause_writing(self) -> None:
        output = self.output
        output.stalled, output.stalled_at = True, time.monotonic()
        self._stall = Stall(output.stalled_at, self.transport.get_write_buffer_size())
        for stream in list(self.streams.values()):
            stream.has_no_room()
        self._watch(self.plane.settings.timeouts.client_stall)

    def resume_writing(self) -> None:
        output = self.output
        output.stalled, output.resumed_at = False, time.monotonic()
        self._stall = None
        output.opened(False)
        for stream in list(self.streams.values()):
            stream.has_room()

    # -- what the streams ask for

    def taken(self, stream_id: int, size: int) -> None:
        """Bytes of a stream have gone on: the windows open again."""
        if not self.output.closed:
            self._session.taken(stream_id, size)
            self.output.flush()

    def forget_if_over(self, stream: Http2Stream) -> None:
        """Forget a stream if both its directions, and its exchange, are over."""
        if stream.exchange is None and stream.ended and stream.writer.over:
            stream.close()
            if self.streams.pop(stream.number, None) is not None and not self.streams:
                self.since = time.monotonic()
                self._rest()

    def client_leaves(self) -> None:
        """It has said GOAWAY: nothing more is waited for once the last stream has ended."""
        self._last = True
        self._rest()

    def why_lost(self, exc: Exception | None) -> str:
        """What the kernel gave the connection up for, or the error's own words."""
        return kernel_timeout(exc, self.transport, "client") or str(exc or "")

    # -- as one of the clients: see `clients.Connection`

    @property
    def records(self) -> Sequence[Record]:
        """Of the streams that run."""
        return [stream.exchange.record for stream in self.streams.values() if stream.exchange is not None]

    @property
    def unsent(self) -> int:
        """With what waits for a window."""
        return self.transport.get_write_buffer_size() + self.output.pending

    def drain(self) -> None:
        """Leave once no stream is left. WebSockets hear that the server leaves."""
        for stream in list(self.streams.values()):
            exchange = stream.exchange
            if exchange is not None and exchange.tunnel is not None:
                exchange.tunnel.go_away()
        self._rest()

    def reload(self) -> None:
        """The settings have changed."""
        self.peer = self.plane.trust.peer(self._origin)
        self.plane.watchdog.watch(self, time.monotonic())

    def reload_options(self) -> None:
        """The kernel's deadlines have changed. Streams that run keep their client_stall."""
        running = [s.exchange.policy.client_stall_timeout for s in self.streams.values() if s.exchange is not None]
        with contextlib.suppress(OSError):  # of a connection that has just ended
            set_options(self.transport.get_extra_info("socket"), client_options(self.plane.settings, *running) or OFF)

    def end_streams(self, outcome: Outcome) -> None:
        """End whatever runs; what was written may still go out."""
        for stream in list(self.streams.values()):
            stream.finish(outcome)
        self._last = self._receiver.refuses = True
        if self.streams:
            self.output.write(goaway(self._session.latest, NO_ERROR))
        else:
            self._close(NO_ERROR)

    def abort(self) -> None:
        """End the connection at once, by a reset."""
        self.ending = True
        reset(self.transport)

    # -- endings

    def _rest(self) -> None:
        """No stream may be left: then wait for the next one, or leave. A client is told so while none runs, for some
        give up all streams that do (httpx, undici), and once more when nothing can be on its way."""
        if self.streams or self.ending:
            return
        if self.plane.clients.draining and not self._leaving_at:
            self._leaving_at = time.monotonic()
            self.output.write(goaway(_MOST, NO_ERROR))
        self._session.settle()
        if self._last:
            self._close(NO_ERROR)
        elif self._leaving_at:
            self.plane.watchdog.watch(self, time.monotonic() + patience.CROSSING)
        else:
            self._watch(self.plane.settings.timeouts.keep_alive)

    def _fail(self, code: int, detail: str) -> None:
        """A connection error (section 5.4.1)."""
        plane = self.plane
        plane.totals.rejected[HTTP2_FLOOD if code == ENHANCE_YOUR_CALM else BAD_REQUEST] += 1
        self.output.failed = True
        if not self.streams:
            note(plane, self.peer, self.since, Outcome.REQUEST_MALFORMED, 0, f"HTTP/2: {detail}")
        self._lose_streams(ConnectionAbortedError(f"HTTP/2: {detail}"))
        self._close(code)

    def _lose_streams(self, exc: Exception | None) -> None:
        for stream in list(self.streams.values()):
            stream.lost(exc)

    def _close(self, code: int) -> None:
        """Say GOAWAY and end. What the client still sends is dropped for a while, or a reset would take GOAWAY away."""
        if self.ending:
            return
        self.ending = True
        self.output.flush()
        self.output.write(goaway(self._session.latest, code))
        self.since = time.monotonic()
        if not half_close(self.transport):
            self.transport.close()
        self.plane.watchdog.watch(self, self.since + patience.LINGER)

    # -- deadlines

    def _watch(self, seconds: float) -> None:
        if seconds:
            self.plane.watchdog.watch(self, time.monotonic() + seconds)

    def look(self, now: float) -> float:
        """Compare the deadlines with the clock; the watchdog calls this."""
        try:
            return self._look(now)
        except Exception as error:
            self.plane.failed(self, error)
            self.abort()
            return 0.0

    def _look(self, now: float) -> float:
        timeouts = self.plane.settings.timeouts
        if self.ending:
            return self._look_ending(now)
        dues: list[float] = []
        if self._stall is not None:
            again, over = self._stall.look(now, self.transport.get_write_buffer_size(), self._stall_timeout)
            if over:
                for stream in list(self.streams.values()):
                    stream.give_up()
                self.abort()
                return 0.0
            dues += [again] if again else []
        if self._receiver.owes_since and timeouts.request_head:
            dues.append(self._receiver.owes_since + timeouts.request_head)
        if self.output.waits_since and timeouts.client_stall:
            dues.append(self.output.waits_since + timeouts.client_stall)
        if not self.streams:
            if self._leaving_at:
                dues.append(max(self._leaving_at, self.since) + patience.CROSSING)
            elif timeouts.keep_alive:
                dues.append(self.since + timeouts.keep_alive)
        due = min(dues, default=0.0)
        if due > now:
            return due
        if due:
            self._overdue(now)
            return now + patience.LINGER
        return 0.0

    @property
    def _stall_timeout(self) -> float:
        """Seconds for which the client may take nothing at all, as its most patient stream has it; 0 = for ever."""
        running = [s.exchange.policy.client_stall_timeout for s in self.streams.values() if s.exchange is not None]
        seconds = [self.plane.settings.timeouts.client_stall, *running]
        return max(seconds) if all(seconds) else 0.0

    def _overdue(self, now: float) -> None:
        seconds = self.plane.settings.timeouts.request_head
        if self._receiver.owes_since and seconds and self._receiver.owes_since + seconds <= now:
            self._fail(ENHANCE_YOUR_CALM, "the rest of a head did not come within timeouts.request_head")
        elif self.output.waits_since and self.streams:
            # Nobody opens the connection's window: nothing of any stream is taken.
            for stream in list(self.streams.values()):
                if stream.writer.pending:
                    stream.give_up("the connection's window")
        else:
            self._close(NO_ERROR)

    def _look_ending(self, now: float) -> float:
        """While the client takes what was written it may go on; else the connection is given up."""
        size = self.transport.get_write_buffer_size()
        if size != self._unsent:
            self._unsent = size
            self.since = now
        due = self.since + patience.LINGER
        if due > now:
            return due
        self.abort()
        return 0.0
