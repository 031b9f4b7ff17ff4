"""What a timeline tells of a stream equals what the peers did; without one nothing is kept."""

import gzip

import pytest

from tests.peers import GET, LAST, eventually, read_again, stop_reading
from tests.relay.conftest import Relay
from unbuffer.record import Record
from unbuffer.settings.model import SSE
from unbuffer.timeline import Timeline

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"


def watch(relay: Relay) -> list[Record]:
    """Keep a timeline of each stream from now on; the streams so far."""
    seen: list[Record] = []

    def begun(record: Record) -> None:
        record.timeline = Timeline(100, record.bytes_down)
        seen.append(record)

    relay.plane.clients.on_stream = begun
    return seen


def sizes(record: Record) -> list[int]:
    assert record.timeline is not None
    return [size for _, _, size in record.timeline.chunks]


async def test_every_chunk_is_marked_with_its_own_bytes_and_nothing_else_is(relay: Relay) -> None:
    await relay.start()
    seen = watch(relay)
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(EVENTS + b"\r\n")
    await client.head()
    for size in (8, 300, 10):
        event = b"data:%b\n\n" % (b"x" * (size - 7))
        await upstream.send(b"%x\r\n%b\r\n" % (size, event))
        assert await client.chunk() == event
    await upstream.send(LAST)
    assert await client.chunk() == b""
    record = await relay.record()
    assert seen == [record]
    assert sizes(record) == [8, 300, 10]
    assert record.timeline is not None
    reads = [read for read, _, _ in record.timeline.chunks]
    assert (reads[0], reads[-1]) == (record.first_at, record.last_at)
    assert all(read <= accepted <= record.ended for read, accepted, _ in record.timeline.chunks)


async def test_a_head_that_comes_with_the_first_chunk_adds_nothing_to_it(relay: Relay) -> None:
    await relay.start()
    watch(relay)
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(EVENTS + b"\r\nd\r\ndata: hello\n\n\r\n0\r\n\r\n")
    await client.until(LAST)
    assert sizes(await relay.record()) == [13]


async def test_of_a_body_that_is_decoded_the_decoded_bytes_are_marked(relay: Relay) -> None:
    await relay.start()
    watch(relay)
    client, upstream, _ = await relay.exchange(GET)
    body = gzip.compress(b"data:%b\n\n" % (b"x" * 2993))
    await upstream.send(EVENTS + b"Content-Encoding: gzip\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    await client.until(LAST)
    assert sum(sizes(await relay.record())) == 3000


async def test_an_answer_of_known_length_is_no_stream(relay: Relay) -> None:
    await relay.start()
    seen = watch(relay)
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await client.until(b"ok")
    assert (await relay.record()).timeline is None
    assert seen == []


async def test_a_tunnel_is_a_stream(relay: Relay) -> None:
    await relay.start()
    watch(relay)
    client, upstream, _ = await relay.exchange(GET[:-2] + b"Connection: upgrade\r\nUpgrade: talk\r\n\r\n")
    await upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: talk\r\n\r\n")
    await client.head()
    await upstream.send(b"hello")
    assert await client.read(5) == b"hello"
    await upstream.close()
    await client.ended()
    await client.close()
    assert sizes(await relay.record()) == [5]


async def test_a_client_that_does_not_read_is_a_pause(relay: Relay) -> None:
    await relay.start()
    seen = watch(relay)
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(EVENTS + b"\r\n")
    await client.head()
    stop_reading(client)
    (record,) = seen
    block = b"8000\r\n" + b"x" * 32768 + b"\r\n"
    while not record.paused_at:
        upstream.writer.write(block)
        await eventually(lambda: record.paused_at or not upstream.writer.transport.get_write_buffer_size())
    began = record.paused_at
    assert record.timeline is not None
    assert not record.timeline.pauses
    read_again(client)
    upstream.writer.write(LAST)
    while await client.chunk():
        pass
    assert record.timeline.pauses[0][0] == began
    assert sum(end - begin for begin, end in record.timeline.pauses) == pytest.approx(record.stalled)
    assert record.paused_at == 0.0
    await relay.record()


async def test_heartbeats_are_marked(relay: Relay) -> None:
    await relay.start(sse=SSE(heartbeat=0.01))
    seen = watch(relay)
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(EVENTS + b"\r\n")
    await client.head()
    assert await client.chunk() == b"\n\n"
    (record,) = seen
    assert record.timeline is not None
    assert len(record.timeline.heartbeats) == record.heartbeats
    assert not record.timeline.chunks
    await upstream.send(LAST)
    await relay.record()


async def test_nobody_looks_and_nothing_is_kept(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(EVENTS + b"\r\n5\r\nhello\r\n0\r\n\r\n")
    await client.until(LAST)
    assert (await relay.record()).timeline is None
