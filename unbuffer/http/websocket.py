"""Where the frames of a WebSocket begin and end (RFC 6455, section 5.2); what is in them is nobody's business here.

And what a server that has read a client's key answers.
"""

import base64
import hashlib
from typing import Final

GOING_AWAY = b"\x88\x1a\x03\xe9" + b"the server is restarting"
"""A server's Close frame with status 1001 (RFC 6455, section 7.4.1): the client connects anew, elsewhere."""

_CLOSE = 0x8
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(key: bytes) -> bytes:
    """The Sec-WebSocket-Accept for this Sec-WebSocket-Key (RFC 6455, section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


class FrameReader:
    """One direction of a WebSocket, read frame by frame.

    closed: a Close frame is complete; nothing may be sent after it (section 5.5.1).
    """

    __slots__ = ("_head", "_opcode", "_payload", "closed")

    def __init__(self) -> None:
        self.closed = False
        self._opcode = 0
        self._head = b""
        """What came of a frame's head that is not complete."""
        self._payload = 0
        """Bytes still to come of the current frame."""

    @property
    def between_frames(self) -> bool:
        """Whether the next byte begins a frame."""
        return not self._payload and not self._head

    def read(self, data: bytes) -> int:
        """Read on. Returns how many bytes of `data` belong to frames that are complete with it; 0 = none of it."""
        position = complete = 0
        size = len(data)
        while position < size:
            if not self._payload:
                if not self._head and position + 6 <= size and data[position + 1] & 0x7F < 126:
                    # In place: a client may send thousands of empty frames in one read, and others wait meanwhile.
                    second = data[position + 1]
                    self._opcode = data[position] & 0x0F
                    self._payload = second & 0x7F
                    position += 6 if second & 0x80 else 2
                else:
                    position = self._read_head(data, position)
            step = min(self._payload, size - position)
            self._payload -= step
            position += step
            if not self._payload and not self._head:
                complete = position
                if self._opcode == _CLOSE:
                    self.closed = True
        return complete

    def _read_head(self, data: bytes, position: int) -> int:
        """Read the head of a frame, or what is there of it; returns where it ends in `data`."""
        had = len(self._head)
        head = self._head + data[position : position + 14 - had]
        length = head[1] & 0x7F if len(head) > 1 else 0
        extended = {126: 2, 127: 8}.get(length, 0)
        size = 2 + extended + (4 if len(head) > 1 and head[1] & 0x80 else 0)
        if len(head) < size:
            self._head = head
            return len(data)
        self._head = b""
        self._payload = int.from_bytes(head[2 : 2 + extended], "big") if extended else length
        self._opcode = head[0] & 0x0F
        return position + size - had
