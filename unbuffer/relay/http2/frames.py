"""Splits what a client sends into frames (RFC 9113, section 4.1), however the bytes are split. No I/O."""

from typing import Final

from unbuffer.http.request import HTTP2_PREFACE
from unbuffer.relay.http2.budget import CONTINUATION, DATA, HEADERS, SETTINGS

FRAME: Final = 16384
"""The largest payload that is taken (SETTINGS_MAX_FRAME_SIZE): the least that may be announced."""

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
ENHANCE_YOUR_CALM: Final = 0xB
"""Error codes, as GOAWAY and RST_STREAM have them (section 7)."""

_END_HEADERS: Final = 0x4

_MOST_PARTS: Final = 32
"""Frames of one field section: four carry 64 KiB."""


class FrameError(Exception):
    """The connection cannot go on. code: as GOAWAY has it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class FrameReader:
    """The frames of one connection, after the preface. most: bytes of the frames of one field section."""

    __slots__ = ("_at", "_block", "_data", "_expects_preface", "_expects_settings", "_most", "_parts")

    def __init__(self, most: int) -> None:
        self._data = b""
        self._at = 0
        """Where the next frame begins in `_data`."""
        self._most = most
        self._parts = 0
        """Frames of the field section so far."""
        self._block = -1
        """Bytes of the field section whose end has not come; -1 = there is none."""
        self._expects_preface = True
        self._expects_settings = True

    def add(self, data: bytes) -> None:
        """Take in what came."""
        rest = self._data[self._at :]
        self._data = rest + data if rest else data
        self._at = 0

    @property
    def owes_head(self) -> bool:
        """Whether the preface, or a field section that has begun, is incomplete, once all frames are taken."""
        data, at = self._data, self._at
        begun = len(data) > at + 3 and (data[at + 3] == HEADERS or data[at + 3] == CONTINUATION)
        return begun or self._block >= 0 or self._expects_settings

    @property
    def data_for(self) -> int:
        """The stream for which a DATA frame has come in part, once all frames are taken; 0 = there is none."""
        data, at = self._data, self._at
        if len(data) < at + 9 or data[at + 3] != DATA:
            return 0
        return int.from_bytes(data[at + 5 : at + 9], "big")

    @property
    def in_section(self) -> bool:
        """Whether nothing but the rest of a field section may come."""
        return self._block >= 0

    def next(self) -> bytes:
        """The next frame, its head included; empty while it is not complete. Raises FrameError."""
        data = self._data
        if self._expects_preface:
            if not HTTP2_PREFACE.startswith(data[:24]):
                raise FrameError(PROTOCOL_ERROR, "no preface of HTTP/2")
            if len(data) < 24:
                return b""
            self._expects_preface = False
            self._at = 24
        at = self._at
        if len(data) < at + 9:
            return b""
        length = int.from_bytes(data[at : at + 3], "big")
        kind, flags = data[at + 3], data[at + 4]
        if length > FRAME:
            raise FrameError(FRAME_SIZE_ERROR, f"a frame of {length} bytes")
        if self._expects_settings and (kind != SETTINGS or flags & 1):
            raise FrameError(PROTOCOL_ERROR, "the first frame is not SETTINGS")
        if kind == SETTINGS and flags & 1 and length:
            raise FrameError(FRAME_SIZE_ERROR, "an acknowledgement of SETTINGS with settings")
        section = kind in (HEADERS, CONTINUATION)
        # Before it is there: nothing that is too long is kept.
        if section and length + max(self._block, 0) > self._most:
            raise FrameError(ENHANCE_YOUR_CALM, "a field section far beyond limits.head")
        end = at + 9 + length
        if len(data) < end:
            return b""
        self._expects_settings = False
        if section:
            self._parts = self._parts + 1 if kind == CONTINUATION else 1
            if self._parts > _MOST_PARTS:
                raise FrameError(ENHANCE_YOUR_CALM, "a field section in far too many frames")
            self._block = -1 if flags & _END_HEADERS else length + max(self._block, 0)
        self._at = end
        return data[at:end]
