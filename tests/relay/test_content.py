"""Keep-alives of the application: passed on at once, counted apart, and no word of it for anybody who counts words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.unwired import Unwired
from tests.http.test_content import PINGED, examples, plainly
from tests.http.test_sse import BOM, standard
from tests.peers import GET, LAST, STREAM, Peer, chunk, response_head, say
from tests.relay.conftest import Relay, finished, long_ago
from tests.relay.test_identity import Coder, codings
from tests.relay.test_silence import CHUNKED, DUE, EVENT, HEARTBEAT, stream
from tests.relay.test_timeline import watch
from unbuffer.http.sse import AUTO, Tail
from unbuffer.judgement import Verdict
from unbuffer.observe.verdict import judge
from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.settings.kinds import HeartbeatShape
from unbuffer.settings.model import SSE, Settings, Timeouts
from unbuffer.settings.route import Route, RouteSSE

PING = b": ping\n\n"
NDJSON = response_head(b"Content-Type: application/x-ndjson", CHUNKED[:-2])


def counted(relay: Relay, record: Record) -> tuple[int, int]:
    """Chunks and keep-alives of a stream, which are those of all streams too."""
    series = relay.totals.series[record.route, record.kind]
    assert series.keepalives == record.keepalives
    assert sum(series.chunks_by_magnitude) == record.chunks
    assert sum(series.gaps.counts) == max(record.chunks - 1, 0)
    assert sum(series.ttfc.counts) == bool(record.chunks)
    return record.chunks, record.keepalives


async def ended(relay: Relay, upstream: Peer, client: Peer, outcome: Outcome = Outcome.COMPLETED) -> Record:
    """The record of the stream, after a last chunk."""
    await upstream.send(LAST)
    assert await client.chunk() == b""
    return await finished(relay, outcome, 200)


# -- what is content, and what is not


@pytest.mark.parametrize(
    "read",
    [
        PING,
        b":\n\n",
        b": \r\n\r\n",
        b"\n",
        b"retry: 3000\n\n",
        b"id: 7\n\n",
        b"event: tick\n\n",
        b": " + b"x" * 20_000 + b"\n\n",
    ],
)
async def test_a_keep_alive_goes_on_at_once_and_is_no_chunk(relay: Relay, read: bytes) -> None:
    await relay.start()
    client, upstream, _ = await stream(relay)
    for data in (read, EVENT, read, read, EVENT):
        await upstream.send(chunk(data))
        assert await client.chunks_of(len(data)) == data
    record = await ended(relay, upstream, client)
    assert counted(relay, record) == (2, 3)
    assert record.bytes_down == record.bytes_read == 2 * len(EVENT) + 3 * len(read)
    series = relay.totals.series["default", "sse"]
    assert series.bytes_down == record.bytes_down
    assert series.chunk_sizes.sum == 2 * len(EVENT)


async def test_a_stream_of_nothing_else_never_began(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await stream(relay)
    for _ in range(6):
        await say(upstream, client, PING)
    record = await ended(relay, upstream, client)
    assert counted(relay, record) == (0, 6)
    assert record.first_at == record.last_at == record.max_gap == 0.0
    assert judge(record) is None


@pytest.mark.parametrize(
    ("reads", "chunks"),
    [
        ((PING + EVENT,), 1),
        ((EVENT + PING,), 1),
        ((b"data: ha", b"lf\n\n"), 2),
        ((b": pi", b"ng\n", b"\n"), 0),
        ((b": pi", b"ng\ndata: a\n\n"), 1),
        ((b"event: tick\n", b"data: a\n\n"), 1),
        ((BOM, PING, EVENT), 1),
        ((BOM + EVENT, PING), 1),
        ((b"data: a\r\r", b": ping\r\r"), 1),
        ((b"data: a\r\n\r", b"\n: ping\r\n\r\n"), 1),
    ],
)
async def test_a_read_counts_for_what_it_brings(relay: Relay, reads: tuple[bytes, ...], chunks: int) -> None:
    await relay.start()
    client, upstream, _ = await stream(relay)
    for read in reads:
        await say(upstream, client, read)
    assert counted(relay, await ended(relay, upstream, client)) == (chunks, len(reads) - chunks)


async def test_a_head_and_a_keep_alive_in_one_read(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(STREAM + chunk(PING))
    await client.head()
    assert await client.chunk() == PING
    await say(upstream, client, EVENT)
    assert counted(relay, await ended(relay, upstream, client)) == (1, 1)


async def test_a_keep_alive_may_be_the_end(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await stream(relay)
    await say(upstream, client, EVENT)
    await upstream.send(chunk(PING) + LAST)
    assert await client.chunk() == PING
    assert await client.chunk() == b""
    assert counted(relay, await finished(relay, Outcome.COMPLETED, 200)) == (1, 1)


async def test_empty_lines_of_ndjson(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await stream(relay, NDJSON)
    for read in (b"\n", b'{"a":', b"1}\n", b"\r\n", b"\n"):
        await say(upstream, client, read)
    assert counted(relay, await ended(relay, upstream, client)) == (2, 3)


@pytest.mark.parametrize("media", [b"text/plain", b"application/json"])
async def test_in_any_other_body_every_byte_is_content(relay: Relay, media: bytes) -> None:
    await relay.start()
    client, upstream, _ = await stream(relay, response_head(b"Content-Type: " + media, CHUNKED[:-2]))
    for read in (PING, b"\n", b"\n"):
        await say(upstream, client, read)
    assert counted(relay, await ended(relay, upstream, client)) == (3, 0)


async def test_a_body_of_known_length(relay: Relay) -> None:
    await relay.start()
    length = b"Content-Length: %d" % len(PING + EVENT)
    client, upstream, _ = await stream(relay, response_head(b"Content-Type: text/event-stream", length))
    for read in (PING, EVENT):
        await upstream.send(read)
        assert await client.read(len(read)) == read
    assert counted(relay, await finished(relay, Outcome.COMPLETED, 200)) == (1, 1)


@codings
async def test_of_a_decoded_body_the_text_decides(relay: Relay, coding: str) -> None:
    await relay.start()
    coder = Coder(coding)
    head = response_head(b"Content-Type: text/event-stream", b"Content-Encoding: " + coding.encode(), CHUNKED[:-2])
    client, upstream, _ = await stream(relay, head)
    for data in (PING, b"data: ha", b"lf\n\n", PING, b": pi", b"ng\n\n", EVENT):
        await upstream.send(chunk(coder.add(data)))
        assert await client.chunks_of(len(data)) == data
    await upstream.send(chunk(coder.end()) + LAST)
    assert await client.chunk() == b""
    record = await finished(relay, Outcome.COMPLETED, 200)
    # What ends the coding brings no text: it is neither.
    assert counted(relay, record) == (3, 4)


async def test_what_comes_of_a_coded_body_in_a_later_turn_goes_on_where_it_was(relay: Relay) -> None:
    """More than a step of the decoder: the line that is cut there is read on."""
    await relay.start()
    coder = Coder("gzip")
    head = response_head(b"Content-Type: text/event-stream", b"Content-Encoding: gzip", CHUNKED[:-2])
    client, upstream, _ = await stream(relay, head)
    long = b"data: " + b"x" * 200_000 + b"\n\n: " + b"x" * 200_000
    for data in (long, b"data: no\n\n", PING):
        await upstream.send(chunk(coder.add(data)))
        assert await client.chunks_of(len(data)) == data
    await upstream.send(chunk(coder.end()) + LAST)
    assert await client.chunk() == b""
    assert counted(relay, await finished(relay, Outcome.COMPLETED, 200)) == (1, 2)


async def test_what_stays_coded_is_not_read(relay: Relay) -> None:
    await relay.start(decode="never")
    head = response_head(b"Content-Type: text/event-stream", b"Content-Encoding: gzip", CHUNKED[:-2])
    client, upstream, _ = await stream(relay, head)
    await say(upstream, client, PING)
    assert counted(relay, await ended(relay, upstream, client)) == (1, 0)


@pytest.mark.parametrize(
    ("cut", "elsewhere"),
    [(0, (3, 0)), (3, (3, 1)), (12, (3, 1)), (17, (4, 0)), (25, (4, 0)), (len(PINGED) - 1, (4, 0))],
)
@pytest.mark.parametrize("path", ["/own", "/"])
async def test_a_route_names_events_that_are_keep_alives(
    relay: Relay, path: str, cut: int, elsewhere: tuple[int, int]
) -> None:
    await relay.start(
        sse=SSE(keepalive_events=("keepalive",)),
        routes=(Route(name="own", prefix="/own", sse=RouteSSE(keepalive_events=("ping",))),),
    )
    client, upstream, _ = await stream(relay, request=f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    for read in (EVENT, PINGED[:cut], PINGED[cut:], EVENT):
        if read:
            await say(upstream, client, read)
    own = (2, 1 + bool(cut))
    assert counted(relay, await ended(relay, upstream, client)) == (own if path == "/own" else elsewhere)


# -- silence


@pytest.mark.parametrize("before", [b"", EVENT])
async def test_keep_alives_do_not_hold_off_the_silence_timeout(relay: Relay, before: bytes) -> None:
    long = long_ago()
    await relay.start(timeouts=Timeouts(silence=long))
    client, upstream, clock = await stream(relay)
    if before:
        await say(upstream, client, before)
    (record,) = relay.plane.clients.running()
    record.sent_at -= long
    record.head_at -= long
    record.last_at -= long
    await say(upstream, client, PING)
    clock.wind(0.0)
    assert await client.rest() == b""
    record = await finished(relay, Outcome.SILENCE_TIMEOUT, 200)
    assert (record.chunks, record.keepalives) == (bool(before), 1)


async def test_a_keep_alive_ends_no_gap_and_no_stall(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await stream(relay)
    await say(upstream, client, EVENT)
    (record,) = relay.plane.clients.running()
    record.sent_at -= 60.0
    record.last_at -= 60.0  # a minute ago
    for _ in range(3):
        await say(upstream, client, PING)
    assert (record.max_gap, relay.totals.upstream_silences["stream"]) == (0.0, 0)
    await say(upstream, client, EVENT)
    assert record.max_gap > 60.0
    assert relay.totals.upstream_silences["stream"] == 1


# -- heartbeats


async def test_no_heartbeat_while_the_applications_keep_alives_come(relay: Relay) -> None:
    long = long_ago()
    await relay.start(sse=SSE(heartbeat=long))
    client, upstream, clock = await stream(relay)
    (record,) = relay.plane.clients.running()
    for _ in range(3):
        await say(upstream, client, PING)
        record.head_at -= long  # it has been so for so long
        clock.wind(0.0)
    await say(upstream, client, PING)
    assert (record.heartbeats, record.keepalives) == (0, 4)


async def test_a_heartbeat_where_they_come_too_seldom(relay: Relay) -> None:
    await relay.start()
    client, upstream, clock = await stream(relay)
    for _ in range(3):
        await say(upstream, client, PING)
        clock.wind(DUE)
        assert await client.chunk() == HEARTBEAT
    record = await ended(relay, upstream, client)
    assert (record.heartbeats, record.keepalives) == (3, 3)


async def test_no_heartbeat_inside_a_keep_alive(relay: Relay) -> None:
    await relay.start()
    client, upstream, clock = await stream(relay)
    await say(upstream, client, b": pi")
    clock.wind(DUE)
    await say(upstream, client, b"ng\n\n")
    clock.wind(DUE)
    assert await client.chunk() == HEARTBEAT


@pytest.mark.parametrize("shape", ["auto", "comment", "comment_block", "blank"])
@pytest.mark.parametrize("size", [1, 100, 4096])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
async def test_a_heartbeat_may_be_filled_up(relay: Relay, shape: HeartbeatShape, size: int, end: bytes) -> None:
    await relay.start(sse=SSE(heartbeat_shape=shape, heartbeat_padding=size))
    client, upstream, clock = await stream(relay)
    event = b"data: a" + end + end
    await say(upstream, client, event)
    clock.wind(DUE)
    beat = await client.chunk()
    assert len(beat) == size if size > 4 else len(beat) <= 5
    assert standard(event + beat + event) == standard(event + event)
    assert (await ended(relay, upstream, client)).bytes_down == len(event)


async def test_a_route_may_fill_up_its_own(relay: Relay) -> None:
    own = RouteSSE(heartbeat_padding=0)
    await relay.start(sse=SSE(heartbeat_padding=64), routes=(Route(name="own", prefix="/own", sse=own),))
    client, _, clock = await stream(relay, request=b"GET /own HTTP/1.1\r\nHost: a\r\n\r\n")
    clock.wind(DUE)
    assert await client.chunk() == HEARTBEAT


async def test_a_keep_alive_that_is_smaller_puts_no_filled_one_off(relay: Relay) -> None:
    """Whoever swallows what is shorter than the filling has not seen it."""
    long = long_ago()
    await relay.start(sse=SSE(heartbeat=long, heartbeat_padding=64))
    client, upstream, clock = await stream(relay)
    (record,) = relay.plane.clients.running()
    record.head_at -= long
    await say(upstream, client, PING)
    clock.wind(0.0)
    assert len(await client.chunk()) == 64
    await say(upstream, client, b":" + b" " * 62 + b"\n")
    assert (record.heartbeats, record.keepalives) == (1, 2)


async def test_a_keep_alive_as_large_as_the_filling_puts_it_off(relay: Relay) -> None:
    long = long_ago()
    await relay.start(sse=SSE(heartbeat=long, heartbeat_padding=64))
    client, upstream, clock = await stream(relay)
    (record,) = relay.plane.clients.running()
    await say(upstream, client, b":" + b" " * 62 + b"\n")
    record.head_at -= long
    clock.wind(0.0)
    await say(upstream, client, EVENT)
    assert (record.heartbeats, record.keepalives) == (0, 1)


# -- the picture, and the verdict


async def test_a_timeline_has_them_apart(relay: Relay) -> None:
    await relay.start()
    watch(relay)
    client, upstream, _ = await stream(relay)
    for read in (PING, EVENT, PING, PING, EVENT):
        await say(upstream, client, read)
    record = await ended(relay, upstream, client)
    timeline = record.timeline
    assert timeline is not None
    assert [size for _, _, size in timeline.chunks] == [len(EVENT)] * 2
    assert (timeline.count, len(timeline.keepalives)) == (2, 3)
    assert timeline.keepalives[0] < timeline.chunks[0][0] < timeline.keepalives[1]


Reads = list[tuple[float, bytes]]


@pytest.mark.parametrize(
    ("reads", "verdict"),
    [
        # An application that thinks, then gives all at once: whatever keeps it alive meanwhile.
        ([(2.0, EVENT * 40)], Verdict.LUMP),
        # Blocks of one size, every fifth of a second.
        ([(n / 5, b"data: 1234567\n\n" * 100) for n in range(1, 12)], Verdict.BURSTS),
        ([(n * n / 30, EVENT) for n in range(1, 12)], Verdict.STREAMED),
        ([(0.2, EVENT)], Verdict.SHORT),
    ],
)
@pytest.mark.parametrize("ping", [PING, b": " + b"x" * 500 + b"\n\n", b": a\n\n: b\n\n: c\n\n"])
def test_a_verdict_is_the_same_with_keep_alives_and_without(reads: Reads, verdict: Verdict, ping: bytes) -> None:
    pings = [(n / 20 + 0.013, ping) for n in range(60)]
    for told in (reads, sorted([*reads, *pings])):
        with Unwired() as relay:
            judgement = judge(relay.play("sse", 0.01, told))
        assert judgement is not None
        assert judgement.verdict == verdict


# -- the short way of the usual reads: what it tells and keeps is what the readers do


LINES = (
    "data: a|data:|data|event: e|event: ping|id: 1|id|idle|: hm||{|da"
    "|data: a\rid: 1|data: a\nid: 1|event: e\rid: 1|event: e\nid: 1|data: \r|\ufeffdata: a"
)
PARTS = ("\n", "\r", "\r\n", "id", "data: a", "data: a\n", "data: a\n\n", "data: a\r\n\r\n", "\n\n", "id: 1\n")


@st.composite
def usual_reads(draw: st.DrawFn) -> list[bytes]:
    """Reads that are whole events, most of them, of a line or two; and such as are nearly."""
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    lines = st.lists(st.sampled_from(LINES.split("|")), min_size=1, max_size=3)
    event = lines.map(lambda lines: end.join([*lines, "", ""]))
    return [read.encode() for read in draw(st.lists(event | event | st.sampled_from(PARTS), min_size=1, max_size=8))]


@pytest.mark.parametrize("marker", ["", "data: a"])
@pytest.mark.parametrize("types", [(), ("ping",)])
def test_the_usual_reads_are_told_as_any(types: tuple[str, ...], marker: str) -> None:
    route = Route(name="chat", prefix="/", terminal_marker=marker, sse=RouteSSE(keepalive_events=types))
    keepalives = tuple(name.encode() for name in types)
    with Unwired(Settings(routes=(route,))) as relay:

        @examples
        @given(usual_reads())
        def told(reads: list[bytes]) -> None:
            exchange, asked = relay.begin()
            relay.head("sse", asked)
            tail, plain = exchange.answer._tail, Tail(marker.encode(), AUTO, keepalives)
            assert tail is not None
            for read, content in zip(reads, plainly(reads, keepalives), strict=True):
                before = exchange.record.chunks
                exchange.answer.body(read, asked + 1.0, False)
                plain.feed(read)
                assert exchange.record.chunks - before == content
                assert (tail.at_event_boundary, tail.terminated) == (plain.at_event_boundary, plain.terminated)
                assert tail.heartbeat == plain.heartbeat
            relay.push(LAST, asked + 2.0)

        told()


async def test_a_marker_before_keep_alives_is_found(relay: Relay) -> None:
    await relay.start(routes=(Route(name="chat", prefix="/", terminal_marker="data: [DONE]"),))
    client, upstream, _ = await stream(relay)
    for read in (EVENT, b"data: [DONE]\n\n", PING, b"\n"):
        await say(upstream, client, read)
    assert counted(relay, await ended(relay, upstream, client)) == (2, 2)
