"""One upstream connection: what a read brings is pushed into the answer in the same callback.

It serves one exchange at a time. Bytes that no request asked for end the connection; they never reach a client.
"""

import asyncio
import contextlib
import os
import select
import sys
from abc import abstractmethod

from unbuffer.clock import monotonic
from unbuffer.http.response import ResponseHead
from unbuffer.outcome import Outcome
from unbuffer.relay.answer import Answer
from unbuffer.relay.response_reader import BadResponse, ResponseReader
from unbuffer.relay.stream import Stream
from unbuffer.relay.tcp import WRITE_BUFFER, SocketOptions, set_options
from unbuffer.relay.tunnel import Tunnel
from unbuffer.settings.model import Limits

SHORT_REST = 0.01
"""Seconds. A connection in steady use is not looked at before it is used again: the look is a system call, an eighth of
what a small request costs, and no server closes a connection so soon."""


class Asker(Stream):
    """Whose request a connection carries, and into whose answer the response is pushed: an Exchange."""

    __slots__ = ("answer", "tunnel")

    answer: Answer
    tunnel: Tunnel | None

    @abstractmethod
    def asks_for_whole(self, head: ResponseHead) -> bool:
        """Whether it drops this head, and with it this connection, to ask once more on another."""

    @abstractmethod
    def switch_protocols(self, head: ResponseHead, now: float) -> None:
        """The head of a 101."""

    @abstractmethod
    def upstream_lost(self, exc: Exception | None, untouched: bool) -> None:
        """The connection ended before the response did; untouched: not a byte of it had come."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """A mistake of ours: it costs this stream."""


class Home:
    """Where a connection comes from, and rests between two exchanges: a Pool.

    name: of the upstream, for people. oddities: where what is tolerated is counted. socket_options: of each connection.
    """

    __slots__ = ("name", "oddities", "socket_options")

    name: str
    oddities: dict[str, int]
    socket_options: SocketOptions

    @abstractmethod
    def rest(self, connection: "UpstreamConnection", now: float) -> None:
        """Its exchange is over: keep it, or close it."""

    @abstractmethod
    def lost(self, connection: "UpstreamConnection") -> None:
        """It ended, at rest or not."""


class UpstreamConnection(asyncio.Protocol):
    """A connection to the upstream, from connect to its loss.

    exchange: whom it serves; None = at rest or ended. rested_at: since when it rests; 0.0 = it does not.
    used: it has carried an exchange before.
    """

    __slots__ = ("_home", "_limits", "_reader", "exchange", "rested_at", "transport", "used")

    transport: asyncio.Transport

    def __init__(self, home: Home, limits: Limits) -> None:
        self._home = home
        self._limits = limits
        self._reader: ResponseReader | None = None
        self.exchange: Asker | None = None
        self.rested_at = 0.0
        self.used = False

    def __repr__(self) -> str:
        state = "at rest" if self.rested_at else f"serving {self.exchange!r}"
        return f"<UpstreamConnection {self._home.name} {state}>"

    # -- what the exchange asks for

    def begin(self, exchange: Asker, data: bytes, head_request: bool) -> None:
        """Send a request head, with what is there of the body, for `exchange`; its response is expected from now on."""
        self.exchange = exchange
        self.rested_at = 0.0
        self._reader = ResponseReader(self._limits, head_request, self._home.oddities)
        self.transport.write(data)

    def write(self, data: bytes) -> None:
        """Send more. A connection that is ending takes nothing; why it ends is told by `connection_lost`."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def begin_tunnel(self) -> None:
        """From now on every byte belongs to the tunnel."""
        self._reader = None

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another exchange: the response is over and nothing came after it."""
        reader = self._reader
        return (
            reader is not None
            and reader.over
            and not reader.surplus
            and reader.keep_alive
            and not self.transport.is_closing()
            # An upstream that answered without reading its request may never read the next one.
            and not self.transport.get_write_buffer_size()
        )

    def quiet(self, now: float) -> bool:
        """Whether nothing has come since it rests, not even the end.

        One look at the kernel saves a request from being sent on a connection that the upstream has closed, and from
        taking an answer to nothing for its own.
        """
        if self.transport.is_closing():
            return False
        return now - self.rested_at < SHORT_REST or not readable(self.transport.get_extra_info("socket").fileno())

    def release(self, now: float) -> None:
        """The exchange is over in both directions: back to the pool."""
        self.exchange = None
        self._reader = None
        self.used = True
        self._home.rest(self, now)

    def close(self, flush: bool = False) -> None:
        """End the connection, at once or after what was written to it."""
        self.exchange = None
        if flush:
            self.transport.close()
        else:
            self.transport.abort()

    # -- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)
        if self._home.socket_options:
            set_options(self.transport.get_extra_info("socket"), self._home.socket_options)

    def data_received(self, data: bytes) -> None:
        now = monotonic()
        exchange = self.exchange
        if exchange is None:
            # Unasked bytes on a connection at rest: a late or a smuggled response. It must meet no request.
            self._home.lost(self)
            self.transport.abort()
            return
        try:
            self._push(exchange, data, now)
        except Exception as error:
            exchange.fail(error)

    def _push(self, exchange: Asker, data: bytes, now: float) -> None:
        reader = self._reader
        if reader is None:
            _tunnel_down(exchange, data, now)
            return
        answer = exchange.answer
        while not reader.begun:
            try:
                head, data = reader.read_head(data)
            except BadResponse as error:
                exchange.finish(Outcome.UPSTREAM_PROTOCOL_ERROR, str(error))
                return
            if head is None:
                return
            if head.status == 101:
                exchange.switch_protocols(head, now)
                if data and self.exchange is exchange:
                    _tunnel_down(exchange, data, now)
                return
            if (head.status == 206 or head.status == 416) and exchange.asks_for_whole(head):
                return
            if head.status < 200:
                answer.informational(head)
                continue
            answer.head(head, now)
            if reader.over:
                reader.surplus = bool(data)
                answer.end([])
                return
            if not data:
                answer.flush(now)
                return
            break
        was_over = reader.over
        if was_over:
            # The response stands as it was; the request still runs.
            reader.surplus = True
            return
        body = reader.read_body(data)
        if body and reader.over and reader.trailers:
            answer.body(body, now, False)
            answer.end(reader.trailers)
        elif body:
            answer.body(body, now, reader.over)
        elif reader.over:
            answer.end(reader.trailers)
        else:
            answer.flush(now)  # before the damage is told of: the same, however the bytes were split
        if reader.damage:
            exchange.finish(Outcome.UPSTREAM_PROTOCOL_ERROR, reader.damage)

    def eof_received(self) -> bool:
        if self.exchange is not None and self.exchange.tunnel is not None:
            return self.exchange.tunnel.upstream_eof()
        # The transport would first write out the rest of a request that nobody may be reading.
        self._lost(None)
        self.transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if isinstance(exc, ConnectionError):
            ended = self._read_the_rest()
            if ended and isinstance(exc, BrokenPipeError):
                exc = None  # closed in good order before the write; after a reset there is nothing to read either
        self._lost(exc)

    def _read_the_rest(self) -> bool:
        """A failed write ends the connection although an answer may have come: take what the kernel still has of it.

        Returns whether its end was there.
        """
        exchange = self.exchange
        if exchange is None or self.transport.get_extra_info("sslcontext") is not None:
            return False
        sock = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            while exchange.record.outcome is None:
                data = os.read(sock.fileno(), 65536)
                if not data:
                    return True
                self.data_received(data)
        return False

    def _lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        self._home.lost(self)
        exchange, self.exchange = self.exchange, None
        if exchange is None:
            return
        reader = self._reader
        if reader is not None and exc is None and reader.ends_with_connection:
            exchange.answer.end([])
        else:
            exchange.upstream_lost(exc, untouched=reader is not None and reader.untouched)

    def pause_writing(self) -> None:
        # The upstream reads slower than the client sends.
        if self.exchange is not None:
            self.exchange.client.pause_reading()

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.client.resume_reading()


def _tunnel_down(exchange: Asker, data: bytes, now: float) -> None:
    assert exchange.tunnel is not None
    exchange.tunnel.down(data, now)


def readable(fd: int) -> bool:
    """Whether the kernel holds bytes, or the end, that nobody has read yet."""
    if sys.platform == "win32":
        return bool(select.select([fd], [], [], 0)[0])
    poll = select.poll()  # select() cannot look at a descriptor above 1023
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
