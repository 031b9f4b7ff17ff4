"""A client that loses its connection comes back and has every event once; the application runs once."""

import zlib

import msgspec
import pytest

from tests.peers import LAST, STREAM, Peer, eventually, soon
from tests.relay.conftest import Relay
from tests.resume.streams import GET, POST, EventReader, body_of, chunk, event, field, first_id, last_id
from unbuffer.outcome import Outcome
from unbuffer.settings.model import SSE
from unbuffer.settings.resume import Resume, RouteResume
from unbuffer.settings.route import Route

ON = Resume(window=60.0)


async def begun(relay: Relay, request: bytes, *events: bytes) -> tuple[Peer, Peer, bytes, bytes]:
    """A stream with these events: client, upstream, the head and the body as they came, without the first id."""
    client, upstream, _ = await relay.exchange(request)
    await upstream.send(STREAM + b"".join(chunk(one) for one in events))
    head = await client.head()
    if b"\r\nUnbuffer-Stream: " in head:
        assert await client.chunk() == first_id(head)
    body = b""
    while body.count(b"data: ") < len(events) or not body.endswith(b"\n\n"):
        part = await client.chunk()
        assert part, body
        body += part
    return client, upstream, head, body


async def back(relay: Relay, request: bytes) -> tuple[Peer, bytes]:
    """A client that asks so, and the head of its answer."""
    client = await relay.client()
    await client.send(request)
    return client, await client.head()


def with_id(request: bytes, last: bytes) -> bytes:
    return request + b"Last-Event-ID: %b\r\n\r\n" % last + (b"{}" if request.startswith(b"POST") else b"")


async def test_the_rest_comes_to_whoever_comes_back_and_the_end_is_as_it_was(relay: Relay) -> None:
    await relay.start(resume=ON)
    client, upstream, head, first = await begun(relay, GET + b"\r\n", event("1"))
    assert first.startswith(b"data: 1\nid: ub.")
    assert first.endswith(b".1\n\n")
    assert field(head, b"Unbuffer-Stream") in first
    client.reset()
    await upstream.send(chunk(event("2") + event("3")))
    again, head = await back(relay, with_id(GET, last_id(first)))
    assert b"\r\nContent-Type: text/event-stream\r\n" in head
    assert b"\nUnbuffer-Stream: " + field(head, b"Unbuffer-Stream") in head
    await upstream.send(chunk(event("4")) + LAST)
    body = await body_of(again)
    assert body.startswith(b"\n")
    reader = EventReader()
    reader.feed(body)
    assert reader.text == "234"
    assert relay.upstream.untaken == 0
    assert {await relay.outcome(), await relay.outcome()} == {Outcome.COMPLETED}
    await again.send(with_id(GET, last_id(body)))
    assert (await again.head()).startswith(b"HTTP/1.1 204 ")
    assert relay.totals.resume_attaches == {"hit": 2, "expired": 0, "foreign": 0, "unknown": 0}
    assert relay.totals.resume_replayed == 2


async def test_a_post_that_is_repeated_does_not_run_again(relay: Relay) -> None:
    await relay.start(resume=ON)
    client, upstream, _, first = await begun(relay, POST + b"\r\n{}", event("1"))
    client.reset()
    again, head = await back(relay, with_id(POST, last_id(first)))
    assert head.startswith(b"HTTP/1.1 200 ")
    await upstream.send(chunk(event("2")) + LAST)
    body = await body_of(again)
    assert b"data: 2\n" in body
    # A reader of a POST repeats it for ever after 204: a stream without events and with a clean end is understood.
    await again.send(with_id(POST, last_id(body)))
    assert (await again.head()).startswith(b"HTTP/1.1 200 ")
    assert await body_of(again) == b"\n"
    assert relay.upstream.untaken == 0


async def test_a_post_that_breaks_before_the_first_event_does_not_run_again(relay: Relay) -> None:
    """A model thinks for long before its first word, and load balancers take that for idle."""
    await relay.start(resume=ON, sse=SSE(heartbeat=0.1))
    client, upstream, _ = await relay.exchange(POST + b"\r\n{}")
    await upstream.send(STREAM)
    first = first_id(await client.head())
    assert await client.chunk() == first
    assert await client.chunk() == b":\n"
    client.reset()
    again, _ = await back(relay, with_id(POST, last_id(first)))
    assert await again.chunk() == b"\n"
    await upstream.send(chunk(event("1")) + LAST)
    while (part := await again.chunk()) == b":\n":
        pass
    assert part.startswith(b"data: 1\nid: ")
    assert relay.upstream.untaken == 0
    ended = [await relay.record(), await relay.record()]
    (whole,) = [record for record in ended if record.chunks]
    assert (whole.chunks, whole.bytes_read) == (1, len(event("1")))


async def test_a_post_whose_upstream_breaks_before_the_first_event_runs_again(relay: Relay) -> None:
    await relay.start(resume=ON)
    client, upstream, _ = await relay.exchange(POST + b"\r\n{}")
    await upstream.send(STREAM)
    first = await client.until(b".0\n")
    upstream.reset()
    assert await relay.outcome() is Outcome.UPSTREAM_DISCONNECT
    again = await relay.client()
    await again.send(with_id(POST, last_id(first)))
    assert b"last-event-id" not in (await (await relay.upstream.accept()).head()).lower()


async def test_a_stream_without_an_event_ends_as_it_was(relay: Relay) -> None:
    """Half a block at the end of a stream is nothing to a reader."""
    await relay.start(resume=ON)
    client, upstream, _ = await relay.exchange(POST + b"\r\n{}")
    await upstream.send(STREAM + chunk(b": done\n\n") + LAST)
    first = first_id(await client.head())
    assert await body_of(client) == first + b": done\n:\n"
    assert await relay.outcome() is Outcome.COMPLETED
    again, _ = await back(relay, with_id(POST, last_id(first)))
    assert await body_of(again) == b"\n"


async def test_the_body_of_a_repeated_post_may_come_late(relay: Relay) -> None:
    await relay.start(resume=ON)
    _, upstream, _, first = await begun(relay, POST + b"\r\n{}", event("1"))
    again = await relay.client()
    await again.send(POST + b"Last-Event-ID: %b\r\n\r\n{" % last_id(first))
    await eventually(lambda: relay.totals.streams == 2)
    await upstream.send(chunk(event("2")) + LAST)
    await relay.outcome()
    await again.send(b"}")
    await again.head()
    assert b"data: 2\n" in await body_of(again)


async def test_an_upstream_that_broke_breaks_whoever_comes_back_as_well(relay: Relay) -> None:
    await relay.start(resume=ON)
    client, upstream, _, first = await begun(relay, POST + b"\r\n{}", event("1"))
    client.reset()
    await upstream.send(chunk(event("2")))
    upstream.reset()
    assert await relay.outcome() is Outcome.UPSTREAM_DISCONNECT
    again, _ = await back(relay, with_id(POST, last_id(first)))
    assert b"data: 2\n" in await again.chunks_of(10)
    rest = await again.rest()
    assert b"0\r\n" not in rest
    assert await relay.outcome() is Outcome.UPSTREAM_DISCONNECT


async def test_an_event_source_that_has_seen_it_break_begins_anew(relay: Relay) -> None:
    """Of an application that restarts it wants the next stream, which is not to see an id that is not its own."""
    await relay.start(resume=ON)
    _, upstream, _, first = await begun(relay, GET + b"\r\n", event("1"))
    upstream.reset()
    await relay.outcome()
    again = await relay.client()
    await again.send(with_id(GET, last_id(first)))
    second = await relay.upstream.accept()
    assert b"last-event-id" not in (await second.head()).lower()


async def test_half_an_event_is_sent_again_whole(relay: Relay) -> None:
    await relay.start(resume=ON)
    client, upstream, _, first = await begun(relay, GET + b"\r\n", event("1"))
    await upstream.send(chunk(b"data: ha"))
    assert await client.chunk() == b"data: ha"
    client.reset()
    again, _ = await back(relay, with_id(GET, last_id(first)))
    assert await again.chunks_of(9) == b"\ndata: ha"
    await upstream.send(chunk(b"lf\n\n") + LAST)
    assert (await body_of(again)).startswith(b"lf\nid: ")


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_by_url_from_where_one_likes(relay: Relay, after: int) -> None:
    """For clients that can set no field, or read no id: SDKs of APIs."""
    await relay.start(resume=ON)
    client, upstream, head, _ = await begun(relay, POST + b"\r\n{}", event("1"), event("2"))
    name = field(head, b"Unbuffer-Stream")
    link = b"<?unbuffer-stream=%b&after=0>" % name
    assert field(head, b"Link") == link + b'; rel="urn:unbuffer:resume"'
    client.reset()
    await upstream.send(chunk(event("3")) + LAST)
    await relay.outcome()
    url = b"GET /chat?unbuffer-stream=%b&after=%d HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer me\r\n\r\n"
    again, _ = await back(relay, url % (name, after))
    reader = EventReader()
    reader.feed(await body_of(again))
    assert reader.text == "123"[after:]


async def test_event_source_polyfill_has_its_id_in_the_query(relay: Relay) -> None:
    """It sends no field, which a page of another origin would need leave for."""
    await relay.start(resume=ON)
    client, upstream, _, first = await begun(relay, GET + b"\r\n", event("1"))
    client.reset()
    get = GET.replace(b"?q=1", b"?q=1&lastEventId=%b") + b"\r\n"
    again, _ = await back(relay, get % last_id(first))
    await upstream.send(chunk(event("2")) + LAST)
    body = await body_of(again)
    assert body.count(b"data: ") == 1
    assert b"data: 2\n" in body
    await again.send(get % last_id(body))
    assert (await again.head()).startswith(b"HTTP/1.1 204 ")
    assert relay.upstream.untaken == 0


@pytest.mark.parametrize(("last", "passed"), [(b"ub.%b.1" % (b"x" * 22), b"?q=1"), (b"7", b"?q=1&lastEventId=7")])
async def test_an_id_in_the_query_that_names_no_stream_begins_one(relay: Relay, last: bytes, passed: bytes) -> None:
    """The application gets no id that it has not given, and its own as it came."""
    await relay.start(resume=ON)
    client = await relay.client()
    await client.send(GET.replace(b"?q=1", b"?q=1&lastEventId=%b" % last) + b"\r\n")
    upstream = await relay.upstream.accept()
    assert (await upstream.head()).startswith(b"GET /chat%b HTTP/1.1\r\n" % passed)


async def test_mcp_goes_on_by_get_with_the_stream_of_a_post(relay: Relay) -> None:
    await relay.start(resume=ON)
    client, upstream, _, first = await begun(relay, POST + b"\r\n{}", event("1"))
    client.reset()
    get = b"GET /chat HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer me\r\n"
    again, _ = await back(relay, with_id(get, last_id(first)))
    await upstream.send(chunk(event("2")) + LAST)
    body = await body_of(again)
    assert b"data: 2\n" in body
    assert relay.upstream.untaken == 0


async def test_ids_of_the_application_stay_and_serve_as_well(relay: Relay) -> None:
    await relay.start(resume=ON)
    sent = (b"id: a\ndata: 1\n\n", b"data: 2\nid: b\n\n", b"id\ndata: 3\n\n")
    client, upstream, _, first = await begun(relay, GET + b"\r\n", *sent)
    assert first == b"".join(sent)
    client.reset()
    again, _ = await back(relay, with_id(GET, b"a"))
    assert await again.chunks_of(1 + len(sent[1] + sent[2])) == b"\n" + sent[1] + sent[2]
    # What the application says of an id that no stream has here is its own business.
    other = await relay.client()
    await other.send(with_id(GET, b"c"))
    second = await relay.upstream.accept()
    assert b"\r\nLast-Event-ID: c\r\n" in await second.head()
    await upstream.send(LAST)


async def test_an_id_of_the_application_that_two_streams_have_names_none(relay: Relay) -> None:
    await relay.start(resume=ON)
    for _ in range(2):
        await begun(relay, GET + b"\r\n", b"id: 1\ndata: 1\n\n")
    other = await relay.client()
    await other.send(with_id(GET, b"1"))
    assert b"\r\nLast-Event-ID: 1\r\n" in await (await relay.upstream.accept()).head()


async def test_with_its_name_such_an_id_is_found_for_a_post_as_well(relay: Relay) -> None:
    await relay.start(resume=ON)
    client, upstream, head, _ = await begun(relay, POST + b"\r\n{}", b"id: 1\ndata: 1\n\n")
    client.reset()
    name = b"Unbuffer-Stream: %b\r\n" % field(head, b"Unbuffer-Stream")
    again, _ = await back(relay, with_id(POST + name, b"1"))
    await upstream.send(chunk(b"id: 2\ndata: 2\n\n") + LAST)
    assert await body_of(again) == b"\nid: 2\ndata: 2\n\n"


async def test_what_is_no_event_stream_is_left_alone(relay: Relay) -> None:
    await relay.start(resume=ON)
    client, upstream, _ = await relay.exchange(GET + b"\r\n")
    await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    assert b"Unbuffer-Stream" not in await client.head()
    await client.chunk()
    client.reset()
    assert await relay.outcome() is Outcome.CLIENT_DISCONNECT


async def test_off_nothing_is_added_and_leaving_cancels(relay: Relay) -> None:
    resume = RouteResume(window=60.0)
    await relay.start(routes=(Route(name="kept", prefix="/kept", resume=resume),))
    client, upstream, head, body = await begun(relay, GET + b"\r\n", event("1"))
    assert b"Unbuffer-Stream" not in head
    assert body == event("1")
    client.reset()
    assert await relay.outcome() is Outcome.CLIENT_DISCONNECT
    await upstream.ended()


async def test_mcp_of_2026_07_28_cancels_by_closing(relay: Relay) -> None:
    await relay.start(resume=ON)
    request = POST + b"MCP-Protocol-Version: 2026-07-28\r\n\r\n{}"
    client, upstream, head, body = await begun(relay, request, event("1"))
    assert b"Unbuffer-Stream" not in head
    assert body == event("1")
    client.reset()
    assert await relay.outcome() is Outcome.CLIENT_DISCONNECT
    await upstream.ended()


async def test_a_delete_cancels_at_once_and_for_good(relay: Relay) -> None:
    await relay.start(resume=ON)
    client, upstream, head, first = await begun(relay, GET + b"\r\n", event("1"))
    url = b"DELETE /chat?unbuffer-stream=%b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer me\r\n\r\n"
    other, answer = await back(relay, url % field(head, b"Unbuffer-Stream"))
    assert answer.startswith(b"HTTP/1.1 204 ")
    await upstream.ended()
    assert {await relay.outcome(), await relay.outcome()} == {Outcome.COMPLETED, Outcome.CANCELLED}
    assert b"0\r\n" not in await client.rest()
    await other.send(with_id(GET, last_id(first)))
    assert (await other.head()).startswith(b"HTTP/1.1 204 ")


async def test_heartbeats_reach_who_reads_and_are_not_kept(relay: Relay) -> None:
    await relay.start(resume=ON, sse=SSE(heartbeat=0.3, error_event=True))
    client, upstream, _, first = await begun(relay, GET + b"\r\n", event("1"))
    assert await client.chunk() == b":\n"
    await upstream.send(chunk(event("2")))
    while b"data: 2" not in await client.chunk():
        pass
    again, _ = await back(relay, with_id(GET, last_id(first)))
    assert (await again.chunks_of(20)).startswith(b"\ndata: 2\nid: ")
    assert await again.chunk() == b":\n"
    upstream.reset()
    for one in (client, again):
        while (part := await one.chunk()) == b":\n":
            pass
        assert part.startswith(b"event: error\ndata: ")
        await one.ended()


async def test_a_compressed_stream_is_kept_as_text(relay: Relay) -> None:
    await relay.start(resume=ON)
    client, upstream, _ = await relay.exchange(GET + b"\r\n")
    packer = zlib.compressobj(wbits=31)
    coded = STREAM.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\nSet-Cookie: a=b\r\n\r\n")
    await upstream.send(coded + chunk(packer.compress(event("1")) + packer.flush(zlib.Z_SYNC_FLUSH)))
    await client.head()
    first = await client.chunk()
    client.reset()
    again, head = await back(relay, with_id(GET, last_id(first)))
    assert b"Content-Encoding" not in head
    assert b"Set-Cookie" not in head
    await upstream.send(chunk(packer.compress(event("2")) + packer.flush()) + LAST)
    assert b"\ndata: 2\nid: " in await body_of(again)


async def test_a_drain_cancels_what_nobody_reads_and_ends_what_is_read(relay: Relay) -> None:
    await relay.start(resume=ON)
    left, upstream, _, _ = await begun(relay, GET + b"\r\n", event("1"))
    left.reset()
    client, other, _, first = await begun(relay, GET + b"\r\n", event("1"))
    await eventually(lambda: len(list(relay.plane.clients.running())) == 2)
    await eventually(lambda: len(relay.plane.clients.connections) == 1)
    relay.plane.clients.drain()
    assert await relay.outcome() is Outcome.DRAINING
    await upstream.ended()
    await other.send(chunk(event("2")) + LAST)
    assert b"data: 2" in await body_of(client)
    assert await relay.outcome() is Outcome.COMPLETED
    assert first


async def test_a_reload_keeps_what_is_kept(relay: Relay) -> None:
    await relay.start(resume=ON)
    client, upstream, _, first = await begun(relay, GET + b"\r\n", event("1"))
    client.reset()
    await eventually(lambda: not relay.plane.clients.connections)
    settings = relay.plane.settings
    relay.plane.reload(msgspec.structs.replace(settings, resume=Resume()))
    await upstream.send(chunk(event("2")) + LAST)
    again, _ = await back(relay, with_id(GET, last_id(first)))
    assert b"data: 2" in await body_of(again)
    _, _, head, _ = await begun(relay, GET + b"\r\n", event("1"))
    assert b"Unbuffer-Stream" not in head


async def test_after_the_window_nothing_is_left(relay: Relay) -> None:
    await relay.start(resume=Resume(window=0.3))
    client, upstream, _, first = await begun(relay, POST + b"\r\n{}", event("1"))
    await upstream.send(LAST)
    await body_of(client)
    await eventually(lambda: not relay.totals.resume_streams)
    assert relay.totals.resume_held == 0
    _, head = await back(relay, with_id(POST, last_id(first)))
    assert head.startswith(b"HTTP/1.1 404 ")
    assert relay.totals.resume_attaches["expired"] == 1
    assert await soon(relay.outcome()) is Outcome.COMPLETED
    assert await soon(relay.outcome()) is Outcome.STREAM_UNKNOWN
