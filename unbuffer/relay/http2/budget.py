"""What a client may do that carries nothing forward: so much at once, and a tenth of that every second.

Rapid resets (CVE-2023-44487), floods of SETTINGS, PING, PRIORITY and CONTINUATION, empty frames and windows that are
opened byte by byte (CVE-2019-9511 to 9518, CVE-2024-27316) have this in common: frames that cost the server work and
bring no request nearer to its end.
"""

from typing import Final

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
PADDED: Final = 0x8

FREE_UPDATE: Final = 256
"""Bytes sent to the client for which it may open a window once, at no cost. Go does so for each 4 KiB and twice, for
the stream and for the connection; who does it for a byte is after our frames."""


class Budget:
    """Of one connection. It is never asked for the time: seconds of `time.monotonic` come from outside."""

    __slots__ = ("_burst", "_left", "_sent", "_since")

    def __init__(self, burst: int, now: float) -> None:
        self._burst = burst
        self._left = float(burst)
        self._since = now
        self._sent = 0
        """Bytes sent that no window update was free for."""

    def sent(self, size: int) -> None:
        """Bytes of a body went to the client."""
        self._sent += size

    def take(self, kind: int, flags: int, length: int, now: float) -> bool:
        """Whether one more frame is within the budget. length: of its payload, without padding."""
        if kind == HEADERS or (kind == DATA and (length > 0 or flags & END_STREAM)):
            return True
        if kind == WINDOW_UPDATE and self._sent >= FREE_UPDATE:
            # What is not used does not add up to more than a window that was read in pieces.
            self._sent = min(self._sent - FREE_UPDATE, FREE_UPDATE * self._burst)
            return True
        self._left = min(self._left + (now - self._since) * self._burst / 10, float(self._burst)) - 1.0
        self._since = now
        return self._left >= 0.0
