"""Server-Timing: what the upstream took, told after what it says itself, and only where that is asked for."""

import re

import pytest

from tests.relay.conftest import Relay
from unbuffer.settings.route import Route

GET = b"GET /a HTTP/1.1\r\nHost: app\r\n\r\n"
OURS = re.compile(rb"^Server-Timing: upstream;dur=(\d+\.\d)\r$", re.MULTILINE)


async def head_of(relay: Relay, request: bytes, response: bytes) -> bytes:
    """The response head that the client gets."""
    client, upstream, _ = await relay.exchange(request)
    await upstream.send(response)
    return await client.head()


@pytest.mark.parametrize("fields", [b"Content-Length: 0\r\n", b"Content-Type: text/event-stream\r\n"])
async def test_it_tells_the_time_to_the_response_head(relay: Relay, fields: bytes) -> None:
    await relay.start(server_timing=True)
    head = await head_of(relay, GET, b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
    (told,) = OURS.findall(head)
    for connection in relay.plane.clients.connections:
        connection.abort()
    record = await relay.record()
    assert told == b"%.1f" % ((record.head_at - record.started) * 1000)


async def test_it_stands_after_what_the_upstream_says(relay: Relay) -> None:
    await relay.start(server_timing=True)
    theirs = b"Server-Timing: db;dur=5, cache\r\nX: y\r\nserver-timing: upstream;desc=mine\r\n"
    head = await head_of(relay, GET, b"HTTP/1.1 200 OK\r\n" + theirs + b"Content-Length: 0\r\n\r\n")
    assert theirs in head
    assert head.index(theirs) < head.index(OURS.findall(head)[0])


@pytest.mark.parametrize("everywhere", [False, True])
async def test_a_route_may_have_it_its_own_way(relay: Relay, everywhere: bool) -> None:
    await relay.start(server_timing=everywhere, routes=(Route(name="a", prefix="/a", server_timing=not everywhere),))
    response = b"HTTP/1.1 200 OK\r\nServer-Timing: db;dur=5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    for path, told in ((b"/a", not everywhere), (b"/b", everywhere)):
        head = await head_of(relay, GET.replace(b"/a", path), response)
        assert bool(OURS.search(head)) is told
        assert b"Server-Timing: db;dur=5\r\n" in head


async def test_an_interim_response_has_none(relay: Relay) -> None:
    await relay.start(server_timing=True)
    head = await head_of(relay, GET, b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert head == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
