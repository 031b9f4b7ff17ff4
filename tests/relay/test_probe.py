"""The probe stream: prompt, bounded, counted like every stream, and there only for those who may have it."""

import asyncio
import re

import pytest

from tests.peers import Peer, eventually, soon
from tests.relay.conftest import Relay, finished, narrow_client, own_answer
from unbuffer.http.probe import Sent, read
from unbuffer.outcome import Outcome
from unbuffer.relay.probe_pool import NAME, ProbePool
from unbuffer.settings.model import Authorization, Probe

ON = Probe(enabled=True)
PATH = b"/_unbuffer/probe"


def request(query: bytes, method: bytes = b"GET", fields: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"%b %b?%b HTTP/%b\r\nHost: a\r\n%b\r\n" % (method, PATH, query, version, fields)


async def asked(relay: Relay, sent: bytes, probe: Probe = ON) -> Peer:
    """A client that has sent this."""
    if not relay.port:
        await relay.start(probe=probe)
    client = await relay.client()
    await client.send(sent)
    return client


async def event(client: Peer) -> Sent:
    sent = read(await client.chunk())
    assert sent is not None
    return sent


async def test_an_event_is_there_long_before_the_next_one(relay: Relay) -> None:
    client = await asked(relay, request(b"count=2&gap=59000"))
    head = await client.head()
    assert b"Content-Type: text/event-stream\r\n" in head
    assert b"X-Accel-Buffering: no\r\n" in head
    first = await event(client)
    assert (first.name, first.number, first.of, first.is_beat) == (NAME, 0, 2, False)
    await client.close()
    record = await finished(relay, Outcome.CLIENT_DISCONNECT, 200)
    assert (record.route, record.kind, record.chunks) == ("_probe", "sse", 1)
    assert relay.upstream.untaken == 0


async def test_the_head_is_there_long_before_the_first_event(relay: Relay) -> None:
    client = await asked(relay, request(b"delay=59000"))
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    client.reset()
    assert await relay.outcome() is Outcome.CLIENT_DISCONNECT


async def test_heartbeats_come_between_events(relay: Relay) -> None:
    client = await asked(relay, request(b"count=2&gap=59000&beat=50"))
    await client.head()
    assert not (await event(client)).is_beat
    first, second = await event(client), await event(client)
    assert first.is_beat
    assert (first.number, second.number) == (0, 1)
    assert second.at - first.at >= 0.04
    client.reset()
    assert await relay.outcome() is Outcome.CLIENT_DISCONNECT


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        ("event-stream", b"text/event-stream"),
        ("ndjson", b"application/x-ndjson"),
        ("plain", b"text/plain; charset=utf-8"),
    ],
)
@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_it_is_what_was_asked_for(relay: Relay, kind: str, media_type: bytes, method: bytes) -> None:
    body = b"Content-Length: 2\r\n" if method == b"POST" else b""
    query = b"count=5&gap=1&size=200&uneven=1&type=" + kind.encode()
    client = await asked(relay, request(query, method, body) + (b"{}" if body else b""))
    assert b"Content-Type: %b\r\n" % media_type in await client.head()
    content = b""
    while part := await client.chunk():
        content += part
    assert len(content) == 5 * 200
    sent = [one for line in content.splitlines() if (one := read(line))]
    assert [one.number for one in sent] == [0, 1, 2, 3, 4]
    assert content.endswith(b"\n\n") is (kind == "event-stream")
    await finished(relay, Outcome.COMPLETED, 200)


async def test_what_is_asked_by_http_1_0_ends_with_the_connection(relay: Relay) -> None:
    client = await asked(relay, request(b"count=3&gap=1", version=b"1.0"))
    assert b"Transfer-Encoding" not in await client.head()
    assert len(re.findall(rb"data: ", await client.rest())) == 3
    await finished(relay, Outcome.COMPLETED, 200)


async def test_head_has_no_body(relay: Relay) -> None:
    client = await asked(relay, request(b"count=2&gap=59000", b"HEAD", b"Connection: close\r\n"))
    assert b"Content-Type: text/event-stream\r\n" in await client.head()
    assert await client.rest() == b""
    await finished(relay, Outcome.COMPLETED, 200)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (b"count=0", b"count: want 1 to 4000 events"),
        (b"count=4001&size=96&gap=1", b"count: want 1 to 4000 events"),
        (b"count=many", b"count: want a whole number\n"),
        (b"gap=-1", b"gap: want a whole number of milliseconds\n"),
        (b"size=95", b"size: want 96 to 65536 bytes for each event"),
        (b"size=65537", b"size: want 96 to 65536 bytes for each event"),
        (b"size=65536&count=17", b"count and size: want 1048576 bytes in all at the most"),
        (b"count=61&gap=1001", b"delay, gap and count: want 60 seconds in all at the most"),
        (b"delay=60001&count=1", b"delay, gap and count: want 60 seconds in all at the most"),
        (b"type=html", b"type: want one of event-stream, ndjson, plain"),
        (b"beat=49", b"beat: want 50 ms or more"),
        (b"beat=100&type=plain", b"beat: want 50 ms or more, and type=event-stream"),
    ],
)
async def test_what_is_out_of_bounds_is_told_in_a_sentence(relay: Relay, query: bytes, told: bytes) -> None:
    client = await asked(relay, request(query, fields=b"Connection: close\r\n"))
    assert (await client.head()).startswith(b"HTTP/1.1 400 ")
    assert (await client.rest()).startswith(b"the probe cannot do that: " + told)
    await finished(relay, Outcome.COMPLETED, 400)


async def test_no_more_than_so_many_at_a_time(relay: Relay) -> None:
    first = await asked(relay, request(b"delay=59000"), Probe(enabled=True, streams=1))
    await first.head()
    second = await asked(relay, request(b"delay=59000"))
    assert b"Retry-After: 1\r\n" in await own_answer(second, 503, "connection_limit_reached")
    await finished(relay, Outcome.REJECTED, 503, "the limit probe.streams is reached")
    first.reset()
    assert await relay.outcome() is Outcome.CLIENT_DISCONNECT
    # Its place is free again.
    await eventually(lambda: isinstance(relay.plane.probe, ProbePool) and not relay.plane.probe._running)
    third = await asked(relay, request(b"count=1"))
    assert (await third.head()).startswith(b"HTTP/1.1 200 ")
    await finished(relay, Outcome.COMPLETED, 200)


async def test_a_client_that_takes_nothing_is_waited_for_with_little_in_hand(relay: Relay) -> None:
    await relay.start(probe=ON)
    with await narrow_client(relay) as client:
        loop = asyncio.get_running_loop()
        await soon(loop.sock_sendall(client, request(b"count=16&size=65536&gap=1")))
        assert isinstance(relay.plane.probe, ProbePool)
        running = relay.plane.probe._running
        await eventually(lambda: any(stream._paused for stream in running))
        (stream,) = running
        assert stream.transport.get_write_buffer_size() < 3 * 65536
        assert sum(relay.plane.clients.buffered()) < 65536 + 262144 + 1024  # the mark, and one read beyond it
        received = b""
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += await soon(loop.sock_recv(client, 65536))
    assert [int(number) for number in re.findall(rb'"n":(\d+)', received)] == list(range(16))
    await finished(relay, Outcome.COMPLETED, 200)


async def test_a_drain_waits_for_it_and_its_end_ends_it(relay: Relay) -> None:
    client = await asked(relay, request(b"count=2&gap=59000"))
    await client.head()
    await event(client)
    relay.plane.clients.drain()
    relay.plane.clients.end_streams()
    await client.ended()
    assert await relay.outcome() is Outcome.DRAINING
    await eventually(lambda: isinstance(relay.plane.probe, ProbePool) and not relay.plane.probe._running)


TOKEN = Probe(enabled=True, tokens=("probe-token",))
OTHERS = Authorization(required=True, tokens=("token-of-all",))


@pytest.mark.parametrize(
    ("probe", "authorization", "token", "status"),
    [
        (TOKEN, Authorization(), b"", 401),
        (TOKEN, Authorization(), b"wrong", 401),
        (TOKEN, Authorization(), b"probe-token", 200),
        (TOKEN, OTHERS, b"token-of-all", 401),
        (TOKEN, OTHERS, b"probe-token", 200),
        (ON, OTHERS, b"", 401),
        (ON, OTHERS, b"token-of-all", 200),
    ],
)
async def test_it_asks_for_a_token(
    relay: Relay, probe: Probe, authorization: Authorization, token: bytes, status: int
) -> None:
    await relay.start(probe=probe, authorization=authorization)
    fields = b"Authorization: Bearer %b\r\n" % token if token else b""
    client = await asked(relay, request(b"count=1", fields=fields))
    assert (await client.head()).startswith(b"HTTP/1.1 %d " % status)
    assert await relay.outcome() is (Outcome.COMPLETED if status == 200 else Outcome.UNAUTHORIZED)


@pytest.mark.parametrize(
    ("probe", "method"), [(Probe(), b"GET"), (ON, b"DELETE"), (Probe(enabled=True, path="/other"), b"GET")]
)
async def test_what_is_no_request_for_it_is_the_applications(relay: Relay, probe: Probe, method: bytes) -> None:
    await relay.start(probe=probe)
    client, upstream, head = await relay.exchange(request(b"count=1", method))
    assert head.startswith(method + b" " + PATH)
    await upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (await client.head()).startswith(b"HTTP/1.1 204 ")
    await finished(relay, Outcome.COMPLETED, 204)


async def test_a_reload_switches_it_on_and_leaves_what_runs(relay: Relay) -> None:
    client = await asked(relay, request(b"count=2&gap=59000"))
    await client.head()
    settings = relay.plane.settings
    relay.plane.reload(type(settings)(upstream=settings.upstream))
    assert relay.plane.probe is relay.plane.pool
    await event(client)
    client.reset()
    assert await relay.outcome() is Outcome.CLIENT_DISCONNECT
    relay.plane.reload(settings)
    again = await asked(relay, request(b"count=1"))
    assert (await soon(again.head())).startswith(b"HTTP/1.1 200 ")
    await finished(relay, Outcome.COMPLETED, 200)
