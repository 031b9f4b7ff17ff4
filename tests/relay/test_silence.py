"""Heartbeats: a comment where a stream of events is silent, and nowhere else; to all else it never was there.

The watchdog's clock is wound by hand: what comes after 15 seconds of silence comes at once.
"""

import asyncio
import time

import pytest

from tests.http.test_sse import BOM, httpx_sse, standard
from tests.peers import (
    GET,
    GET10,
    LAST,
    OK,
    STREAM,
    Peer,
    chunk,
    eventually,
    read_again,
    response_head,
    say,
    soon,
    stop_reading,
)
from tests.relay.conftest import Relay, finished, long_ago, narrow_client
from tests.relay.test_identity import Coder, codings
from unbuffer.outcome import Outcome
from unbuffer.settings.kinds import HeartbeatShape
from unbuffer.settings.model import SSE, Timeouts
from unbuffer.settings.route import Route, RouteSSE
from unbuffer.timeline import Timeline

CHUNKED = b"Transfer-Encoding: chunked\r\n"
EVENT = b"data: a\n\n"

HEARTBEAT = b"\n\n"
"""Of a client that names no media type, where no `id:` has come."""
DUE = 15.1
"""Seconds, a moment more than the default."""


class Clock:
    """The clock of a plane's watchdog, and the watchdog's turn."""

    def __init__(self, relay: Relay) -> None:
        self._plane = relay.plane
        self._ahead = 0.0

    def wind(self, seconds: float) -> None:
        """Let time pass, and have every connection looked at."""
        self._ahead += seconds
        for connection in list(self._plane.clients.connections):
            connection.look(time.monotonic() + self._ahead)


async def stream(relay: Relay, head: bytes = STREAM, request: bytes = GET) -> tuple[Peer, Peer, Clock]:
    """A response whose head the client has."""
    client, upstream = await relay.stream(head, request)
    return client, upstream, Clock(relay)


# -- when


async def test_a_silent_stream_beats_from_its_head_to_its_end(relay: Relay) -> None:
    await relay.start()
    client, upstream, clock = await stream(relay)
    for _ in range(3):
        clock.wind(DUE)
        assert await client.chunk() == HEARTBEAT
    for _ in range(2):
        await say(upstream, client, EVENT)
        for _ in range(2):
            clock.wind(DUE)
            assert await client.chunk() == HEARTBEAT
    await upstream.send(LAST)
    assert await client.chunk() == b""
    record = await finished(relay, Outcome.COMPLETED, 200)
    assert record.heartbeats == relay.totals.series["default", "sse"].heartbeats == 7


async def test_the_watchdog_looks_by_itself(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unbuffer.relay.watchdog.TICK", 0.01)
    await relay.start(sse=SSE(heartbeat=0.02))
    client, upstream, _ = await stream(relay)
    for _ in range(3):
        assert await client.chunk() == HEARTBEAT
    await upstream.send(chunk(EVENT))
    while await client.chunk() != EVENT:
        pass
    for _ in range(3):
        assert await client.chunk() == HEARTBEAT


async def test_no_heartbeat_before_its_time(relay: Relay) -> None:
    """It counts from the head, and from the latest heartbeat."""
    await relay.start(sse=SSE(heartbeat=3600.0))
    client, upstream, clock = await stream(relay)
    clock.wind(3500.0)
    await say(upstream, client, EVENT)
    clock.wind(200.0)
    assert await client.chunk() == HEARTBEAT
    clock.wind(3500.0)
    await say(upstream, client, EVENT)
    clock.wind(200.0)
    assert await client.chunk() == HEARTBEAT
    await say(upstream, client, EVENT)


async def test_a_stream_that_speaks_has_no_heartbeat(relay: Relay) -> None:
    long = long_ago()
    await relay.start(sse=SSE(heartbeat=long))
    client, upstream, clock = await stream(relay)
    (record,) = relay.plane.clients.running()
    for _ in range(3):
        await say(upstream, client, EVENT)
        record.head_at -= long  # it has spoken for so long
        clock.wind(0.0)
    await say(upstream, client, EVENT)


async def test_no_heartbeat_before_the_head(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    clock = Clock(relay)
    clock.wind(DUE)
    await upstream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert (await client.head()).startswith(b"HTTP/1.1 103 ")
    clock.wind(DUE)
    await upstream.send(STREAM + chunk(EVENT))
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    assert await client.chunk() == EVENT


async def test_no_heartbeat_after_the_end(relay: Relay) -> None:
    await relay.start()
    client, upstream, clock = await stream(relay)
    await upstream.send(LAST)
    assert await client.chunk() == b""
    clock.wind(DUE)
    await client.send(GET)
    await upstream.head()
    clock.wind(DUE)
    await upstream.send(OK)
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(
    "begun", [b"d", b"data: a", b"data: a\n", b"data: a\r\n", b"data: a\r\n\r", b": a comment", b"data: b\n\nid: 1"]
)
async def test_no_heartbeat_inside_an_event(relay: Relay, begun: bytes) -> None:
    await relay.start()
    client, upstream, clock = await stream(relay)
    await say(upstream, client, EVENT)
    await say(upstream, client, begun)
    for _ in range(3):
        clock.wind(DUE)
    await say(upstream, client, b"\n\n")
    clock.wind(DUE)
    assert await client.chunk() == (COMMENT if b"id:" in begun else HEARTBEAT)
    assert relay.totals.of("default", "sse").heartbeats == 1


async def test_no_heartbeat_while_something_waits_to_be_written(relay: Relay) -> None:
    """Little enough to be no reason to stop reading the upstream."""
    await relay.start()
    with await narrow_client(relay) as client:
        loop = asyncio.get_running_loop()
        await soon(loop.sock_sendall(client, GET))
        upstream = await relay.upstream.accept()
        body = b"data: " + b"x" * 60_000 + b"\n\n"
        await upstream.send(STREAM + chunk(body))
        series = relay.totals.of("default", "sse")
        connection = relay.connection()
        await eventually(lambda: series.bytes_down == len(body) and connection.transport.get_write_buffer_size())
        clock = Clock(relay)
        clock.wind(DUE)
        assert (series.heartbeats, series.stalls) == (0, 0)
        read = b""
        while not read.endswith(chunk(body)):
            read += await soon(loop.sock_recv(client, 65536))
        clock.wind(DUE)
        assert await soon(loop.sock_recv(client, 65536)) == chunk(HEARTBEAT)


async def test_no_heartbeat_for_a_client_that_takes_nothing(relay: Relay) -> None:
    await relay.start()
    client, upstream, clock = await stream(relay)
    stop_reading(client)
    size = 16 << 20
    upstream.writer.write(b"%x\r\n" % size + b"\n" * size + b"\r\n")
    series = relay.totals.of("default", "sse")
    await eventually(lambda: series.stalls)
    clock.wind(DUE)
    clock.wind(DUE)
    assert series.heartbeats == 0
    read_again(client)
    assert await client.chunks_of(size) == b"\n" * size


# -- where


@pytest.mark.parametrize(
    "media",
    [b"text/event-stream", b"Text/Event-Stream", b"text/event-stream; charset=utf-8", b"TEXT/EVENT-STREAM ;a=b"],
)
async def test_every_spelling_of_the_media_type_beats(relay: Relay, media: bytes) -> None:
    await relay.start()
    client, _, clock = await stream(relay, response_head(b"Content-Type: " + media, CHUNKED[:-2]))
    clock.wind(DUE)
    assert await client.chunk() == HEARTBEAT


@pytest.mark.parametrize(
    "media",
    [
        b"application/x-ndjson",
        b"text/plain",
        b"application/json",
        b"text/event-streams",
        b"text/plain; text/event-stream",
    ],
)
@pytest.mark.parametrize("marker", ["", "a"])
async def test_no_other_media_type_beats(relay: Relay, media: bytes, marker: str) -> None:
    """Neither where the end of the body is looked at for another reason."""
    await relay.start(routes=(Route(name="marked", prefix="/", terminal_marker=marker),))
    client, upstream, clock = await stream(relay, response_head(b"Content-Type: " + media, CHUNKED[:-2]))
    clock.wind(DUE)
    await say(upstream, client, b"a\n\n")
    clock.wind(DUE)
    await upstream.send(LAST)
    assert await client.chunk() == b""
    assert (await finished(relay, Outcome.COMPLETED, 200)).heartbeats == 0


async def test_a_body_of_known_length_has_no_room(relay: Relay) -> None:
    await relay.start()
    length = b"Content-Length: %d" % (2 * len(EVENT))
    client, upstream, clock = await stream(relay, response_head(b"Content-Type: text/event-stream", length))
    for _ in range(2):
        clock.wind(DUE)
        await upstream.send(EVENT)
        assert await client.read(len(EVENT)) == EVENT
    assert (await finished(relay, Outcome.COMPLETED, 200)).heartbeats == 0


@pytest.mark.parametrize(
    ("request_head", "head"),
    [
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", STREAM),
        (GET, response_head(b"Content-Type: text/event-stream", status=b"204 No Content")),
        (GET, response_head(b"Content-Type: text/event-stream", status=b"304 Not Modified")),
    ],
    ids=["HEAD", "204", "304"],
)
async def test_an_answer_without_a_body_has_no_room(relay: Relay, request_head: bytes, head: bytes) -> None:
    await relay.start()
    client, upstream, clock = await stream(relay, head, request_head)
    clock.wind(DUE)
    await client.send(GET)
    await upstream.head()
    await upstream.send(OK)
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_body_that_ends_with_the_connection(relay: Relay) -> None:
    await relay.start()
    client, upstream, clock = await stream(relay, response_head(b"Content-Type: text/event-stream"), GET10)
    clock.wind(DUE)
    assert await client.read(2) == HEARTBEAT
    await upstream.send(EVENT)
    assert await client.read(len(EVENT)) == EVENT
    clock.wind(DUE)
    assert await client.read(2) == HEARTBEAT
    await upstream.close()
    assert await client.rest() == b""
    assert (await finished(relay, Outcome.COMPLETED, 200)).bytes_down == len(EVENT)


@codings
async def test_a_decoded_stream(relay: Relay, coding: str) -> None:
    """What counts is the content: where its events end, not where the compressor's blocks do."""
    await relay.start()
    coder = Coder(coding)
    head = response_head(b"Content-Type: text/event-stream", b"Content-Encoding: " + coding.encode(), CHUNKED[:-2])
    client, upstream, clock = await stream(relay, head)
    clock.wind(DUE)
    assert await client.chunk() == HEARTBEAT
    await upstream.send(chunk(coder.add(b"data: a\n")))
    assert await client.chunks_of(8) == b"data: a\n"
    clock.wind(DUE)
    await upstream.send(chunk(coder.add(b"\n")))
    assert await client.chunk() == b"\n"
    clock.wind(DUE)
    assert await client.chunk() == HEARTBEAT
    await upstream.send(chunk(coder.end()) + LAST)
    assert await client.chunk() == b""
    assert (await finished(relay, Outcome.COMPLETED, 200)).heartbeats == 2


@pytest.mark.parametrize(
    ("coding", "status", "decode"),
    [(b"gzip", b"200 OK", "never"), (b"compress", b"200 OK", "always"), (b"gzip", b"206 Partial Content", "always")],
)
async def test_a_stream_that_stays_coded_is_left_alone(relay: Relay, coding: bytes, status: bytes, decode: str) -> None:
    """A comment in front of it, or between two of its blocks, would damage it."""
    await relay.start(decode=decode, sse=SSE(error_event=True))
    head = response_head(
        b"Content-Type: text/event-stream", b"Content-Encoding: " + coding, CHUNKED[:-2], status=status
    )
    client, upstream, clock = await stream(relay, head)
    clock.wind(DUE)
    await say(upstream, client, b"coded\n\n")
    clock.wind(DUE)
    await upstream.close()
    assert await client.rest() == b""
    assert (await relay.record()).heartbeats == 0


async def test_off(relay: Relay) -> None:
    """Also where the end of the body is kept in view for another reason."""
    await relay.start(sse=SSE(heartbeat=0.0, error_event=True), timeouts=Timeouts(silence=3600.0))
    client, upstream, clock = await stream(relay)
    clock.wind(DUE)
    await say(upstream, client, EVENT)
    clock.wind(1000.0)
    await say(upstream, client, EVENT)


@pytest.mark.parametrize(("everywhere", "own"), [(15.0, 0.0), (0.0, 15.0), (3600.0, 15.0), (15.0, 3600.0)])
async def test_a_route_has_its_own(relay: Relay, everywhere: float, own: float) -> None:
    routes = (Route(name="own", prefix="/own", sse=RouteSSE(heartbeat=own)),)
    await relay.start(sse=SSE(heartbeat=everywhere), routes=routes)
    for heartbeat, path in ((everywhere, b"/"), (own, b"/own")):
        client, upstream, clock = await stream(relay, STREAM, GET.replace(b"/", path, 1))
        clock.wind(DUE)
        if heartbeat == 15.0:
            assert await client.chunk() == HEARTBEAT
        await say(upstream, client, EVENT)
        await client.close()
        assert (await relay.record()).heartbeats == (heartbeat == 15.0)


# -- its shape

BLANK = HEARTBEAT
COMMENT = b":\n"
BLOCK = b":\n\n"
ACCEPTS = [b"text/event-stream", b"application/json, Text/Event-Stream", b"*/*", b"application/json"]


@pytest.mark.parametrize("accept", ACCEPTS)
async def test_a_client_that_asks_for_events_by_name_gets_a_comment(relay: Relay, accept: bytes) -> None:
    """Others do until there is an `id:`, which an empty line might repeat."""
    await relay.start()
    request = GET.replace(b"\r\n\r\n", b"\r\nAccept: " + accept + b"\r\n\r\n")
    client, upstream, clock = await stream(relay, STREAM, request)
    without_id = COMMENT if b"event" in accept.lower() else BLANK
    clock.wind(DUE)
    assert await client.chunk() == without_id
    await say(upstream, client, EVENT)
    clock.wind(DUE)
    assert await client.chunk() == without_id
    await say(upstream, client, b"id: 1\ndata: b\n\n")
    for _ in range(2):
        clock.wind(DUE)
        assert await client.chunk() == COMMENT
        await say(upstream, client, EVENT)


@pytest.mark.parametrize(("shape", "beat"), [("comment", COMMENT), ("comment_block", BLOCK), ("blank", BLANK)])
@pytest.mark.parametrize("accept", ACCEPTS[::2])
@pytest.mark.parametrize("of_route", [False, True])
async def test_a_shape_that_is_set_is_the_same_to_all(
    relay: Relay, shape: HeartbeatShape, beat: bytes, accept: bytes, of_route: bool
) -> None:
    own = (Route(name="own", prefix="/", sse=RouteSSE(heartbeat_shape=shape)),)
    await relay.start(sse=SSE() if of_route else SSE(heartbeat_shape=shape), routes=own if of_route else ())
    request = GET.replace(b"\r\n\r\n", b"\r\nAccept: " + accept + b"\r\n\r\n")
    client, upstream, clock = await stream(relay, STREAM, request)
    for event in (EVENT, b"id: 1\ndata: b\n\n"):
        clock.wind(DUE)
        assert await client.chunk() == beat
        await say(upstream, client, event)
    clock.wind(DUE)
    assert await client.chunk() == beat


# -- the opening


@pytest.mark.parametrize("heartbeat", [0.0, 15.0])
@pytest.mark.parametrize("of_route", [False, True])
async def test_an_opening_comes_in_the_write_of_the_head(relay: Relay, heartbeat: float, of_route: bool) -> None:
    own = (Route(name="own", prefix="/", sse=RouteSSE(opening=True)),)
    await relay.start(sse=SSE(heartbeat=heartbeat, opening=not of_route), routes=own if of_route else ())
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(STREAM)
    assert (await client.until(chunk(HEARTBEAT))).startswith(b"HTTP/1.1 200 OK\r\n")
    await say(upstream, client, EVENT)
    await upstream.send(LAST)
    assert await client.chunk() == b""
    record = await finished(relay, Outcome.COMPLETED, 200)
    assert record.heartbeats == relay.totals.series[record.route, "sse"].heartbeats == 1
    assert record.bytes_down == len(EVENT)


async def test_the_next_heartbeat_counts_from_the_opening(relay: Relay) -> None:
    await relay.start(sse=SSE(opening=True))
    client, upstream, clock = await stream(relay)
    assert await client.chunk() == HEARTBEAT
    clock.wind(1.0)
    await say(upstream, client, EVENT)
    clock.wind(DUE)
    assert await client.chunk() == HEARTBEAT


async def test_a_head_with_bytes_of_its_body_is_open(relay: Relay) -> None:
    await relay.start(sse=SSE(opening=True))
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(STREAM + chunk(EVENT))
    await client.head()
    assert await client.chunk() == EVENT
    await upstream.send(LAST)
    assert await client.chunk() == b""
    assert (await finished(relay, Outcome.COMPLETED, 200)).heartbeats == 0


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Type: application/x-ndjson", CHUNKED[:-2]),
        (b"Content-Type: text/event-stream", b"Content-Encoding: compress", CHUNKED[:-2]),
    ],
    ids=["no events", "stays coded"],
)
async def test_where_nothing_may_be_added_nothing_opens(relay: Relay, lines: tuple[bytes, ...]) -> None:
    await relay.start(sse=SSE(opening=True))
    client, upstream, _ = await stream(relay, response_head(*lines))
    await say(upstream, client, EVENT)


async def test_a_byte_order_mark_after_an_opening_costs_no_event(relay: Relay) -> None:
    await relay.start(sse=SSE(opening=True))
    client, upstream, _ = await stream(relay)
    seen = await client.chunk()
    await upstream.send(chunk(BOM + EVENT))
    seen += await client.chunks_of(len(BOM + EVENT))
    assert standard(seen) == standard(BOM + EVENT)


# -- what it does not touch


async def test_a_heartbeat_is_no_word_of_the_upstream(relay: Relay) -> None:
    """The deadline for its silence passes all the same."""
    await relay.start(timeouts=Timeouts(silence=60.0))
    client, upstream, clock = await stream(relay)
    for _ in range(3):
        clock.wind(DUE)
        assert await client.chunk() == HEARTBEAT
    clock.wind(DUE)
    assert await client.rest() == b""
    await upstream.ended()
    assert (await finished(relay, Outcome.SILENCE_TIMEOUT, 200)).heartbeats == 3


async def test_no_measure_of_the_stream_knows_of_heartbeats(relay: Relay) -> None:
    await relay.start()
    client, upstream, clock = await stream(relay)
    (record,) = relay.plane.clients.running()
    record.timeline = Timeline(100, 0)
    clock.wind(DUE)
    assert await client.chunk() == HEARTBEAT
    assert (record.first_at, record.last_at, record.chunks) == (0.0, 0.0, 0)
    for _ in range(2):
        await say(upstream, client, EVENT)
        latest = record.last_at
        clock.wind(DUE)
        assert await client.chunk() == HEARTBEAT
        assert record.last_at == latest
    series = relay.totals.series["default", "sse"]
    assert (record.chunks, record.bytes_read, record.bytes_down) == (2, 2 * len(EVENT), 2 * len(EVENT))
    assert (sum(series.ttfc.counts), sum(series.gaps.counts), sum(series.chunk_sizes.counts)) == (1, 1, 2)
    assert series.bytes_down == 2 * len(EVENT)
    assert record.max_gap == series.gaps.sum
    assert (len(record.timeline.heartbeats), record.timeline.count) == (3, 2)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_the_events_are_the_same_whenever_it_is_silent(relay: Relay, end: bytes, size: int) -> None:
    lines = [b": hello", b"", b"id: 1", b"data: a", b"data", b"", b"", b"event: e", b"retry: 7", b"data: b", b"", b""]
    body = end.join(lines)
    await relay.start()
    client, upstream, clock = await stream(relay)
    clock.wind(DUE)
    reads = [await client.chunk()]
    for start in range(0, len(body), size):
        piece = body[start : start + size]
        await upstream.send(chunk(piece))
        while True:
            reads.append(await client.chunk())
            if reads[-1] == piece:
                break
        clock.wind(DUE)
    await upstream.send(LAST)
    while read := await client.chunk():
        reads.append(read)
    stops = [0, *range(size, len(body), size), len(body)]
    boundaries = [stop for stop in stops if not stop or body[:stop].endswith(2 * end)]
    assert (await finished(relay, Outcome.COMPLETED, 200)).heartbeats == len(boundaries)
    assert standard(b"".join(reads)) == standard(body)
    assert httpx_sse(reads) == httpx_sse([body])


@pytest.mark.parametrize("coded", [False, True], ids=["identity", "gzip"])
@pytest.mark.parametrize("silent", [False, True])
async def test_a_byte_order_mark_costs_no_event(relay: Relay, coded: bool, silent: bool) -> None:
    """It may stand at the very beginning only, where it is dropped. After a heartbeat a comment takes its place."""
    await relay.start()
    coding = [b"Content-Encoding: gzip"] if coded else []
    client, upstream, clock = await stream(
        relay, response_head(b"Content-Type: text/event-stream", *coding, CHUNKED[:-2])
    )
    seen = b""
    if silent:
        clock.wind(DUE)
        seen = await client.chunk()
    body = BOM + EVENT
    await upstream.send(chunk(Coder("gzip").add(body) if coded else body))
    seen += await client.chunks_of(len(body))
    assert standard(seen) == standard(body)
    assert seen == body if not silent else BOM not in seen


async def test_only_the_first_bytes_of_a_stream_can_be_a_byte_order_mark(relay: Relay) -> None:
    await relay.start()
    client, upstream, clock = await stream(relay)
    for _ in range(3):
        await say(upstream, client, BOM + EVENT)
        clock.wind(DUE)
        assert await client.chunk() == HEARTBEAT
