"""One answer to one request: once it has its outcome nothing more of it is written, whatever came in the same read."""

import time

import pytest

from tests.peers import GET, LAST, chunk, response_head
from tests.relay.conftest import Relay, finished, own_answer
from tests.relay.test_error_event import begin, told
from tests.relay.test_going_away import text
from tests.relay.test_identity import Coder
from tests.relay.test_tunnel import say, tunnel
from unbuffer.http.response import ResponseHead
from unbuffer.outcome import Outcome
from unbuffer.relay.replay import Replay
from unbuffer.settings.model import SSE

CODED = (b"Transfer-Encoding: chunked", b"Content-Encoding: gzip")
DAMAGED = chunk(b"this is no gzip")
ENDS = {"trailers": b"0\r\nX-Checksum: 1\r\n\r\n", "plain": LAST, "surplus": b"0\r\nX: 1\r\n\r\nHTTP/1.1 200"}
ends = pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)


@ends
async def test_damage_and_the_end_in_one_read_make_one_answer(relay: Relay, end: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(response_head(*CODED) + DAMAGED + end)
    await own_answer(client, 502, "http_response_content_coding")
    await finished(relay, Outcome.DECODE_ERROR, 502, "gzip")
    # The connection goes on, and the next answer is the next request's.
    await client.send(GET)
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(response_head(b"Content-Length: 2", status=b"201 Created") + b"ok")
    assert (await client.head()).startswith(b"HTTP/1.1 201 Created\r\n")
    assert await client.read(2) == b"ok"
    await finished(relay, Outcome.COMPLETED, 201)
    assert dict(relay.totals.requests) == {("default", "GET", 502): 1, ("default", "GET", 201): 1}
    assert dict(relay.totals.decoded) == {("default", "gzip", "error"): 1}


@ends
@pytest.mark.parametrize("on", [True, False], ids=["told", "untold"])
async def test_damage_in_the_middle_is_followed_by_no_last_chunk(relay: Relay, end: bytes, on: bool) -> None:
    client, upstream = await begin(relay, *CODED, sse=SSE(error_event=on))
    coder = Coder("gzip")
    await upstream.send(chunk(coder.add(b"data: a\n\n")))
    assert await client.chunk() == b"data: a\n\n"
    await upstream.send(DAMAGED + end)
    if on:
        await told(relay, await client.chunk(), Outcome.DECODE_ERROR, 502)
    else:
        await finished(relay, Outcome.DECODE_ERROR, 200, "gzip")
    assert await client.rest() == b""


async def test_a_client_that_was_told_the_end_is_told_nothing_more(relay: Relay) -> None:
    """The upstream of a WebSocket ends without a Close frame: after that end no farewell can be written."""
    client, upstream = await tunnel(relay)
    other, other_upstream, _ = await relay.exchange(GET)
    await say(upstream, client, text(b"hello"))
    upstream.eof()
    assert await client.rest() == b""
    relay.plane.clients.drain()
    assert relay.plane.clients.closing
    await say(client, upstream, b"\x81\x82maskhi")
    await client.close()
    await finished(relay, Outcome.COMPLETED, 101)
    await other_upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert b"Connection: close\r\n" in await other.head()


async def test_a_replay_that_is_over_writes_nothing(relay: Relay) -> None:
    await relay.start()
    client, _, _ = await relay.exchange(GET)
    exchange = relay.connection()._exchange
    assert exchange is not None
    replay = exchange.answer = Replay(exchange, exchange.record, exchange.client.writer)
    replay.resume(ResponseHead(200, b"OK", True, [], False), time.monotonic())
    exchange.finish(Outcome.DRAINING)
    replay.give(b"data: a\n\n")
    replay.give_end()
    await own_answer(client, 503, "")
    client.eof()
    assert await client.rest() == b""
