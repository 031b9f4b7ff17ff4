"""One stream: the client of one exchange, from its request to the end of both directions (RFC 9113, section 5.1)."""

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from unbuffer.http.framing import CHUNKED
from unbuffer.http.headers import plain_answer
from unbuffer.http.response import ResponseHead
from unbuffer.outcome import WHOLE, Outcome
from unbuffer.relay import patience
from unbuffer.relay.client import Client
from unbuffer.relay.exchange import Exchange
from unbuffer.relay.http2.frames import CANCEL, INTERNAL_ERROR, NO_ERROR, PROTOCOL_ERROR
from unbuffer.relay.http2.heads import Http2Head, as_headers
from unbuffer.relay.http2.writer import StreamWriter
from unbuffer.relay.refusals import LARGE_BODY, Refusal, admission, asks_for_health, breaks, failure
from unbuffer.totals import BAD_REQUEST

if TYPE_CHECKING:
    from unbuffer.relay.http2.connection import Http2Connection


class Http2Stream(Client):
    """A stream whose request was understood.

    exchange: None before and after it, and where none is needed. ended: the client has said everything. is_malformed:
    what the client sent is no request after all. number: the stream's identifier.
    """

    __slots__ = (
        "_breaking",
        "_connection",
        "_cut",
        "_drop_since",
        "_drop_until",
        "_early",
        "_has_body",
        "_is_tunnel",
        "_must_bring",
        "_stall_at",
        "_stall_size",
        "_untaken",
        "_writer",
        "ended",
        "exchange",
        "is_malformed",
        "number",
    )

    def __init__(self, connection: "Http2Connection", stream_id: int, request: Http2Head | None, ended: bool) -> None:
        """request: None where it is refused. ended: no body follows."""
        super().__init__()
        self.peer = connection.peer
        self.ended = ended
        self.exchange: Exchange | None = None
        self._connection = connection
        self.number = stream_id
        trailers = request is not None and request.wants_trailers
        asks_for_tunnel = self._is_tunnel = request is not None and request.asks_for_tunnel
        """Whether DATA is that of a tunnel, which may not have begun."""
        self._early: list[bytes] = []
        """What came of it before it began, bounded by the window."""
        keyed = request is not None and request.keyed
        self._writer = StreamWriter(self, stream_id, connection.output, trailers, asks_for_tunnel, keyed)
        framing = CHUNKED if request is None or asks_for_tunnel else request.framing
        self._has_body = framing != 0
        self._must_bring = framing
        """Bytes of the body that the head has promised and that have not come; -1 = nothing is promised."""
        self._untaken = 0
        """Bytes, with their padding, for which the window is not to open yet."""
        self.is_malformed = False
        self._cut = False
        """The answer has no end: the stream breaks once what there is has been delivered."""
        self._breaking: asyncio.TimerHandle | None = None
        """Until the client has read what there is, before the stream breaks."""
        self._drop_since = 0.0
        self._drop_until = 0.0
        """Of the rest of a request that is answered: the latest of it, and when it is given up in any case."""
        self._stall_at = 0.0
        self._stall_size = 0

    def __repr__(self) -> str:
        return f"<Http2Stream {self.number} of {self._connection!r}>"

    # -- the request

    def begin(self, request: Http2Head, now: float) -> None:
        """Have the request answered."""
        plane = self._connection.plane
        self.read_at = now
        if self._connection.output.stalled:
            self.has_no_room()
        if plane.health is not None and asks_for_health(request):
            plane.health(request.target.partition(b"?")[0], partial(self._answer_health, request.method == b"HEAD"))
            return
        exchange = self.exchange = Exchange(plane, self, request, now)
        refusal = admission(plane, exchange.policy, request)
        if refusal is not None:
            self._refuse(exchange, refusal)
        elif plane.resumption is None or not plane.resumption.takes(exchange):
            exchange.begin(now)

    def data(self, data: bytes, taken: int, last: bool) -> None:
        """A DATA frame. taken: the bytes of the windows that it has used up."""
        self.read_at = self._drop_since = time.monotonic()
        self.ended = last
        self._untaken += taken
        exchange = self.exchange
        if self._must_bring >= 0:
            self._must_bring -= len(data)
            if self._must_bring < 0 or (last and self._must_bring):
                self.malformed("a body that is not as long as its content-length")
                return
        if exchange is not None and self._is_tunnel:
            self._tunnel_up(exchange, data, last)
        elif exchange is not None and self._has_body:
            self._body(exchange, data, last)
        elif last:
            self._connection.forget_if_over(self)
        if not self.reading_paused:
            self._open_window()

    def _body(self, exchange: Exchange, data: bytes, last: bool) -> None:
        limit = exchange.policy.body_limit
        if limit and exchange.record.bytes_up + len(data) > limit:
            self._refuse(exchange, LARGE_BODY)
        elif data or last:
            exchange.request_body(data, last)

    def _tunnel_up(self, exchange: Exchange, data: bytes, last: bool) -> None:
        tunnel = exchange.tunnel
        if tunnel is None:
            self._early.append(data)
            self.reading_paused = True
            return
        if data:
            tunnel.up(data)
        if last and not tunnel.client_eof() and self.exchange is not None:
            exchange.client_lost(None)

    def _refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        self._connection.plane.totals.rejected[refusal.reason] += 1
        exchange.finish(refusal.outcome, refusal.detail, refusal.status)

    def _open_window(self) -> None:
        taken, self._untaken = self._untaken, 0
        if taken:
            self._connection.taken(self.number, taken)

    # -- what the exchange asks for

    @property
    def writer(self) -> StreamWriter:
        return self._writer

    def respond(self, head: ResponseHead, changed: bool, waited: float) -> None:
        self._writer.head(head, changed, waited)

    def pause_reading(self) -> None:
        """The window stays as it is: what the client may still send is bounded by it."""
        self.reading_paused = True

    def resume_reading(self) -> None:
        if self.reading_paused:
            self.reading_paused = False
            self.read_at = self.resumed_at = time.monotonic()
            self._open_window()

    def begin_tunnel(self) -> None:
        exchange, early = self.exchange, b"".join(self._early)
        self._early = []
        self.reading_paused = False
        if exchange is not None and exchange.tunnel is not None:
            self._tunnel_up(exchange, early, self.ended)
        if not self.reading_paused:
            self._open_window()

    def exchange_over(self, outcome: Outcome, status: int) -> None:
        """The exchange has its outcome: answer if nothing was, break what was cut."""
        exchange, self.exchange = self.exchange, None
        writer = self._writer
        if exchange is None or writer.over or writer.lost:
            self._connection.forget_if_over(self)
        elif self.is_malformed:
            self.reset(PROTOCOL_ERROR)
        elif outcome in WHOLE:
            writer.end([])
        elif outcome in (Outcome.CLIENT_STALL_TIMEOUT, Outcome.CLIENT_DISCONNECT):
            self.reset(CANCEL)
        elif exchange.answer.head_sent:
            self._break()
        elif breaks(exchange, outcome):
            self.reset(INTERNAL_ERROR)
        else:
            self.answer(failure(exchange.plane, exchange, outcome, status or outcome.value.status, False))

    def why_lost(self, exc: Exception | None) -> str:
        return self._connection.why_lost(exc)

    # -- the answer

    def _answer_health(self, head_only: bool, status: int, body: bytes) -> None:
        if not self._writer.lost:
            self.answer(plain_answer(status, body, False, head_only=head_only))

    def answer(self, message: bytes) -> None:
        """A whole answer of our own, as HTTP/1.1 has it."""
        head, _, body = message.partition(b"\r\n\r\n")
        self._writer.answer(as_headers(head), body)

    def answered(self) -> None:
        """The end of the answer was written. What the client still sends is read and dropped, within bounds: many a
        client takes a reset for the answer, or reads nothing before it has sent everything."""
        if self.ended:
            self._connection.forget_if_over(self)
            return
        now = self._drop_since = time.monotonic()
        self._drop_until = now + patience.LINGER_TOTAL
        self.reading_paused = False
        self._open_window()
        self._connection.plane.watchdog.watch(self, now + patience.LINGER)
        if self.exchange is not None and self.exchange.tunnel is not None and self.exchange.tunnel.closed:
            # The client has nothing more to say (RFC 6455, section 7.1.1); some wait for the end of both directions.
            self._reset_soon(NO_ERROR)

    def _break(self) -> None:
        """What has come is delivered, then the stream breaks."""
        self._cut = True
        if self._writer.pending:
            self._watch_stall()  # `has_room` comes back here
        else:
            self._reset_soon(INTERNAL_ERROR)

    def _reset_soon(self, code: int) -> None:
        """See READ_FIRST. (Chromium and curl throw away what they read together with a reset.)"""
        if self._breaking is None:
            self._breaking = self._connection.plane.loop.call_later(patience.READ_FIRST, self.reset, code)

    # -- the client takes it, or not

    def has_no_room(self) -> None:
        """A window, or the connection, has no room."""
        if not self.stalled:
            self.stalled = True
            self._watch_stall()
        if self.exchange is not None:
            self.exchange.client_full()

    def has_room(self) -> None:
        """There may be room again."""
        if not self.stalled or self._writer.pending or self._connection.output.stalled:
            return
        self.stalled = False
        if self.exchange is not None:
            self.exchange.client_has_room()
        elif self._cut:
            self._break()

    def _watch_stall(self) -> None:
        self._stall_at = time.monotonic()
        self._stall_size = 0
        seconds = self._stall_timeout
        if seconds:
            self._connection.plane.watchdog.watch(self, self._stall_at + seconds)

    @property
    def _stall_timeout(self) -> float:
        exchange, settings = self.exchange, self._connection.plane.settings
        return exchange.policy.client_stall_timeout if exchange is not None else settings.timeouts.client_stall

    # -- endings

    def malformed(self, detail: str) -> None:
        """What the client sends is no request after all (section 8.1.1)."""
        self.is_malformed = True
        if self.exchange is not None:
            self._refuse(self.exchange, Refusal(BAD_REQUEST, Outcome.REQUEST_MALFORMED, detail))
        else:
            self.reset(PROTOCOL_ERROR)

    def lost(self, exc: Exception | None) -> None:
        """The client has reset the stream, or the connection has ended."""
        self._writer.drop()
        self.ended = True
        if self.exchange is not None:
            self.exchange.client_lost(exc)
        self._connection.forget_if_over(self)

    def reset(self, code: int) -> None:
        """End both directions."""
        open_still = not (self._writer.over and self.ended)
        self._writer.drop()
        self.ended = True
        if open_still:
            self._connection.output.reset(self.number, code)
        if self.exchange is not None:
            self.exchange.client_lost(None)
        self._connection.forget_if_over(self)

    def close(self) -> None:
        """It is forgotten: no clock looks at it any more, and the connection's window has back what it had used up."""
        self._open_window()
        if self._breaking is not None:
            self._breaking.cancel()
            self._breaking = None
        self._connection.plane.watchdog.forget(self)
        self._writer.forget()

    def finish(self, outcome: Outcome) -> None:
        """End whatever runs."""
        if self.exchange is not None:
            self.exchange.finish(outcome)

    def give_up(self, detail: str = "") -> None:
        """The client has taken nothing for client_stall."""
        if self.exchange is not None:
            self.exchange.finish(Outcome.CLIENT_STALL_TIMEOUT, detail)
        else:
            self.reset(CANCEL)

    def fail(self, error: Exception) -> None:
        """A mistake of ours: it costs this stream."""
        if self.exchange is not None:
            self.exchange.fail(error)
        else:
            self._connection.plane.failed(self, error)
            self.reset(INTERNAL_ERROR)

    # -- deadlines

    def look(self, now: float) -> float:
        """Compare the deadlines with the clock; the watchdog calls this."""
        try:
            exchange = self.exchange
            due = exchange.look(now) if exchange is not None else self._look_rest(now)
            if not self.stalled or (exchange is not None and exchange.record.outcome is not None):
                return due
            stall = self._look_stall(now)
            return patience.sooner(due, stall)
        except Exception as error:
            self.fail(error)
            return 0.0

    def _look_rest(self, now: float) -> float:
        """The rest of a request that has its answer."""
        if not self._drop_until or self.ended:
            return 0.0
        due = min(self._drop_since + patience.LINGER, self._drop_until)
        if due > now:
            return due
        # Section 8.1: a complete answer, and the rest of the request is not wanted.
        self.reset(NO_ERROR)
        return 0.0

    def _look_stall(self, now: float) -> float:
        """Against a client that takes nothing of this stream; what the connection's window holds up is no fault of the
        stream's own."""
        seconds = self._stall_timeout
        if not seconds:
            return 0.0
        shut = self._writer.shut
        size = len(self._writer.pending) if shut else self._writer.waiting
        if size < self._stall_size or not (shut or self._connection.output.stalled):
            self._stall_at = now
        self._stall_size = size
        due = seconds + (self._stall_at if shut else max(self._stall_at, self._connection.output.resumed_at))
        if due > now:
            return due
        self.give_up()
        return 0.0
