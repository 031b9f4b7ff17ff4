"""Several readers of one stream, each at its own pace; and a stream that nobody reads."""

import asyncio

from tests.peers import LAST, STREAM, eventually, stop_reading
from tests.relay.conftest import Relay
from tests.resume.streams import GET, POST, EventReader, body_of, chunk, event, field, last_id
from tests.resume.test_coming_back import back, begun, with_id
from unbuffer.outcome import Outcome
from unbuffer.settings.model import Timeouts
from unbuffer.settings.resume import Resume

LARGE = event("x" * 8000)


async def test_all_that_read_it_get_all_of_it_at_once(relay: Relay) -> None:
    await relay.start(resume=Resume(window=60.0))
    client, upstream, _, first = await begun(relay, GET + b"\r\n", event("0"))
    others = [(await back(relay, with_id(GET, last_id(first))))[0] for _ in range(3)]
    for other in others:
        assert await other.chunk() == b"\n"
    for number in range(1, 5):  # in lock-step: the next one comes when everybody has this one
        await upstream.send(chunk(event(str(number))))
        for one in (client, *others):
            assert (await one.chunk()).startswith(b"data: %d\nid: " % number)
    await upstream.send(LAST)
    for one in (client, *others):
        assert await one.chunk() == b""


async def test_the_slowest_of_several_is_cut_and_may_come_back(relay: Relay) -> None:
    await relay.start(resume=Resume(window=60.0, bytes=65536, linger=0.0))
    client, upstream, _, first = await begun(relay, GET + b"\r\n", event("0"))
    slow, _ = await back(relay, with_id(GET, last_id(first)))
    await slow.chunk()
    stop_reading(slow)
    body = first
    for _ in range(2000):
        if not relay._records.empty():
            break
        await upstream.send(chunk(LARGE))
        body += await client.chunk()
    record = await relay.record()
    assert record.outcome is Outcome.CLIENT_STALL_TIMEOUT
    assert "resume.bytes" in record.detail
    again, _ = await back(relay, with_id(GET, last_id(body)))
    await upstream.send(chunk(event("end")) + LAST)
    assert b"data: end\n" in await body_of(again)
    assert b"data: end\n" in await body_of(client)


async def test_one_alone_that_is_slow_holds_the_upstream_and_loses_nothing(relay: Relay) -> None:
    await relay.start(resume=Resume(window=60.0, bytes=65536))
    client, upstream, _ = await relay.exchange(GET + b"\r\n")
    await upstream.send(STREAM)
    await client.head()
    stop_reading(client)
    sent = 0
    connection = relay.connection()
    while not connection.records[0].paused_at:
        upstream.writer.write(chunk(event(f"{sent} " + "x" * 8000)))
        sent += 1
        await asyncio.sleep(0)
    upstream.writer.write(LAST)
    client.reader._transport.resume_reading()  # type: ignore[attr-defined]
    reader = EventReader()
    reader.feed(await body_of(client))
    assert [int(data.partition(" ")[0]) for _, data in reader.events] == list(range(sent))
    assert (await relay.record()).stalls == 1


async def test_a_client_that_takes_nothing_is_cut_and_its_stream_is_not(relay: Relay) -> None:
    await relay.start(resume=Resume(window=60.0, bytes=65536), timeouts=Timeouts(client_stall=0.3))
    client, upstream, head, _ = await begun(relay, POST + b"\r\n{}", event("0"))
    stop_reading(client)
    connection = relay.connection()
    while not connection.stalled:
        upstream.writer.write(chunk(LARGE))
        await asyncio.sleep(0)
    await eventually(lambda: not relay.plane.clients.connections)
    assert relay._records.empty()
    url = b"GET /chat?unbuffer-stream=%b&after=%d HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer me\r\n\r\n"
    name = field(head, b"Unbuffer-Stream")
    (kept,) = relay.plane.resumption.streams.values()  # type: ignore[union-attr]
    again, _ = await back(relay, url % (name, kept.count - 1))
    upstream.writer.write(chunk(event("end")) + LAST)
    assert b"data: end\n" in await body_of(again)


async def test_nobody_left_it_is_read_on_for_so_many_bytes_and_so_long(relay: Relay) -> None:
    await relay.start(resume=Resume(window=60.0, bytes=65536, linger=1.0))
    client, upstream, _, _ = await begun(relay, GET + b"\r\n", event("0"))
    client.reset()
    await eventually(lambda: not relay.plane.clients.connections)
    (record,) = relay.plane.clients.running()
    while not record.paused_at:
        upstream.writer.write(chunk(LARGE))
        await asyncio.sleep(0)
    assert relay.totals.resume_held < 65536 + 16384 + 2048 + 4608
    ended = await relay.record()
    assert ended is record
    assert ended.outcome is Outcome.ABANDONED
    await upstream.ended()


async def test_whoever_comes_back_in_time_has_it_go_on(relay: Relay) -> None:
    await relay.start(resume=Resume(window=60.0, bytes=65536, linger=60.0))
    client, upstream, _, first = await begun(relay, GET + b"\r\n", event("0"))
    client.reset()
    await eventually(lambda: not relay.plane.clients.connections)
    (record,) = relay.plane.clients.running()
    sent = 0
    while not record.paused_at:
        sent += 1
        upstream.writer.write(chunk(event(f"{sent} " + "x" * 8000)))
        await asyncio.sleep(0)
    again, _ = await back(relay, with_id(GET, last_id(first)))
    upstream.writer.write(LAST)
    reader = EventReader()
    reader.feed(await body_of(again))
    assert [int(data.partition(" ")[0]) for _, data in reader.events] == list(range(1, sent + 1))


async def test_without_linger_leaving_cancels_and_what_there_was_is_kept(relay: Relay) -> None:
    await relay.start(resume=Resume(window=60.0, linger=0.0))
    client, upstream, head, _ = await begun(relay, POST + b"\r\n{}", event("0"))
    client.reset()
    assert await relay.outcome() is Outcome.CLIENT_DISCONNECT
    await upstream.ended()
    url = b"GET /chat?unbuffer-stream=%b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer me\r\n\r\n"
    again, _ = await back(relay, url % field(head, b"Unbuffer-Stream"))
    rest = await again.rest()
    assert b"data: 0\n" in rest
    assert not rest.endswith(LAST)


async def test_an_event_larger_than_all_that_is_kept_passes(relay: Relay) -> None:
    await relay.start(resume=Resume(window=60.0, bytes=4096))
    client, upstream, _, first = await begun(relay, POST + b"\r\n{}", event("0"))
    large = b"data: " + b"x" * 60000
    await upstream.send(chunk(large))
    assert await client.chunks_of(len(large)) == large
    _, head = await back(relay, with_id(POST, last_id(first)))
    assert head.startswith(b"HTTP/1.1 404 ")
    assert relay.totals.resume_attaches["expired"] == 1
    await upstream.send(chunk(b"\n\n"))
    end = await client.chunk()
    assert end.startswith(b"\nid: ub.")
    again, _ = await back(relay, with_id(POST, last_id(end)))
    await upstream.send(chunk(event("2")) + LAST)
    assert (await body_of(again)).startswith(b"\ndata: 2\n")
