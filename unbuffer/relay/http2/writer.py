"""Writes the answer of one stream: a field section, DATA, and an end (RFC 9113, section 8.1)."""

from typing import TYPE_CHECKING, Final

from unbuffer.http.framing import CHUNKED
from unbuffer.http.headers import (
    Delivery,
    informational_to_downstream,
    response_to_downstream,
    trailers_to_downstream,
)
from unbuffer.http.request import Fields
from unbuffer.http.response import ResponseHead
from unbuffer.relay.client import Writer
from unbuffer.relay.http2.heads import as_headers
from unbuffer.relay.http2.output import Output
from unbuffer.relay.response_writer import LARGE

if TYPE_CHECKING:
    from unbuffer.relay.http2.client_stream import Http2Stream

_NOTHING: Final = memoryview(b"")
_TUNNEL_REFUSED: Final = 502
"""For a success that is no 101: it would say to an extended CONNECT that a tunnel begins."""


class StreamWriter(Writer):
    """The writer of one stream.

    over: the end has been written, or a reset. pending: bytes that wait for room in a window, or to be cut into frames;
    a view, of which each frame takes a part without a copy of the rest. unacknowledged: bytes that were sent, less
    those by which the client has opened the stream's window.
    """

    __slots__ = (
        "_asks_for_tunnel",
        "_cut",
        "_ending",
        "_frame_tail",
        "_head",
        "_id",
        "_keyed",
        "_output",
        "_stream",
        "_trailers",
        "_trailing",
        "_windows",
        "over",
        "pending",
        "unacknowledged",
    )

    def __init__(
        self, stream: "Http2Stream", stream_id: int, output: Output, trailers: bool, asks_for_tunnel: bool, keyed: bool
    ) -> None:
        """trailers: the client takes trailer fields. asks_for_tunnel: by an extended CONNECT. keyed: with a key
        of its own, as undici and Node.js do."""
        self._stream: Http2Stream | None = stream
        """None once nothing is left to tell it: the cyclic garbage collector is to find nothing."""
        self._id = stream_id
        self._output = output
        self._windows = output.windows.streams[stream_id]
        self._frame_tail = b"\0\0" + stream_id.to_bytes(4, "big")
        """What every DATA frame has after its length: type, flags, stream."""
        self._trailers = trailers
        self._asks_for_tunnel = asks_for_tunnel
        self._keyed = keyed
        self._head: Fields | None = None
        """A head that has not gone out."""
        self.unacknowledged = 0
        self.pending = _NOTHING
        self._ending = False
        """Nothing comes after what is pending but the end."""
        self._trailing: Fields = []
        self.over = False
        self._cut = False

    # -- what the answer writes

    def informational(self, head: ResponseHead) -> None:
        """A 1xx head: passed on at once."""
        if not self.lost:
            self._output.headers(self._id, as_headers(informational_to_downstream(head)), False)
            self._output.flush()

    def head(self, head: ResponseHead, changed: bool, waited: float) -> None:
        """The final head; see `Client.respond`."""
        framing, length = head.framing, -1 if head.status == 204 or changed else head.length
        if framing and (changed or framing < 0):
            framing, length = CHUNKED, -1
        delivery = Delivery(framing, length, False, changed, True, self._trailers, waited)
        self._head = as_headers(response_to_downstream(head, delivery))
        if self._asks_for_tunnel and head.status < 300:
            self._head[0] = (b":status", b"%d" % _TUNNEL_REFUSED)

    def switch(self, head: ResponseHead) -> None:
        """The head of a 101, which to HTTP/2 is a success."""
        self._head = as_headers(informational_to_downstream(head), tunnel=True, keyed=self._keyed)

    def flush(self) -> None:
        """Send a head that came alone."""
        self._send_head(False)
        self._output.flush()

    def body(self, data: bytes, last: bool) -> None:
        """Bytes of the body or of the tunnel, not empty; last: with them it ends."""
        output = self._output
        if self._head is not None:
            self._send_head(False)
            if not last:
                output.flush()
        size = len(data)
        if last or self.pending or self.over or size >= LARGE or size > self._room(size):
            self._queue(data, last)
            return
        # What every chunk pays: one DATA frame, and the windows that h2 keeps.
        self._windows.outbound_flow_control_window -= size
        self.unacknowledged += size
        output.sent(size)
        transport = output.transport
        if not transport.is_closing():
            transport.write(b"%b%b%b" % (size.to_bytes(3, "big"), self._frame_tail, data))

    def end(self, trailers: Fields) -> None:
        """Every byte of the body has been given; trailer fields go to clients that take them."""
        if trailers and self._trailers:
            self._trailing = as_headers(b"\r\n" + trailers_to_downstream(trailers)[3:])[1:]
        self._end()

    def half_close(self) -> bool:
        """The end of one direction is what END_STREAM says."""
        if self.over or self.lost:
            return False
        self._end()
        return True

    @property
    def waiting(self) -> int:
        """Bytes written that the client's windows, or the system, have no room for."""
        return len(self.pending) + self._output.transport.get_write_buffer_size()

    @property
    def lost(self) -> bool:
        """Whether nothing that is written arrives any more: the stream was reset, or the connection has ended."""
        return self._cut or self._output.closed

    # -- what the stream asks for

    def answer(self, fields: Fields, body: bytes) -> None:
        """A whole answer of our own."""
        self._head = fields
        if body:
            self.body(body, True)
        else:
            self._end()

    def drop(self) -> None:
        """The stream was reset."""
        self._cut = True
        self._close()

    def _close(self) -> None:
        """Nothing more is written."""
        self.over = True
        self.pending = _NOTHING
        self._head = None
        self._output.forget(self)

    def forget(self) -> None:
        """The stream is over in both directions."""
        self._stream = None

    def acknowledged(self, size: int) -> None:
        """The client has opened the stream's window."""
        self.unacknowledged = max(self.unacknowledged - size, 0)

    @property
    def shut(self) -> bool:
        """Whether it is the stream's own fault that something is pending: its window has no room, or it has more on its
        way, unacknowledged, than any other that waits for the connection's. It is not while the client reads
        nothing at all."""
        output = self._output
        return bool(self.pending) and (self._window <= 0 or (not output.stalled and output.to_blame(self)))

    @property
    def _window(self) -> int:
        window: int = self._windows.outbound_flow_control_window
        return window

    def go_on(self) -> bool:
        """Write one frame of what is pending, or the end, if there is room. Returns whether it did."""
        if not self._has_more() or self._output.stalled:
            return False
        pending = self.pending
        room = self._room(len(pending))
        if pending and not room:
            if self._window > 0:
                self._output.no_room()
            return False
        if self._ending and room == len(pending) and not (pending and self._trailing):
            self._finish()
            return True
        data, self.pending = pending[:room], pending[room:]
        self._windows.outbound_flow_control_window -= room
        self.unacknowledged += room
        self._output.sent(room)
        self._output.flush()  # of a head
        self._output.frame(room.to_bytes(3, "big") + self._frame_tail, data)
        if not self._has_more():
            self._output.forget(self)
            if self._stream is not None:
                self._stream.has_room()
        return True

    # -- by itself

    def _has_more(self) -> bool:
        """Whether bytes, or the end, have yet to be written."""
        return not self.over and (self._ending or bool(self.pending))

    def _room(self, size: int) -> int:
        """How many of `size` bytes one frame may have now."""
        most = self._window
        frame: int = self._output.windows.max_outbound_frame_size
        if size > most:
            size = most if most > 0 else 0
        if size > frame:
            size = frame
        return self._output.room(self.unacknowledged, size) if size else 0

    def _queue(self, data: bytes, last: bool) -> None:
        """The way of what ends a stream, or has no room, or has to wait for its turn."""
        if self.over:
            return
        if data:
            self.pending = memoryview(bytes(self.pending) + data if self.pending else data)
        if last:
            self._end()
        else:
            self._write_pending()

    def _write_pending(self) -> None:
        while self.go_on():
            pass
        if not self._has_more():
            return
        self._output.wait(self)
        if self._stream is not None:
            self._stream.has_no_room()

    def _end(self) -> None:
        if self.over or self._ending:
            return
        self._ending = True
        if self.pending or self._output.stalled:
            self._write_pending()
        else:
            self._finish()

    def _finish(self) -> None:
        """The end, with what is left."""
        data, self.pending = self.pending, _NOTHING
        if self._trailing:
            if self._head is not None:
                self._send_head(False)
            fields, end = self._trailing, True
            self._close()
            self._output.headers(self._id, fields, end)
            self._output.flush()
        elif self._head is not None and not data:
            self._send_head(True)
            self._output.flush()
        else:
            self.unacknowledged += len(data)
            self._close()
            self._output.last(self._id, data)
        if self._stream is not None:
            self._stream.answered()

    def _send_head(self, end: bool) -> None:
        head, self._head = self._head, None
        if head is None:
            return
        if not (self.over or self.lost):
            self._output.headers(self._id, head, end)
        if end:
            self._close()
