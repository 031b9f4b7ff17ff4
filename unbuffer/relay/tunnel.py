"""Bytes both ways after 101, whatever they mean: nothing is read of them, but for where WebSocket frames end."""

import asyncio

from unbuffer.http.websocket import GOING_AWAY, FrameReader
from unbuffer.outcome import Outcome
from unbuffer.relay.answer import Answer
from unbuffer.relay.client import Writer
from unbuffer.relay.stream import Stream
from unbuffer.relay.tcp import half_close

# Whether the client was told that the server goes away: it is to be told where the next frame would begin; it was.
_STAYING = 0
_LEAVING = 1
_LEFT = 2


class Tunnel:
    """One tunnel, for as long as its exchange."""

    __slots__ = ("_answer", "_farewell", "_frames", "_half_closed", "_stream", "_upstream", "_upstream_over", "_writer")

    def __init__(self, stream: Stream, answer: Answer, writer: Writer, upstream: asyncio.Transport, web: bool) -> None:
        """answer, writer: towards the client. upstream: of the connection that the tunnel has. web: it is a
        WebSocket."""
        self._stream = stream
        self._answer = answer
        self._writer = writer
        self._upstream = upstream
        self._frames = FrameReader() if web else None
        self._farewell = _STAYING
        self._half_closed = False
        """One side has said everything."""
        self._upstream_over = False
        """The upstream has: its client was told, and can be told nothing more."""

    @property
    def closed(self) -> bool:
        """Whether the client has the server's Close frame, of a WebSocket, after which it hears nothing more."""
        return self._farewell == _LEFT or (self._frames is not None and self._frames.closed)

    def up(self, data: bytes) -> None:
        """Bytes of the client for the upstream."""
        self._stream.record.bytes_up += len(data)
        if not self._upstream.is_closing():
            self._upstream.write(data)

    def down(self, data: bytes, now: float) -> None:
        """Bytes of the upstream for the client."""
        if self._farewell == _LEFT:
            return  # nothing may follow a Close frame (RFC 6455, section 5.5.1)
        frames = self._frames
        if frames is None:
            self._answer.body(data, now, False)
            return
        complete = frames.read(data)
        leaving = self._farewell == _LEAVING and complete > 0
        self._answer.body(data[:complete] if leaving else data, now, False)
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
        return not self._both_over() and half_close(self._upstream)

    def _both_over(self) -> bool:
        """One side has said everything. Returns whether both have: then nothing is left to wait for."""
        if self._half_closed:
            self._stream.finish(Outcome.COMPLETED)
            return True
        self._half_closed = True
        return False

    def ends_with(self, exc: Exception | None) -> bool:
        """Whether the loss of a connection is the tunnel's ordinary end: closed, or reset after one side had said
        everything. A WebSocket's server has with its Close frame: some reset the connection when the answer comes."""
        return exc is None or self._half_closed or self.closed
