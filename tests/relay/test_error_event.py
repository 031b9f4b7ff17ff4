"""The error event: where a stream fails between two events, one more event says how; then it breaks all the same."""

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.http.test_sse import standard
from tests.peers import GET, LAST, Peer, chunk, response_head, say, soon
from tests.relay.conftest import Relay, narrow_client
from tests.relay.test_identity import Coder
from tests.relay.test_silence import Clock
from unbuffer.outcome import Outcome
from unbuffer.settings.model import SSE, Timeouts
from unbuffer.settings.route import Route, RouteSSE

CHUNKED = b"Transfer-Encoding: chunked"
EVENTS = b"Content-Type: text/event-stream"
EVENT = b"data: a\n\n"

ON = SSE(error_event=True)


# -- what can go wrong


async def close(relay: Relay, upstream: Peer) -> None:
    await upstream.close()


async def reset(relay: Relay, upstream: Peer) -> None:
    upstream.reset()


async def fall_silent(relay: Relay, upstream: Peer) -> None:
    Clock(relay).wind(61.0)


async def speak_no_http(relay: Relay, upstream: Peer) -> None:
    await upstream.send(b"no chunk\r\n")


async def drain(relay: Relay, upstream: Peer) -> None:
    relay.plane.clients.drain()
    await soon(relay.plane.clients.shutdown(0.0))


FAILURES = [
    (close, Outcome.UPSTREAM_DISCONNECT, 502),
    (reset, Outcome.UPSTREAM_DISCONNECT, 502),
    (fall_silent, Outcome.SILENCE_TIMEOUT, 504),
    (speak_no_http, Outcome.UPSTREAM_PROTOCOL_ERROR, 502),
    (drain, Outcome.DRAINING, 503),
]
failures = pytest.mark.parametrize(("fail", "outcome", "code"), FAILURES)
Fail = Callable[[Relay, Peer], Awaitable[None]]


async def begin(relay: Relay, *lines: bytes, request: bytes = GET, **sections: Any) -> tuple[Peer, Peer]:
    """Both ends of a stream of events whose head the client has."""
    await relay.start(timeouts=Timeouts(silence=60.0), **sections)
    return await relay.stream(response_head(EVENTS, *(lines or [CHUNKED])), request)


async def told(relay: Relay, data: bytes, outcome: Outcome, code: int) -> None:
    """See that `data` is the one event that tells of this failure."""
    record = await relay.record()
    assert record.outcome is outcome
    (event,), _ = standard(data)
    assert event.type == "error"
    message = outcome.value.text
    assert json.loads(event.data) == {"error": {"message": message, "type": outcome.label, "code": code}}


# -- on


@failures
@pytest.mark.parametrize("said", [b"", EVENT, b"data: a\r\n\r\n"], ids=["head", "event", "event-crlf"])
async def test_a_failure_is_told_before_the_connection_breaks(
    relay: Relay, fail: Fail, outcome: Outcome, code: int, said: bytes
) -> None:
    client, upstream = await begin(relay, sse=ON)
    if said:
        await say(upstream, client, said)
    await fail(relay, upstream)
    await told(relay, await client.chunk(), outcome, code)
    assert await client.rest() == b""  # above all no last chunk


@failures
@pytest.mark.parametrize("begun", [b"data: a", b"data: a\n", b"data: a\r\n\r", b": a comment", EVENT + b"id: 1\n"])
async def test_inside_an_event_the_connection_just_breaks(
    relay: Relay, fail: Fail, outcome: Outcome, code: int, begun: bytes
) -> None:
    """A client drops what it has of an event that is cut; nothing may complete it."""
    client, upstream = await begin(relay, sse=ON)
    await say(upstream, client, begun)
    await fail(relay, upstream)
    assert await client.rest() == b""
    assert await relay.outcome() is outcome


async def test_damage_of_a_compressed_stream(relay: Relay) -> None:
    client, upstream = await begin(relay, CHUNKED, b"Content-Encoding: gzip", sse=ON)
    await upstream.send(chunk(Coder("gzip").add(EVENT)))
    assert await client.chunk() == EVENT
    await upstream.send(chunk(b"\xff" * 100))
    await told(relay, await client.chunk(), Outcome.DECODE_ERROR, 502)
    assert await client.rest() == b""


async def test_a_compressed_stream_that_is_cut_inside_an_event(relay: Relay) -> None:
    client, upstream = await begin(relay, CHUNKED, b"Content-Encoding: gzip", sse=ON)
    await upstream.send(chunk(Coder("gzip").add(EVENT + b"data")))
    assert await client.chunk() == EVENT + b"data"
    await upstream.close()
    assert await client.rest() == b""


@pytest.mark.parametrize(("at_boundary", "leaves"), [(True, False), (True, True), (False, False)])
async def test_a_body_that_ends_with_the_connection_is_reset_all_the_same(
    relay: Relay, at_boundary: bool, leaves: bool
) -> None:
    """Also where the client has read why, and says good-bye first."""
    await relay.start(sse=ON)
    loop = asyncio.get_running_loop()
    # On a bare socket: asyncio's streams drop what has come when a reset follows.
    with await narrow_client(relay) as client:
        await soon(loop.sock_sendall(client, GET.replace(b"1.1", b"1.0")))
        upstream = await relay.upstream.accept()
        said = EVENT if at_boundary else b"data: a\n"
        await upstream.send(response_head(EVENTS, CHUNKED) + chunk(said))
        read = b""
        while not read.endswith(said):
            read += await soon(loop.sock_recv(client, 65536))
        await upstream.close()
        if at_boundary:
            await told(relay, await soon(loop.sock_recv(client, 65536)), Outcome.UPSTREAM_DISCONNECT, 502)
        if leaves:
            client.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            await soon(loop.sock_recv(client, 65536))


async def test_no_deadline_shortens_the_time_to_read_why(relay: Relay) -> None:
    """However long ago the wait for this connection's request began."""
    client, upstream = await begin(relay, sse=ON)
    connection = relay.connection()
    connection._since -= 60.0
    await upstream.close()
    assert await relay.outcome() is Outcome.UPSTREAM_DISCONNECT
    connection.look(time.monotonic())
    assert await client.chunk()
    assert await client.rest() == b""


async def test_before_the_head_a_failure_is_an_answer(relay: Relay) -> None:
    await relay.start(sse=ON)
    client, upstream, _ = await relay.exchange(GET)
    await upstream.close()
    assert (await client.head()).startswith(b"HTTP/1.1 502 ")
    assert b"event:" not in await client.read(10)


async def test_damage_that_is_found_before_the_head_went_out_is_an_answer(relay: Relay) -> None:
    await relay.start(sse=ON)
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(response_head(EVENTS, CHUNKED, b"Content-Encoding: gzip") + chunk(b"\xff" * 100))
    assert (await client.head()).startswith(b"HTTP/1.1 502 ")
    assert await relay.outcome() is Outcome.DECODE_ERROR


async def test_a_good_end_is_no_failure(relay: Relay) -> None:
    client, upstream = await begin(relay, sse=ON)
    await upstream.send(chunk(EVENT) + LAST)
    assert await client.until(LAST) == chunk(EVENT) + LAST
    assert await relay.outcome() is Outcome.COMPLETED
    relay.plane.clients.drain()
    assert await client.rest() == b""


@pytest.mark.parametrize("marker", ["", "{}"])
async def test_no_other_media_type_has_events(relay: Relay, marker: str) -> None:
    """Neither where the end of the body is looked at for another reason."""
    await relay.start(sse=ON, routes=(Route(name="marked", prefix="/", terminal_marker=marker),))
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(response_head(b"Content-Type: application/x-ndjson", CHUNKED) + chunk(b"{}\n\n"))
    await client.head()
    assert await client.chunk() == b"{}\n\n"
    await upstream.close()
    assert await client.rest() == b""


async def test_a_body_of_known_length_has_no_room(relay: Relay) -> None:
    client, upstream = await begin(relay, b"Content-Length: 1000", sse=ON)
    await upstream.send(EVENT)
    assert await client.read(len(EVENT)) == EVENT
    await upstream.close()
    assert await client.rest() == b""


# -- off


@failures
async def test_without_the_setting_the_connection_just_breaks(
    relay: Relay, fail: Fail, outcome: Outcome, code: int
) -> None:
    client, upstream = await begin(relay)
    await say(upstream, client, EVENT)
    await fail(relay, upstream)
    assert await client.rest() == b""
    assert await relay.outcome() is outcome


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("heartbeat", [0.0, 15.0])
async def test_a_route_has_its_own(relay: Relay, own: bool, heartbeat: float) -> None:
    routes = (Route(name="own", prefix="/own", sse=RouteSSE(error_event=own, heartbeat=heartbeat)),)
    client, upstream = await begin(
        relay, request=GET.replace(b"/", b"/own", 1), sse=SSE(error_event=not own), routes=routes
    )
    await say(upstream, client, EVENT)
    await upstream.close()
    assert (b"event: error\n" in await client.rest()) == own
