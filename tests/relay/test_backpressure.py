"""Who does not read is waited for: the other side is paused, memory stays bounded, not a byte is lost or doubled."""

import asyncio
import gzip
import hashlib
import socket
from functools import partial

import pytest

from tests.peers import GET, LAST, OK, Peer, chunk, eventually, read_again, soon, stop_reading
from tests.relay.conftest import Relay, finished, narrow_client
from unbuffer.outcome import Outcome
from unbuffer.totals import Series

CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSE_DELIMITED = b"HTTP/1.1 200 OK\r\n\r\n"

HIGH_WATER = 65536
ONE_READ = 262144
"""The most that asyncio reads at once; uvloop reads a little less."""
BOUND = HIGH_WATER + ONE_READ + 1024
"""What one direction of a stream may hold: the mark, one read beyond it, and the framing of both."""

ON_OFFER = 4 << 30


class Source:
    """Sends numbered blocks, gigabytes of them, as fast as they are taken, until it is told to end."""

    def __init__(self, peer: Peer, chunked: bool = True) -> None:
        self.sent = 0
        self.digest = hashlib.sha256()
        self._peer = peer
        self._chunked = chunked
        self._over = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while not self._over.is_set() and self.sent < ON_OFFER:
            block = self.sent.to_bytes(8, "big") * 8192
            await self._peer.send(chunk(block) if self._chunked else block)
            self.digest.update(block)
            self.sent += len(block)
        if self._chunked:
            await self._peer.send(LAST)
        else:
            await self._peer.close()

    async def end(self) -> None:
        """End the body after the block that is being sent."""
        self._over.set()
        await soon(self._task)


async def took_all(peer: Peer, source: Source) -> int:
    """Read a chunked body to its end while `source` ends it; its size. It is what was sent."""
    end = asyncio.create_task(source.end())
    digest, size = hashlib.sha256(), 0
    while data := await peer.chunk():
        digest.update(data)
        size += len(data)
    await end
    assert (size, digest.digest()) == (source.sent, source.digest.digest())
    return size


async def others_are_served(relay: Relay, upstream: Peer | None = None) -> Peer:
    """Run another exchange beside the stream that is stuck; gives the upstream's connection, to be used again."""
    client = await relay.client()
    await client.send(GET)
    upstream = upstream or await relay.upstream.accept()
    await upstream.head()
    await upstream.send(OK)
    await client.head()
    assert await client.read(2) == b"ok"
    assert (await relay.record()).outcome is Outcome.COMPLETED
    await client.close()
    return upstream


@pytest.mark.parametrize("chunked", [True, False], ids=["chunked", "until-close"])
async def test_a_client_that_reads_nothing_pauses_the_upstream(relay: Relay, chunked: bool) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    stop_reading(client)
    connection = relay.connection()
    await upstream.send(CHUNKED if chunked else CLOSE_DELIMITED)
    source = Source(upstream, chunked)
    series = relay.totals.of("default", "stream")
    await eventually(lambda: series.stalls)
    taken = series.bytes_down
    # The relay has time to read more, and does not.
    others = await others_are_served(relay)
    for _ in range(20):
        assert connection.transport.get_write_buffer_size() <= BOUND
        await others_are_served(relay, others)
    assert series.bytes_down == taken
    assert source.sent < ON_OFFER
    read_again(client)
    await client.head()
    size = await took_all(client, source)
    record = await finished(relay, Outcome.COMPLETED, 200)
    assert record.bytes_read == record.bytes_down == size
    assert record.stalls == series.stalls >= 1
    assert record.stalled == series.stalled > 0


async def test_an_upstream_that_reads_nothing_pauses_the_client(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(CHUNKED_POST)
    stop_reading(upstream)
    connection = relay.connection()
    exchange = connection._exchange
    assert exchange is not None
    assert exchange.upstream is not None
    source = Source(client)
    await eventually(lambda: connection.reading_paused)
    taken = exchange.record.bytes_up
    others = await others_are_served(relay)
    for _ in range(20):
        assert exchange.upstream.transport.get_write_buffer_size() <= BOUND
        await others_are_served(relay, others)
    assert exchange.record.bytes_up == taken
    assert source.sent < ON_OFFER
    read_again(upstream)
    size = await took_all(upstream, source)
    await upstream.send(OK)
    await client.head()
    assert await client.read(2) == b"ok"
    record = await finished(relay, Outcome.COMPLETED, 200)
    assert record.bytes_up == size
    assert record.stalls == 0
    # Nothing of the body is left over: the next request is read from where it begins.
    await client.send(GET)
    assert (await upstream.head()).startswith(b"GET / ")


async def test_a_paused_response_does_not_pause_the_request(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(CHUNKED_POST)
    stop_reading(client)
    await upstream.send(CHUNKED)
    source = Source(upstream)
    series = relay.totals.of("default", "stream")
    await eventually(lambda: series.stalls)
    for n in range(100):
        await client.send(b"2\r\n%02d\r\n" % n)
        assert await upstream.chunk() == b"%02d" % n
    await client.send(LAST)
    assert await upstream.chunk() == b""
    read_again(client)
    await client.head()
    await took_all(client, source)
    await finished(relay, Outcome.COMPLETED, 200)


async def test_an_echo_to_a_client_that_reads_nothing_holds_the_circle_and_no_more(relay: Relay) -> None:
    """The upstream reads only what it can answer: both directions stop, each within its bound, and go on."""
    await relay.start()
    assert relay._server is not None
    assert relay.upstream._server is not None
    for listener in (*relay._server.sockets, *relay.upstream._server.sockets):
        # Megabytes in the kernel would have to be filled, hop by hop, before anybody waits.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client, upstream, _ = await relay.exchange(CHUNKED_POST)
    stop_reading(client)
    connection = relay.connection()

    async def echo() -> None:
        await upstream.send(CHUNKED)
        while data := await upstream.chunk():
            await upstream.send(chunk(data))
        await upstream.send(LAST)

    echoing = asyncio.create_task(echo())
    source = Source(client)
    await eventually(lambda: connection.reading_paused)
    assert connection.transport.get_write_buffer_size() <= BOUND
    assert source.sent < ON_OFFER
    read_again(client)
    await client.head()
    await took_all(client, source)
    await soon(echoing)
    await finished(relay, Outcome.COMPLETED, 200)


def took(series: Series, size: int) -> bool:
    """Whether so many bytes were given to clients."""
    return series.bytes_down == size


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_connection_that_was_paused_at_the_end_of_a_response_serves_the_next(relay: Relay, coding: str) -> None:
    await relay.start()
    with await narrow_client(relay) as client:
        loop = asyncio.get_running_loop()
        await soon(loop.sock_sendall(client, GET))
        upstream = await relay.upstream.accept()
        await upstream.head()
        connection = relay.connection()
        content = bytes(16384)
        if coding == "gzip":
            # One read of little makes much: the last of it comes out when the client has taken the rest.
            coded = gzip.compress(content * 64)
            head = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
            await upstream.send(head + chunk(coded) + chunk(b""))
            size = len(content) * 64
        else:
            await upstream.send(CHUNKED)
            size = 0
            series = relay.totals.of("default", "stream")
            while connection.transport.get_write_buffer_size() <= HIGH_WATER - len(content):
                await upstream.send(b"4000\r\n" + content + b"\r\n")
                size += len(content)
                await eventually(partial(took, series, size))
            # The end comes in the read that fills the buffer.
            await upstream.send(b"4000\r\n" + content + b"\r\n0\r\n\r\n")
            size += len(content)
        received = b""
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += await soon(loop.sock_recv(client, 65536))
        record = await finished(relay, Outcome.COMPLETED, 200)
        assert record.bytes_down == size
        assert record.stalls
        await others_are_served(relay, upstream)
        assert relay.totals.reuses == 1
