"""Client connections that carry several requests: one at a time, in order, whatever comes early."""

import asyncio

import pytest

from tests.peers import Peer, chunk, eventually, stop_reading
from tests.relay.conftest import Relay, finished, own_answer
from unbuffer.outcome import Outcome

BODY = b"GET / HTTP/1.1\r\n\r\n"  # a body that looks like what follows it

GET = b"GET /get HTTP/1.1\r\nHost: a\r\n\r\n"
CLOSE = b"GET /close HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
LENGTH = b"POST /length HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
CHUNKED = (
    b"POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%b\r\n0\r\nX-T: 1\r\n\r\n"
    % (
        len(BODY),
        BODY,
    )
)
GET_SEEN = b"GET /get|"
CLOSE_SEEN = b"GET /close|"
LENGTH_SEEN = b"POST /length|" + BODY
CHUNKED_SEEN = b"POST /chunked|" + BODY


class Echo:
    """An upstream that answers each request, in turn, with what it saw of it."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._upstream: Peer | None = None

    async def serve(self, count: int = 1) -> None:
        """Answer so many requests, all of one connection."""
        for _ in range(count):
            upstream = self._upstream = self._upstream or await self._relay.upstream.accept()
            head = await upstream.head()
            body = b""
            if b"\r\nTransfer-Encoding: chunked\r\n" in head:
                while piece := await upstream.chunk():
                    body += piece
            elif b"\r\nContent-Length: " in head:
                body = await upstream.read(stated_length(head))
            seen = head.partition(b" HTTP/")[0] + b"|" + body
            await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(seen), seen))


def stated_length(head: bytes) -> int:
    return int(head.partition(b"\r\nContent-Length: ")[2].partition(b"\r\n")[0])


async def answer(client: Peer) -> bytes:
    """The body of the next answer, which has a length."""
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n"), head
    return await client.read(stated_length(head))


async def send_apart(client: Peer, *pieces: bytes) -> None:
    """Send the pieces so that the relay has its turn between them, and mostly reads them one by one."""
    for piece in pieces:
        await client.send(piece)
        for _ in range(3):
            await asyncio.sleep(0)


async def test_one_connection_carries_one_request_after_the_other(relay: Relay) -> None:
    await relay.start()
    echo = Echo(relay)
    client = await relay.client()
    for sent, seen in ((GET, GET_SEEN), (LENGTH, LENGTH_SEEN), (CHUNKED, CHUNKED_SEEN)) * 3:
        await client.send(sent)
        await echo.serve()
        assert await answer(client) == seen
        await finished(relay, Outcome.COMPLETED, 200)
    assert relay.upstream.untaken == 0


PIPELINE = GET + LENGTH + CHUNKED + b"\r\n" + GET + CHUNKED + LENGTH
PIPELINE_SEEN = [GET_SEEN, LENGTH_SEEN, CHUNKED_SEEN, GET_SEEN, CHUNKED_SEEN, LENGTH_SEEN]


@pytest.mark.parametrize("size", [len(PIPELINE), 1, 7, 100], ids=["one-write", "bytes", "sevens", "hundreds"])
async def test_pipelined_requests_are_answered_in_order(relay: Relay, size: int) -> None:
    await relay.start()
    client = await relay.client()
    await send_apart(client, *(PIPELINE[start : start + size] for start in range(0, len(PIPELINE), size)))
    await Echo(relay).serve(len(PIPELINE_SEEN))
    assert [await answer(client) for _ in PIPELINE_SEEN] == PIPELINE_SEEN
    for seen in PIPELINE_SEEN:
        record = await finished(relay, Outcome.COMPLETED, 200)
        method, _, path = seen.partition(b"|")[0].decode().partition(" ")
        assert (record.method, record.path) == (method, path)
        assert record.bytes_up == len(seen.partition(b"|")[2])


async def test_a_pipeline_may_be_cut_at_every_byte(relay: Relay) -> None:
    await relay.start()
    echo = Echo(relay)
    client = await relay.client()
    pipeline = CHUNKED + LENGTH
    for at in range(1, len(pipeline)):
        await send_apart(client, pipeline[:at], pipeline[at:])
        await echo.serve(2)
        assert [await answer(client), await answer(client)] == [CHUNKED_SEEN, LENGTH_SEEN]


async def test_a_long_pipeline_is_answered_to_its_end(relay: Relay) -> None:
    await relay.start()
    client = await relay.client()
    await client.send(GET * 100)
    await Echo(relay).serve(100)
    for _ in range(100):
        assert await answer(client) == GET_SEEN


async def test_an_early_request_waits_for_the_answer_before_it(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(CHUNKED + GET)
    while await upstream.chunk():
        pass
    await upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
    await client.head()
    assert await client.chunk() == b"one"
    # The next one on this connection can only come after the end of this answer.
    await upstream.send(b"3\r\ntwo\r\n0\r\n\r\n")
    assert (await upstream.head()).startswith(b"GET /get HTTP/1.1\r\n")
    assert [await client.chunk(), await client.chunk()] == [b"two", b""]
    await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert await answer(client) == b""
    assert relay.upstream.untaken == 0


async def test_reading_stops_after_an_early_request(relay: Relay) -> None:
    """However much a client sends ahead, one read of it is kept."""
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    connection = relay.connection()
    await client.send(GET)
    await eventually(lambda: not connection.transport.is_reading())
    await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await upstream.head()
    assert await answer(client) == b""
    await eventually(connection.transport.is_reading)
    await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert await answer(client) == b""


async def test_a_client_that_was_held_back_by_its_last_request_is_read_again(relay: Relay) -> None:
    """The end of the request is what the upstream's buffer had no room for, and the answer does not wait for it."""
    await relay.start()
    client, upstream, _ = await relay.exchange(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    stop_reading(upstream)
    connection = relay.connection()
    exchange = connection._exchange
    assert exchange is not None
    assert exchange.upstream is not None
    waiting = exchange.upstream.transport.get_write_buffer_size

    record = exchange.record

    async def pass_on(block: bytes) -> None:
        sent = record.bytes_up + len(block)
        await client.send(chunk(block))
        await eventually(lambda: record.bytes_up == sent)

    async def fill(size: int, block: bytes) -> None:
        while waiting() < size:
            await pass_on(block)

    await fill(1, bytes(32768))
    await fill(60000, bytes(1024))
    assert not connection.reading_paused
    await client.send(b"2000\r\n%b\r\n0\r\n\r\n" % bytes(8192))
    await eventually(lambda: connection.reading_paused)
    await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
    assert await answer(client) == b"no"
    await client.send(GET)
    assert (await (await relay.upstream.accept()).head()).startswith(b"GET ")


@pytest.mark.parametrize("after", [b"", GET, b"x", GET * 5000], ids=["nothing", "request", "garbage", "much"])
async def test_connection_close_ends_after_its_answer(relay: Relay, after: bytes) -> None:
    """What a client sends after the request that it called its last is no request (RFC 9112, section 9.6); unread, it
    must not reset the connection and take the answer with it."""
    await relay.start()
    echo = Echo(relay)
    client = await relay.client()
    client.writer.write(GET + CLOSE + after)
    await echo.serve(2)
    assert await answer(client) == GET_SEEN
    head = await client.head()
    assert b"Connection: close\r\n" in head
    assert await client.rest() == CLOSE_SEEN
    await finished(relay, Outcome.COMPLETED, 200)
    await finished(relay, Outcome.COMPLETED, 200)
    assert relay.totals.upstream_idle == 1, "the upstream's connection is not the client's"
    assert not any(relay.totals.rejected.values())


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize(
    ("bad", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
    ],
)
async def test_a_bad_request_is_answered_after_the_good_ones(
    relay: Relay, bad: bytes, status: int, apart: bool
) -> None:
    await relay.start()
    client = await relay.client()
    if apart:
        await send_apart(client, GET, LENGTH, bad, GET)
    else:
        await client.send(GET + LENGTH + bad + GET)
    await Echo(relay).serve(2)
    assert [await answer(client), await answer(client)] == [GET_SEEN, LENGTH_SEEN]
    assert b"Connection: close\r\n" in await own_answer(client, status, "http_request_error")
    assert await client.rest() == b""
    await finished(relay, Outcome.COMPLETED, 200)
    await finished(relay, Outcome.COMPLETED, 200)
    record = await relay.record()
    assert (record.outcome, record.status) == (Outcome.REQUEST_MALFORMED, status)
    assert {reason: count for reason, count in relay.totals.rejected.items() if count} == {"bad_request": 1}
    assert relay.totals.upstream_idle == 1


async def test_a_client_that_leaves_between_requests_is_no_stream(relay: Relay) -> None:
    await relay.start()
    client = await relay.client()
    await client.send(GET)
    await Echo(relay).serve()
    assert await answer(client) == GET_SEEN
    await finished(relay, Outcome.COMPLETED, 200)
    await client.close()
    await eventually(lambda: not relay.plane.clients.connections)
    assert sum(relay.totals.of("default", "plain").outcomes.values()) == 1
