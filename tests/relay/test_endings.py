"""How responses end: whole ones leave both connections usable, broken ones look broken, and nothing of one response is
ever part of another."""

import asyncio
import socket
import time
from pathlib import Path

import pytest

from tests.peers import GET, GET10, LAST, LONG_POST, OK, Peer, eventually, read_again, soon, stop_reading
from tests.relay.conftest import Relay, endless_upload, finished, own_answer
from unbuffer.outcome import Outcome
from unbuffer.relay.upstream import SHORT_REST
from unbuffer.settings.model import Limits, Settings, Timeouts, Upstream

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
EXPECT = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CLOSE_DELIMITED = b"HTTP/1.1 200 OK\r\n\r\n"
EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


async def leave(peer: Peer, how: str) -> None:
    """Have the peer end its connection by a `close` or a `reset`."""
    if how == "reset":
        peer.reset()
    else:
        await peer.close()


async def still_serves(relay: Relay, client: Peer) -> None:
    """See that `client` gets the answer to another request, over a connection that the upstream has not seen yet."""
    await client.send(GET)
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(OK)
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert await client.read(2) == b"ok"
    assert not (await finished(relay, Outcome.COMPLETED, 200)).reused


# -- the upstream leaves


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("begun", [b"", b"HTT", b"HTTP/1.1 200 OK\r\nContent-Le"], ids=["nothing", "line", "head"])
async def test_upstream_leaves_before_a_head(relay: Relay, how: str, begun: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    if begun:
        await upstream.send(begun)
    await leave(upstream, how)
    assert b"Connection: close" not in await own_answer(client, 502, "connection_terminated")
    what = "reset" if how == "reset" else "closed"
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 502, f"{what} the connection before a response head")
    await still_serves(relay, client)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_upstream_leaves_before_a_head_while_the_request_runs(relay: Relay, how: str) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(POST)
    await leave(upstream, how)
    # The rest of the request can come at any time: nothing else can be read here.
    assert b"Connection: close\r\n" in await own_answer(client, 502, "connection_terminated")
    assert await client.rest() == b""
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 502, "before a response head")


async def test_upstream_leaves_after_an_informational_head(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert await client.head() == b"HTTP/1.1 103 Early Hints\r\n\r\n"
    await upstream.close()
    await own_answer(client, 502, "connection_terminated")
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 502, "closed the connection before a response head")


CUT = [
    pytest.param(CHUNKED, b"", b"", id="chunked-head-only"),
    pytest.param(CHUNKED, b"3\r\none\r\n", b"one", id="between-chunks"),
    pytest.param(CHUNKED, b"a\r\none", b"one", id="inside-a-chunk"),
    pytest.param(CHUNKED, b"3\r\none\r\n0\r\n", b"one", id="before-the-last-line"),
    pytest.param(CHUNKED, b"3\r\none\r\n0\r\nX: y\r\n", b"one", id="inside-the-trailers"),
]


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(("head", "body", "content"), CUT)
async def test_a_cut_chunked_body_has_no_end(relay: Relay, how: str, head: bytes, body: bytes, content: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(head + body)
    assert b"Transfer-Encoding: chunked\r\n" in await client.head()
    if content:
        assert await client.chunk() == content
    await leave(upstream, how)
    assert await client.rest() == b""
    what = "reset" if how == "reset" else "closed"
    detail = f"{what} the connection in the response body"
    record = await finished(relay, Outcome.UPSTREAM_DISCONNECT, 200, detail)
    assert record.bytes_down == record.bytes_read == len(content)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize(("head", "body", "content"), CUT)
async def test_a_cut_body_ends_in_a_reset_for_http10(
    relay: Relay, how: str, head: bytes, body: bytes, content: bytes
) -> None:
    """An HTTP/1.0 client takes the end of the connection for the end of the body: it must not be a clean one."""
    await relay.start()
    client, upstream, _ = await relay.exchange(GET10)
    await upstream.send(head + body)
    await client.head()
    assert await client.read(len(content)) == content
    await leave(upstream, how)
    with pytest.raises(ConnectionResetError):
        await client.rest()
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 200, "in the response body")


@pytest.mark.parametrize("request_head", [GET, GET10], ids=["1.1", "1.0"])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_cut_body_of_known_length_is_short(relay: Relay, how: str, request_head: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(request_head)
    await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\none")
    assert b"Content-Length: 4\r\n" in await client.head()
    assert await client.read(3) == b"one"
    await leave(upstream, how)
    assert await client.rest() == b""
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 200, "in the response body")


async def test_a_reset_close_delimited_body_has_no_end(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(CLOSE_DELIMITED + b"one")
    await client.head()
    assert await client.chunk() == b"one"
    upstream.reset()
    assert await client.rest() == b""
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 200, "reset the connection in the response body")


async def test_a_reset_close_delimited_body_ends_in_a_reset_for_http10(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET10)
    await upstream.send(CLOSE_DELIMITED + b"one")
    await client.head()
    assert await client.read(3) == b"one"
    upstream.reset()
    with pytest.raises(ConnectionResetError):
        await client.rest()
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 200, "reset the connection in the response body")


@pytest.mark.parametrize("request_head", [GET, GET10], ids=["1.1", "1.0"])
async def test_a_closed_close_delimited_body_is_whole(relay: Relay, request_head: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(request_head)
    await upstream.send(CLOSE_DELIMITED + b"one")
    await client.head()
    await upstream.close()
    if request_head is GET:
        assert [await client.chunk(), await client.chunk()] == [b"one", b""]
    else:
        assert await client.rest() == b"one"
    await finished(relay, Outcome.COMPLETED, 200)


# -- the upstream speaks no HTTP


@pytest.mark.parametrize(
    ("response", "detail"),
    [
        (b"garbage\r\n\r\n", "bad response head"),
        (b"\x16\x03\x01\x00\x02", "bad response head"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "bad response head"),
        (b"HTTP/1.1 99 Early\r\n\r\n", "bad"),
        (b"HTTP/1.1 200 OK\r\nX y: z\r\n\r\n", "bad response head"),
        (b"HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n", "bad response head"),
        (b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", "bad response head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", "bad response head"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n", "bad response head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", "bad response head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", "bad response head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\nok", "bad response head"),
        (b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", "bad response head"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "other than chunked"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "other than chunked"),
        (
            b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding in an HTTP/1.0 response",
        ),
        (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nevil", "was not asked for"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1024, "limits.head"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1024 + b"\r\n\r\n", "limits.head"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 11 + b"\r\n", "limits.headers"),
    ],
)
async def test_what_is_no_response_is_answered_502(relay: Relay, response: bytes, detail: str) -> None:
    await relay.start(limits=Limits(head=1024, headers=10))
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(response)
    await own_answer(client, 502, "http_protocol_error")
    await upstream.ended()
    await finished(relay, Outcome.UPSTREAM_PROTOCOL_ERROR, 502, detail)
    await still_serves(relay, client)


async def test_a_response_head_within_the_limits_is_relayed(relay: Relay) -> None:
    await relay.start(limits=Limits(head=1024, headers=10))
    client, upstream, _ = await relay.exchange(GET)
    fields = b"Content-Length: 2\r\n" + b"X: y\r\n" * 8 + b"Y: "
    start = b"HTTP/1.1 200 OK\r\n" + fields
    # As large as allowed, to the byte: limits.head counts the empty line too.
    head = start + b"z" * (1024 - len(start) - 4) + b"\r\n\r\n"
    await upstream.send(head + b"ok")
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert await client.read(2) == b"ok"
    await finished(relay, Outcome.COMPLETED, 200)


DAMAGED = [
    pytest.param(b"zz\r\n", "bad chunked coding", id="no-size"),
    pytest.param(b"3\r\ntwoX", "bad chunked coding", id="longer-than-its-size"),
    pytest.param(b"-3\r\ntwo\r\n", "bad chunked coding", id="negative-size"),
    pytest.param(b"10000000000000000\r\n", "bad chunked coding", id="65-bit-size"),
    pytest.param(b"3\ntwo\r\n", "bad chunked coding", id="bare-line-feed"),
    pytest.param(b"3;x=" + b"y" * 1024, "limits.head", id="endless-extension"),
    pytest.param(b"0\r\nX: " + b"y" * 1024, "limits.head", id="endless-trailer"),
]


@pytest.mark.parametrize(("damage", "detail"), DAMAGED)
async def test_a_damaged_chunked_body_has_no_end(relay: Relay, damage: bytes, detail: str) -> None:
    await relay.start(limits=Limits(head=1024))
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(CHUNKED + b"3\r\none\r\n")
    await client.head()
    assert await client.chunk() == b"one"
    await upstream.send(damage)
    assert not (await client.rest()).endswith(LAST)
    await upstream.ended()
    await finished(relay, Outcome.UPSTREAM_PROTOCOL_ERROR, 200, detail)


@pytest.mark.parametrize(("damage", "detail"), DAMAGED)
async def test_a_damaged_chunked_body_ends_in_a_reset_for_http10(relay: Relay, damage: bytes, detail: str) -> None:
    await relay.start(limits=Limits(head=1024))
    client, upstream, _ = await relay.exchange(GET10)
    await upstream.send(CHUNKED + b"3\r\none\r\n")
    await client.head()
    assert await client.read(3) == b"one"
    await upstream.send(damage)
    with pytest.raises(ConnectionResetError):
        await client.rest()
    await finished(relay, Outcome.UPSTREAM_PROTOCOL_ERROR, 200, detail)


async def test_what_came_before_the_damage_in_one_read_is_delivered(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(CHUNKED + b"3\r\none\r\n3\r\ntwo\r\nzz\r\n")
    await client.head()
    assert await client.rest() == b"6\r\nonetwo\r\n"
    record = await finished(relay, Outcome.UPSTREAM_PROTOCOL_ERROR, 200, "bad chunked coding")
    assert record.bytes_down == 6


# -- bytes that belong to no response


@pytest.mark.parametrize("surplus", [EVIL, b"garbage", b"x"], ids=["response", "garbage", "byte"])
@pytest.mark.parametrize(
    ("request_head", "response", "seen"),
    [
        pytest.param(GET, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none", b"one", id="length"),
        pytest.param(GET, CHUNKED + b"3\r\none\r\n0\r\n\r\n", b"3\r\none\r\n0\r\n\r\n", id="chunked"),
        pytest.param(GET, CHUNKED + LAST, LAST, id="empty-chunked"),
        pytest.param(GET, b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="204"),
        pytest.param(GET, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", b"", id="304"),
        pytest.param(b"HEAD" + GET[3:], b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n", b"", id="HEAD"),
    ],
)
async def test_bytes_after_a_response_reach_nobody(
    relay: Relay, request_head: bytes, response: bytes, seen: bytes, surplus: bytes
) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(request_head)
    await upstream.send(response + surplus)
    await client.head()
    assert await client.read(len(seen)) == seen
    await finished(relay, Outcome.COMPLETED, int(response[9:12]))
    await upstream.ended()
    await still_serves(relay, client)


async def test_bytes_after_a_response_that_come_while_the_request_runs(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(POST)
    await upstream.send(OK)
    assert await client.head()
    assert await client.read(2) == b"ok"
    await upstream.send(EVIL)
    assert await client.rest() == b""
    await finished(relay, Outcome.COMPLETED, 200)


async def at_rest(relay: Relay) -> tuple[Peer, Peer]:
    """A client and an upstream whose connections have served a request and wait for the next."""
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(OK)
    await client.head()
    assert await client.read(2) == b"ok"
    await finished(relay, Outcome.COMPLETED, 200)
    assert relay.totals.upstream_idle == 1
    return client, upstream


@pytest.mark.parametrize("unasked", [EVIL, EVIL[:9], b"HTTP/1.1 408 Request Timeout\r\n\r\n", b"\r\n", b"x"])
async def test_an_unasked_response_at_rest_reaches_nobody(relay: Relay, unasked: bytes) -> None:
    await relay.start()
    client, upstream = await at_rest(relay)
    await upstream.send(unasked)
    await upstream.ended()
    assert relay.totals.upstream_idle == 0
    await still_serves(relay, client)


@pytest.mark.parametrize("first", ["upstream", "client"])
async def test_an_unasked_response_that_comes_together_with_a_request_reaches_nobody(
    relay: Relay, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lie in the kernel when the relay wakes up: the response came before the request was sent up."""
    monkeypatch.setattr("unbuffer.relay.upstream.SHORT_REST", 0.0)
    await relay.start()
    client, upstream = await at_rest(relay)
    # A connection in steady use is not looked at; this one has come to rest.
    (resting,) = relay.plane.pool._resting
    await eventually(lambda: time.monotonic() - resting.rested_at > SHORT_REST)
    if first == "client":
        client.writer.write(GET)
    upstream.writer.write(EVIL)
    if first == "upstream":
        client.writer.write(GET)
    fresh = await relay.upstream.accept()
    await fresh.head()
    await fresh.send(OK)
    await client.head()
    assert await client.read(2) == b"ok"
    await finished(relay, Outcome.COMPLETED, 200)


# -- responses without a body


@pytest.mark.parametrize(
    ("method", "response", "seen"),
    [
        pytest.param(b"HEAD", b"200 OK\r\nContent-Length: 7\r\n", b"Content-Length: 7\r\n", id="HEAD-length"),
        pytest.param(b"HEAD", b"200 OK\r\nTransfer-Encoding: chunked\r\n", b"", id="HEAD-chunked"),
        pytest.param(b"HEAD", b"200 OK\r\n", b"", id="HEAD-unknown"),
        pytest.param(b"GET", b"204 No Content\r\n", b"", id="204"),
        pytest.param(b"GET", b"204 No Content\r\nContent-Length: 7\r\n", b"", id="204-length"),
        pytest.param(b"GET", b"304 Not Modified\r\nContent-Length: 7\r\n", b"Content-Length: 7\r\n", id="304-length"),
        pytest.param(b"GET", b"304 Not Modified\r\nTransfer-Encoding: chunked\r\n", b"", id="304-chunked"),
        pytest.param(b"GET", b"200 OK\r\nContent-Length: 0\r\n", b"Content-Length: 0\r\n", id="empty"),
        pytest.param(b"GET", b"205 Reset Content\r\nContent-Length: 0\r\n", b"Content-Length: 0\r\n", id="205"),
    ],
)
async def test_responses_without_a_body(relay: Relay, method: bytes, response: bytes, seen: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(method + GET[3:])
    for reused in (False, True):
        await upstream.send(b"HTTP/1.1 " + response + b"\r\n")
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 " + response.partition(b"\r\n")[0])
        assert seen in head
        assert (b"Content-Length" in head) == bool(seen)
        assert (b"Transfer-Encoding" in head) is False
        record = await finished(relay, Outcome.COMPLETED, int(response[:3]))
        assert (record.reused, record.bytes_down, record.chunks) == (reused, 0, 0)
        # Both connections go on: whatever had been read too far or sent too much would meet the next request.
        await client.send(method + GET[3:])
        await upstream.head()
    await upstream.send(b"HTTP/1.1 " + response + b"\r\n")
    await client.head()


@pytest.mark.parametrize("status", [b"200 OK", b"205 Reset Content"])
async def test_an_empty_chunked_body_ends(relay: Relay, status: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(b"HTTP/1.1 %b\r\nTransfer-Encoding: chunked\r\n\r\n" % status)
    assert (await client.head()).startswith(b"HTTP/1.1 " + status)
    await upstream.send(LAST)
    assert await client.chunk() == b""
    record = await finished(relay, Outcome.COMPLETED, int(status[:3]))
    assert (record.bytes_down, record.chunks) == (0, 0)


@pytest.mark.parametrize("request_head", [GET, GET10], ids=["1.1", "1.0"])
async def test_an_empty_close_delimited_body_ends(relay: Relay, request_head: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(request_head)
    await upstream.send(CLOSE_DELIMITED)
    await client.head()
    await upstream.close()
    assert (await client.chunk() if request_head is GET else await client.rest()) == b""
    await finished(relay, Outcome.COMPLETED, 200)


# -- informational responses


async def test_informational_heads_are_passed_on_at_once(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    for hint in (b"HTTP/1.1 102 Processing\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"):
        await upstream.send(hint)
        assert await client.head() == hint
    await upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n" + OK)
    assert await client.head() == b"HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n"
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert await client.read(2) == b"ok"
    record = await finished(relay, Outcome.COMPLETED, 200)
    assert relay.totals.requests[record.route, "GET", 103] == 0


async def test_http10_clients_get_no_informational_heads(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET10)
    await upstream.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert await client.rest() == b"ok"
    await finished(relay, Outcome.COMPLETED, 200)


async def test_the_upstream_says_when_the_request_body_may_come(relay: Relay) -> None:
    await relay.start()
    client, upstream, head = await relay.exchange(EXPECT)
    assert b"Expect: 100-continue\r\n" in head
    await upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    await client.send(b"body")
    assert await upstream.read(4) == b"body"
    await upstream.send(OK)
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert await client.read(2) == b"ok"
    assert (await finished(relay, Outcome.COMPLETED, 200)).bytes_up == 4
    # The request was read to its end: the connection goes on.
    await client.send(GET)
    await upstream.head()
    await upstream.send(OK)
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert (await finished(relay, Outcome.COMPLETED, 200)).reused


@pytest.mark.parametrize("status", [b"417 Expectation Failed", b"413 Content Too Large"])
async def test_a_body_that_the_upstream_does_not_want_is_not_waited_for(relay: Relay, status: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(EXPECT)
    await upstream.send(b"HTTP/1.1 %b\r\nContent-Length: 2\r\n\r\nno" % status)
    assert (await client.head()).startswith(b"HTTP/1.1 " + status)
    assert await client.read(2) == b"no"
    # Whether the body still comes nobody knows: both connections end (RFC 9112, section 9.3).
    assert await client.rest() == b""
    await upstream.ended()
    record = await finished(relay, Outcome.COMPLETED, int(status[:3]))
    assert record.bytes_up == 0


# -- the upstream cannot be reached


def connects(relay: Relay) -> dict[str, int]:
    """How often a connection to the upstream was tried, by result."""
    return {result: count for result, count in relay.totals.connects.items() if count}


async def test_an_upstream_that_refuses_is_answered_503(relay: Relay, closed_port: int) -> None:
    await relay.serve(Settings(upstream=Upstream(url=f"http://127.0.0.1:{closed_port}")))
    client = await relay.client()
    for tries in (1, 2):
        await client.send(GET)
        assert b"Retry-After: 1\r\n" in await own_answer(client, 503, "connection_refused")
        await finished(relay, Outcome.UPSTREAM_REFUSED, 503, f"127.0.0.1:{closed_port}")
        assert connects(relay) == {"refused": tries}


async def test_an_upstream_that_refuses_an_upload(relay: Relay, closed_port: int) -> None:
    """The client still sends: it gets the answer, and the connection ends after it."""
    await relay.serve(Settings(upstream=Upstream(url=f"http://127.0.0.1:{closed_port}")))
    client = await relay.client()
    await client.send(POST + b"bo")
    assert b"Connection: close\r\n" in await own_answer(client, 503, "connection_refused")
    assert await client.rest() == b""
    await finished(relay, Outcome.UPSTREAM_REFUSED, 503, str(closed_port))


async def test_a_missing_unix_socket_is_answered_503(relay: Relay, tmp_path: Path) -> None:
    await relay.serve(Settings(upstream=Upstream(url=f"unix:{tmp_path}/app.sock")))
    client = await relay.client()
    await client.send(GET)
    await own_answer(client, 503, "connection_refused")
    await finished(relay, Outcome.UPSTREAM_REFUSED, 503, "app.sock")


async def test_a_request_waits_for_an_upstream_that_starts(relay: Relay, closed_port: int) -> None:
    await relay.serve(Settings(upstream=Upstream(url=f"http://127.0.0.1:{closed_port}", wait=60.0)))
    client = await relay.client()
    await client.send(POST + b"body")
    await eventually(lambda: relay.totals.connects["refused"] > 1)
    relay.upstream.port = closed_port
    await relay.upstream.start()
    upstream = await relay.upstream.accept()
    await upstream.head()
    assert await upstream.read(4) == b"body"
    await upstream.send(OK)
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    await finished(relay, Outcome.COMPLETED, 200)
    assert relay.totals.connects["ok"] == 1


async def test_the_wait_for_an_upstream_ends(relay: Relay, closed_port: int) -> None:
    await relay.serve(Settings(upstream=Upstream(url=f"http://127.0.0.1:{closed_port}", wait=0.15)))
    client = await relay.client()
    await client.send(GET)
    await own_answer(client, 503, "connection_refused")
    await finished(relay, Outcome.UPSTREAM_REFUSED, 503, str(closed_port))
    assert relay.totals.connects["refused"] > 1


async def test_a_name_that_does_not_exist_is_answered_502(relay: Relay) -> None:
    await relay.serve(Settings(upstream=Upstream(url="http://does-not-exist.invalid")))
    client = await relay.client()
    await client.send(GET)
    await own_answer(client, 502, "dns_error")
    await finished(relay, Outcome.UPSTREAM_DNS_ERROR, 502, "does-not-exist.invalid")
    assert connects(relay) == {"dns_error": 1}


async def test_an_upstream_that_does_not_accept_is_answered_504(relay: Relay, full_port: int) -> None:
    settings = Settings(upstream=Upstream(url=f"http://127.0.0.1:{full_port}"), timeouts=Timeouts(connect=0.3))
    await relay.serve(settings)
    client = await relay.client()
    await client.send(GET)
    await own_answer(client, 504, "connection_timeout")
    await finished(relay, Outcome.CONNECT_TIMEOUT, 504, "timeouts.connect")
    assert connects(relay) == {"timeout": 1}


async def test_an_answer_that_unbuffer_makes_for_head_has_no_body(relay: Relay, closed_port: int) -> None:
    await relay.serve(Settings(upstream=Upstream(url=f"http://127.0.0.1:{closed_port}")))
    client = await relay.client()
    for _ in range(2):
        await client.send(b"HEAD" + GET[3:])
        await own_answer(client, 503, "connection_refused", head_only=True)
        await finished(relay, Outcome.UPSTREAM_REFUSED, 503, str(closed_port))


# -- the upstream answers before the request is over


REFUSAL = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"


async def test_an_early_answer_reaches_a_client_that_still_sends(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(LONG_POST)
    stop_reading(upstream)
    async with endless_upload(relay, client):
        await upstream.send(REFUSAL)
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 413 Content Too Large\r\n")
        # RFC 9112, section 9.6: who is going to close says so, or the next request is sent into the void.
        assert b"Connection: close\r\n" in head
        assert await client.rest() == b"no"
    read_again(upstream)
    await upstream.ended()
    await finished(relay, Outcome.COMPLETED, 413)


async def test_an_early_answer_of_an_upstream_that_leaves_at_once(relay: Relay) -> None:
    """It leaves with bytes unread, so its close is a reset: the answer is on its way all the same."""
    await relay.start()
    client, upstream, _ = await relay.exchange(LONG_POST)
    stop_reading(upstream)
    async with endless_upload(relay, client):
        await upstream.send(REFUSAL)
        await upstream.close()
        assert (await client.head()).startswith(b"HTTP/1.1 413 Content Too Large\r\n")
        assert await client.rest() == b"no"
    await finished(relay, Outcome.COMPLETED, 413)


@pytest.mark.parametrize("first", ["upstream", "client"])
async def test_an_early_answer_that_crosses_a_piece_of_the_body(relay: Relay, first: str) -> None:
    """The upstream has answered and left when the relay sends the piece: the failed write must not cost the answer."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        await relay.serve(Settings(upstream=Upstream(url=f"http://127.0.0.1:{listener.getsockname()[1]}")))
        client = await relay.client()
        await client.send(LONG_POST)
        upstream, _ = await soon(loop.sock_accept(listener))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await soon(loop.sock_recv(upstream, 65536))
        await client.send(b"one")
        # Two bytes stay unread: the kernel resets such a connection when it is closed.
        assert await soon(loop.sock_recv(upstream, 1)) == b"o"
        if first == "client":
            client.writer.write(b"two")
        upstream.send(REFUSAL)
        upstream.close()
        if first == "upstream":
            client.writer.write(b"two")
        assert (await client.head()).startswith(b"HTTP/1.1 413 Content Too Large\r\n")
        assert await client.rest() == b"no"
    await finished(relay, Outcome.COMPLETED, 413)


async def test_an_upstream_that_ends_its_side_and_reads_nothing(relay: Relay) -> None:
    """The request can never be written out: the end of the response must not wait for that."""
    await relay.start()
    client, upstream, _ = await relay.exchange(LONG_POST)
    stop_reading(upstream)
    async with endless_upload(relay, client):
        upstream.eof()
        await own_answer(client, 502, "connection_terminated")
        assert await client.rest() == b""
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 502, "before a response head")


async def test_an_early_answer_that_ends_with_its_connection(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(LONG_POST)
    stop_reading(upstream)
    async with endless_upload(relay, client):
        await upstream.send(b"HTTP/1.0 413 Content Too Large\r\n\r\nno")
        await client.head()
        assert await client.chunk() == b"no"
        upstream.eof()
        assert await client.chunk() == b""
        assert await client.rest() == b""
    await finished(relay, Outcome.COMPLETED, 413)
