"""Promptness, in lock-step: the upstream sends chunk n+1 only after the client has chunk n. A relay that holds anything
back stops here for good, however fast or slow the machine is."""

from tests.peers import GET, GET10, LAST, POST, STREAM, chunk
from tests.relay.conftest import Relay


async def test_the_head_arrives_before_any_body_byte_exists(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(STREAM)
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_chunked_in_lock_step(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(STREAM)
    await client.head()
    for n in range(50):
        event = b"data: %d\n\n" % n
        await upstream.send(chunk(event))
        assert await client.chunk() == event
    await upstream.send(LAST)
    assert await client.chunk() == b""
    record = await relay.record()
    assert (record.chunks, record.kind) == (50, "sse")
    assert record.bytes_read == record.bytes_down == sum(len(b"data: %d\n\n" % n) for n in range(50))


async def test_one_byte_at_a_time_with_a_length(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
    assert b"Content-Length: 20\r\n" in await client.head()
    for n in range(20):
        await upstream.send(b"%c" % (65 + n))
        assert await client.read(1) == b"%c" % (65 + n)
    assert (await relay.record()).chunks == 20


async def test_until_close_for_a_client_of_either_version(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(b"HTTP/1.0 200 OK\r\n\r\n")
    assert b"Transfer-Encoding: chunked\r\n" in await client.head()
    await upstream.send(b"one")
    assert await client.chunk() == b"one"
    await upstream.close()
    assert await client.chunk() == b""

    client, upstream, _ = await relay.exchange(GET10)
    await upstream.send(STREAM + b"3\r\none\r\n")
    head = await client.head()
    assert b"Connection: close\r\n" in head
    assert b"Transfer-Encoding" not in head
    assert await client.read(3) == b"one"
    await upstream.send(b"3\r\ntwo\r\n0\r\n\r\n")
    assert await client.rest() == b"two"


async def test_a_request_body_in_lock_step(relay: Relay) -> None:
    await relay.start()
    client, upstream, head = await relay.exchange(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert b"Transfer-Encoding: chunked\r\n" in head
    for n in range(20):
        await client.send(b"1\r\n%c\r\n" % (65 + n))
        assert await upstream.chunk() == b"%c" % (65 + n)
    await client.send(LAST)
    assert await upstream.chunk() == b""
    await upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (await client.head()).startswith(b"HTTP/1.1 204 No Content\r\n")
    assert (await relay.record()).bytes_up == 20


async def test_both_directions_at_once(relay: Relay) -> None:
    """The upstream answers while the request still runs; every piece goes there and back before the next."""
    await relay.start()
    client, upstream, _ = await relay.exchange(POST)
    await upstream.send(STREAM)
    await client.head()
    for n in range(10):
        await client.send(b"%d" % n)
        assert await upstream.read(1) == b"%d" % n
        await upstream.send(b"1\r\n%d\r\n" % n)
        assert await client.chunk() == b"%d" % n
    await upstream.send(LAST)
    assert await client.chunk() == b""
