"""Content codings, taken off as the bytes come (RFC 9110, section 8.4.1).

Two rules: what a chunk carries comes out of that chunk, and no read gives out or holds much more than it was
asked for, whatever the input. The libraries for br and zstd cost memory and are imported at the first need.
"""

import sys
import zlib
from collections.abc import Callable
from functools import partial
from typing import Protocol

MAX_CODINGS = 3
"""The longest chain that is decoded. Real servers apply one coding; curl and urllib3 stop at five."""

_STEP = 16 * 1024
"""Bytes a stage takes at once. zlib and brotli copy what a bounded read leaves over: it stays little."""

_FRUITLESS = 512 * 1024
"""Bytes that may pass between the stages of a chain without any content coming out. zstd waits longest, for a
block of 128 KiB: three in a chain pass less than 400 KiB. More is a bomb of padding, which would block."""

_ZSTD_WINDOW_LOG = 23
"""8 MiB, the most that RFC 9659, section 3, lets a frame ask for."""


class CodingError(Exception):
    """The coded body is damaged or truncated. The text names the coding and what is wrong."""


def parse_codings(value: bytes) -> tuple[str, ...]:
    """The codings in a Content-Encoding value, lower-case, in the order they were applied.

    `value` holds all fields of that name, joined by commas. `x-gzip` is gzip (RFC 9110, section 8.4.1.3);
    `identity` and empty members are dropped. Never fails: whether the names mean anything, `decodable` says.
    """
    names = (member.strip(b" \t").lower().decode("latin-1") for member in value.split(b","))
    return tuple("gzip" if name == "x-gzip" else name for name in names if name not in ("", "identity"))


def decodable(codings: tuple[str, ...]) -> bool:
    """Whether a `Decoder` takes these codings: at most `MAX_CODINGS`, each gzip, deflate, br or zstd."""
    return len(codings) <= MAX_CODINGS and all(coding in _STAGES for coding in codings)


class Decoder:
    """The body of one response, from coded bytes to content.

    `feed` what came, `read` until `b""`; `finish` when nothing more comes. A decoder that raised is spent.

    Memory: the input not read yet, and for each coding some 300 KiB and the window that its data asks for:
    32 KiB with gzip and deflate, up to 8 MiB with zstd, up to 16 MiB with br (RFC 7932, section 9.1).
    """

    __slots__ = ("_fruitless", "_input", "_stages")

    def __init__(self, codings: tuple[str, ...]) -> None:
        """Take `codings` as `parse_codings` gives them; with none the bytes pass through.

        ValueError: they are not `decodable`. ImportError: the library for br or zstd is not installed.
        """
        if not decodable(codings):
            raise ValueError(f"cannot decode the content codings {', '.join(codings)}")
        self._stages = [(coding, _STAGES[coding]()) for coding in reversed(codings)]
        self._input = bytearray()
        self._fruitless = 0

    def feed(self, data: bytes) -> None:
        """Take coded bytes. They are kept until read."""
        self._input += data

    def read(self, limit: int = 65536) -> bytes:
        """1 to `limit` bytes of content that can be had now, never more; `b""` = needs more input.

        All that was fed may be thousands of reads long: whoever must not block gives way between reads.

        CodingError: the coded body is damaged, or goes on after its end.
        """
        if limit < 1:
            raise ValueError(f"limit: want at least 1 byte, got {limit}")
        content = self._pull(len(self._stages), limit)
        if content:
            self._fruitless = 0
        return content

    def finish(self) -> None:
        """Make sure that the body is whole, once `read` gave `b""`. A body without a single byte is.

        CodingError: it is truncated.
        """
        assert not self._input, "finish comes after the last read"
        for coding, stage in self._stages:
            if not stage.complete:
                raise CodingError(f"{coding}: the body is truncated, its coded data has no end")

    def _pull(self, depth: int, limit: int) -> bytes:
        """1 to `limit` bytes of what leaves the first `depth` stages; `b""` = needs more input."""
        if depth == 0:
            taken = bytes(self._input[: min(limit, _STEP)])
            del self._input[: len(taken)]
            return taken
        coding, stage = self._stages[depth - 1]
        coded = b""
        try:
            while not (out := stage.decode(coded, limit)):
                coded = self._pull(depth - 1, _STEP)
                if not coded:
                    return b""
                self._fruitless += len(coded) if depth > 1 else 0
                if self._fruitless > _FRUITLESS:
                    raise CodingError(f"{coding}: {self._fruitless} bytes in a row hold no content")
        except stage.error as error:
            raise CodingError(f"{coding}: the body is damaged: {error}") from error
        return out


class _Stage(Protocol):
    """One coding being taken off."""

    error: type[Exception]
    """What its library raises on damage."""

    @property
    def complete(self) -> bool:
        """Whether the coded data may end here: it has reached its end, or has not begun."""
        ...

    def decode(self, data: bytes, limit: int) -> bytes:
        """1 to `limit` bytes; `b""` = all data is used up, and only then may there be `data` again."""
        ...


class _Gzip:
    """One member or more (RFC 1952, section 2.2). Zeros after a member are padding, as in gzip(1)."""

    error: type[Exception] = zlib.error

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None
        self._unread = b""
        self._begun = False

    @property
    def complete(self) -> bool:
        return self._member is None and not self._unread

    def decode(self, data: bytes, limit: int) -> bytes:
        unread = data or self._unread
        out = b""
        while not out:
            if self._member is None:
                unread = unread.lstrip(b"\0") if self._begun else unread
                if not unread:
                    break
                self._member = zlib.decompressobj(zlib.MAX_WBITS + 16)  # + 16: gzip's framing and checksum
                self._begun = True
            member = self._member
            out = member.decompress(unread, limit)
            unread = member.unused_data if member.eof else member.unconsumed_tail
            if not member.eof:
                break
            self._member = None
        self._unread = unread
        return out


class _Deflate:
    """zlib's format (RFC 9110, section 8.4.1.2), or raw deflate, which some servers send under that name.

    Raw deflate has no checksum: damage that leaves it well-formed goes unnoticed.
    """

    error: type[Exception] = zlib.error

    def __init__(self) -> None:
        self._body: zlib._Decompress | None = None
        self._head = b""

    @property
    def complete(self) -> bool:
        return not self._head if self._body is None else self._body.eof

    def decode(self, data: bytes, limit: int) -> bytes:
        if self._body is None:
            data = self._head = self._head + data
            if len(data) < 2:
                return b""
            self._body = zlib.decompressobj(zlib.MAX_WBITS if _is_zlib(data) else -zlib.MAX_WBITS)
        out = self._body.decompress(data or self._body.unconsumed_tail, limit)
        if not out and self._body.unused_data:
            raise CodingError("deflate: the body goes on after the end of its coded data")
        return out


def _is_zlib(data: bytes) -> bool:
    """Whether the first two bytes are zlib's (RFC 1950, section 2.2): method, window size, check bits.

    Raw deflate looks like it only if it begins with a stored block padded with ones; encoders pad with zeros.
    """
    return data[0] & 0x0F == 8 and data[0] >> 4 <= 7 and int.from_bytes(data[:2], "big") % 31 == 0


class _Brotli:
    """One stream (RFC 7932). The library itself refuses what follows its end."""

    def __init__(self) -> None:
        import brotli

        self.error: type[Exception] = brotli.error
        self._stream = brotli.Decompressor()
        self._left = b""
        self._ended = True

    @property
    def complete(self) -> bool:
        return self._ended and not self._left

    def decode(self, data: bytes, limit: int) -> bytes:
        out = self._left
        if not out:
            self._ended = self._ended and not data
            # The library rounds its limit up to whole blocks; the first one is 32 KiB.
            out = self._stream.process(data, output_buffer_limit=_STEP)
            self._ended = self._ended or self._stream.is_finished()
        self._left = out[limit:]
        return out[:limit]


class _Zstd:
    """One frame or more, skippable ones among them (RFC 8878, section 3.1)."""

    def __init__(self) -> None:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd

        self.error: type[Exception] = zstd.ZstdError
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        self._open = partial(zstd.ZstdDecompressor, options=options)
        self._frame: zstd.ZstdDecompressor | None = None
        self._unread = b""

    @property
    def complete(self) -> bool:
        return self._frame is None and not self._unread

    def decode(self, data: bytes, limit: int) -> bytes:
        unread = data or self._unread
        out = b""
        while not out:
            if self._frame is None:
                if not unread:
                    break
                self._frame = self._open()
            frame = self._frame
            out = frame.decompress(unread, limit)
            # Up to its end a frame keeps by itself what it has not read.
            unread = frame.unused_data
            if not frame.eof:
                break
            self._frame = None
        self._unread = unread
        return out


_STAGES: dict[str, Callable[[], _Stage]] = {"gzip": _Gzip, "deflate": _Deflate, "br": _Brotli, "zstd": _Zstd}
