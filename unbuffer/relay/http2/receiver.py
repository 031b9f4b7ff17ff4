"""What comes over one connection: frames, the budget that they have, and the streams that they open."""

from typing import TYPE_CHECKING, Final

from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)

from unbuffer.http.request import BadRequest, Fields
from unbuffer.outcome import Outcome
from unbuffer.relay.http2.budget import DATA, END_STREAM, GOAWAY, PADDED, RST_STREAM, Budget
from unbuffer.relay.http2.client_stream import Http2Stream
from unbuffer.relay.http2.frames import (
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    FrameError,
    FrameReader,
)
from unbuffer.relay.http2.heads import Malformed, check_trailers, read_request
from unbuffer.relay.http2.session import Session
from unbuffer.relay.refusals import answer, note, of_bad_request
from unbuffer.totals import BAD_REQUEST

if TYPE_CHECKING:
    from unbuffer.relay.http2.connection import Http2Connection

_STREAM: Final = 2**31 - 1
"""The bits of a stream's number."""


class Receiver:
    """The client's side of one connection.

    owes_since: since when the rest of a head is owed; 0.0 = it is not. refuses: no further stream is processed.
    """

    __slots__ = ("_budget", "_connection", "_frames", "_most", "_session", "_streams", "owes_since", "refuses")

    def __init__(self, connection: "Http2Connection", session: Session, budget: Budget) -> None:
        limits = connection.plane.settings.limits
        self._connection = connection
        self._session = session
        self._budget = budget
        self._streams = connection.streams
        self._most = limits.http2_streams
        """As the client was told, whatever a reload says since."""
        self._frames = FrameReader(2 * limits.head + 64 * limits.headers)
        self.owes_since = 0.0
        self.refuses = False

    def read(self, data: bytes, now: float) -> None:
        """Take in what came, frame by frame. Raises FrameError and h2's ProtocolError."""
        frames, session, connection = self._frames, self._session, self._connection
        frames.add(data)
        while True:
            frame = frames.next()
            if not frame:
                break
            kind, flags = frame[3], frame[4]
            self._spend(kind, flags, frame, now)
            if kind == GOAWAY and not frames.in_section:
                self._client_leaves(frame)
                continue
            if kind == RST_STREAM and int.from_bytes(frame[5:9], "big") & _STREAM > session.latest:
                raise FrameError(PROTOCOL_ERROR, "RST_STREAM for a stream that was never opened")
            for event in session.receive(frame):
                self._take(event, flags, now)
            if connection.ending:
                return
        connection.output.flush()
        self.owes_since = (self.owes_since or now) if frames.owes_head else 0.0
        stream = self._streams.get(frames.data_for)
        if stream is not None:
            stream.read_at = now

    def _spend(self, kind: int, flags: int, frame: bytes, now: float) -> None:
        length = len(frame) - 9
        if kind == DATA and flags & PADDED:
            length -= 1 + (frame[9] if length else 0)
        if not self._budget.take(kind, flags, length, self._time(now)):
            raise FrameError(ENHANCE_YOUR_CALM, "limits.http2_frames: too many frames that carry nothing forward")

    def _spend_reset(self, now: float) -> None:
        """A stream that the client has us reset costs it what its own RST_STREAM does (CVE-2025-8671): either way its
        request was begun for nothing, and the limit of concurrent streams has room for the next one."""
        if not self._budget.take(RST_STREAM, 0, 4, self._time(now)):
            raise FrameError(ENHANCE_YOUR_CALM, "limits.http2_frames: too many streams that had to be reset")

    def _time(self, now: float) -> float:
        """The budget's time stands still while the client takes nothing: what it has us write is then bounded."""
        output = self._connection.output
        return output.stalled_at if output.stalled else now

    def _take(self, event: Event, flags: int, now: float) -> None:
        if isinstance(event, DataReceived):
            stream = self._streams.get(event.stream_id)
            if stream is None:
                self._session.taken(event.stream_id, event.flow_controlled_length)
            else:
                self._guarded(stream, event.data, event.flow_controlled_length, bool(flags & END_STREAM))
                if stream.is_malformed:
                    self._spend_reset(now)
        elif isinstance(event, RequestReceived):
            self._request(event.stream_id, Session.fields(event), event.stream_ended is not None, now)
        elif isinstance(event, TrailersReceived):
            self._trailers(event.stream_id, Session.fields(event), now)
        elif isinstance(event, WindowUpdated):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.writer.acknowledged(event.delta)
            self._connection.output.opened(not event.stream_id)
        elif isinstance(event, RemoteSettingsChanged):
            self._connection.output.opened(False)
        elif isinstance(event, StreamReset):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.lost(ConnectionResetError(f"RST_STREAM({Session.why(event)})"))
            if not event.remote_reset:
                self._spend_reset(now)

    def _guarded(self, stream: Http2Stream, data: bytes, taken: int, last: bool) -> None:
        """One stream's mistake costs no other."""
        try:
            stream.data(data, taken, last)
        except Exception as error:
            stream.fail(error)

    def _request(self, stream_id: int, headers: Fields, ended: bool, now: float) -> None:
        connection = self._connection
        plane = connection.plane
        connection.since = now
        if self.refuses or len(self._streams) >= self._most:
            # Opened before our settings had arrived, or in spite of them.
            self._session.reset(stream_id, REFUSED_STREAM)
            self._spend_reset(now)
            return
        try:
            request = read_request(headers, ended, plane.settings.limits)
        except Malformed as malformed:
            plane.totals.rejected[BAD_REQUEST] += 1
            self._session.reset(stream_id, PROTOCOL_ERROR)
            note(plane, connection.peer, now, Outcome.REQUEST_MALFORMED, 0, str(malformed))
            self._spend_reset(now)
            return
        except BadRequest as refused:
            self._refuse(stream_id, refused, headers, ended, now)
            return
        stream = self._streams[stream_id] = Http2Stream(connection, stream_id, request, ended)
        try:
            stream.begin(request, now)
        except Exception as error:
            stream.fail(error)

    def _refuse(self, stream_id: int, error: BadRequest, headers: Fields, ended: bool, now: float) -> None:
        """Answer what is well-formed, but refused: there is no exchange."""
        connection = self._connection
        refusal = of_bad_request(error)
        connection.plane.totals.rejected[refusal.reason] += 1
        note(connection.plane, connection.peer, now, refusal.outcome, refusal.status, refusal.detail)
        message = answer(
            connection.plane, refusal.status, refusal.outcome, refusal.detail, (b":method", b"HEAD") in headers
        )
        stream = self._streams[stream_id] = Http2Stream(connection, stream_id, None, ended)
        stream.answer(message)
        connection.forget_if_over(stream)

    def _trailers(self, stream_id: int, headers: Fields, now: float) -> None:
        """They end the request, and are dropped: servers exist that take them for header fields."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        try:
            check_trailers(headers)
        except Malformed as error:
            stream.malformed(str(error))
        else:
            self._guarded(stream, b"", 0, True)
        if stream.is_malformed:
            self._spend_reset(now)

    def _client_leaves(self, frame: bytes) -> None:
        """The client's GOAWAY, which h2 would take for the end of all streams: those that run go on."""
        if len(frame) < 17:
            raise FrameError(FRAME_SIZE_ERROR, "a GOAWAY that is too short")
        if int.from_bytes(frame[5:9], "big") & _STREAM:
            raise FrameError(PROTOCOL_ERROR, "a GOAWAY of a stream")
        self._connection.client_leaves()
