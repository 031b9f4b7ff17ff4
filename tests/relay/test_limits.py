"""Every limit answers with a status of its own, names its setting, and lets through what just fits."""

import asyncio

import pytest

from tests.peers import GET, LAST, OK, STREAM, Peer, eventually
from tests.relay.conftest import Relay, finished, own_answer
from unbuffer.outcome import Outcome
from unbuffer.settings.model import Limits
from unbuffer.settings.route import Route, RouteLimits

CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(length: int, path: bytes = b"/", more: bytes = b"") -> bytes:
    """The head of a POST with so many bytes of body."""
    return b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n" % (path, length, more)


async def answered(client: Peer, upstream: Peer) -> None:
    """Have the upstream answer, and the client get it."""
    await upstream.send(OK)
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert await client.read(2) == b"ok"


async def refused(relay: Relay, request: bytes, status: int, outcome: Outcome, detail: str) -> None:
    """See that `request` is answered so, that its connection ends after that, and that the upstream is spared."""
    client = await relay.client()
    await client.send(request)
    assert b"Connection: close\r\n" in await own_answer(client, status, outcome.value.error)
    assert await client.rest() == b""
    await finished(relay, outcome, status, detail)
    assert not any(relay.totals.connects.values())


# -- the head


def head_of(size: int) -> bytes:
    """A request head of exactly so many bytes."""
    start = GET[:-2] + b"X: "
    return start + b"y" * (size - len(start) - 4) + b"\r\n\r\n"


async def test_a_head_that_just_fits(relay: Relay) -> None:
    await relay.start(limits=Limits(head=1024))
    client, upstream, _ = await relay.exchange(head_of(1024))
    await answered(client, upstream)
    await finished(relay, Outcome.COMPLETED, 200)


@pytest.mark.parametrize("request_head", [head_of(1025), head_of(2000)[:1025]], ids=["complete", "endless"])
async def test_a_head_that_is_too_large(relay: Relay, request_head: bytes) -> None:
    await relay.start(limits=Limits(head=1024))
    await refused(relay, request_head, 431, Outcome.REQUEST_TOO_LARGE, "limits.head")


async def test_a_head_that_is_too_large_in_small_pieces(relay: Relay) -> None:
    await relay.start(limits=Limits(head=1024))
    client = await relay.client()
    for start in range(0, 1025, 205):
        await client.send(head_of(2000)[start : min(start + 205, 1025)])
    await own_answer(client, 431, "http_request_error")
    assert await client.rest() == b""
    await finished(relay, Outcome.REQUEST_TOO_LARGE, 431, "limits.head")


async def test_a_target_that_just_fits(relay: Relay) -> None:
    await relay.start(limits=Limits(target=256))
    target = b"/" + b"x" * 255
    client, upstream, head = await relay.exchange(GET.replace(b"/", target, 1))
    assert head.startswith(b"GET " + target + b" HTTP/1.1\r\n")
    await answered(client, upstream)
    await finished(relay, Outcome.COMPLETED, 200)


@pytest.mark.parametrize(
    "request_head",
    [GET.replace(b"/", b"/" + b"x" * 256, 1), GET.replace(b"/", b"/?" + b"x" * 255, 1), b"GET /" + b"x" * 1024],
    ids=["path", "query", "endless"],
)
async def test_a_target_that_is_too_long(relay: Relay, request_head: bytes) -> None:
    await relay.start(limits=Limits(target=256))
    await refused(relay, request_head, 414, Outcome.REQUEST_TOO_LARGE, "limits.target")


async def test_as_many_fields_as_allowed(relay: Relay) -> None:
    await relay.start(limits=Limits(headers=10))
    client, upstream, head = await relay.exchange(GET[:-2] + b"X: y\r\n" * 9 + b"\r\n")
    assert head.count(b"X: y\r\n") == 9
    await answered(client, upstream)
    await finished(relay, Outcome.COMPLETED, 200)


async def test_too_many_fields(relay: Relay) -> None:
    await relay.start(limits=Limits(headers=10))
    request_head = GET[:-2] + b"X: y\r\n" * 10 + b"\r\n"
    await refused(relay, request_head, 431, Outcome.REQUEST_TOO_LARGE, "limits.headers")


@pytest.mark.parametrize("rest", [b"0\r\nX: ", b"1;x="], ids=["trailers", "extension"])
async def test_what_is_no_body_in_a_chunked_body_counts_as_head(relay: Relay, rest: bytes) -> None:
    await relay.start(limits=Limits(head=1024))
    client, upstream, _ = await relay.exchange(CHUNKED_POST + b"3\r\none\r\n")
    assert await upstream.chunk() == b"one"
    await client.send(rest + b"y" * 1025)
    assert b"Connection: close\r\n" in await own_answer(client, 431, "http_request_error")
    await upstream.ended()
    await finished(relay, Outcome.REQUEST_TOO_LARGE, 431, "limits.head")


# -- the body


async def test_a_body_that_just_fits(relay: Relay) -> None:
    await relay.start(limits=Limits(body=10))
    client, upstream, _ = await relay.exchange(post(10) + b"0123456789")
    assert await upstream.read(10) == b"0123456789"
    await answered(client, upstream)
    await finished(relay, Outcome.COMPLETED, 200)
    await client.send(CHUNKED_POST + b"5;extensions=do-not-count\r\n01234\r\n5\r\n56789\r\n0\r\nNor: trailers\r\n\r\n")
    await upstream.head()
    assert [await upstream.chunks_of(10), await upstream.chunk()] == [b"0123456789", b""]
    await answered(client, upstream)
    await finished(relay, Outcome.COMPLETED, 200)


@pytest.mark.parametrize("body", [b"", b"0123456789a"], ids=["announced", "sent"])
@pytest.mark.parametrize("more", [b"", b"Expect: 100-continue\r\n"], ids=["", "100-continue"])
async def test_a_body_whose_length_is_too_large(relay: Relay, body: bytes, more: bytes) -> None:
    """No byte of it is waited for, and no 100 Continue asks for it."""
    await relay.start(limits=Limits(body=10))
    await refused(relay, post(11, more=more) + body, 413, Outcome.REQUEST_TOO_LARGE, "limits.body")
    assert relay.totals.rejected["body_too_large"] == 1


@pytest.mark.parametrize("whole", [False, True], ids=["", "whole"])
async def test_a_chunked_body_that_becomes_too_large(relay: Relay, whole: bool) -> None:
    await relay.start(limits=Limits(body=10))
    client, upstream, _ = await relay.exchange(CHUNKED_POST + b"5\r\n01234\r\n")
    assert await upstream.chunk() == b"01234"
    await client.send(b"6\r\n56789a\r\n" + (LAST if whole else b""))
    head = await own_answer(client, 413, "http_request_error")
    # After a request that was read to its end another one can be read.
    assert (b"Connection: close\r\n" in head) == (not whole)
    # The upstream must not take what came for the whole body.
    with pytest.raises(asyncio.IncompleteReadError):
        await upstream.chunk()
    await finished(relay, Outcome.REQUEST_TOO_LARGE, 413, "limits.body")
    assert relay.totals.rejected["body_too_large"] == 1


async def test_a_chunked_body_that_becomes_too_large_after_an_answer(relay: Relay) -> None:
    await relay.start(limits=Limits(body=10))
    client, upstream, _ = await relay.exchange(CHUNKED_POST)
    await upstream.send(STREAM + b"3\r\none\r\n")
    await client.head()
    assert await client.chunk() == b"one"
    await client.send(b"b\r\n0123456789a\r\n")
    assert await client.rest() == b""
    await upstream.ended()
    await finished(relay, Outcome.REQUEST_TOO_LARGE, 200, "limits.body")


async def test_a_route_may_have_another_body_limit(relay: Relay) -> None:
    routes = (
        Route(name="small", prefix="/small", limits=RouteLimits(body=5)),
        Route(name="any", prefix="/any", limits=RouteLimits(body=0)),
    )
    await relay.start(limits=Limits(body=10), routes=routes)
    for path, most in ((b"/small", 5), (b"/", 10)):
        client = await relay.client()
        await client.send(post(most + 1, path))
        await own_answer(client, 413, "http_request_error")
        record = await finished(relay, Outcome.REQUEST_TOO_LARGE, 413, "limits.body")
        assert record.route == ("small" if most == 5 else "default")
    assert not any(relay.totals.connects.values())
    client, upstream, _ = await relay.exchange(post(11, b"/any") + b"0123456789a")
    assert await upstream.read(11) == b"0123456789a"
    await answered(client, upstream)
    assert (await finished(relay, Outcome.COMPLETED, 200)).route == "any"


# -- how many at a time


async def test_streams(relay: Relay) -> None:
    await relay.start(limits=Limits(streams=1))
    running, upstream, _ = await relay.exchange(GET)
    await upstream.send(STREAM + b"3\r\none\r\n")
    await running.head()
    assert await running.chunk() == b"one"
    # One too many: its connection is as good as before, and it may try again.
    other = await relay.client()
    for count in (1, 2):
        await other.send(GET)
        head = await own_answer(other, 503, "connection_limit_reached")
        assert b"Retry-After: 1\r\n" in head
        assert b"Connection: close" not in head
        await finished(relay, Outcome.REJECTED, 503, "limits.streams")
        assert relay.totals.rejected["streams"] == count
    # The one that runs is unharmed, and makes room when it ends.
    await upstream.send(b"3\r\ntwo\r\n0\r\n\r\n")
    assert [await running.chunk(), await running.chunk()] == [b"two", b""]
    await finished(relay, Outcome.COMPLETED, 200)
    await other.send(GET)
    await upstream.head()
    await answered(other, upstream)
    await finished(relay, Outcome.COMPLETED, 200)
    assert relay.upstream.untaken == 0


async def test_connections(relay: Relay) -> None:
    await relay.start(limits=Limits(connections=1))
    first, upstream, _ = await relay.exchange(GET)
    # One too many is told so whether it has asked already or not.
    for request in (b"", GET):
        other = await relay.client()
        other.writer.write(request)
        assert b"Connection: close\r\n" in await own_answer(other, 503, "connection_limit_reached")
        assert await other.rest() == b""
        await finished(relay, Outcome.REJECTED, 503, "limits.connections")
        await other.close()
    assert relay.totals.rejected["connections"] == 2
    # The one that is served is unharmed, and makes room when it leaves.
    await answered(first, upstream)
    await finished(relay, Outcome.COMPLETED, 200)
    await first.close()
    await eventually(lambda: not relay.plane.clients.connections)
    late = await relay.client()
    await late.send(GET)
    await upstream.head()
    await answered(late, upstream)
    await finished(relay, Outcome.COMPLETED, 200)


async def test_refused_connections_take_no_room(relay: Relay) -> None:
    """They linger for a while, so that their answer arrives: a crowd of them must not keep everybody out."""
    await relay.start(limits=Limits(connections=1))
    first, upstream, _ = await relay.exchange(GET)
    for _ in range(3):
        lingering = await relay.client()
        await own_answer(lingering, 503, "connection_limit_reached")
        await finished(relay, Outcome.REJECTED, 503, "limits.connections")
    await answered(first, upstream)
    await finished(relay, Outcome.COMPLETED, 200)
    (served,) = (connection for connection in relay.plane.clients.connections if "ending" not in repr(connection))
    await first.close()
    await eventually(lambda: served not in relay.plane.clients.connections)
    late = await relay.client()
    await late.send(GET)
    await upstream.head()
    await answered(late, upstream)
    await finished(relay, Outcome.COMPLETED, 200)
