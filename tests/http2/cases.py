"""What a client may do wrong, one entry each, with the section of RFC 9113, and what becomes of it.

A case is what is sent after the greeting, on stream 1 where it needs one.
"""

from hpack import Encoder
from hyperframe.frame import DataFrame, HeadersFrame

from tests.http2.client import Headers, request

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, COMPRESSION_ERROR, CALM = (
    1, 3, 5, 6, 7, 9, 11
)  # fmt: skip

POST = request(method=b"POST")


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    """Any frame at all."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def section(headers: Headers, stream: int = 1, end: bool = True) -> bytes:
    """The head of a request."""
    flags = ["END_HEADERS", "END_STREAM"] if end else ["END_HEADERS"]
    return HeadersFrame(stream, Encoder().encode(headers), flags=flags).serialize()


def data(payload: bytes, stream: int = 1, end: bool = True) -> bytes:
    """DATA."""
    return DataFrame(stream, payload, flags=["END_STREAM"] if end else []).serialize()


def without(name: bytes) -> Headers:
    """A request that lacks this field."""
    return [field for field in request() if field[0] != name]


def in_place(name: bytes, value: bytes) -> Headers:
    """A request with another value of this field."""
    return [(n, value if n == name else v) for n, v in request()]


def promising(*lengths: bytes) -> bytes:
    """The head of a request with a body of this length."""
    return section([*POST, *[(b"content-length", length) for length in lengths]], end=False)


CONNECT = [(b":method", b"CONNECT"), (b":authority", b"a:1")]
EXTENDED = [*request(method=b"CONNECT"), (b":protocol", b"websocket")]

# Each is a stream error of type PROTOCOL_ERROR, whatever else the connection carries, and nothing of it goes up.
MALFORMED: list[tuple[str, str, bytes]] = [
    ("no :method", "8.3.1", section(without(b":method"))),
    ("no :scheme", "8.3.1", section(without(b":scheme"))),
    ("no :path", "8.3.1", section(without(b":path"))),
    ("an empty :path", "8.3.1", section(in_place(b":path", b""))),
    ("a :path that is a URL", "8.3.1", section(in_place(b":path", b"http://a/"))),
    ("a :path that is none", "8.3.1", section(in_place(b":path", b"x"))),
    ("* in place of a :path, but for OPTIONS", "8.3.1", section(in_place(b":path", b"*"))),
    ("a :path with a space", "8.3.1", section(in_place(b":path", b"/a b"))),
    ("a :path with a line", "8.2.1", section(in_place(b":path", b"/ HTTP/1.1\r\nX: y"))),
    ("a :method with a space", "8.3.1", section(in_place(b":method", b"GET /x"))),
    ("an empty :method", "8.3.1", section(in_place(b":method", b""))),
    ("a :scheme that is none", "8.3.1", section(in_place(b":scheme", b"ht tp"))),
    ("an empty :authority", "8.3.1", section(in_place(b":authority", b""))),
    ("user information in :authority", "8.3.1", section(in_place(b":authority", b"me@a"))),
    ("Host against :authority", "8.3.1", section(request((b"host", b"b")))),
    ("two :path", "8.3", section([*request(), (b":path", b"/b")])),
    ("a pseudo-header field after another field", "8.3", section([(b"x", b"y"), *request()])),
    ("an unknown pseudo-header field", "8.3", section([*request(), (b":x", b"y")])),
    ("a pseudo-header field of responses", "8.3", section([(b":status", b"200"), *request()])),
    ("connection", "8.2.2", section(request((b"connection", b"close")))),
    ("keep-alive", "8.2.2", section(request((b"keep-alive", b"1")))),
    ("proxy-connection", "8.2.2", section(request((b"proxy-connection", b"close")))),
    ("transfer-encoding", "8.2.2", section(request((b"transfer-encoding", b"chunked")), end=False)),
    ("upgrade", "8.2.2", section(request((b"upgrade", b"websocket")))),
    ("te with more than trailers", "8.2.2", section(request((b"te", b"trailers, gzip")))),
    ("an upper-case name", "8.2.1", section(request((b"X-Upper", b"y")))),
    ("a name with a space", "8.2.1", section(request((b"x y", b"z")))),
    ("a name with a colon", "8.2.1", section(request((b"x:y", b"z")))),
    ("a name with a line", "8.2.1", section(request((b"x\r\ny", b"z")))),
    ("a name beyond ASCII", "8.2.1", section(request((b"x\xff", b"z")))),
    ("an empty name", "8.2.1", section(request((b"", b"z")))),
    ("a value with a line feed", "8.2.1", section(request((b"x", b"a\nY: b")))),
    ("a value with a carriage return", "8.2.1", section(request((b"x", b"a\rb")))),
    ("a value with NUL", "8.2.1", section(request((b"x", b"a\0b")))),
    ("a value that begins with a space", "8.2.1", section(request((b"x", b" a")))),
    ("a value that ends with a tab", "8.2.1", section(request((b"x", b"a\t")))),
    ("content-length, but no body", "8.1.1", section(request((b"content-length", b"1")))),
    ("a body longer than content-length", "8.1.1", promising(b"1") + data(b"xy")),
    ("a body shorter than content-length", "8.1.1", promising(b"3") + data(b"xy")),
    ("a body where content-length is 0", "8.1.1", promising(b"0") + data(b"x")),
    ("a trailer section that leaves content-length unfulfilled", "8.1.1",
     promising(b"3") + section([(b"x", b"y")])),
    ("two content-lengths", "8.1.1", promising(b"1", b"2")),
    ("a content-length that is no number", "8.1.1", promising(b"+1")),
    ("a pseudo-header field in trailers", "8.1", section(POST, end=False) + section([(b":path", b"/")])),
    ("connection in trailers", "8.2.2", section(POST, end=False) + section([(b"connection", b"close")])),
    ("CONNECT with a :path", "8.5", section([*CONNECT, (b":path", b"/")])),
    ("CONNECT with a :scheme", "8.5", section([*CONNECT, (b":scheme", b"http")])),
    ("CONNECT without :authority", "8.5", section(CONNECT[:1])),
    (":protocol without CONNECT", "RFC 8441, 4", section([*request(), (b":protocol", b"websocket")])),
    ("extended CONNECT without :path", "RFC 8441, 4", section([f for f in EXTENDED if f[0] != b":path"])),
    ("extended CONNECT without :authority", "RFC 8441, 4", section([f for f in EXTENDED if f[0] != b":authority"])),
]  # fmt: skip

OPEN = section(POST, end=False)
"""A stream whose request has no end yet."""

BLOCK = Encoder().encode(request())
HEAD = frame(1, BLOCK[:4], 0x1, 1)
"""The beginning of a field section."""


def opened(*more: bytes) -> bytes:
    return b"".join((OPEN, *more))


# Each ends the connection, with this code in GOAWAY.
CONNECTION: list[tuple[str, str, int, bytes]] = [
    ("a frame larger than announced", "4.2", FRAME_SIZE_ERROR, (16385).to_bytes(3, "big") + b"\0\0\0\0\0\1"),
    ("a field section that cannot be decoded", "4.3", COMPRESSION_ERROR, frame(1, b"\xff" * 8, 0x5, 1)),
    ("a table that outgrows what was announced", "4.3", COMPRESSION_ERROR, frame(1, b"\x3f\xe1\xff\x03", 0x5, 1)),
    ("another frame inside a field section", "4.3", PROTOCOL_ERROR, HEAD + frame(6, b"x" * 8)),
    ("GOAWAY inside a field section", "4.3", PROTOCOL_ERROR, HEAD + frame(7, b"\0" * 8)),
    ("another stream inside a field section", "4.3", PROTOCOL_ERROR, HEAD + frame(9, BLOCK[4:], 0x4, 3)),
    ("an unknown frame inside a field section", "5.5", PROTOCOL_ERROR, HEAD + frame(0xBB, b"x", 0, 1)),
    ("DATA on an idle stream", "5.1", PROTOCOL_ERROR, data(b"x")),
    ("RST_STREAM on an idle stream", "5.1", PROTOCOL_ERROR, frame(3, b"\0\0\0\x08", 0, 1)),
    ("WINDOW_UPDATE on an idle stream", "5.1", PROTOCOL_ERROR, frame(8, b"\0\0\0\x08", 0, 1)),
    ("CONTINUATION on an idle stream", "5.1", PROTOCOL_ERROR, frame(9, BLOCK, 0x4, 1)),
    ("a stream of even number", "5.1.1", PROTOCOL_ERROR, section(request(), 2)),
    ("a stream of lower number", "5.1.1", PROTOCOL_ERROR, section(POST, 5, False) + section(POST, 3, False)),
    ("DATA of no stream", "6.1", PROTOCOL_ERROR, frame(0, b"x", 1, 0)),
    ("DATA that is all padding, and more", "6.1", PROTOCOL_ERROR, opened(frame(0, b"\x05abc", 0x8, 1))),
    ("HEADERS of no stream", "6.2", PROTOCOL_ERROR, frame(1, BLOCK, 0x5, 0)),
    ("HEADERS that is all padding, and more", "6.2", PROTOCOL_ERROR, frame(1, b"\xff" + BLOCK, 0xD, 1)),
    ("PRIORITY of no stream", "6.3", PROTOCOL_ERROR, frame(2, b"\0\0\0\0\0", 0, 0)),
    ("RST_STREAM of no stream", "6.4", PROTOCOL_ERROR, frame(3, b"\0\0\0\x08", 0, 0)),
    ("RST_STREAM of another length", "6.4", FRAME_SIZE_ERROR, opened(frame(3, b"\0\0\x08", 0, 1))),
    ("SETTINGS of a stream", "6.5", PROTOCOL_ERROR, frame(4, b"", 0, 1)),
    ("SETTINGS of another length", "6.5", FRAME_SIZE_ERROR, frame(4, b"\0" * 5)),
    ("an acknowledgement with settings", "6.5", FRAME_SIZE_ERROR, frame(4, b"\0" * 6, 1)),
    ("ENABLE_PUSH of 2", "6.5.2", PROTOCOL_ERROR, frame(4, b"\0\2\0\0\0\2")),
    ("a window that is too large", "6.5.2", FLOW_CONTROL_ERROR, frame(4, b"\0\4\x80\0\0\0")),
    ("frames that are too small", "6.5.2", PROTOCOL_ERROR, frame(4, b"\0\5\0\0\x3f\xff")),
    ("frames that are too large", "6.5.2", PROTOCOL_ERROR, frame(4, b"\0\5\1\0\0\0")),
    ("PUSH_PROMISE", "6.6", PROTOCOL_ERROR, opened(frame(5, b"\0\0\0\2" + BLOCK, 0x4, 1))),
    ("PING of a stream", "6.7", PROTOCOL_ERROR, frame(6, b"x" * 8, 0, 1)),
    ("PING of another length", "6.7", FRAME_SIZE_ERROR, frame(6, b"x" * 7)),
    ("GOAWAY of a stream", "6.8", PROTOCOL_ERROR, frame(7, b"\0" * 8, 0, 1)),
    ("GOAWAY of another length", "6.8", FRAME_SIZE_ERROR, frame(7, b"\0" * 7)),
    ("a connection's window opened by nothing", "6.9", PROTOCOL_ERROR, frame(8, b"\0\0\0\0")),
    ("WINDOW_UPDATE of another length", "6.9", FRAME_SIZE_ERROR, frame(8, b"\0\0\1")),
    ("a connection's window beyond 2^31-1", "6.9.1", FLOW_CONTROL_ERROR, frame(8, b"\x7f\xff\xff\xff")),
    ("a field section far too large", "10.5.1", CALM,
     frame(1, b"\0" * 16384, 0x1, 1) + frame(9, b"\0" * 16384, 0, 1) * 5),
    ("a field section that grows on decoding", "10.5.1", CALM,
     section(request((b"x", b"y" * 3000)), 1) + frame(1, BLOCK + b"\xbf" * 100, 0x5, 3)),
]  # fmt: skip

# Each resets its stream alone, with this code.
STREAM: list[tuple[str, str, int, bytes]] = [
    ("a stream's window beyond 2^31-1", "6.9.1", FLOW_CONTROL_ERROR, opened(frame(8, b"\x7f\xff\xff\xff", 0, 1))),
    ("DATA after the end", "5.1", STREAM_CLOSED, section(request()) + data(b"x")),
    ("HEADERS after the end", "5.1", STREAM_CLOSED, section(request()) + section([(b"x", b"y")])),
]

# Each changes nothing.
IGNORED: list[tuple[str, str, bytes]] = [
    ("a frame of an unknown type", "4.1", frame(0xBB, b"x" * 100, 0xFF)),
    ("a frame of an unknown type on an idle stream", "5.5", frame(0xBB, b"x", 0xFF, 77)),
    ("unknown flags", "4.1", frame(6, b"x" * 8, 0xF6)),
    ("a reserved bit", "4.1", b"\0\0\x08\x06\x01\x80\0\0\0" + b"x" * 8),
    ("PRIORITY on an idle stream", "5.3.2", frame(2, b"\0\0\0\0\0", 0, 9)),
    ("an unknown setting", "6.5.2", frame(4, b"\xff\xff\0\0\0\1")),
    ("as many unknown settings as there are", "6.5.2",
     b"".join(frame(4, b"".join(n.to_bytes(2, "big") + b"\0\0\0\1" for n in range(start, start + 2500)))
              for start in range(1000, 63500, 2500))),
    ("an acknowledgement of nothing", "6.5.3", frame(4, b"", 1)),
    ("a table of 4 GiB", "6.5.2", frame(4, b"\0\1\xff\xff\xff\xff")),
]  # fmt: skip

# Each comes for stream 1 when that has ended, and changes nothing.
LATE: list[tuple[str, str, bytes]] = [
    ("RST_STREAM", "5.1", frame(3, b"\0\0\0\x08", 0, 1)),
    ("RST_STREAM of an unknown code", "7", frame(3, b"\xde\xad\0\0", 0, 1)),
    ("WINDOW_UPDATE", "5.1", frame(8, b"\0\0\0\x08", 0, 1)),
    ("PRIORITY", "5.1", frame(2, b"\0\0\0\0\0", 0, 1)),
]  # fmt: skip

PADDED = frame(1, b"\x03" + BLOCK + b"\0\0\0", 0xD, 1)
PRIORITIZED = frame(1, b"\0\0\0\0\xff" + BLOCK, 0x25, 1)
CONTINUED = frame(1, BLOCK[:1], 0x1, 1) + b"".join(frame(9, BLOCK[i : i + 1], 0, 1) for i in range(1, len(BLOCK) - 1))

# Each is the same request.
ACCEPTED: list[tuple[str, str, bytes]] = [
    ("a head with padding", "6.2", PADDED),
    ("a head with a priority", "6.2", PRIORITIZED),
    ("a head in as many frames as it has bytes", "6.10", CONTINUED + frame(9, BLOCK[-1:], 0x4, 1)),
    ("a head that ends with an empty frame", "6.10", frame(1, BLOCK, 0x1, 1) + frame(9, b"", 0x4, 1)),
    ("Host in place of :authority", "8.3.1", section([*without(b":authority"), (b"host", b"a")])),
    ("Host beside :authority", "8.3.1", section(request((b"host", b"A")))),
    ("another :scheme", "8.3.1", section(in_place(b":scheme", b"https"))),
]
