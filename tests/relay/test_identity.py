"""Identity: what the upstream compressed although it was asked not to reaches the client decoded, at once and whole, or
visibly broken."""

import asyncio
import gzip
import sys
import zlib
from collections.abc import Callable
from itertools import pairwise

import brotli
import pytest

from tests.peers import (
    DATE,
    GET10,
    LAST,
    PATIENCE,
    Peer,
    chunk,
    eventually,
    read_again,
    response_head,
    stop_reading,
    timeless,
)
from tests.relay.conftest import Relay, finished
from unbuffer.outcome import Outcome
from unbuffer.relay.decoding import STEP
from unbuffer.settings.kinds import Decode
from unbuffer.settings.route import Route

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GET = b"GET / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip, br\r\n\r\n"
MIB = 1 << 20

codings = pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])


class Coder:
    """An upstream's compressor that flushes what it is given."""

    def __init__(self, coding: str) -> None:
        self.add: Callable[[bytes], bytes]
        self.end: Callable[[], bytes]
        if coding == "br":
            stream = brotli.Compressor(quality=3)
            self.add = lambda data: stream.process(data) + stream.flush()
            self.end = stream.finish
        elif coding == "zstd":
            frame = zstd.ZstdCompressor()
            self.add = lambda data: frame.compress(data, frame.FLUSH_BLOCK)
            self.end = frame.flush
        else:
            body = zlib.compressobj(3, zlib.DEFLATED, {"gzip": 31, "deflate": 15}[coding])
            self.add = lambda data: body.compress(data) + body.flush(zlib.Z_SYNC_FLUSH)
            self.end = body.flush


def coded(coding: str, content: bytes) -> bytes:
    coder = Coder(coding)
    return coder.add(content) + coder.end()


def head_of(coding: str, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    return response_head(
        b"Content-Encoding: " + coding.encode(), b"Content-Type: text/event-stream", *lines, status=status
    )


def decoded_head(head: bytes) -> None:
    """See that nothing in the head speaks of coded bytes."""
    assert b"content-encoding" not in head.lower()
    assert b"content-length" not in head.lower()
    assert b"Transfer-Encoding: chunked\r\n" in head


async def whole(client: Peer) -> bytes:
    """A chunked body to its end."""
    body = b""
    while piece := await client.chunk():
        body += piece
    return body


@codings
@pytest.mark.parametrize("framing", ["chunked", "length", "until close"])
async def test_every_flushed_event_arrives_before_the_next(relay: Relay, coding: str, framing: str) -> None:
    await relay.start(decode="always")
    client, upstream, head = await relay.exchange(GET)
    assert head.count(b"Accept-Encoding:") == 1
    assert b"\r\nAccept-Encoding: identity\r\n" in head
    coder = Coder(coding)
    events = [b"data: token %d of a stream\n\n" % n for n in range(10)]
    pieces = [*(coder.add(event) for event in events), coder.end()]
    length = b"Content-Length: %d" % sum(map(len, pieces))
    framed = {"chunked": [b"Transfer-Encoding: chunked"], "length": [length], "until close": []}[framing]
    await upstream.send(head_of(coding, b'ETag: "tag"', *framed))
    seen = await client.head()
    decoded_head(seen)
    assert b'ETag: W/"tag"\r\n' in seen
    for event, piece in zip(events, pieces, strict=False):
        await upstream.send(chunk(piece) if framing == "chunked" else piece)
        assert await client.chunks_of(len(event)) == event
    await upstream.send(chunk(pieces[-1]) + LAST if framing == "chunked" else pieces[-1])
    if framing == "until close":
        await upstream.close()
    assert await client.chunk() == b""
    record = await finished(relay, Outcome.COMPLETED, 200)
    # What ends the coding brings no text: it is no chunk.
    assert (record.decoded, record.kind, record.chunks) == (coding, "sse", 10)
    assert record.bytes_read == sum(map(len, pieces))
    assert record.bytes_down == sum(map(len, events))
    assert dict(relay.totals.decoded) == {("default", coding, "ok"): 1}
    assert relay.totals.upstream_idle == (framing != "until close")


async def test_a_chain_of_codings_in_several_fields(relay: Relay) -> None:
    await relay.start(decode="always")
    client, upstream, _ = await relay.exchange(GET)
    body = coded("br", coded("gzip", b"content"))
    await upstream.send(
        response_head(b"Content-Encoding: gzip", b"content-encoding: identity, BR", b"Content-Length: %d" % len(body))
    )
    decoded_head(await client.head())
    await upstream.send(body)
    assert await whole(client) == b"content"
    assert (await finished(relay, Outcome.COMPLETED, 200)).decoded == "gzip+br"
    assert dict(relay.totals.decoded) == {("default", "gzip+br", "ok"): 1}


async def test_an_http_1_0_client_gets_the_content_until_close(relay: Relay) -> None:
    await relay.start(decode="always")
    client, upstream, _ = await relay.exchange(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    body = coded("gzip", b"content")
    await upstream.send(head_of("gzip", b"Content-Length: %d" % len(body)) + body)
    head = await client.head()
    assert b"Connection: close\r\n" in head
    assert b"Content-" not in head.replace(b"Content-Type", b"")
    assert b"Transfer-Encoding" not in head
    assert await client.rest() == b"content"
    await finished(relay, Outcome.COMPLETED, 200)


async def test_the_client_goes_on_after_a_decoded_body(relay: Relay) -> None:
    await relay.start(decode="always")
    client, upstream, _ = await relay.exchange(GET)
    for content in (b"little", b"much" * 100_000, b"little"):
        body = coded("gzip", content)
        await upstream.send(head_of("gzip", b"Content-Length: %d" % len(body)) + body)
        await client.head()
        assert await whole(client) == content
        await client.send(GET)
        await upstream.head()
    await upstream.send(response_head(b"Content-Length: 2") + b"ok")
    assert b"Content-Length: 2\r\n" in await client.head()


@pytest.mark.parametrize("together", [True, False], ids=["one-read", "own-read"])
async def test_trailers_after_a_decoded_body(relay: Relay, together: bool) -> None:
    await relay.start(decode="always")
    client, upstream, _ = await relay.exchange(GET.replace(b"\r\n\r\n", b"\r\nTE: trailers\r\nConnection: TE\r\n\r\n"))
    end = b"0\r\nX-Sum: 42\r\n\r\n"
    content = b"x" * 300_000
    await upstream.send(head_of("gzip", b"Transfer-Encoding: chunked"))
    await client.head()
    await upstream.send(chunk(coded("gzip", content)) + (end if together else b""))
    assert await client.chunks_of(len(content)) == content
    if not together:
        await upstream.send(end)
    assert await client.head() == end
    await finished(relay, Outcome.COMPLETED, 200)


@pytest.mark.parametrize("framed", [b"Content-Length: 0", b"Transfer-Encoding: chunked"])
async def test_a_coded_body_without_a_byte_is_empty(relay: Relay, framed: bytes) -> None:
    await relay.start(decode="always")
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(head_of("gzip", framed) + (LAST if b"chunked" in framed else b""))
    head = await client.head()
    assert b"Content-Length: 0\r\n" in head or await client.chunk() == b""
    await finished(relay, Outcome.COMPLETED, 200)


# -- much out of little


@pytest.mark.parametrize("framing", ["length", "until close"])
async def test_a_bomb_is_paced_by_the_client_that_reads_it(relay: Relay, framing: str) -> None:
    """However much comes out: what is held for the client stays small, and nothing is decoded ahead of it."""
    size = 16 * MIB
    await relay.start(decode="always")
    client, upstream, _ = await relay.exchange(GET)
    stop_reading(client)
    bomb = gzip.compress(bytes(size))
    await upstream.send(head_of("gzip", *([b"Content-Length: %d" % len(bomb)] if framing == "length" else [])) + bomb)
    if framing == "until close":
        await upstream.close()
    connection = relay.connection()
    series = relay.totals.of("default", "sse")
    await eventually(lambda: series.stalls)
    assert connection.transport.get_write_buffer_size() < MIB
    assert series.bytes_down < size
    read_again(client)
    await client.head()
    content = 0
    async with asyncio.timeout(PATIENCE):
        while piece := await client.chunk():
            assert not piece.strip(b"\0")
            content += len(piece)
            assert connection.transport.get_write_buffer_size() < MIB
    assert content == size
    record = await finished(relay, Outcome.COMPLETED, 200)
    assert (record.bytes_down, record.stalls > 0) == (size, True)


async def test_others_have_their_turn_while_a_bomb_goes_off(relay: Relay) -> None:
    """One turn of the loop unpacks a few pieces at the most; between two of them another stream gets its event, and no
    more of the bomb is read than what they came out of."""
    await relay.start(decode="always")
    series = relay.totals.of("default", "sse")
    turns = [0]

    def take_turn() -> None:
        turns.append(series.bytes_down)
        if not over.is_set():
            loop.call_soon(take_turn)

    loop, over = asyncio.get_running_loop(), asyncio.Event()
    other, other_upstream, _ = await relay.exchange(GET)
    await other_upstream.send(response_head(b"Transfer-Encoding: chunked"))
    await other.head()
    client, upstream, _ = await relay.exchange(GET)
    bomb = gzip.compress(bytes(16 * MIB)) * 200
    upstream.writer.write(head_of("gzip", b"Content-Length: %d" % len(bomb)) + bomb)
    take_turn()
    await client.head()
    for n in range(20):
        assert await client.chunk()
        await other_upstream.send(chunk(b"%d" % n))
        assert await other.chunk() == b"%d" % n
    over.set()
    assert max(after - before for before, after in pairwise(turns)) <= 4 * STEP
    await client.close()
    record = await relay.record()
    assert record.outcome is Outcome.CLIENT_DISCONNECT
    assert record.bytes_read < MIB < len(bomb)
    await upstream.ended()


# -- damage


async def cut_off(relay: Relay, client: Peer, upstream: Peer, content: bytes, detail: str) -> None:
    """The message has `content` and no end, and the upstream's connection is gone."""
    assert await client.rest() == (chunk(content) if content else b"")
    record = await finished(relay, Outcome.DECODE_ERROR, 200, detail)
    assert dict(relay.totals.decoded) == {("default", record.decoded, "error"): 1}
    await upstream.ended()
    assert relay.totals.upstream_idle == 0


@codings
async def test_damage_breaks_the_message(relay: Relay, coding: str) -> None:
    await relay.start(decode="always")
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(head_of(coding, b"Transfer-Encoding: chunked"))
    await client.head()
    await upstream.send(chunk(Coder(coding).add(b"event")))
    assert await client.chunks_of(5) == b"event"
    await upstream.send(chunk(b"\xff" * 64) + LAST)
    await cut_off(relay, client, upstream, b"", coding)


@codings
@pytest.mark.parametrize("framing", ["chunked", "length", "until close"])
async def test_a_truncated_body_breaks_the_message(relay: Relay, coding: str, framing: str) -> None:
    """Its own framing is whole: only the coding knows that something is missing."""
    await relay.start(decode="always")
    client, upstream, _ = await relay.exchange(GET)
    piece = Coder(coding).add(b"event")
    framed = {"chunked": [b"Transfer-Encoding: chunked"], "length": [b"Content-Length: %d" % len(piece)]}
    await upstream.send(head_of(coding, *framed.get(framing, [])))
    await client.head()
    await upstream.send(chunk(piece) + LAST if framing == "chunked" else piece)
    if framing == "until close":
        await upstream.close()
    await cut_off(relay, client, upstream, b"event", "truncated")


async def test_garbage_after_a_coded_body_breaks_the_message(relay: Relay) -> None:
    await relay.start(decode="always")
    client, upstream, _ = await relay.exchange(GET)
    body = coded("gzip", b"event") + b"garbage"
    await upstream.send(head_of("gzip", b"Content-Length: %d" % len(body)) + body)
    await client.head()
    await cut_off(relay, client, upstream, b"event", "damaged")


async def test_damage_ends_in_a_reset_for_an_http_1_0_client(relay: Relay) -> None:
    await relay.start(decode="always")
    client, upstream, _ = await relay.exchange(GET10)
    await upstream.send(head_of("gzip"))
    await client.head()
    await upstream.send(Coder("gzip").add(b"event"))
    assert await client.read(5) == b"event"
    await upstream.send(b"\xff" * 64)
    with pytest.raises(ConnectionResetError):
        await client.rest()
    await finished(relay, Outcome.DECODE_ERROR, 200, "damaged")


async def test_damage_from_the_first_byte_is_answered(relay: Relay) -> None:
    """As long as nothing has gone out, an answer can still say so."""
    await relay.start(decode="always")
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(head_of("gzip", b"Content-Length: 4") + b"oops")
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 502 ")
    assert b"Proxy-Status: unbuffer; error=http_response_content_coding;" in head
    record = await finished(relay, Outcome.DECODE_ERROR, 502, "damaged")
    assert record.bytes_down == 0


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_upstream_that_leaves_inside_a_coded_body(relay: Relay, how: str) -> None:
    await relay.start(decode="always")
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(head_of("gzip", b"Content-Length: 1000") + Coder("gzip").add(b"event"))
    await client.head()
    assert await client.chunk() == b"event"
    if how == "reset":
        upstream.reset()
    else:
        await upstream.close()
    assert await client.rest() == b""
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 200, "in the response body")


# -- what is left alone


@pytest.mark.parametrize(
    ("method", "status", "body"),
    [
        (b"HEAD", b"200 OK", b""),
        (b"GET", b"206 Partial Content", b"\x1f\x8b\x08\x00\x00"),
        (b"GET", b"304 Not Modified", b""),
    ],
)
async def test_what_cannot_be_decoded_is_untouched(relay: Relay, method: bytes, status: bytes, body: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET.replace(b"GET", method))
    lines = [b"Content-Encoding: gzip", b'ETag: "tag"', b"Content-Digest: x"]
    await upstream.send(response_head(*lines, b"Content-Length: 5", status=status) + body)
    assert timeless(await client.head()) == response_head(
        *lines,
        DATE,
        b"X-Content-Type-Options: nosniff",
        b"X-Accel-Buffering: no",
        b"Content-Length: 5",
        status=status,
    )
    assert await client.read(len(body)) == body
    assert not (await finished(relay, Outcome.COMPLETED, int(status[:3]))).decoded
    assert not relay.totals.decoded
    assert relay.totals.upstream_idle == 1


@pytest.mark.parametrize(
    ("coding", "known"), [(b"compress", "other"), (b"gzip, aes128gcm", "other"), (b"gzip, gzip, gzip, gzip", "other")]
)
async def test_an_unknown_coding_is_passed_through(relay: Relay, coding: bytes, known: str) -> None:
    await relay.start(decode="always")
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(response_head(b"Content-Encoding: " + coding, b'ETag: "tag"', b"Content-Length: 3") + b"\0\1\2")
    head = await client.head()
    assert b"Content-Encoding: %b\r\n" % coding in head
    assert b'ETag: "tag"\r\n' in head
    assert b"Content-Length: 3\r\n" in head
    assert await client.read(3) == b"\0\1\2"
    assert not (await finished(relay, Outcome.COMPLETED, 200)).decoded
    assert dict(relay.totals.decoded) == {("default", known, "passed_through"): 1}


@pytest.mark.parametrize(("everywhere", "on_route"), [("always", "never"), ("never", None), ("streams", None)])
async def test_a_route_may_leave_codings_on(relay: Relay, everywhere: Decode, on_route: Decode | None) -> None:
    await relay.start(decode=everywhere, routes=(Route(name="raw", prefix="/raw", decode=on_route),))
    client, upstream, head = await relay.exchange(GET.replace(b"/ ", b"/raw/x "))
    assert b"\r\nAccept-Encoding: identity\r\n" in head
    body = coded("gzip", b"content")
    await upstream.send(head_of("gzip", b"Content-Length: %d" % len(body)) + body)
    head = await client.head()
    assert b"Content-Encoding: gzip\r\n" in head
    assert b"Content-Length: %d\r\n" % len(body) in head
    assert await client.read(len(body)) == body
    await finished(relay, Outcome.COMPLETED, 200)
    assert dict(relay.totals.decoded) == {("raw", "gzip", "passed_through"): 1}


async def test_a_route_may_have_codings_decoded(relay: Relay) -> None:
    await relay.start(decode="never", routes=(Route(name="plain", prefix="/plain", decode="always"),))
    client, upstream, _ = await relay.exchange(GET.replace(b"/ ", b"/plain "))
    body = coded("gzip", b"content")
    await upstream.send(head_of("gzip", b"Content-Length: %d" % len(body)) + body)
    decoded_head(await client.head())
    assert await whole(client) == b"content"
    assert dict(relay.totals.decoded) == {("plain", "gzip", "ok"): 1}
