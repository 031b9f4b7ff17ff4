"""One client connection that speaks HTTP/2: frames come in, each request is a stream with an exchange of its own.

What an exchange does is the relay's. Here stand what the streams of a connection share: its state machine, its window,
its budget against abuse, and its end.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError

from unbuffer.http.request import BadRequest, Fields
from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.relay import patience
from unbuffer.relay.http2.budget import DATA, END_STREAM, GOAWAY, PADDED, RST_STREAM, Budget
from unbuffer.relay.http2.frames import ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR, PROTOCOL_ERROR, FrameError, FrameReader
from unbuffer.relay.http2.messages import Malformed, check_trailers, read_request
from unbuffer.relay.http2.output import Output
from unbuffer.relay.http2.session import Session, goaway
from unbuffer.relay.http2.stream import Stream
from unbuffer.relay.refusals import answer, note, of_bad_request
from unbuffer.relay.tcp import OFF, client_options, half_close, kernel_timeout, reset, set_options
from unbuffer.relay.watchdog import NOT_WATCHED
from unbuffer.totals import BAD_REQUEST, HTTP2_FLOOD

if TYPE_CHECKING:
    from unbuffer.relay.plane import Plane
    from unbuffer.relay.trust import Origin

_NO_ERROR: Final = 0x0
_REFUSED_STREAM: Final = 0x7
_MOST: Final = 2**31 - 1


class Http2Connection(asyncio.Protocol):
    """A client's connection, from the preface of HTTP/2 to its loss."""

    __slots__ = (
        "_budget",
        "_ending",
        "_frames",
        "_last",
        "_leaving_at",
        "_origin",
        "_owed_since",
        "_session",
        "_since",
        "_streams",
        "_unsent",
        "output",
        "peer",
        "plane",
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
        self._streams: dict[int, Stream] = {}
        self._owed_since = 0.0
        """Since when the rest of a head is owed; 0.0 = it is not."""
        self._unsent = 0
        """Bytes that the system had not taken at the latest look."""
        self._last = False
        """No further stream is waited for."""
        self._session = Session(limits)
        self._frames = FrameReader(2 * limits.head + 64 * limits.headers)
        self._budget = Budget(limits.http2_frames, now)
        self.output = Output(transport, self._session, self._budget)
        self._since = now
        """Start of the current wait: without a stream, or for the end of the connection."""
        self._leaving_at = 0.0
        """When the client was told to open no further stream; 0.0 = it was not."""
        self._ending = False
        """GOAWAY has gone out and nothing follows: what comes is dropped."""
        plane.clients.joined(self)
        plane.totals.http2_connections += 1

    def __repr__(self) -> str:
        return f"<Http2Connection {self.peer.address or 'unix'}{' ending' if self._ending else ''}>"

    # -- what the transport tells

    def begin(self, data: bytes) -> None:
        """Take over from HTTP/1.1. data: what has come, which begins with the preface."""
        self.transport.set_protocol(self)
        self.output.write(self._session.greeting)
        self.data_received(data)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        if self._ending:
            self._since = now
            return
        try:
            self._read(data, now)
        # A name for each: compiled, one name has one type.
        except FrameError as broken:
            self._fail(broken.code, str(broken))
        except ProtocolError as refused:
            self._session.take()  # h2's own GOAWAY
            self._fail(int(refused.error_code), str(refused))
        except Exception as error:
            self.plane.loop.call_exception_handler({"message": f"unbuffer failed on {self!r}", "exception": error})
            self._fail(int(ErrorCodes.INTERNAL_ERROR), type(error).__name__)

    def eof_received(self) -> bool:
        self._lose_streams(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        plane = self.plane
        self._lose_streams(exc)
        self._ending = True
        plane.totals.http2_connections -= 1
        plane.watchdog.forget(self)
        plane.clients.left(self)

    def pause_writing(self) -> None:
        self.output.stalled = True
        for stream in list(self._streams.values()):
            stream.has_no_room()
        self._watch(self.plane.settings.timeouts.client_stall)

    def resume_writing(self) -> None:
        self.output.stalled = False
        for stream in list(self._streams.values()):
            stream.has_room()

    # -- reading

    def _read(self, data: bytes, now: float) -> None:
        """Take in what came, frame by frame. Raises FrameError and ProtocolError."""
        frames, budget, session = self._frames, self._budget, self._session
        frames.add(data)
        while True:
            frame = frames.next()
            if not frame:
                break
            kind, flags, length = frame[3], frame[4], len(frame) - 9
            if kind == DATA and flags & PADDED:
                length -= 1 + (frame[9] if length else 0)
            if not budget.take(kind, flags, length, now):
                raise FrameError(ENHANCE_YOUR_CALM, "limits.http2_frames: too many frames that carry nothing forward")
            if kind == GOAWAY and not frames.in_section:
                self._client_leaves(frame)
                continue
            if kind == RST_STREAM and int.from_bytes(frame[5:9], "big") & _MOST > session.latest:
                raise FrameError(PROTOCOL_ERROR, "RST_STREAM for a stream that was never opened")
            for event in session.receive(frame):
                self._take(event, flags, now)
                if self._ending:
                    return
        self.output.flush()
        self._look_ahead(now)

    def _look_ahead(self, now: float) -> None:
        """What has come in part."""
        if not self._frames.owes_head:
            self._owed_since = 0.0
        elif not self._owed_since:
            self._owed_since = now
            self._watch(self.plane.settings.timeouts.request_head)
        stream = self._streams.get(self._frames.data_for)
        if stream is not None:
            stream.read_at = now

    def _take(self, event: Event, flags: int, now: float) -> None:
        if isinstance(event, DataReceived):
            stream = self._streams.get(event.stream_id)
            if stream is None:
                self._session.taken(event.stream_id, event.flow_controlled_length)
            else:
                self._guarded(stream, event.data, event.flow_controlled_length, bool(flags & END_STREAM))
        elif isinstance(event, RequestReceived):
            self._request(event.stream_id, Session.fields(event), event.stream_ended is not None, now)
        elif isinstance(event, TrailersReceived):
            self._trailers(event.stream_id, Session.fields(event))
        elif isinstance(event, WindowUpdated):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.writer.acknowledged(event.delta)
            self.output.opened(not event.stream_id)
        elif isinstance(event, RemoteSettingsChanged):
            self.output.opened(False)
        elif isinstance(event, StreamReset):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                code = event.error_code
                name = code.name if isinstance(code, ErrorCodes) else f"0x{code:x}"
                stream.lost(ConnectionResetError(f"RST_STREAM({name})"))

    def _guarded(self, stream: Stream, data: bytes, taken: int, last: bool) -> None:
        """One stream's mistake costs no other."""
        try:
            stream.data(data, taken, last)
        except Exception as error:
            stream.fail(error)

    def _request(self, stream_id: int, headers: Fields, ended: bool, now: float) -> None:
        plane = self.plane
        self._since = now
        if len(self._streams) >= plane.settings.limits.http2_streams:
            # Opened before our settings had arrived, or in spite of them.
            self._session.reset(stream_id, _REFUSED_STREAM)
            if not self._budget.take(RST_STREAM, 0, 4, now):
                raise FrameError(ENHANCE_YOUR_CALM, "limits.http2_streams: far too many streams")
            return
        try:
            request = read_request(headers, ended, plane.settings.limits)
        except Malformed as malformed:
            plane.totals.rejected[BAD_REQUEST] += 1
            self._session.reset(stream_id, PROTOCOL_ERROR)
            note(plane, self.peer, now, Outcome.REQUEST_MALFORMED, 0, str(malformed))
            return
        except BadRequest as refused:
            self._refuse(stream_id, refused, headers, ended, now)
            return
        stream = self._streams[stream_id] = Stream(self, stream_id, request, ended)
        try:
            stream.begin(request, now)
        except Exception as error:
            stream.fail(error)

    def _refuse(self, stream_id: int, error: BadRequest, headers: Fields, ended: bool, now: float) -> None:
        """Answer what is well-formed, but refused: there is no exchange."""
        refusal = of_bad_request(error)
        self.plane.totals.rejected[refusal.reason] += 1
        note(self.plane, self.peer, now, refusal.outcome, refusal.status, refusal.detail)
        message = answer(self.plane, refusal.status, refusal.outcome, refusal.detail, (b":method", b"HEAD") in headers)
        stream = self._streams[stream_id] = Stream(self, stream_id, None, ended)
        stream.answer(message)
        self.release(stream)

    def _trailers(self, stream_id: int, headers: Fields) -> None:
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        try:
            check_trailers(headers)
        except Malformed as error:
            stream.malformed(str(error))
        else:
            self._guarded(stream, b"", 0, True)

    def _client_leaves(self, frame: bytes) -> None:
        """The client's GOAWAY, which h2 would take for the end of all streams: those that run go on."""
        if len(frame) < 17:
            raise FrameError(FRAME_SIZE_ERROR, "a GOAWAY that is too short")
        if int.from_bytes(frame[5:9], "big") & _MOST:
            raise FrameError(PROTOCOL_ERROR, "a GOAWAY of a stream")
        self._last = True
        self._rest()

    # -- what the streams ask for

    def taken(self, stream_id: int, size: int) -> None:
        """Bytes of a stream have gone on: the windows open again."""
        if not self.output.closed:
            self._session.taken(stream_id, size)
            self.output.flush()

    def release(self, stream: Stream) -> None:
        """Forget a stream if both its directions, and its exchange, are over."""
        if stream.exchange is None and stream.ended and stream.writer.over:
            stream.close()
            if self._streams.pop(stream.number, None) is not None and not self._streams:
                self._since = time.monotonic()
                self._rest()

    def why_lost(self, exc: Exception | None) -> str:
        """What the kernel gave the connection up for, or the error's own words."""
        return kernel_timeout(exc, self.transport, "client") or str(exc or "")

    # -- as one of the clients: see `clients.Connection`

    @property
    def records(self) -> Sequence[Record]:
        """Of the streams that run."""
        return [stream.exchange.record for stream in self._streams.values() if stream.exchange is not None]

    def drain(self) -> None:
        """Leave once no stream is left. WebSockets hear that the server leaves."""
        for stream in list(self._streams.values()):
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
        running = [s.exchange.policy.client_stall_timeout for s in self._streams.values() if s.exchange is not None]
        with contextlib.suppress(OSError):  # of a connection that has just ended
            set_options(self.transport.get_extra_info("socket"), client_options(self.plane.settings, *running) or OFF)

    def end_streams(self, outcome: Outcome) -> None:
        """End whatever runs; what was written may still go out."""
        for stream in list(self._streams.values()):
            stream.end(outcome)
        self._last = True
        if self._streams:
            self.output.write(goaway(self._session.latest, _NO_ERROR))
        else:
            self._close(_NO_ERROR)

    def abort(self) -> None:
        """End the connection at once, by a reset."""
        self._ending = True
        reset(self.transport)

    # -- endings

    def _rest(self) -> None:
        """No stream may be left: then wait for the next one, or leave. A client is told so while none runs, for some
        give up all streams that do (httpx, undici), and once more when nothing can be on its way."""
        if self._streams or self._ending:
            return
        if self.plane.clients.draining and not self._leaving_at:
            self._leaving_at = time.monotonic()
            self.output.write(goaway(_MOST, _NO_ERROR))
        self._session.settle()
        if self._last:
            self._close(_NO_ERROR)
        elif self._leaving_at:
            self.plane.watchdog.watch(self, time.monotonic() + patience.CROSSING)
        else:
            self._watch(self.plane.settings.timeouts.keep_alive)

    def _fail(self, code: int, detail: str) -> None:
        """A connection error (section 5.4.1)."""
        plane = self.plane
        plane.totals.rejected[HTTP2_FLOOD if code == ENHANCE_YOUR_CALM else BAD_REQUEST] += 1
        self.output.failed = True
        if not self._streams:
            note(plane, self.peer, self._since, Outcome.REQUEST_MALFORMED, 0, f"HTTP/2: {detail}")
        self._lose_streams(ConnectionAbortedError(f"HTTP/2: {detail}"))
        self._close(code)

    def _lose_streams(self, exc: Exception | None) -> None:
        for stream in list(self._streams.values()):
            stream.lost(exc)

    def _close(self, code: int) -> None:
        """Say GOAWAY and end. What the client still sends is dropped for a while, or a reset would take GOAWAY away."""
        if self._ending:
            return
        self._ending = True
        self.output.flush()
        self.output.write(goaway(self._session.latest, code))
        self._since = time.monotonic()
        if not half_close(self.transport):
            self.transport.close()
        self.plane.watchdog.watch(self, self._since + patience.LINGER)

    # -- deadlines

    def _watch(self, seconds: float) -> None:
        if seconds:
            self.plane.watchdog.watch(self, time.monotonic() + seconds)

    def look(self, now: float) -> float:
        """Compare the deadlines with the clock; the watchdog calls this."""
        try:
            return self._look(now)
        except Exception as error:
            self.plane.loop.call_exception_handler({"message": f"unbuffer failed on {self!r}", "exception": error})
            self.abort()
            return 0.0

    def _look(self, now: float) -> float:
        timeouts = self.plane.settings.timeouts
        if self._ending:
            return self._look_ending(now)
        dues: list[float] = []
        if self._owed_since and timeouts.request_head:
            dues.append(self._owed_since + timeouts.request_head)
        if self.output.waits_since and timeouts.client_stall:
            dues.append(self.output.waits_since + timeouts.client_stall)
        if not self._streams:
            if self._leaving_at:
                dues.append(max(self._leaving_at, self._since) + patience.CROSSING)
            elif timeouts.keep_alive:
                dues.append(self._since + timeouts.keep_alive)
        due = min(dues, default=0.0)
        if due > now:
            return due
        if due:
            self._overdue(now)
            return now + patience.LINGER
        return 0.0

    def _overdue(self, now: float) -> None:
        seconds = self.plane.settings.timeouts.request_head
        if self._owed_since and seconds and self._owed_since + seconds <= now:
            self._fail(ENHANCE_YOUR_CALM, "the rest of a head did not come within timeouts.request_head")
        elif self.output.waits_since and self._streams:
            # Nobody opens the connection's window: nothing of any stream is taken.
            for stream in list(self._streams.values()):
                stream.stalled_out()
        else:
            self._close(_NO_ERROR)

    def _look_ending(self, now: float) -> float:
        """While the client takes what was written it may go on; else the connection is given up."""
        size = self.transport.get_write_buffer_size()
        if size != self._unsent:
            self._unsent = size
            self._since = now
        due = self._since + patience.LINGER
        if due > now:
            return due
        self.abort()
        return 0.0
