"""One stream without sockets and without a clock of its own: the relay's code alone, as fast as it runs."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, cast

from hpack import Encoder

from unbuffer.record import Record
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.exchange import Exchange
from unbuffer.relay.http2.connection import Http2Connection
from unbuffer.relay.plane import Plane
from unbuffer.relay.resumption import Resumption
from unbuffer.relay.upstream import UpstreamConnection
from unbuffer.settings.model import SSE, Settings
from unbuffer.totals import Totals

_TYPES = {"sse": b"text/event-stream", "ndjson": b"application/x-ndjson", "stream": b"text/plain"}
# The preface of HTTP/2, and windows that are never used up.
_GREETING = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff\0\0\x04\x08\0\0\0\0\0\x7f\xff\0\0"
)
_NO_HEARTBEATS = Settings(sse=SSE(heartbeat=0.0))


class Taker:
    """A transport that takes everything and keeps nothing; its socket has nothing to read."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def write(self, data: bytes) -> None:
        pass

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def writelines(self, data: Iterable[bytes]) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> Any:
        return self._sock if name == "socket" else None

    def set_write_buffer_limits(self, high: int) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def abort(self) -> None:
        pass

    close = abort


class Unwired:
    """A data plane; one stream at a time goes through it."""

    def __init__(
        self,
        settings: Settings = _NO_HEARTBEATS,
        http2: bool = False,
        resumption: Callable[[Plane], Resumption] | None = None,
    ) -> None:
        """Nobody turns the loop, so no heartbeat is ever sent: settings that have any show what they cost a chunk.

        http2: the client speaks it. resumption: as Plane has it.
        """
        self._loop = asyncio.new_event_loop()
        self._sockets = socket.socketpair()
        self.taker = Taker(self._sockets[0])
        self._records: list[Record] = []
        self.totals = Totals()
        self._plane = Plane(settings, self.totals, self._loop, self._records.append, resumption=resumption)
        client = DownstreamConnection(self._plane)
        client.connection_made(cast(asyncio.Transport, self.taker))
        self._client: asyncio.Protocol = client
        self._stream = -1
        """The number of the latest stream of HTTP/2."""
        self._encoder: Encoder | None = None
        if http2:
            client.data_received(_GREETING)
            (connection,) = self._plane.clients.connections
            assert isinstance(connection, Http2Connection)
            self._client, self._encoder = connection, Encoder()
        self._upstream = UpstreamConnection(self._plane.pool, settings.limits)
        self._upstream.transport = cast(asyncio.Transport, self.taker)

    def __enter__(self) -> "Unwired":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._plane.close()
        self._loop.close()
        for sock in self._sockets:
            sock.close()

    def begin(self) -> tuple[Exchange, float]:
        """A request that is on its way, and when it was sent."""
        self._plane.pool.rest(self._upstream, time.monotonic())
        if self._encoder is None:
            self._client.data_received(b"GET /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\r\n")
        else:
            self._stream += 2
            pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost")]
            section = self._encoder.encode([*pseudo, (":path", "/v1/chat/completions")])
            head = len(section).to_bytes(3, "big") + b"\x01\x05" + self._stream.to_bytes(4, "big")
            self._client.data_received(head + section)
        exchange = self._upstream.exchange
        assert isinstance(exchange, Exchange)
        return exchange, exchange.record.sent_at

    def head(self, kind: str, at: float) -> None:
        """Its response head."""
        self.push(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % _TYPES[kind], at)

    def push(self, data: bytes, at: float) -> None:
        """What one read of the upstream's socket brought, at any time."""
        assert self._upstream.exchange is not None
        self._upstream._push(self._upstream.exchange, data, at)

    def play(self, kind: str, head_at: float, reads: list[tuple[float, bytes]]) -> Record:
        """The record of a whole stream; seconds since its request."""
        _, asked = self.begin()
        self.head(kind, asked + head_at)
        for at, data in reads:
            self.push(b"%x\r\n%b\r\n" % (len(data), data), asked + at)
        self.push(b"0\r\n\r\n", time.monotonic())
        return self._records.pop()
