"""An application that restarts: who asks for an event-stream is held, then broken off and comes back; others are
answered at once."""

import asyncio

import pytest

from tests.peers import OK, eventually
from tests.relay.conftest import Relay, finished, own_answer
from unbuffer.outcome import Outcome
from unbuffer.settings.model import Limits, Settings, Upstream

EVENTS = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nAccept: application/json, Text/Event-Stream;q=0.9\r\nContent-Length: 0\r\n\r\n"
CHECK = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"


async def down(relay: Relay, port: int, wait_streams: float, streams: int = 0) -> None:
    """Start with an upstream that refuses."""
    upstream = Upstream(url=f"http://127.0.0.1:{port}", wait_streams=wait_streams)
    await relay.serve(Settings(upstream=upstream, limits=Limits(streams=streams)))


@pytest.mark.parametrize("request_", [EVENTS, POST], ids=["GET", "POST"])
async def test_a_stream_is_held_until_the_application_is_back(relay: Relay, closed_port: int, request_: bytes) -> None:
    await down(relay, closed_port, 3600.0)
    clients = [await relay.client() for _ in range(3)]
    for client in clients:
        await client.send(request_)
    await eventually(lambda: relay.totals.connects["refused"] > 4)
    relay.upstream.port = closed_port
    await relay.upstream.start()
    for _ in clients:
        upstream = await relay.upstream.accept()
        await upstream.head()
        await upstream.send(OK)
    for client in clients:
        await client.until(b"ok")
        await finished(relay, Outcome.COMPLETED, 200)


async def test_a_get_that_is_still_refused_is_broken_off(relay: Relay, closed_port: int) -> None:
    await down(relay, closed_port, 0.01)
    client = await relay.client()
    await client.send(EVENTS)
    assert await client.rest() == b""
    await finished(relay, Outcome.UPSTREAM_REFUSED, 0, "cannot connect")


async def test_a_post_that_is_still_refused_is_told_when_to_come_back(relay: Relay, closed_port: int) -> None:
    await down(relay, closed_port, 0.01)
    client = await relay.client()
    await client.send(POST)
    assert b"\r\nRetry-After: 1\r\n" in await own_answer(client, 503, "connection_refused")
    await finished(relay, Outcome.UPSTREAM_REFUSED, 503, "cannot connect")


async def test_a_health_check_is_answered_at_once(relay: Relay, closed_port: int) -> None:
    await down(relay, closed_port, 3600.0)
    client = await relay.client()
    await client.send(CHECK)
    await own_answer(client, 503, "connection_refused")
    await finished(relay, Outcome.UPSTREAM_REFUSED, 503, "cannot connect")


async def test_switched_off_a_stream_is_answered_as_all_others(relay: Relay, closed_port: int) -> None:
    await down(relay, closed_port, 0.0)
    client = await relay.client()
    await client.send(EVENTS)
    await own_answer(client, 503, "connection_refused")
    await finished(relay, Outcome.UPSTREAM_REFUSED, 503, "cannot connect")


async def test_an_application_that_goes_before_its_head_breaks_the_connection(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(EVENTS)
    await upstream.close()
    assert await client.rest() == b""
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 0, "before a response head")


async def test_a_stream_that_is_held_counts_and_ends_with_its_client(relay: Relay, closed_port: int) -> None:
    await down(relay, closed_port, 3600.0, streams=1)
    client = await relay.client()
    await client.send(EVENTS)
    await eventually(lambda: relay.totals.connects["refused"])
    other = await relay.client()
    await other.send(EVENTS)
    await own_answer(other, 503, "connection_limit_reached")
    await finished(relay, Outcome.REJECTED, 503, "limits.streams")
    await client.close()
    await finished(relay, Outcome.CLIENT_DISCONNECT, 0)
    await asyncio.sleep(0)


@pytest.mark.parametrize("reloaded", [False, True])
async def test_a_drain_ends_those_that_are_held(relay: Relay, closed_port: int, reloaded: bool) -> None:
    await down(relay, closed_port, 3600.0)
    get, post = await relay.client(), await relay.client()
    await get.send(EVENTS)
    await post.send(POST)
    await eventually(lambda: relay.totals.connects["refused"] > 1)
    if reloaded:
        relay.plane.reload(relay.plane.settings)
    relay.plane.clients.drain()
    assert await get.rest() == b""
    await own_answer(post, 503, "connection_refused")
    assert sorted([(await relay.record()).status, (await relay.record()).status]) == [0, 503]
