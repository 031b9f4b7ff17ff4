"""One client connection: reads requests, runs one exchange at a time, keeps the order of pipelined ones.

What comes while an exchange runs waits, and reading pauses behind it, so a connection never holds more than one read.
"""

import asyncio
import contextlib
import socket
import struct
import time
from typing import TYPE_CHECKING

from unbuffer.http.headers import own_answer
from unbuffer.http.request import BadRequest, RequestHead
from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.relay.exchange import Exchange
from unbuffer.relay.request_reader import RequestReader
from unbuffer.relay.watchdog import NOT_WATCHED, TICK

if TYPE_CHECKING:
    from unbuffer.relay.plane import Plane

LINGER = 5.0
"""Seconds in which what a client still sends is read and dropped behind an early answer: a close with unread bytes
resets the connection and can take the answer with it. nginx's lingering_timeout is 5 s as well."""


# What the bytes of the client are, now. (Plain numbers: in Python 3.11 an Enum's member costs six times as much.)
_REQUEST = 0  # a head or a body that is not complete
_WHOLE = 1  # the request is complete, its exchange runs: what comes is the next request, early
_TUNNEL = 2
_ENDING = 3  # closing: what comes is dropped
_CLOSED = 4
_PHASES = ("request", "whole", "tunnel", "ending", "closed")

_COMPLETED = Outcome.COMPLETED


class DownstreamConnection(asyncio.Protocol):
    """A client's connection, from accept to its loss.

    close_after: it ends behind the current response. held: the upstream takes no more, so reading is paused.
    stalled: the client has yet to take what was written to it. read_at: time of the latest read of a request.
    """

    __slots__ = (
        "_behind",
        "_exchange",
        "_keep_alive",
        "_phase",
        "_reader",
        "_since",
        "_stall_at",
        "_stall_size",
        "close_after",
        "held",
        "peer",
        "plane",
        "read_at",
        "stalled",
        "transport",
        "watched_slot",
    )

    transport: asyncio.Transport

    def __init__(self, plane: "Plane") -> None:
        self.plane = plane
        self.watched_slot = NOT_WATCHED
        self.close_after = False
        self.held = False
        self.read_at = 0.0
        self._phase = _REQUEST
        self._reader: RequestReader | None = None
        self._exchange: Exchange | None = None
        self._keep_alive = True
        self._behind = b""
        self._since = 0.0
        """Start of the current wait: idle, for the rest of a head, or for the end of the connection."""
        self.stalled = False
        self._stall_at = 0.0
        self._stall_size = 0

    def __repr__(self) -> str:
        return f"<DownstreamConnection {self.peer.address or 'unix'} {_PHASES[self._phase]}>"

    # -- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's
        self.transport.set_write_buffer_limits(high=65536)
        plane = self.plane
        secure = transport.get_extra_info("sslcontext") is not None
        self.peer = plane.peer(transport.get_extra_info("peername"), secure)
        plane.connections.add(self)
        plane.totals.client_connections += 1
        limit = plane.settings.limits.connections
        if limit and len(plane.connections) - plane.ending > limit:
            plane.totals.rejected["connections"] += 1
            self._refuse(503, Outcome.REJECTED, "the limit limits.connections is reached")
            return
        # One that was accepted before the listener closed may still have its request on the way.
        self._wait(LINGER if plane.draining else plane.settings.timeouts.keep_alive)

    def data_received(self, data: bytes) -> None:
        try:
            self._read(data)
        except BadRequest as error:
            self._bad_request(error)
        except Exception as error:
            self._failed(error)

    def eof_received(self) -> bool:
        exchange = self._exchange
        if exchange is None:
            return False
        if self._phase == _TUNNEL:
            return exchange.tunnel_client_eof()
        if self._phase == _WHOLE and self.plane.settings.listen.half_close:
            self._keep_alive = False
            self.close_after = True
            return True
        exchange.client_lost(None)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        plane = self.plane
        if self._phase == _REQUEST and self._exchange is None and self._reader is not None:
            self._record(Outcome.CLIENT_DISCONNECT, 0, "inside a request head")
        if self._phase == _ENDING:
            plane.ending -= 1
        self._phase = _CLOSED
        plane.connections.discard(self)
        plane.totals.client_connections -= 1
        plane.watchdog.forget(self)
        self._behind = b""
        self._reader = None
        if self._exchange is not None:
            self._exchange.client_lost(exc)
        plane.connection_closed()

    def pause_writing(self) -> None:
        self.stalled = True
        self._stall_at = time.monotonic()
        self._stall_size = self.transport.get_write_buffer_size()
        if self._exchange is not None:
            self._exchange.downstream_full()
        seconds = self._stall_timeout
        if seconds:
            self.plane.watchdog.watch(self, self._stall_at + seconds)

    def resume_writing(self) -> None:
        self.stalled = False
        if self._exchange is not None:
            self._exchange.downstream_drained()

    # -- what the exchange asks for

    def write(self, data: bytes) -> None:
        """Hand bytes to the kernel, now."""
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def hold(self) -> None:
        """Stop reading the client."""
        if not self.held and not self.transport.is_closing():
            self.held = True
            self.transport.pause_reading()

    def release(self) -> None:
        """Read the client again."""
        if self.held and not self.transport.is_closing():
            self.held = False
            self.read_at = time.monotonic()
            if not self._behind:
                self.transport.resume_reading()

    @property
    def may_keep_alive(self) -> bool:
        """Whether the client and the state of the process allow another request on this connection."""
        return self._keep_alive and not self.plane.draining

    def tunnel(self) -> None:
        """From now on every byte of the client belongs to the tunnel, those that came early first."""
        assert self._exchange is not None
        self._phase = _TUNNEL
        early, self._behind = self._behind, b""
        if early:
            self._exchange.tunnel_up(early)
            if not self.held:
                self.transport.resume_reading()

    def exchange_over(self, exchange: Exchange, outcome: Outcome, detail: str, status: int) -> None:
        """The exchange has its outcome: answer if nothing was, break what was cut, go on or close."""
        self._exchange = None
        if self._phase == _CLOSED or self.transport.is_closing():
            return
        if outcome is _COMPLETED:
            self._next()
        elif outcome in (Outcome.CLIENT_STALL_TIMEOUT, Outcome.CLIENT_DISCONNECT) or (
            exchange.head_sent and exchange.close_delimited
        ):
            self.abort()
        elif exchange.head_sent:
            self._close()  # the framing shows what is missing; what did arrive is delivered first
        else:
            self._answer_failure(exchange.record, outcome, detail, status or outcome.value.status)

    # -- what the plane asks for

    def drain(self) -> None:
        """Close at once when idle, else behind the message."""
        if self._exchange is not None:
            self.close_after = True
        elif self._phase == _REQUEST and self._reader is None:
            self._close()

    def end(self, outcome: Outcome) -> None:
        """End whatever runs."""
        if self._exchange is not None:
            self._exchange.finish(outcome)
        else:
            self.abort()

    # -- reading

    def _read(self, data: bytes) -> None:
        """Take in what came, message by message, until an exchange runs or nothing is left. Raises BadRequest."""
        while data:
            if self._phase == _REQUEST:
                data = self._read_request(data)
            elif self._phase == _TUNNEL:
                assert self._exchange is not None
                self._exchange.tunnel_up(data)
                return
            elif self._phase == _WHOLE:
                # The next request is early. It waits, unread; what follows it waits in the kernel.
                self._behind += data
                self.transport.pause_reading()
                return
            else:
                return

    def _read_request(self, data: bytes) -> bytes:
        reader = self._reader
        if reader is None:
            reader = self._reader = RequestReader(self.plane.settings.limits)
            self._since = time.monotonic()
        if reader.head is None:
            data = reader.read_head(data)
            if reader.head is not None:
                self._begin(reader.head)
            elif reader.started:
                self._watch_head()
            else:
                self._reader = None  # empty lines only: still idle
            return data
        body, data = reader.read_body(data)
        if reader.whole:
            self._phase = _WHOLE
            self._reader = None
        if body or reader.whole:
            self._body(body, reader.whole)
        return data

    def _begin(self, request: RequestHead) -> None:
        now = self.read_at = time.monotonic()
        self._keep_alive = request.keep_alive
        self.close_after = not request.keep_alive
        exchange = self._exchange = Exchange(self, request, now)
        if request.framing == 0:
            self._phase = _WHOLE
            self._reader = None
        totals, limits = self.plane.totals, self.plane.settings.limits
        if exchange.policy.body_limit and request.framing > exchange.policy.body_limit:
            self._body_too_large(exchange)
        elif limits.streams and totals.streams > limits.streams:
            totals.rejected["streams"] += 1
            exchange.finish(Outcome.REJECTED, "the limit limits.streams is reached")
        else:
            exchange.begin(now)

    def _body(self, data: bytes, last: bool) -> None:
        exchange = self._exchange
        assert exchange is not None
        self.read_at = time.monotonic()
        limit = exchange.policy.body_limit
        if limit and exchange.record.bytes_up + len(data) > limit:
            self._body_too_large(exchange)
        else:
            exchange.request_body(data, last)

    def _body_too_large(self, exchange: Exchange) -> None:
        self.plane.totals.rejected["body_too_large"] += 1
        exchange.finish(Outcome.REQUEST_TOO_LARGE, "the request body exceeds limits.body")

    def _read_behind(self) -> None:
        if self._phase != _REQUEST or self.transport.is_closing():
            return
        behind, self._behind = self._behind, b""
        self.held = False
        self.transport.resume_reading()
        self.data_received(behind)

    # -- endings

    def _next(self) -> None:
        """A response is complete: go on with the next request, or close."""
        if self._phase == _TUNNEL:
            self._close()
        elif self._phase != _WHOLE or (self.close_after and self._behind):
            # The answer came before the end of the request, or more came than is answered.
            self._linger()
        elif self.close_after or self.plane.draining:
            self._close()
        else:
            self._phase = _REQUEST
            self._wait(self.plane.settings.timeouts.keep_alive)
            if self._behind:
                # In another turn of the loop: a long pipeline must not keep the others waiting.
                self.plane.loop.call_soon(self._read_behind)
            elif self.held:
                self.held = False
                self.transport.resume_reading()

    def _bad_request(self, error: BadRequest) -> None:
        """Refuse what cannot be read. Nothing behind it can be read either: the connection ends."""
        outcome = Outcome.REQUEST_TOO_LARGE if error.status in (414, 431) else Outcome.REQUEST_MALFORMED
        self.plane.totals.rejected["bad_request"] += 1
        if self._exchange is not None:
            self._exchange.finish(outcome, str(error), error.status)
        else:
            self._refuse(error.status, outcome, str(error))

    def _refuse(self, status: int, outcome: Outcome, detail: str) -> None:
        """Answer where no exchange exists, and close."""
        self._record(outcome, status, detail)
        self.write(own_answer(status, outcome.value.error, detail, close=True, extra=_extra(status)))
        self._linger()

    def _record(self, outcome: Outcome, status: int, detail: str) -> None:
        """Count and log what never became an exchange."""
        reader, now = self._reader, time.monotonic()
        method, path = (reader.method, reader.target.partition(b"?")[0]) if reader else (b"", b"")
        client = self.peer.address or "unix"
        record = Record(self._since or now, method.decode("ascii"), path.decode("ascii"), "", client, "default")
        record.outcome, record.status, record.detail, record.ended = outcome, status, detail, now
        totals = self.plane.totals
        if status:
            totals.requests["default", "_OTHER", status] += 1
        totals.fold(record, totals.of("default", "plain"))
        self.plane.on_record(record)

    def _answer_failure(self, record: Record, outcome: Outcome, detail: str, status: int) -> None:
        ending = outcome.value
        close = self.close_after = self._phase != _WHOLE or not self.may_keep_alive
        text = f"{ending.text} ({detail})" if detail else ending.text
        record.status = status
        self.plane.totals.requests[record.route, record.method_label, status] += 1
        self.write(own_answer(status, ending.error, text, close, _extra(status), record.method == "HEAD"))
        self._next()

    def _linger(self) -> None:
        """Close behind what was written, and read away what the client still sends."""
        if self.transport.is_closing():
            return
        if not self.transport.can_write_eof():
            self._close()
            return
        self._begin_ending()
        self.transport.write_eof()
        self.transport.resume_reading()
        self._wait(LINGER)

    def _close(self) -> None:
        """Close once everything written has been taken, but do not wait for that for ever."""
        self._begin_ending()
        self.transport.close()
        self._wait(LINGER)

    def abort(self) -> None:
        """End the connection at once, by a reset: the end of a body that ends with its connection looks otherwise, and
        with TLS the close_notify is missing."""
        if self._phase == _CLOSED:
            return
        self._begin_ending()
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _begin_ending(self) -> None:
        if self._phase != _ENDING:
            self.plane.ending += 1
        self._phase = _ENDING
        self._behind = b""
        self._reader = None
        self._stall_at = time.monotonic()
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
        if self._exchange is not None:
            due = self._exchange.look(now)
            if not self.stalled or self._exchange is None:
                return due
            stall = self._look_stall(now)
            return min(due, stall) if due and stall else due or stall
        if self._phase == _ENDING:
            return self._look_ending(now)
        if self.stalled:
            return self._look_stall(now)
        return self._look_request(now)

    def _look_request(self, now: float) -> float:
        timeouts = self.plane.settings.timeouts
        idle = self._reader is None
        seconds = timeouts.keep_alive if idle else timeouts.request_head
        if idle and self.plane.draining:
            seconds = LINGER
        due = self._since + seconds if seconds else 0.0
        if not due or due > now:
            return due
        if idle:
            self._close()
        else:
            self._refuse(408, Outcome.REQUEST_HEAD_TIMEOUT, Outcome.REQUEST_HEAD_TIMEOUT.value.text)
        return self._since + LINGER

    def _look_ending(self, now: float) -> float:
        """While the client takes what was written it may go on; else the connection is given up."""
        if self.transport.get_write_buffer_size():
            due = self._look_stall(now)
            self._since = now
            return due
        due = self._since + LINGER
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


def _extra(status: int) -> bytes:
    """Fields that an own answer has beside the usual ones."""
    return b"Retry-After: 1\r\n" if status == 503 else b""
