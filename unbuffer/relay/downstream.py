"""A client's connection of HTTP/1.1: reads requests, runs one exchange at a time, keeps the order of pipelined ones.

What comes while an exchange runs waits, and reading pauses after it, so a connection never holds more than one read.
"""

import asyncio
from functools import partial

from unbuffer.clock import monotonic
from unbuffer.http.headers import plain_answer
from unbuffer.http.request import BadRequest, RequestHead
from unbuffer.http.response import ResponseHead
from unbuffer.outcome import WHOLE, Outcome
from unbuffer.relay import patience, refusals
from unbuffer.relay.client_connection import ClientConnection
from unbuffer.relay.exchange import Exchange
from unbuffer.relay.plane import Plane
from unbuffer.relay.refusals import LARGE_BODY, Refusal
from unbuffer.relay.request_reader import RequestReader
from unbuffer.relay.response_writer import ResponseWriter
from unbuffer.relay.states import ANSWER, BODY, CLOSED, HEAD, IDLE, TUNNEL
from unbuffer.relay.trust import Origin
from unbuffer.relay.upstream import readable
from unbuffer.totals import TOO_MANY_CONNECTIONS


class DownstreamConnection(ClientConnection):
    """A client that speaks HTTP/1.1. close_after: its connection ends after the current response."""

    __slots__ = ("_early", "_keep_alive", "_reader", "_since", "_writer", "close_after")

    _writer: ResponseWriter

    def __init__(self, plane: Plane, origin: Origin | None = None) -> None:
        """origin: whose connection it is, where it was admitted already and that is known; None = as it is accepted."""
        super().__init__(plane, origin)
        self.close_after = False
        self._reader: RequestReader | None = None
        self._keep_alive = True
        self._early = b""
        """What came of the next requests while an exchange runs."""
        self._since = 0.0
        """Start of the current wait, for a request or for the rest of a head."""

    # -- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        admitted = self._accepted(transport)
        self._writer = ResponseWriter(self.transport)
        if admitted:
            self._rest(monotonic())
            return
        self.plane.totals.rejected[TOO_MANY_CONNECTIONS] += 1
        if self.plane.clients.refused <= refusals.REFUSALS:
            self._refuse(503, Outcome.REJECTED, "the limit limits.connections is reached")
        else:
            self.abort()

    def data_received(self, data: bytes) -> None:
        try:
            self._read(data)
        except BadRequest as refusal:
            if refusal.status != 505 or not self._other_version():
                self._bad_request(refusal)
        except Exception as error:
            self._failed(error)

    def eof_received(self) -> bool:
        exchange = self._exchange
        if exchange is None:
            if self._breaking is not None:
                self.abort()  # a mere close could be taken for the end of the body
            return False
        if exchange.tunnel is not None:
            return exchange.tunnel.client_eof()
        if self._state == ANSWER and self.plane.settings.listen.half_close:
            self._keep_alive = False
            self.close_after = True
            return True
        exchange.client_lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._state == HEAD:
            self._record(Outcome.CLIENT_DISCONNECT, 0, "inside a request head")
        self._lost()
        self._forget()
        if self._exchange is not None:
            self._exchange.client_lost(exc)

    # -- what the exchange asks for: see Client

    @property
    def writer(self) -> ResponseWriter:
        """Of this connection."""
        return self._writer

    def respond(self, head: ResponseHead, changed: bool, waited: float) -> None:
        """The head of the response to the current request; see `ResponseWriter.head`."""
        self.close_after = self._writer.head(head, changed, self._leaves, waited)

    def resume_reading(self) -> None:
        """Read the client again."""
        if self.reading_paused and not self.transport.is_closing():
            self.reading_paused = False
            self.read_at = self.resumed_at = monotonic()
            if not self._early:
                self.transport.resume_reading()

    @property
    def _leaves(self) -> bool:
        """Whether the client or the state of the process allows no other request on this connection. Nor does an answer
        before the end of its request: whether that end still comes nobody knows (RFC 9112, section 9.3)."""
        return not self._keep_alive or self.plane.clients.draining or self._state != ANSWER

    def begin_tunnel(self) -> None:
        """From now on every byte of the client belongs to the tunnel, those that came early first."""
        self._move(TUNNEL)
        early, self._early = self._early, b""
        if early:
            self._tunnel_up(early)
            if not self.reading_paused:
                self.transport.resume_reading()

    def exchange_over(self, outcome: Outcome, status: int) -> None:
        """The exchange has its outcome: answer if nothing was, break what was cut, go on or close."""
        exchange, self._exchange = self._exchange, None
        if exchange is None or self._state == CLOSED or self.transport.is_closing():
            return
        if outcome in WHOLE:
            self._next(exchange.record.ended, self._writer.close_delimited)
        elif outcome in (Outcome.CLIENT_STALL_TIMEOUT, Outcome.CLIENT_DISCONNECT):
            self.abort()
        elif exchange.answer.head_sent:
            # Where the framing shows what is missing, what did arrive is delivered first.
            cut = self.abort if self._writer.close_delimited else self._close
            if exchange.answer.explained:
                self._begin_ending()
                self._breaking = self.plane.loop.call_later(patience.READ_FIRST, cut)
            else:
                cut()
        elif refusals.breaks(exchange, outcome):
            self._close()
        else:
            self._answer_failure(exchange, outcome, status or outcome.value.status)

    # -- as one of the clients: see `clients.Connection`

    def drain(self) -> None:
        """Close if nothing can be on its way, else once nothing has come. A WebSocket hears that the server leaves."""
        if self._exchange is not None:
            if self._exchange.tunnel is not None:
                self._exchange.tunnel.go_away()
        elif self._state == IDLE:
            now = monotonic()
            at_rest = now >= self._since + patience.CROSSING
            if at_rest and not readable(self.transport.get_extra_info("socket").fileno()):
                self._close()
            else:
                self._rest(now)

    # -- reading

    def _read(self, data: bytes) -> None:
        """Take in what came, message by message, until an exchange runs or nothing is left. Raises BadRequest."""
        while data:
            state = self._state
            if state <= HEAD:
                data = self._read_head(data)
            elif state == BODY:
                data = self._read_body(data)
            elif state == TUNNEL:
                self._tunnel_up(data)
                return
            elif state == ANSWER:
                # The next request is early. It waits, unread; what follows it waits in the kernel.
                self._early += data
                self.transport.pause_reading()
                return
            else:
                if self._closing is not None:
                    self._closing.read_at = monotonic()
                return

    def _other_version(self) -> bool:
        """Hand the connection over, if it begins with the preface of HTTP/2. Returns whether it did."""
        preface = self._reader.preface if self._reader is not None else b""
        if not preface or self.read_at or not self.plane.settings.listen.http2:
            return False
        from unbuffer.relay.http2.connection import Http2Connection

        plane, origin = self.plane, self._origin
        assert origin is not None
        self._move(CLOSED)
        self._reader = None
        plane.watchdog.forget(self)
        connection = Http2Connection(plane, origin, self.transport)
        plane.clients.left(self)
        connection.begin(preface)
        return True

    def _tunnel_up(self, data: bytes) -> None:
        assert self._exchange is not None and self._exchange.tunnel is not None  # noqa: PT018 - for the type checker
        self._exchange.tunnel.up(data)

    def _read_head(self, data: bytes) -> bytes:
        reader = self._reader
        if reader is None:
            reader = self._reader = RequestReader(self.plane.settings.limits)
        now = monotonic()
        if self._state == IDLE:
            self._since = now
        data = reader.read_head(data)
        if reader.head is not None:
            self._begin(reader.head, now)
        elif reader.started and self._state == IDLE:
            self._move(HEAD)
            self._wait(now, self._patience)
        return data

    def _begin(self, request: RequestHead, now: float) -> None:
        self.read_at = now
        self._keep_alive = request.keep_alive
        self.close_after = not request.keep_alive
        self._writer.begin(request.http11, request.wants_trailers)
        if request.framing == 0:
            self._move(ANSWER)
            self._reader = None
        else:
            self._move(BODY)
        health = self.plane.health
        if health is not None and refusals.asks_for_health(request):
            health(request.target.partition(b"?")[0], partial(self._answer_health, request.method == b"HEAD"))
            return
        exchange = self._exchange = Exchange(self.plane, self, request, now)
        refusal = refusals.admission(self.plane, exchange.policy, request)
        if refusal is not None:
            self._refuse_stream(exchange, refusal)
        elif self.plane.resumption is None or not self.plane.resumption.takes(exchange):
            exchange.begin(now)

    def _read_body(self, data: bytes) -> bytes:
        reader, exchange = self._reader, self._exchange
        assert reader is not None
        if exchange is None:
            return b""  # it was answered, and the client has reset the connection: nobody waits for more
        body, data = reader.read_body(data)
        last = reader.whole
        if last:
            self._move(ANSWER)
            self._reader = None
        if body or last:
            self.read_at = monotonic()
            limit = exchange.policy.body_limit
            if limit and exchange.record.bytes_up + len(body) > limit:
                self._refuse_stream(exchange, LARGE_BODY)
            else:
                exchange.request_body(body, last)
        return data

    def _read_early(self) -> None:
        if self._state != IDLE or self.transport.is_closing():
            return
        early, self._early = self._early, b""
        self.reading_paused = False
        self.transport.resume_reading()
        self.data_received(early)

    # -- answers of our own

    def _answer_health(self, head_only: bool, status: int, body: bytes) -> None:
        if self._state != ANSWER or self.transport.is_closing():
            return  # the client has left meanwhile
        self.close_after = self._leaves
        self._write(plain_answer(status, body, self.close_after, head_only=head_only))
        self._next(monotonic())

    def _answer_failure(self, exchange: Exchange, outcome: Outcome, status: int) -> None:
        self.close_after = self._leaves
        self._write(refusals.failure(self.plane, exchange, outcome, status, self.close_after))
        self._next(exchange.record.ended)

    def _bad_request(self, error: BadRequest) -> None:
        """Refuse what cannot be read, or may not be answered. After what cannot be read the connection ends."""
        refusal = refusals.of_bad_request(error)
        if self._exchange is not None:
            self._refuse_stream(self._exchange, refusal)
        else:
            self.plane.totals.rejected[refusal.reason] += 1
            self._refuse(refusal.status, refusal.outcome, refusal.detail)

    def _refuse_stream(self, exchange: Exchange, refusal: Refusal) -> None:
        self.plane.totals.rejected[refusal.reason] += 1
        exchange.finish(refusal.outcome, refusal.detail, refusal.status)

    def _refuse(self, status: int, outcome: Outcome, detail: str) -> None:
        """Answer where no exchange exists, and close."""
        self._record(outcome, status, detail)
        head_only = self._reader is not None and self._reader.method == b"HEAD"
        self._write(refusals.answer(self.plane, status, outcome, detail, head_only))
        self._linger()

    def _record(self, outcome: Outcome, status: int, detail: str) -> None:
        refusals.note(self.plane, self.peer, self._since, outcome, status, detail, self._reader)

    def _next(self, now: float, close_delimited: bool = False) -> None:
        """A response is complete: go on with the next request, or close."""
        if self._state == TUNNEL or (close_delimited and not self.transport.can_write_eof()):
            self._close()
        elif self._state != ANSWER or (self.close_after and self._early):
            # The answer came before the end of the request, or more came than is answered.
            self._linger()
        elif self.close_after:
            self._close()
        else:
            self._move(IDLE)
            self._rest(now)
            if self._early:
                # In another turn of the loop: a long pipeline must not keep the others waiting.
                self.plane.loop.call_soon(self._read_early)
            elif self.reading_paused:
                self.reading_paused = False
                self.transport.resume_reading()

    def _begin_ending(self) -> None:
        self._forget()
        super()._begin_ending()

    def _forget(self) -> None:
        """No further request is read."""
        self._early = b""
        self._reader = None

    # -- the wait for a request

    def _look_request(self, now: float) -> float:
        seconds = self._patience
        due = self._since + seconds if seconds else 0.0
        if not due or due > now:
            return due
        if self._state == IDLE:
            self._close()
        else:
            self._refuse(408, Outcome.REQUEST_HEAD_TIMEOUT, "")
        return 0.0

    @property
    def _patience(self) -> float:
        if self._state == ANSWER:
            return 0.0  # a health check is being answered: nobody waits for the client
        return patience.request_wait(self.plane.settings.timeouts, self._state == IDLE, self.plane.clients.closing)

    def _rest(self, now: float) -> None:
        """Begin the wait for a request."""
        self._since = now
        self._wait(now, self._patience)
