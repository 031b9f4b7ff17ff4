"""Connections to the upstream: used again when that is safe, never when it is not, and a careful second try."""

import time

import pytest

from tests.peers import GET, OK, Peer, chunk, eventually, stop_reading
from tests.relay.conftest import Relay, finished, own_answer
from unbuffer.outcome import Outcome
from unbuffer.settings.model import Settings, Upstream


async def answered(client: Peer, upstream: Peer, response: bytes = OK) -> None:
    """Have the upstream send a whole response, and the client read all of it."""
    await upstream.send(response)
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert await client.read(2) == b"ok"


async def rested(relay: Relay, response: bytes = OK, request: bytes = GET) -> tuple[Peer, Peer]:
    """A client and the upstream's connection after a first exchange."""
    client, upstream, _ = await relay.exchange(request)
    await answered(client, upstream, response)
    await finished(relay, Outcome.COMPLETED, 200)
    return client, upstream


async def start(relay: Relay, **upstream: float) -> None:
    """Start with these settings of the upstream."""
    await relay.upstream.start()
    url = f"http://127.0.0.1:{relay.upstream.port}"
    await relay.serve(Settings(upstream=Upstream(url=url, **upstream)))  # type: ignore[arg-type]


async def test_a_connection_serves_all_clients_in_turn(relay: Relay) -> None:
    await relay.start()
    first, upstream = await rested(relay)
    for client in (await relay.client(), first, await relay.client()):
        await client.send(GET)
        await upstream.head()
        await answered(client, upstream)
        assert (await finished(relay, Outcome.COMPLETED, 200)).reused
    assert relay.upstream.untaken == 0
    assert (relay.totals.connects["ok"], relay.totals.reuses, relay.totals.upstream_idle) == (1, 3, 1)


async def test_a_connection_in_use_is_not_shared(relay: Relay) -> None:
    await relay.start()
    one, upstream_one, _ = await relay.exchange(GET)
    two, upstream_two, _ = await relay.exchange(GET)
    assert relay.totals.upstream_active == 2
    await answered(two, upstream_two)
    await answered(one, upstream_one)
    await eventually(lambda: relay.totals.upstream_idle == 2)


async def test_the_one_that_came_to_rest_last_is_taken_first(relay: Relay) -> None:
    """The oldest can so grow old enough to be closed."""
    await relay.start()
    pairs = [(await relay.exchange(GET))[:2] for _ in range(3)]
    for client, upstream in (pairs[1], pairs[0], pairs[2]):
        await answered(client, upstream)
        await finished(relay, Outcome.COMPLETED, 200)
    for client, upstream in (pairs[2], pairs[0], pairs[1]):
        await client.send(GET)
        await upstream.head()
    for client, upstream in pairs:
        await answered(client, upstream)


def age(relay: Relay, seconds: float) -> None:
    """Have what rests do so for so much longer."""
    for connection in relay.plane.pool._resting:
        connection.rested_at -= seconds


async def test_none_is_used_that_rested_for_keep_alive(relay: Relay) -> None:
    await start(relay, keep_alive=400.0)
    client, upstream = await rested(relay)
    age(relay, 300.0)
    await client.send(GET)
    await upstream.head()
    await answered(client, upstream)
    await finished(relay, Outcome.COMPLETED, 200)
    age(relay, 400.0)
    await client.send(GET)
    fresh = await relay.upstream.accept()
    await fresh.head()
    assert await upstream.rest() == b"", "the old one is closed"
    await answered(client, fresh)


async def test_what_rested_too_long_is_closed_without_a_request(relay: Relay) -> None:
    await start(relay, keep_alive=400.0)
    (old, old_upstream, _), (young, young_upstream, _) = await relay.exchange(GET), await relay.exchange(GET)
    await answered(old, old_upstream)
    await eventually(lambda: relay.totals.upstream_idle == 1)
    age(relay, 300.0)
    await answered(young, young_upstream)
    await eventually(lambda: relay.totals.upstream_idle == 2)
    now = time.monotonic()
    rest = relay.plane.pool.look(now + 101.0)
    assert await old_upstream.rest() == b""
    assert relay.totals.upstream_idle == 1
    assert now < rest <= now + 400.0, "to look again when the younger one is due"
    assert relay.plane.pool.look(now + 500.0) == 0.0
    assert await young_upstream.rest() == b""
    assert relay.totals.upstream_idle == 0


async def test_keep_alive_0_keeps_none(relay: Relay) -> None:
    await start(relay, keep_alive=0.0)
    client, upstream = await rested(relay)
    assert relay.totals.upstream_idle == 0
    assert await upstream.rest() == b""
    await client.send(GET)
    await answered(client, await relay.upstream.accept())


@pytest.mark.parametrize("limit", [0, 1, 2])
async def test_no_more_than_idle_connections_are_kept(relay: Relay, limit: int) -> None:
    await start(relay, idle_connections=limit)
    pairs = [(await relay.exchange(GET))[:2] for _ in range(3)]
    for client, upstream in pairs:
        await answered(client, upstream)
        await finished(relay, Outcome.COMPLETED, 200)
    assert relay.totals.upstream_idle == limit
    for _, upstream in pairs[limit:]:
        assert await upstream.rest() == b""


@pytest.mark.parametrize("how", ["end", "close", "reset", "bytes", "answer"])
async def test_a_connection_at_rest_that_stirs_is_dropped(relay: Relay, how: str) -> None:
    await start(relay, keep_alive=400.0)
    client, upstream = await rested(relay)
    assert relay.totals.upstream_idle == 1
    if how == "end":
        upstream.eof()
    elif how == "close":
        await upstream.close()
    elif how == "reset":
        upstream.reset()
    else:
        await upstream.send(b"x" if how == "bytes" else OK)
    await eventually(lambda: relay.totals.upstream_idle == 0)
    await upstream.ended()
    await client.send(GET)
    fresh = await relay.upstream.accept()
    await fresh.head()
    await answered(client, fresh)
    assert not (await finished(relay, Outcome.COMPLETED, 200)).reused


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
    ],
    ids=["close", "close-in-a-list", "1.0", "1.0-keep-alive", "line-after", "answer-after"],
)
async def test_a_response_that_ends_its_connection_or_has_something_after_it(relay: Relay, response: bytes) -> None:
    await relay.start()
    client, upstream = await rested(relay, response)
    assert relay.totals.upstream_idle == 0
    await upstream.ended()
    await client.send(GET)
    fresh = await relay.upstream.accept()
    await fresh.head()
    await answered(client, fresh)


async def test_an_answer_before_the_end_of_its_request(relay: Relay) -> None:
    """What another request says would be taken for the rest of this one."""
    await start(relay, keep_alive=400.0)
    client, upstream, _ = await relay.exchange(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123")
    await upstream.read(3)
    await answered(client, upstream)
    await finished(relay, Outcome.COMPLETED, 200)
    assert relay.totals.upstream_idle == 0
    assert await client.rest() == b""
    await upstream.ended()


async def test_a_connection_that_was_held_back_for_a_slow_client_is_read_again(relay: Relay) -> None:
    """The last bytes of the response are the ones that the client's buffer has no room for."""
    await relay.start()
    slow, upstream, _ = await relay.exchange(GET)
    await upstream.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await slow.head()
    stop_reading(slow)
    connection = relay.connection()
    series = relay.totals.of("default", "stream")

    async def pass_on(block: bytes) -> None:
        sent = series.bytes_down + len(block)
        await upstream.send(chunk(block))
        await eventually(lambda: series.bytes_down == sent)

    async def fill(waiting: int, block: bytes) -> None:
        while connection.transport.get_write_buffer_size() < waiting:
            await pass_on(block)

    await fill(1, bytes(32768))
    await fill(60000, bytes(1024))
    assert not series.stalls
    await upstream.send(b"2000\r\n%b\r\n0\r\n\r\n" % bytes(8192))
    assert (await finished(relay, Outcome.COMPLETED, 200)).stalls == 1
    client = await relay.client()
    await client.send(GET)
    await upstream.head()
    await answered(client, upstream)


async def test_a_client_that_leaves_takes_its_upstream_connection_with_it(relay: Relay) -> None:
    """What the upstream still sends must meet no other request."""
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await client.close()
    assert await relay.outcome() is Outcome.CLIENT_DISCONNECT
    await upstream.ended()
    assert relay.totals.upstream_idle == 0


# -- a second try


REPEATABLE = [
    b"%b /x?y HTTP/1.1\r\nHost: a\r\n\r\n" % method
    for method in (b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"PUT", b"TRACE")
]


@pytest.mark.parametrize(
    ("request_head", "how"), [(request, "close") for request in REPEATABLE] + [(REPEATABLE[0], "reset")]
)
async def test_a_rested_connection_that_breaks_is_replaced_once(relay: Relay, request_head: bytes, how: str) -> None:
    """A server may close a connection at rest just as a request is on its way (RFC 9112, section 9.3.1)."""
    await relay.start()
    client, upstream = await rested(relay)
    await client.send(request_head)
    seen = await upstream.head()
    if how == "reset":
        upstream.reset()
    else:
        await upstream.close()
    fresh = await relay.upstream.accept()
    assert await fresh.head() == seen
    await fresh.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    record = await finished(relay, Outcome.COMPLETED, 200)
    assert not record.reused
    assert relay.totals.connects["ok"] == 2


async def test_a_second_try_takes_a_fresh_connection_and_is_the_last(relay: Relay) -> None:
    """All that rest may be stale alike."""
    await relay.start()
    pairs = [(await relay.exchange(GET))[:2] for _ in range(2)]
    for pair in pairs:
        await answered(*pair)
        await finished(relay, Outcome.COMPLETED, 200)
    client, upstream = pairs[1]
    await client.send(GET)
    await upstream.head()
    await upstream.close()
    fresh = await relay.upstream.accept()
    await fresh.head()
    assert relay.totals.upstream_idle == 1
    await fresh.close()
    await own_answer(client, 502, "connection_terminated")
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 502, "before a response head")
    assert relay.totals.connects["ok"] == 3
    assert relay.upstream.untaken == 0


@pytest.mark.parametrize(
    "request_head",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PATCH / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok",
        b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n",
    ],
    ids=["POST", "POST-without-length", "PATCH", "FOO", "get", "body", "chunked-body", "upgrade"],
)
async def test_what_may_have_had_its_effect_is_sent_once(relay: Relay, request_head: bytes) -> None:
    await relay.start()
    client, upstream = await rested(relay)
    await client.send(request_head)
    await upstream.head()
    if b"ok" in request_head:
        await upstream.until(b"ok")
    await upstream.close()
    await own_answer(client, 502, "connection_terminated")
    record = await finished(relay, Outcome.UPSTREAM_DISCONNECT, 502, "before a response head")
    assert record.reused
    assert relay.totals.connects["ok"] == 1


async def test_a_first_use_is_not_repeated(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.close()
    await own_answer(client, 502, "connection_terminated")
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 502, "before a response head")
    assert relay.totals.connects["ok"] == 1


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 103 Early\r\n\r\n"], ids=["byte", "informational"])
async def test_a_request_that_got_one_byte_of_an_answer_is_not_repeated(relay: Relay, begun: bytes) -> None:
    await relay.start()
    client, upstream = await rested(relay)
    await client.send(GET)
    await upstream.head()
    await upstream.send(begun)
    if begun != b"H":
        assert (await client.head()).startswith(b"HTTP/1.1 103 ")
    await upstream.close()
    await own_answer(client, 502, "connection_terminated")
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 502, "before a response head")
    assert relay.totals.connects["ok"] == 1


async def test_a_client_that_leaves_during_the_second_try(relay: Relay) -> None:
    await start(relay, wait=600.0)
    client, upstream = await rested(relay)
    await client.send(GET)
    await upstream.head()
    await relay.upstream.stop()
    await eventually(lambda: relay.totals.connects["refused"])
    await client.close()
    await finished(relay, Outcome.CLIENT_DISCONNECT, 0)
