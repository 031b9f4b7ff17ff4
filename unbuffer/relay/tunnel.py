"""Bytes both ways behind 101, whatever they mean: nothing is read of them, but for where WebSocket frames end."""

import asyncio
import contextlib
from typing import TYPE_CHECKING

from unbuffer.http.websocket import GOING_AWAY, FrameReader
from unbuffer.outcome import Outcome

if TYPE_CHECKING:
    from unbuffer.relay.downstream import DownstreamConnection
    from unbuffer.relay.exchange import Exchange
    from unbuffer.relay.upstream import UpstreamConnection

# Whether the client was told that the server goes away: it is to be told where the next frame would begin; it was.
_STAYING = 0
_LEAVING = 1
_LEFT = 2


class Tunnel:
    """One tunnel, for as long as its exchange."""

    __slots__ = ("_downstream", "_exchange", "_farewell", "_frames", "_half_closed", "_upstream", "_upstream_over")

    def __init__(
        self, exchange: "Exchange", downstream: "DownstreamConnection", upstream: "UpstreamConnection", websocket: bool
    ) -> None:
        self._exchange = exchange
        self._downstream = downstream
        self._upstream = upstream
        self._frames = FrameReader() if websocket else None
        self._farewell = _STAYING
        self._half_closed = False
        """One side has said everything."""
        self._upstream_over = False
        """The upstream has: its client was told, and can be told nothing more."""

    def up(self, data: bytes) -> None:
        """Bytes of the client for the upstream."""
        self._exchange.record.bytes_up += len(data)
        self._upstream.write(data)

    def down(self, data: bytes, now: float) -> None:
        """Bytes of the upstream for the client."""
        if self._farewell == _LEFT:
            return  # nothing may follow a Close frame (RFC 6455, section 5.5.1)
        frames = self._frames
        if frames is None:
            self._exchange.answer.body(data, now, False)
            return
        complete = frames.read(data)
        leaving = self._farewell == _LEAVING and complete > 0
        self._exchange.answer.body(data[:complete] if leaving else data, now, False)
        if leaving:
            self._say_farewell()

    def go_away(self) -> None:
        """Have a WebSocket closed, as the server that goes away does it: its client answers, and both sides end.

        What any other protocol would want to hear is not known: such a tunnel goes on.
        """
        if self._frames is None or self._farewell != _STAYING or self._upstream_over:
            return
        self._farewell = _LEAVING
        if self._frames.between_frames:
            self._say_farewell()

    def _say_farewell(self) -> None:
        assert self._frames is not None
        self._farewell = _LEFT
        if not self._frames.closed:
            self._downstream.write(GOING_AWAY)

    def upstream_eof(self) -> bool:
        """The upstream has said everything. True: keep its connection, the client may still speak."""
        self._upstream_over = True
        return self._half_close(self._downstream.transport)

    def client_eof(self) -> bool:
        """The client has said everything. True: keep its connection, the upstream may still speak."""
        return self._half_close(self._upstream.transport)

    def _half_close(self, other: asyncio.Transport) -> bool:
        """Tell the other side that nothing more comes. False where it cannot be told (TLS): then all ends."""
        if self._half_closed:
            # Both have said everything: nothing is left to wait for.
            self._exchange.finish(Outcome.COMPLETED)
            return False
        self._half_closed = True
        if other.is_closing() or not other.can_write_eof():
            return False
        with contextlib.suppress(OSError):  # of asyncio's own transport, where the other side has reset the connection
            other.write_eof()
        return True

    def ends_with(self, exc: Exception | None) -> bool:
        """Whether the loss of a connection is the tunnel's ordinary end: closed, or reset after one side had said
        everything. A WebSocket's server has with its Close frame: some reset the connection when the answer comes."""
        if exc is None or self._half_closed:
            return True
        return self._frames is not None and (self._frames.closed or self._farewell == _LEFT)
