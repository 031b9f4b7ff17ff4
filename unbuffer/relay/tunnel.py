"""Bytes both ways behind 101, whatever they mean: nothing is read of them, but for where WebSocket frames end."""

from typing import TYPE_CHECKING

from unbuffer.http.websocket import GOING_AWAY, FrameReader
from unbuffer.outcome import Outcome

if TYPE_CHECKING:
    from unbuffer.relay.client import Writer
    from unbuffer.relay.exchange import Exchange
    from unbuffer.relay.upstream import UpstreamConnection

# Whether the client was told that the server goes away: it is to be told where the next frame would begin; it was.
_STAYING = 0
_LEAVING = 1
_LEFT = 2


class Tunnel:
    """One tunnel, for as long as its exchange."""

    __slots__ = ("_exchange", "_farewell", "_frames", "_half_closed", "_upstream", "_upstream_over", "_writer")

    def __init__(self, exchange: "Exchange", writer: "Writer", upstream: "UpstreamConnection", websocket: bool) -> None:
        """writer: towards the client."""
        self._exchange = exchange
        self._writer = writer
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
            self._writer.body(GOING_AWAY, False)

    def upstream_eof(self) -> bool:
        """The upstream has said everything. True: keep its connection, the client may still speak."""
        self._upstream_over = True
        return not self._both_over() and self._writer.half_close()

    def client_eof(self) -> bool:
        """The client has said everything. True: keep its connection, the upstream may still speak."""
        return not self._both_over() and self._upstream.half_close()

    def _both_over(self) -> bool:
        """One side has said everything. Returns whether both have: then nothing is left to wait for."""
        if self._half_closed:
            self._exchange.finish(Outcome.COMPLETED)
            return True
        self._half_closed = True
        return False

    def ends_with(self, exc: Exception | None) -> bool:
        """Whether the loss of a connection is the tunnel's ordinary end: closed, or reset after one side had said
        everything. A WebSocket's server has with its Close frame: some reset the connection when the answer comes."""
        if exc is None or self._half_closed:
            return True
        return self._frames is not None and (self._frames.closed or self._farewell == _LEFT)
