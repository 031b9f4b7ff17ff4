"""A client that sends what frames a test likes, built on hyperframe and hpack: h2 itself would refuse to."""

from typing import TypeVar

from hpack import Decoder, Encoder
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.peers import Peer, soon

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

Headers = list[tuple[bytes, bytes]]
F = TypeVar("F", bound=Frame)

SETTINGS = {
    "header_table_size": 1,
    "enable_push": 2,
    "max_concurrent_streams": 3,
    "initial_window_size": 4,
    "max_frame_size": 5,
    "max_header_list_size": 6,
    "enable_connect_protocol": 8,
}


def request(*fields: tuple[bytes, bytes], method: bytes = b"GET", path: bytes = b"/") -> Headers:
    """The field section of a request."""
    pseudo = [(b":method", method), (b":scheme", b"http"), (b":authority", b"a"), (b":path", path)]
    return [*pseudo, *fields]


class Client:
    """One connection; frames of the server's are read one by one, those of no interest to a test are kept for later."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.settings: dict[int, int] = {}
        """Those of the server."""
        self._kept: list[Frame] = []

    async def greet(self, **settings: int) -> None:
        """The preface and SETTINGS, and the server's read; both are acknowledged."""
        own = SettingsFrame(0, settings={SETTINGS[name]: value for name, value in settings.items()})
        await self.peer.send(PREFACE + own.serialize())
        theirs = await self.frame(SettingsFrame)
        self.settings = dict(theirs.settings)
        await self.send(SettingsFrame(0, flags=["ACK"]))
        while "ACK" not in (await self.frame(SettingsFrame)).flags:
            pass

    async def send(self, *frames: Frame) -> None:
        """Send these frames in one write."""
        await self.peer.send(b"".join(frame.serialize() for frame in frames))

    def section(self, stream: int, headers: Headers, end: bool = True) -> HeadersFrame:
        """A whole field section as one frame."""
        flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
        return HeadersFrame(stream, self.encoder.encode(headers), flags=flags)

    async def request(self, stream: int, headers: Headers | None = None, end: bool = True) -> None:
        """Send the head of a request."""
        await self.send(self.section(stream, request() if headers is None else headers, end))

    async def data(self, stream: int, data: bytes, end: bool = False) -> None:
        """Send DATA."""
        await self.send(DataFrame(stream, data, flags=["END_STREAM"] if end else []))

    async def open_window(self, stream: int, increment: int) -> None:
        """Send WINDOW_UPDATE."""
        await self.send(WindowUpdateFrame(stream, window_increment=increment))

    async def ping(self) -> None:
        """See that the server has read everything before, and that the connection lives."""
        await self.send(PingFrame(0, b"are you?"))
        while "ACK" not in (await self.frame(PingFrame)).flags:
            pass

    async def _next(self) -> Frame:
        head = await self.peer.read(9)
        frame, length = Frame.parse_frame_header(memoryview(head))
        frame.parse_body(memoryview(await self.peer.read(length)))
        return frame

    async def any(self, stream: int | None = None) -> Frame:
        """The next frame, or the next one of this stream."""
        for index, frame in enumerate(self._kept):
            if stream is None or frame.stream_id == stream:
                return self._kept.pop(index)
        while True:
            frame = await self._next()
            if stream is None or frame.stream_id == stream:
                return frame
            self._kept.append(frame)

    async def frame(self, kind: type[F], stream: int | None = None) -> F:
        """The next frame of this kind; of the stream, where one is named, no other may come before it."""
        for index, kept in enumerate(self._kept):
            if isinstance(kept, kind) and (stream is None or kept.stream_id == stream):
                del self._kept[index]
                return kept
        while True:
            frame = await self._next()
            if isinstance(frame, kind) and (stream is None or frame.stream_id == stream):
                return frame
            assert stream is None or frame.stream_id != stream, f"{frame} in place of {kind.__name__}"
            self._kept.append(frame)

    async def head(self, stream: int) -> tuple[dict[bytes, bytes], bool]:
        """The next field section of a stream, and whether the stream ends with it."""
        frame = await self.frame(HeadersFrame, stream)
        assert "END_HEADERS" in frame.flags
        return dict(self.decoder.decode(frame.data, raw=True)), "END_STREAM" in frame.flags

    async def body(self, stream: int) -> bytes:
        """The body of a stream to its clean end."""
        body = b""
        while True:
            frame = await self.frame(DataFrame, stream)
            body += frame.data
            if "END_STREAM" in frame.flags:
                return body

    async def answer(self, stream: int) -> tuple[dict[bytes, bytes], bytes]:
        """A whole answer."""
        head, ended = await self.head(stream)
        return head, b"" if ended else await self.body(stream)

    async def reset(self, stream: int) -> int:
        """The error code of the stream's RST_STREAM, which is to come next on it."""
        return (await self.frame(RstStreamFrame, stream)).error_code

    async def goaway(self) -> GoAwayFrame:
        """The next GOAWAY."""
        return await self.frame(GoAwayFrame)

    async def ended(self) -> None:
        """Wait until the server has closed."""
        await soon(self.peer.ended())
