"""The demo's gzip middleware, driven as ASGI: before each chunk it is noted what has left so far."""

import gzip
import zlib

import pytest
from starlette.types import Message, Receive, Scope, Send

from unbuffer.demo.app import HOLD
from unbuffer.demo.compression import Compress, accepts_gzip

GZIP = [(b"accept-encoding", b"gzip, deflate, br")]


class Driven:
    """One request to an app that streams `chunks`. `seen[i]` is what had left before chunk i was given."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = chunks
        self.sent: list[Message] = []
        self.seen: list[list[Message]] = []

    async def through(self, hold: int, always: bool, headers: list[tuple[bytes, bytes]]) -> "Driven":
        scope = {"type": "http", "headers": headers}
        await Compress(self._app, hold=hold, always=always)(scope, self._receive, self._send)
        return self

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.sent[1:]]

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"999")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for chunk in self._chunks:
            self.seen.append(list(self.sent))
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        self.seen.append(list(self.sent))
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _receive(self) -> Message:
        raise AssertionError("a response is made without reading the request")

    async def _send(self, message: Message) -> None:
        self.sent.append(message)


async def test_holding_lets_nothing_out_before_the_end() -> None:
    driven = await Driven([b"one ", b"two ", b"three"]).through(HOLD, False, GZIP)

    assert driven.seen == [[], [], [], []]
    assert [message["type"] for message in driven.sent] == ["http.response.start", "http.response.body"]
    assert gzip.decompress(driven.bodies[0]) == b"one two three"


async def test_holding_lets_a_piece_out_when_it_has_enough() -> None:
    driven = await Driven([b"a" * HOLD, b"b"]).through(HOLD, False, GZIP)

    first, rest = driven.bodies
    assert driven.seen[1] == driven.sent[:2]
    assert zlib.decompressobj(wbits=31).decompress(first) == b"a" * HOLD
    assert gzip.decompress(first + rest) == b"a" * HOLD + b"b"


async def test_flushing_lets_each_chunk_out_at_once_and_readable() -> None:
    chunks = [b"one ", b"two ", b"three"]
    driven = await Driven(chunks).through(0, True, [])

    decoder = zlib.decompressobj(wbits=31)
    assert [len(seen) for seen in driven.seen] == [0, 2, 3, 4]
    assert [decoder.decompress(body) for body in driven.bodies] == [*chunks, b""]
    assert decoder.eof


async def test_a_compressed_response_says_so_and_has_no_length() -> None:
    driven = await Driven([b"one"]).through(HOLD, False, GZIP)

    assert driven.sent[0]["headers"] == [
        (b"content-type", b"text/plain"),
        (b"content-encoding", b"gzip"),
        (b"vary", b"Accept-Encoding"),
    ]


async def test_identity_is_left_alone_when_gzip_is_not_accepted() -> None:
    driven = await Driven([b"one ", b"two"]).through(HOLD, False, [(b"accept-encoding", b"identity")])

    assert driven.bodies == [b"one ", b"two", b""]
    assert driven.sent[0]["headers"] == [(b"content-type", b"text/plain"), (b"content-length", b"999")]


@pytest.mark.parametrize(
    ("value", "accepted"),
    [
        (b"gzip", True),
        (b"br, GZIP", True),
        (b"gzip;q=0.5", True),
        (b"gzip; q=1.0", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.00", False),
        (b"identity", False),
        (b"x-gzip-like", False),
        (b"", False),
    ],
)
def test_accept_encoding(value: bytes, accepted: bool) -> None:
    assert accepts_gzip([(b"accept-encoding", value)]) is accepted


def test_accept_encoding_may_come_in_several_fields() -> None:
    assert accepts_gzip([(b"accept-encoding", b"br"), (b"accept-encoding", b"gzip")])
