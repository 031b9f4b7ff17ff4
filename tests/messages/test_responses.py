"""Every response of the catalogue: rebuilt for the client byte for byte, answered with 502, or visibly broken."""

import pytest

from tests.messages.requests import BAD_BODIES, CHUNKED, LAST, X, get
from tests.messages.responses import (
    ACCEPTED,
    GET,
    LAST_OF_ITS_CONNECTION,
    LIMITS,
    OK,
    OLD,
    REFUSED,
    SEEN,
    TAKES_TRAILERS,
    UNTIL_CLOSE,
    reply,
)
from tests.messages.test_requests import everything
from tests.peers import Peer, eventually, timeless
from tests.relay.conftest import Relay, own_answer
from unbuffer.outcome import Outcome


async def next_one(relay: Relay, client: Peer | None, upstream: Peer | None) -> None:
    """The next exchange, on these connections, works; None: on new ones."""
    client = client or await relay.client()
    await client.send(get(target=b"/next"))
    upstream = upstream or await relay.upstream.accept()
    assert (await upstream.head()).startswith(b"GET /next HTTP/1.1\r\n")
    await upstream.send(OK)
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert await client.read(1) == b"x"
    assert await relay.outcome() is Outcome.COMPLETED


def rows(table: list[tuple[str, str, bytes, bytes, bytes]]) -> pytest.MarkDecorator:
    cases = [pytest.param(request, data, expected, id=f"{n} ({r})") for n, r, request, data, expected in table]
    return pytest.mark.parametrize(("request_bytes", "data", "expected"), cases)


@rows(ACCEPTED)
async def test_it_reaches_the_client_rebuilt_and_the_connection_goes_on(
    relay: Relay, request_bytes: bytes, data: bytes, expected: bytes
) -> None:
    await relay.start(limits=LIMITS)
    client, upstream, _ = await relay.exchange(request_bytes)
    await upstream.send(data)
    assert timeless(await client.read(len(expected))) == expected
    assert await relay.outcome() is Outcome.COMPLETED
    await next_one(relay, client, upstream)


@rows(LAST_OF_ITS_CONNECTION)
async def test_nothing_after_it_is_ever_read(relay: Relay, request_bytes: bytes, data: bytes, expected: bytes) -> None:
    await relay.start(limits=LIMITS)
    client, upstream, _ = await relay.exchange(request_bytes)
    await upstream.send(data)
    assert timeless(await client.read(len(expected))) == expected
    assert await relay.outcome() is Outcome.COMPLETED
    assert await everything(upstream) == b""
    await next_one(relay, client, None)


async def test_a_response_that_nobody_asked_for_ends_a_connection_at_rest(relay: Relay) -> None:
    """RFC 9112, section 9.2: it must not become the answer to the next request."""
    await relay.start(limits=LIMITS)
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(OK)
    assert timeless(await client.read(len(SEEN))) == SEEN
    await eventually(lambda: relay.totals.upstream_idle == 1)
    await upstream.send(reply(b"Content-Length: 8", body=b"smuggled"))
    assert await everything(upstream) == b""
    await relay.outcome()
    await next_one(relay, client, None)


@rows(UNTIL_CLOSE)
async def test_the_end_of_the_connection_ends_the_body(
    relay: Relay, request_bytes: bytes, data: bytes, expected: bytes
) -> None:
    await relay.start(limits=LIMITS)
    client, upstream, _ = await relay.exchange(request_bytes)
    await upstream.send(data)
    upstream.eof()
    assert timeless(await client.read(len(expected))) == expected
    assert await relay.outcome() is Outcome.COMPLETED
    if b"Connection: close\r\n" in expected:
        assert await client.rest() == b""
    else:
        await next_one(relay, client, None)


@pytest.mark.parametrize(
    ("request_bytes", "data"), [pytest.param(request, data, id=f"{n} ({r})") for n, r, request, data in REFUSED]
)
async def test_the_client_gets_502_and_nothing_of_it(relay: Relay, request_bytes: bytes, data: bytes) -> None:
    await relay.start(limits=LIMITS)
    client, upstream, _ = await relay.exchange(request_bytes)
    upstream.writer.write(data)
    head = await own_answer(client, 502, "http_protocol_error", head_only=request_bytes.startswith(b"HEAD"))
    assert await relay.outcome() is Outcome.UPSTREAM_PROTOCOL_ERROR
    assert await everything(upstream) == b""
    await next_one(relay, None if b"Connection: close\r\n" in head else client, None)


@pytest.mark.parametrize(
    "body",
    # Of a response the space before a trailer's colon is taken out.
    [
        pytest.param(body, id=f"{n} ({r})")
        for n, r, status, body in BAD_BODIES
        if status != 413 and b"X : y" not in body
    ],
)
@pytest.mark.parametrize("old", [False, True], ids=["", "HTTP/1.0"])
async def test_a_broken_body_breaks_the_connection(relay: Relay, body: bytes, old: bool) -> None:
    await relay.start(limits=LIMITS)
    client, upstream, _ = await relay.exchange(OLD if old else TAKES_TRAILERS)
    upstream.writer.write(reply(CHUNKED, body=body))
    await client.head()
    if old:
        # There the end of the connection is the end of the body: only a reset tells that it is none.
        with pytest.raises(ConnectionResetError):
            await client.rest()
    else:
        assert not (await everything(client)).endswith(LAST)
    assert await relay.outcome() is Outcome.UPSTREAM_PROTOCOL_ERROR
    assert await everything(upstream) == b""
    await next_one(relay, None, None)


EARLY = reply(b"Link: a", status=b"103 Early Hints")
FRAMED = {
    "length": (reply(b"Content-Length: 3", b"A: b"), b"one"),
    "chunked": (reply(CHUNKED), b"3;a=b\r\none\r\n" + X[:-2] + b"A: b\r\n\r\n"),
    "informational": (EARLY + reply(b"Content-Length: 1"), b"x"),
}


@pytest.mark.parametrize("form", FRAMED)
async def test_a_response_cut_at_any_byte_is_told_from_a_whole_one(relay: Relay, form: str) -> None:
    await relay.start(limits=LIMITS)
    head, body = FRAMED[form]
    for cut in range(len(head + body)):
        client, upstream, _ = await relay.exchange(get(b"Connection: close"))
        await upstream.send((head + body)[:cut])
        upstream.eof()
        answer = (await everything(client)).removeprefix(EARLY)
        assert await relay.outcome() is Outcome.UPSTREAM_DISCONNECT
        if cut < len(head):
            assert answer.startswith(b"HTTP/1.1 502 Bad Gateway\r\n"), cut
            continue
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n"), cut
        received = answer.partition(b"\r\n\r\n")[2]
        if form == "chunked":
            assert not received.endswith(LAST), cut
        else:
            assert received == body[: cut - len(head)]
    await next_one(relay, None, None)


@pytest.mark.parametrize("client_version", [b"1.1", b"1.0"])
async def test_informational_responses_without_end_are_refused(relay: Relay, client_version: bytes) -> None:
    await relay.start(limits=LIMITS)
    client, upstream, _ = await relay.exchange(get(b"Connection: close", version=client_version))
    just_fit = LIMITS.head // len(EARLY)
    await upstream.send(EARLY * just_fit)
    for _ in range(just_fit if client_version == b"1.1" else 0):
        assert await client.head() == EARLY
    await upstream.send(EARLY)
    await own_answer(client, 502, "http_protocol_error")
    assert await client.rest() == b""
    assert await relay.outcome() is Outcome.UPSTREAM_PROTOCOL_ERROR
    assert await everything(upstream) == b""
