"""Every request of the catalogue: refused whole, or rebuilt for the upstream byte for byte."""

import contextlib

import pytest

from tests.messages.requests import (
    ACCEPTED,
    BAD_BODIES,
    CHUNKED,
    LIMITS,
    REFUSED,
    THEN_REFUSED,
    UPSTREAM,
    WHITE_SPACE_IN_SIZES,
    get,
    post,
    sent,
)
from tests.peers import OK, Peer, soon
from tests.relay.conftest import Relay, own_answer
from unbuffer.outcome import Outcome

OUTCOMES = {413: Outcome.REQUEST_TOO_LARGE, 414: Outcome.REQUEST_TOO_LARGE, 431: Outcome.REQUEST_TOO_LARGE}


async def refused(relay: Relay, client: Peer, status: int) -> None:
    """The client is told so, and its connection ends after that."""
    head = await own_answer(client, status, "http_request_error")
    assert b"Connection: close\r\n" in head
    assert await client.rest() == b""
    assert await relay.outcome() == OUTCOMES.get(status, Outcome.REQUEST_MALFORMED)


async def forwarded(relay: Relay, client: Peer, upstream: Peer | None, message: bytes) -> tuple[Peer, bytes]:
    """Have the upstream get just this message and answer it; returns its connection, and the head of the answer."""
    upstream = upstream or await relay.upstream.accept()
    message = message.replace(UPSTREAM, UPSTREAM % relay.upstream.port)
    assert await upstream.read(len(message)) == message
    await upstream.send(OK)
    head = await client.head()
    assert await client.read(2) == b"ok"
    assert await relay.outcome() is Outcome.COMPLETED
    return upstream, head


async def everything(peer: Peer) -> bytes:
    """All that comes before the end, whatever the end is."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while more := await soon(peer.reader.read(65536)):
            data += more
    return data


@pytest.mark.parametrize(("status", "data"), [pytest.param(s, d, id=f"{n} ({r})") for n, r, s, d in REFUSED])
async def test_it_is_refused_and_the_upstream_sees_nothing_of_it(relay: Relay, status: int, data: bytes) -> None:
    await relay.start(limits=LIMITS)
    client = await relay.client()
    await client.send(data)
    await refused(relay, client, status)
    assert not any(relay.totals.connects.values())


async def test_a_refused_head_request_gets_no_content(relay: Relay) -> None:
    """RFC 9110, section 9.3.2: the client would take it for the next answer."""
    await relay.start(limits=LIMITS)
    client = await relay.client()
    await client.send(get(b"X : y").replace(b"GET", b"HEAD"))
    assert b"\r\nContent-Length: " in await own_answer(client, 400, "http_request_error", head_only=True)
    assert await client.rest() == b""


@pytest.mark.parametrize(("data", "messages"), [pytest.param(d, m, id=f"{n} ({r})") for n, r, d, m in ACCEPTED])
async def test_it_reaches_the_upstream_rebuilt_and_nothing_else_does(
    relay: Relay, data: bytes, messages: list[bytes]
) -> None:
    await relay.start(limits=LIMITS)
    client = await relay.client()
    await client.send(data)
    upstream, head = None, b""
    for message in messages:
        upstream, head = await forwarded(relay, client, upstream, message)
    if b"Connection: close\r\n" in head:
        assert await client.rest() == b""
    else:
        # What comes next on the connection is the next request, whole.
        await client.send(get(target=b"/next"))
        upstream, _ = await forwarded(relay, client, upstream, sent(b"GET /next"))
    assert upstream is not None
    relay.plane.pool.close()
    assert await upstream.rest() == b""


@pytest.mark.parametrize(
    ("data", "messages", "status"), [pytest.param(d, m, s, id=f"{n} ({r})") for n, r, d, m, s in THEN_REFUSED]
)
async def test_what_stands_after_a_request_is_refused(
    relay: Relay, data: bytes, messages: list[bytes], status: int
) -> None:
    await relay.start(limits=LIMITS)
    client = await relay.client()
    await client.send(data)
    upstream = None
    for message in messages:
        upstream, _ = await forwarded(relay, client, upstream, message)
    await refused(relay, client, status)
    assert upstream is not None
    relay.plane.pool.close()
    assert await upstream.rest() == b""
    assert relay.totals.connects["ok"] == 1


@pytest.mark.parametrize(
    ("status", "body"), [pytest.param(s, b, id=f"{n} ({r})") for n, r, s, b in BAD_BODIES + WHITE_SPACE_IN_SIZES]
)
async def test_a_broken_body_never_looks_whole_to_the_upstream(relay: Relay, status: int, body: bytes) -> None:
    await relay.start(limits=LIMITS)
    client, upstream, head = await relay.exchange(post(CHUNKED))
    assert head == sent(b"POST /", framing=CHUNKED)
    client.writer.write(body)
    await refused(relay, client, status)
    received = await everything(upstream)
    assert received in (b"", b"1\r\nx\r\n")
    # The next request meets another connection.
    other = await relay.client()
    await other.send(get(target=b"/next"))
    await forwarded(relay, other, None, sent(b"GET /next"))


@pytest.mark.parametrize("cut", range(len(b"3\r\none\r\n0\r\nX: y\r\n\r\n")))
async def test_a_body_that_ends_early_never_looks_whole_to_the_upstream(relay: Relay, cut: int) -> None:
    await relay.start(limits=LIMITS)
    client, upstream, _ = await relay.exchange(post(CHUNKED))
    await client.send(b"3\r\none\r\n0\r\nX: y\r\n\r\n"[:cut])
    client.eof()
    assert b"0\r\n\r\n" not in await everything(upstream)
    assert await relay.outcome() is Outcome.CLIENT_DISCONNECT
