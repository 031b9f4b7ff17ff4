"""A body that drips keeps its silence short, and is cut all the same, unless it drips for a good reason."""

import time

import pytest

from tests.peers import STREAM, Peer, eventually, read_again, stop_reading
from tests.relay.conftest import Relay, finished, own_answer
from unbuffer.outcome import Outcome
from unbuffer.settings.model import Limits, Timeouts
from unbuffer.settings.route import Route, RouteLimits

POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

GRACE = 60.0
"""Seconds until the rate counts, and the longest silence: no machine is so slow that a test gets there by itself."""
TIMEOUTS = Timeouts(request_body=GRACE)
RATE = Limits(body_rate=1024)


async def drop(client: Peer, upstream: Peer, size: int = 1) -> None:
    """So many bytes of the body arrive."""
    await client.send(b"%x\r\n%b\r\n" % (size, bytes(size)))
    await upstream.chunks_of(size)


def look(relay: Relay, seconds: float) -> float:
    """Look at the deadlines of the only connection as if so many seconds had passed, and its client had sent something
    a moment ago. Returns in how many seconds they are to be looked at again."""
    connection = relay.connection()
    later = connection.read_at = time.monotonic() + seconds
    return connection.look(later) - later


async def test_a_body_that_drips_is_cut(relay: Relay) -> None:
    await relay.start(timeouts=TIMEOUTS, limits=RATE)
    client, upstream, _ = await relay.exchange(POST)
    await drop(client, upstream)
    # It is known when the rate counts, not only when the client would have been silent for too long.
    assert 0.0 < look(relay, GRACE / 2) <= GRACE / 2 + 1 / 1024
    await drop(client, upstream)
    look(relay, GRACE + 2 / 1024)
    await own_answer(client, 408, "http_request_error")
    await upstream.ended()
    await finished(relay, Outcome.REQUEST_BODY_TIMEOUT, 408, "limits.body_rate")


async def test_a_body_that_is_fast_enough_is_not(relay: Relay) -> None:
    await relay.start(timeouts=TIMEOUTS, limits=RATE)
    client, upstream, _ = await relay.exchange(POST)
    seconds = 0
    for _ in range(3):
        await drop(client, upstream, 100 * 1024)
        seconds += 100
        look(relay, seconds)
        assert relay.totals.streams == 1
    look(relay, seconds + GRACE)
    await finished(relay, Outcome.REQUEST_BODY_TIMEOUT, 408, "limits.body_rate")


@pytest.mark.parametrize("path", [b"/", b"/own"])
async def test_without_a_rate_a_body_may_drip(relay: Relay, path: bytes) -> None:
    own = Route(name="own", prefix="/own", limits=RouteLimits(body_rate=0))
    everywhere = Limits(body_rate=0) if path == b"/" else RATE
    await relay.start(timeouts=TIMEOUTS, limits=everywhere, routes=(own,))
    client, upstream, _ = await relay.exchange(POST.replace(b"/", path, 1))
    await drop(client, upstream)
    look(relay, 100 * GRACE)
    await upstream.close()
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 502, "closed")


async def test_who_talks_with_the_upstream_may_say_little(relay: Relay) -> None:
    await relay.start(timeouts=TIMEOUTS, limits=RATE)
    client, upstream, _ = await relay.exchange(POST)
    await upstream.send(STREAM)
    await client.head()
    await drop(client, upstream)
    look(relay, 100 * GRACE)
    await upstream.close()
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 200, "closed")


async def test_the_rate_does_not_count_while_the_upstream_reads_nothing(relay: Relay) -> None:
    # So high that what fits into all buffers on the way would not satisfy it for long.
    await relay.start(timeouts=TIMEOUTS, limits=Limits(body_rate=1 << 30))
    client, upstream, _ = await relay.exchange(POST)
    stop_reading(upstream)
    client.writer.write(b"1000000\r\n" + bytes(1 << 24) + b"\r\n")
    connection = relay.connection()
    (record,) = relay.plane.clients.running()
    await eventually(lambda: connection.reading_paused)
    look(relay, 100 * GRACE)
    assert relay.totals.streams == 1
    read_again(upstream)
    await upstream.chunks_of(1 << 24)
    await eventually(lambda: not connection.reading_paused)
    # From here on the client has as much time as at the beginning, however long ago that was.
    record.started -= 100 * GRACE
    look(relay, 0.0)
    assert relay.totals.streams == 1
    look(relay, GRACE + 1.0)
    await finished(relay, Outcome.REQUEST_BODY_TIMEOUT, 408, "limits.body_rate")
