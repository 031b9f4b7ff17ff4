"""A body that drips keeps its silence short, and is cut all the same, unless it drips for a good reason."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from tests.peers import Peer, eventually, read_again, stop_reading
from tests.relay.conftest import Relay, finished, own_answer
from unbuffer.outcome import Outcome
from unbuffer.settings.model import Limits, Route, RouteLimits, Timeouts

POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
DROP = b"1\r\nx\r\n"

GRACE = 0.3
"""Seconds until the rate counts; the drops come far more often."""
LONG = 0.8
RATE = Limits(body_rate=1024)


@pytest.fixture(autouse=True)
def _fine_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog looks more often, so that nobody waits long for what is overdue."""
    monkeypatch.setattr("unbuffer.relay.watchdog.TICK", 0.05)


@contextlib.asynccontextmanager
async def dripping(client: Peer, data: bytes = DROP) -> AsyncIterator[None]:
    """`client` sends `data` again and again."""

    async def drip() -> None:
        while True:
            client.writer.write(data)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(drip())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def test_a_body_that_drips_is_cut(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(request_body=GRACE), limits=RATE)
    client, upstream, _ = await relay.exchange(POST)
    async with dripping(client):
        await own_answer(client, 408, "http_request_error")
    await upstream.ended()
    await finished(relay, Outcome.REQUEST_BODY_TIMEOUT, 408, "limits.body_rate")


async def goes_on(relay: Relay) -> None:
    """The only stream runs after more than the grace."""
    await asyncio.sleep(LONG)
    assert relay.totals.streams == 1


async def test_a_body_that_is_fast_enough_is_not(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(request_body=GRACE), limits=RATE)
    client, upstream, _ = await relay.exchange(POST)
    async with dripping(client, b"400\r\n" + bytes(1024) + b"\r\n"):
        await goes_on(relay)
    await upstream.close()
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 502, "closed")


@pytest.mark.parametrize("path", [b"/", b"/own"])
async def test_without_a_rate_a_body_may_drip(relay: Relay, path: bytes) -> None:
    own = Route(name="own", prefix="/own", limits=RouteLimits(body_rate=0))
    everywhere = Limits(body_rate=0) if path == b"/" else RATE
    await relay.start(timeouts=Timeouts(request_body=GRACE), limits=everywhere, routes=(own,))
    client, upstream, _ = await relay.exchange(POST.replace(b"/", path, 1))
    async with dripping(client):
        await goes_on(relay)
    await upstream.close()
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 502, "closed")


async def test_who_talks_with_the_upstream_may_say_little(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(request_body=GRACE), limits=RATE)
    client, upstream, _ = await relay.exchange(POST)
    await upstream.send(STREAM)
    await client.head()
    async with dripping(client):
        await goes_on(relay)
    await upstream.close()
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 200, "closed")


async def test_the_rate_does_not_count_while_the_upstream_reads_nothing(relay: Relay) -> None:
    # So high that what fits into all buffers on the way would not satisfy it for long.
    await relay.start(timeouts=Timeouts(request_body=GRACE), limits=Limits(body_rate=1 << 30))
    client, upstream, _ = await relay.exchange(POST)
    stop_reading(upstream)
    client.writer.write(b"1000000\r\n" + bytes(1 << 24) + b"\r\n")
    (connection,) = relay.plane.connections
    await eventually(lambda: connection.held)
    await goes_on(relay)
    read_again(upstream)
    await eventually(lambda: not connection.held)
    # From here on the client has as much time as at the beginning.
    connection.look(time.monotonic())
    assert relay.totals.streams == 1
    await upstream.close()
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 502, "the connection")
