"""One client connection: reads requests, runs one exchange at a time, keeps the order of pipelined ones.

What comes while an exchange runs waits, and reading pauses behind it, so a connection never holds more than one read.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from unbuffer.http.headers import own_answer, plain_answer
from unbuffer.http.request import BadRequest, RequestHead
from unbuffer.http.response import ResponseHead
from unbuffer.outcome import WHOLE, Outcome
from unbuffer.record import Record
from unbuffer.relay import patience, refusals
from unbuffer.relay.client import Client
from unbuffer.relay.exchange import Exchange
from unbuffer.relay.refusals import (
    LARGE_BODY,
    Refusal,
    admission,
    answer,
    asks_for_health,
    fields_of,
    note,
    of_bad_request,
)
from unbuffer.relay.request_reader import RequestReader
from unbuffer.relay.response_writer import ResponseWriter
from unbuffer.relay.tcp import OFF, client_options, kernel_timeout, reset, set_options
from unbuffer.relay.trust import Origin
from unbuffer.relay.upstream import readable
from unbuffer.relay.watchdog import TICK
from unbuffer.totals import TOO_MANY_CONNECTIONS

if TYPE_CHECKING:
    from unbuffer.relay.plane import Plane

# What the bytes of the client are, now. (Plain numbers: in Python 3.11 an Enum's member costs six times as much.)
_REQUEST: Final = 0  # a head or a body that is not complete
_WHOLE: Final = 1  # the request is complete, its exchange runs: what comes is the next request, early
_TUNNEL: Final = 2
_ENDING: Final = 3  # closing: what comes is dropped
_CLOSED: Final = 4
_PHASES = ("request", "whole", "tunnel", "ending", "closed")


class DownstreamConnection(Client, asyncio.Protocol):
    """A client's connection, from accept to its loss.

    close_after: it ends after the current response.
    """

    __slots__ = (
        "_behind",
        "_breaking",
        "_exchange",
        "_keep_alive",
        "_linger_until",
        "_origin",
        "_phase",
        "_reader",
        "_since",
        "_stall_at",
        "_stall_size",
        "_surplus",
        "_writer",
        "close_after",
        "plane",
        "transport",
    )

    transport: asyncio.Transport
    _writer: ResponseWriter

    def __init__(self, plane: "Plane", origin: Origin | None = None) -> None:
        """origin: whose connection it is, where it was admitted already and that is known; None = as it is accepted."""
        super().__init__()
        self.plane = plane
        self.close_after = False
        self._phase = _REQUEST
        self._reader: RequestReader | None = None
        self._exchange: Exchange | None = None
        self._keep_alive = True
        self._behind = b""
        self._breaking: asyncio.TimerHandle | None = None
        """Until the client has read why its response breaks."""
        self._since = 0.0
        """Start of the current wait: idle, for the rest of a head, or for the end of the connection."""
        self._stall_at = 0.0
        self._stall_size = 0
        self._linger_until = 0.0
        """When a connection that is being closed is given up, whatever still comes."""
        self._surplus = False
        """Beyond limits.connections: it takes nobody's place."""
        self._origin = origin

    def __repr__(self) -> str:
        return f"<DownstreamConnection {self.peer.address or 'unix'} {_PHASES[self._phase]}>"

    # -- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's
        self.transport.set_write_buffer_limits(high=65536)
        self._writer = ResponseWriter(self.transport)
        plane = self.plane
        full = self._origin is None and plane.clients.full(plane.settings.limits.connections)
        if self._origin is None:
            self._origin = Origin.of(transport)
        self.peer = plane.trust.peer(self._origin)
        plane.clients.joined(self)
        if full:
            plane.totals.rejected[TOO_MANY_CONNECTIONS] += 1
            self._surplus = True
            plane.clients.refused += 1
            if plane.clients.refused <= refusals.REFUSALS:
                self._refuse(503, Outcome.REJECTED, "the limit limits.connections is reached")
            else:
                self.abort()
            return
        self._rest()

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
        if self._phase == _WHOLE and self.plane.settings.listen.half_close:
            self._keep_alive = False
            self.close_after = True
            return True
        exchange.client_lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        plane = self.plane
        if self._phase == _REQUEST and self._exchange is None and not self._idle:
            self._record(Outcome.CLIENT_DISCONNECT, 0, "inside a request head")
        if self._surplus:
            plane.clients.refused -= 1
        if self._breaking is not None:
            self._breaking.cancel()
        self._phase = _CLOSED
        plane.watchdog.forget(self)
        self._behind = b""
        self._reader = None
        if self._exchange is not None:
            self._exchange.client_lost(exc)
        plane.clients.left(self)

    def pause_writing(self) -> None:
        self.stalled = True
        self._stall_at = time.monotonic()
        self._stall_size = self.transport.get_write_buffer_size()
        if self._exchange is not None:
            self._exchange.answer.downstream_full()
        seconds = self._stall_timeout
        if seconds:
            self.plane.watchdog.watch(self, self._stall_at + seconds)

    def resume_writing(self) -> None:
        self.stalled = False
        if self._exchange is not None:
            self._exchange.answer.downstream_has_room()

    # -- what the exchange asks for

    def write(self, data: bytes) -> None:
        """Hand bytes to the kernel, now."""
        if data and not self.transport.is_closing():
            self.transport.write(data)

    @property
    def writer(self) -> ResponseWriter:
        """Of this connection."""
        return self._writer

    def respond(self, head: ResponseHead, changed: bool, waited: float) -> None:
        """The head of the response to the current request; see `ResponseWriter.head`."""
        self.close_after = self._writer.head(head, changed, self._leaves, waited)

    def pause_reading(self) -> None:
        """Stop reading the client."""
        if not self.reading_paused and not self.transport.is_closing():
            self.reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read the client again."""
        if self.reading_paused and not self.transport.is_closing():
            self.reading_paused = False
            self.read_at = self.resumed_at = time.monotonic()
            if not self._behind:
                self.transport.resume_reading()

    @property
    def records(self) -> Sequence[Record]:
        """Of the stream that runs, if one does."""
        return (self._exchange.record,) if self._exchange is not None else ()

    @property
    def _leaves(self) -> bool:
        """Whether the client or the state of the process allows no other request on this connection. Nor does an answer
        before the end of its request: whether that end still comes nobody knows (RFC 9112, section 9.3)."""
        return not self._keep_alive or self.plane.clients.draining or self._phase != _WHOLE

    def why_lost(self, exc: Exception | None) -> str:
        """What the kernel gave the connection up for, or the error's own words."""
        return kernel_timeout(exc, self.transport, "client") or str(exc or "")

    def begin_tunnel(self) -> None:
        """From now on every byte of the client belongs to the tunnel, those that came early first."""
        assert self._exchange is not None
        self._phase = _TUNNEL
        early, self._behind = self._behind, b""
        if early:
            self._tunnel_up(early)
            if not self.reading_paused:
                self.transport.resume_reading()

    def exchange_over(self, outcome: Outcome, status: int) -> None:
        """The exchange has its outcome: answer if nothing was, break what was cut, go on or close."""
        exchange, self._exchange = self._exchange, None
        if exchange is None or self._phase == _CLOSED or self.transport.is_closing():
            return
        if outcome in WHOLE:
            self._next(self._writer.close_delimited)
        elif outcome in (Outcome.CLIENT_STALL_TIMEOUT, Outcome.CLIENT_DISCONNECT):
            self.abort()
        elif exchange.answer.head_sent:
            # Where the framing shows what is missing, what did arrive is delivered first.
            cut = self.abort if self._writer.close_delimited else self._close
            if exchange.answer.explained:
                self._begin_ending()
                self._wait(patience.LINGER)
                self._breaking = self.plane.loop.call_later(patience.READ_FIRST, cut)
            else:
                cut()
        elif outcome in patience.RESTARTING and self.plane.settings.upstream.wait_streams and exchange.comes_back:
            self._close()
        else:
            self._answer_failure(exchange, outcome, status or outcome.value.status)

    # -- as one of the clients: see `clients.Connection`

    def drain(self) -> None:
        """Close if nothing can be on its way, else once nothing has come. A WebSocket hears that the server leaves."""
        exchange = self._exchange
        if exchange is not None:
            if exchange.tunnel is not None:
                exchange.tunnel.go_away()
        elif self._phase == _REQUEST and self._idle:
            at_rest = time.monotonic() >= self._since + patience.CROSSING
            if at_rest and not readable(self.transport.get_extra_info("socket").fileno()):
                self._close()
            else:
                self._rest()

    def reload(self) -> None:
        """The settings have changed: whether the client's forwarding fields are believed is decided anew, and a wait
        that runs has another end."""
        if self._origin is not None:
            self.peer = self.plane.trust.peer(self._origin)
        if self._exchange is None:
            self.plane.watchdog.watch(self, time.monotonic())

    def reload_options(self) -> None:
        """The kernel's deadlines have changed. A stream that runs keeps its client_stall, and is not cut before it."""
        running = (self._exchange.policy.client_stall_timeout,) if self._exchange is not None else ()
        with contextlib.suppress(OSError):  # of a connection that has just ended
            set_options(self.transport.get_extra_info("socket"), client_options(self.plane.settings, *running) or OFF)

    def end_streams(self, outcome: Outcome) -> None:
        """End whatever runs. What was written of a response that is complete may still go out."""
        if self._exchange is not None:
            self._exchange.finish(outcome)
        elif self._phase != _ENDING:
            self._close()

    # -- reading

    @property
    def _idle(self) -> bool:
        """Whether nothing of a request has come; empty lines before it are nothing."""
        return self._reader is None or (self._reader.in_head and not self._reader.started)

    def _read(self, data: bytes) -> None:
        """Take in what came, message by message, until an exchange runs or nothing is left. Raises BadRequest."""
        while data:
            if self._phase == _REQUEST:
                data = self._read_request(data)
            elif self._phase == _TUNNEL:
                self._tunnel_up(data)
                return
            elif self._phase == _WHOLE:
                # The next request is early. It waits, unread; what follows it waits in the kernel.
                self._behind += data
                self.transport.pause_reading()
                return
            else:
                self._since = time.monotonic()  # of the latest read: see LINGER
                return

    def _other_version(self) -> bool:
        """Hand the connection over, if it begins with the preface of HTTP/2. Returns whether it did."""
        preface = self._reader.preface if self._reader is not None else b""
        if not preface or self.read_at or not self.plane.settings.listen.http2:
            return False
        from unbuffer.relay.http2.connection import Http2Connection

        plane, origin = self.plane, self._origin
        assert origin is not None
        self._phase = _CLOSED
        self._reader = None
        plane.watchdog.forget(self)
        connection = Http2Connection(plane, origin, self.transport)
        plane.clients.left(self)
        connection.begin(preface)
        return True

    def _tunnel_up(self, data: bytes) -> None:
        assert self._exchange is not None and self._exchange.tunnel is not None  # noqa: PT018 - for the type checker
        self._exchange.tunnel.up(data)

    def _read_request(self, data: bytes) -> bytes:
        reader = self._reader
        if reader is None:
            reader = self._reader = RequestReader(self.plane.settings.limits)
        if reader.in_head:
            now = time.monotonic()
            if not reader.started:
                self._since = now
            data = reader.read_head(data)
            if reader.head is not None:
                self._begin(reader.head, now)
            elif reader.started:
                self._watch_head()
            return data
        body, data = reader.read_body(data)
        if reader.whole:
            self._phase = _WHOLE
            self._reader = None
        if body or reader.whole:
            self._body(body, reader.whole)
        return data

    def _begin(self, request: RequestHead, now: float) -> None:
        self.read_at = now
        self._keep_alive = request.keep_alive
        self.close_after = not request.keep_alive
        self._writer.begin(request.http11, request.wants_trailers)
        health = self.plane.health
        if health is not None and asks_for_health(request):
            self._phase = _WHOLE
            self._reader = None
            health(request.target.partition(b"?")[0], partial(self._answer_health, request.method == b"HEAD"))
            return
        exchange = self._exchange = Exchange(self.plane, self, request, now)
        if request.framing == 0:
            self._phase = _WHOLE
            self._reader = None
        refusal = admission(self.plane, exchange.policy, request)
        if refusal is None:
            exchange.begin(now)
        else:
            self._refuse_stream(exchange, refusal)

    def _answer_health(self, head_only: bool, status: int, body: bytes) -> None:
        if self._phase != _WHOLE or self.transport.is_closing():
            return  # the client has left meanwhile
        self.close_after = self._leaves
        self.write(plain_answer(status, body, self.close_after, head_only=head_only))
        self._next()

    def _body(self, data: bytes, last: bool) -> None:
        exchange = self._exchange
        assert exchange is not None
        self.read_at = time.monotonic()
        limit = exchange.policy.body_limit
        if limit and exchange.record.bytes_up + len(data) > limit:
            self._refuse_stream(exchange, LARGE_BODY)
        else:
            exchange.request_body(data, last)

    def _refuse_stream(self, exchange: Exchange, refusal: Refusal) -> None:
        self.plane.totals.rejected[refusal.reason] += 1
        exchange.finish(refusal.outcome, refusal.detail, refusal.status)

    def _read_behind(self) -> None:
        if self._phase != _REQUEST or self.transport.is_closing():
            return
        behind, self._behind = self._behind, b""
        self.reading_paused = False
        self.transport.resume_reading()
        self.data_received(behind)

    # -- endings

    def _next(self, close_delimited: bool = False) -> None:
        """A response is complete: go on with the next request, or close."""
        if self._phase == _TUNNEL or (close_delimited and not self.transport.can_write_eof()):
            self._close()
        elif self._phase != _WHOLE or (self.close_after and self._behind):
            # The answer came before the end of the request, or more came than is answered.
            self._linger()
        elif self.close_after:
            self._close()
        else:
            self._phase = _REQUEST
            self._rest()
            if self._behind:
                # In another turn of the loop: a long pipeline must not keep the others waiting.
                self.plane.loop.call_soon(self._read_behind)
            elif self.reading_paused:
                self.reading_paused = False
                self.transport.resume_reading()

    def _bad_request(self, error: BadRequest) -> None:
        """Refuse what cannot be read, or may not be answered. Behind what cannot be read the connection ends."""
        refusal = of_bad_request(error)
        if self._exchange is not None:
            self._refuse_stream(self._exchange, refusal)
        else:
            self.plane.totals.rejected[refusal.reason] += 1
            self._refuse(refusal.status, refusal.outcome, refusal.detail)

    def _refuse(self, status: int, outcome: Outcome, detail: str) -> None:
        """Answer where no exchange exists, and close."""
        self._record(outcome, status, detail)
        head_only = self._reader is not None and self._reader.method == b"HEAD"
        self.write(answer(self.plane, status, outcome, detail, head_only))
        self._linger()

    def _record(self, outcome: Outcome, status: int, detail: str) -> None:
        note(self.plane, self.peer, self._since, outcome, status, detail, self._reader)

    def _answer_failure(self, exchange: Exchange, outcome: Outcome, status: int) -> None:
        record = exchange.record
        extra = fields_of(status, record.detail)
        status, fields = exchange.own_fields(status)
        close = self.close_after = self._leaves
        text = self.plane.told(outcome, record.detail)
        record.status = status
        self.plane.totals.requests[record.route, record.method_label, status] += 1
        self.write(own_answer(status, outcome.value.error, text, close, extra + fields, record.method == "HEAD"))
        self._next()

    def _linger(self) -> None:
        """Close behind what was written, and read away what the client still sends."""
        if self.transport.is_closing():
            return
        half_close = self.transport.can_write_eof()
        if not half_close and (self._reader is None or self._reader.in_head):
            self._close()
            return
        self._begin_ending()
        if half_close:
            with contextlib.suppress(OSError):  # of asyncio's own transport, where the client has reset the connection
                self.transport.write_eof()
        # With TLS nothing can be read after a close of ours. The client knows by the length where its answer ends.
        self.transport.resume_reading()
        self._wait(patience.LINGER)

    def _close(self) -> None:
        """Close once everything written has been taken, but do not wait for that for ever."""
        self._begin_ending()
        self.transport.close()
        self._wait(patience.LINGER)

    def abort(self) -> None:
        """End the connection at once, by a reset: the end of a body that ends with its connection looks otherwise, and
        with TLS the close_notify is missing."""
        if self._phase == _CLOSED:
            return
        self._begin_ending()
        reset(self.transport)

    def _begin_ending(self) -> None:
        self._phase = _ENDING
        self._behind = b""
        self._reader = None
        self._stall_at = time.monotonic()
        self._linger_until = self._stall_at + patience.LINGER_TOTAL
        self._stall_size = self.transport.get_write_buffer_size()

    def _failed(self, error: Exception) -> None:
        if self._exchange is not None:
            self._exchange.fail(error)
        else:
            self.plane.loop.call_exception_handler({"message": f"unbuffer failed on {self!r}", "exception": error})
            self.abort()

    # -- deadlines

    def look(self, now: float) -> float:
        """Compare the deadlines with the clock; the watchdog calls this."""
        if self._phase == _CLOSED:
            return 0.0
        try:
            return self._look(now)
        except Exception as error:
            self._failed(error)  # the clock goes on for the others
            return 0.0

    def _look(self, now: float) -> float:
        exchange = self._exchange
        if exchange is not None:
            due = exchange.look(now)
            # Not `self._exchange is None`: mypy takes that for impossible here, and mypyc compiles it so.
            if not self.stalled or exchange.record.outcome is not None:
                return due
            stall = self._look_stall(now)
            return min(due, stall) if due and stall else due or stall
        if self._phase == _ENDING:
            return self._look_ending(now)
        if self.stalled:
            return self._look_stall(now)
        return self._look_request(now)

    def _look_request(self, now: float) -> float:
        seconds = self._patience
        due = self._since + seconds if seconds else 0.0
        if not due or due > now:
            return due
        if self._idle and (self._phase == _REQUEST or self.plane.clients.closing):
            self._close()
        else:
            self._refuse(408, Outcome.REQUEST_HEAD_TIMEOUT, "")
        return self._since + patience.LINGER

    def _look_ending(self, now: float) -> float:
        """While the client takes what was written it may go on; else the connection is given up."""
        if self.transport.get_write_buffer_size():
            self._since = now
            self._linger_until = now + patience.LINGER_TOTAL
            return self._look_stall(now) or now + patience.LINGER
        due = min(self._since + patience.LINGER, self._linger_until)
        if due > now:
            return due
        self.abort()
        return 0.0

    def _look_stall(self, now: float) -> float:
        """A client that takes nothing for client_stall is given up; one that takes little by little is not."""
        seconds = self._stall_timeout
        if not seconds:
            return 0.0
        size = self.transport.get_write_buffer_size()
        if size < self._stall_size:
            self._stall_at = now
        self._stall_size = size
        if self._stall_at + seconds > now:
            return self._stall_at + seconds
        if self._exchange is not None:
            self._exchange.finish(Outcome.CLIENT_STALL_TIMEOUT)
        else:
            self.abort()
        return 0.0

    @property
    def _stall_timeout(self) -> float:
        if self._exchange is not None:
            return self._exchange.policy.client_stall_timeout
        return self.plane.settings.timeouts.client_stall

    @property
    def _patience(self) -> float:
        """Seconds that the current wait for a request, or for the rest of its head, may last; 0 = it may last."""
        timeouts = self.plane.settings.timeouts
        if self._phase == _WHOLE:
            return 0.0  # a health check is being answered: nobody waits for the client
        if not self._idle:
            return timeouts.request_head
        if self.plane.clients.closing:
            return patience.CROSSING
        return timeouts.keep_alive

    def _rest(self) -> None:
        """Begin the wait for a request."""
        self._wait(self._patience)

    def _wait(self, seconds: float) -> None:
        """Begin a wait that ends in at most so many seconds; 0 = it may last."""
        since = self._since = time.monotonic()
        # A look that is due earlier, as between the requests of a busy connection, arms the right one by itself.
        if seconds and not 0 <= self.watched_slot * TICK <= since + seconds:
            self.plane.watchdog.watch(self, since + seconds)

    def _watch_head(self) -> None:
        seconds = self.plane.settings.timeouts.request_head
        if seconds:
            self.plane.watchdog.watch(self, self._since + seconds)
