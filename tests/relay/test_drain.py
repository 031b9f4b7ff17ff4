"""The graceful end: no connection takes new work, what runs may finish, and what is left is ended so that it shows."""

import asyncio

import pytest

from tests.peers import GET, GET10, LAST, OK, POST, STREAM, Peer, eventually, soon, stop_reading
from tests.relay.conftest import Relay, finished, narrow_client, own_answer
from unbuffer.outcome import Outcome

GET10_KEPT = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"

AT_ONCE = 0.0


async def last_answer(client: Peer, upstream: Peer) -> None:
    """The upstream answers; the client is told that nothing follows, and nothing does."""
    await upstream.send(OK)
    assert b"Connection: close\r\n" in await client.head()
    assert await client.rest() == b"ok"


async def test_connections_at_rest_close_at_once(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unbuffer.relay.patience.CROSSING", 0.0)
    await relay.start()
    fresh = await relay.client()
    served, upstream, _ = await relay.exchange(GET)
    await upstream.send(OK)
    await served.head()
    assert await served.read(2) == b"ok"
    await finished(relay, Outcome.COMPLETED, 200)
    await eventually(lambda: len(relay.plane.clients.connections) == 2)
    relay.plane.clients.drain()
    assert await fresh.rest() == b""
    assert await served.rest() == b""
    await soon(relay.plane.clients.shutdown(60.0))
    # Nobody was lost: no stream ended but the one that was served.
    assert relay.totals.series["default", "plain"].outcomes == {Outcome.COMPLETED: 1}


async def test_the_request_of_a_new_connection_may_cross_the_drain(relay: Relay) -> None:
    """A load balancer opens one, and sends a POST that it may not send again, as the listener closes."""
    await relay.start()
    client = await relay.client()
    await eventually(lambda: relay.plane.clients.connections)
    relay.plane.clients.drain()
    await client.send(POST + b"0123456789")
    upstream = await relay.upstream.accept()
    await upstream.head()
    await last_answer(client, upstream)
    await finished(relay, Outcome.COMPLETED, 200)


@pytest.mark.parametrize("ends_first", [True, False], ids=["at rest", "running"])
async def test_a_request_may_cross_the_drain_where_the_response_before_promised_an_answer(
    relay: Relay, ends_first: bool
) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(OK[:-1])
    assert b"Connection: close" not in await client.head()
    if not ends_first:
        relay.plane.clients.drain()
    await upstream.send(OK[-1:])
    assert await client.read(2) == b"ok"
    await finished(relay, Outcome.COMPLETED, 200)
    if ends_first:
        relay.plane.clients.drain()
    await client.send(POST + b"0123456789")
    await upstream.head()
    assert await upstream.read(10) == b"0123456789"
    await last_answer(client, upstream)
    await finished(relay, Outcome.COMPLETED, 200)


async def test_a_new_connection_that_brings_nothing_is_not_waited_for_for_long(relay: Relay) -> None:
    await relay.start()
    client = await relay.client()
    await eventually(lambda: relay.plane.clients.connections)
    relay.plane.clients.drain()
    assert await client.rest() == b""
    await soon(relay.plane.clients.shutdown(60.0))


@pytest.mark.parametrize("request_head", [GET, GET10_KEPT], ids=["1.1", "1.0"])
async def test_a_request_that_waits_is_answered_and_told_to_close(relay: Relay, request_head: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(request_head)
    relay.plane.clients.drain()
    await upstream.send(OK)
    head = await client.head()
    assert b"Connection: close\r\n" in head
    assert b"Connection: keep-alive" not in head
    assert await client.rest() == b"ok"
    await finished(relay, Outcome.COMPLETED, 200)
    await soon(relay.plane.clients.shutdown(60.0))


async def test_a_running_stream_goes_on_to_its_end(relay: Relay) -> None:
    """Its head went out before and promised more requests; the connection closes after it all the same."""
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(STREAM)
    assert b"Connection: close" not in await client.head()
    relay.plane.clients.drain()
    shutdown = asyncio.create_task(relay.plane.clients.shutdown(60.0))
    for n in range(20):
        await upstream.send(b"a\r\ndata: %02d\n\n\r\n" % n)
        assert await client.chunk() == b"data: %02d\n\n" % n
    assert not shutdown.done()
    await upstream.send(LAST)
    assert await client.rest() == LAST
    await soon(shutdown)
    assert (await finished(relay, Outcome.COMPLETED, 200)).chunks == 20


async def test_an_upload_goes_on_to_its_end(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(POST)
    await client.send(b"01234")
    assert await upstream.read(5) == b"01234"
    relay.plane.clients.drain()
    await client.send(b"56789")
    assert await upstream.read(5) == b"56789"
    await last_answer(client, upstream)
    assert (await finished(relay, Outcome.COMPLETED, 200)).bytes_up == 10


async def test_a_request_head_that_has_begun_is_served(relay: Relay) -> None:
    await relay.start()
    client = await relay.client()
    await client.send(GET[:5])
    connection = relay.connection()
    await eventually(lambda: connection._reader is not None)
    relay.plane.clients.drain()
    await client.send(GET[5:])
    upstream = await relay.upstream.accept()
    await upstream.head()
    await last_answer(client, upstream)
    await finished(relay, Outcome.COMPLETED, 200)


async def test_a_connection_that_comes_late_is_served_once(relay: Relay) -> None:
    """Between the signal and the closed listener the kernel may have accepted one more."""
    await relay.start()
    relay.plane.clients.drain()
    client, upstream, _ = await relay.exchange(GET)
    await last_answer(client, upstream)
    await finished(relay, Outcome.COMPLETED, 200)


async def test_a_failure_during_the_drain_is_answered_and_told_to_close(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    relay.plane.clients.drain()
    await upstream.close()
    assert b"Connection: close\r\n" in await own_answer(client, 502, "connection_terminated")
    assert await client.rest() == b""
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 502, "before a response head")


async def test_a_request_that_is_early_is_not_answered(relay: Relay) -> None:
    """The answer before it said that the connection ends: its client knows that it was not taken."""
    await relay.start()
    client, upstream, _ = await relay.exchange(GET + b"GET /early HTTP/1.1\r\nHost: a\r\n\r\n")
    relay.plane.clients.drain()
    await last_answer(client, upstream)
    await finished(relay, Outcome.COMPLETED, 200)
    await client.close()
    await soon(relay.plane.clients.shutdown(60.0))
    assert relay.totals.series["default", "plain"].outcomes == {Outcome.COMPLETED: 1}


# -- what is left when drain.timeout has passed


async def shut_down(relay: Relay, upstream: Peer) -> None:
    """End what is left; the upstream hears of it."""
    relay.plane.clients.drain()
    await soon(relay.plane.clients.shutdown(AT_ONCE))
    await upstream.ended()
    assert not relay.plane.clients.connections


async def test_a_stream_that_is_left_is_broken(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(STREAM + b"3\r\none\r\n")
    await client.head()
    assert await client.chunk() == b"one"
    await shut_down(relay, upstream)
    assert await client.rest() == b""
    assert (await finished(relay, Outcome.DRAINING, 200)).bytes_down == 3


async def test_a_stream_that_is_left_is_reset_for_http10(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET10)
    await upstream.send(STREAM + b"3\r\none\r\n")
    await client.head()
    assert await client.read(3) == b"one"
    await shut_down(relay, upstream)
    with pytest.raises(ConnectionResetError):
        await client.rest()
    await finished(relay, Outcome.DRAINING, 200)


@pytest.mark.parametrize("request_head", [GET, POST + b"01234"], ids=["waiting", "uploading"])
async def test_a_request_that_is_left_is_answered_503(relay: Relay, request_head: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(request_head)
    await shut_down(relay, upstream)
    head = await own_answer(client, 503, "")
    assert b"Retry-After: 1\r\n" in head
    assert b"Connection: close\r\n" in head
    assert await client.rest() == b""
    await finished(relay, Outcome.DRAINING, 503)


async def test_a_client_that_reads_nothing_cannot_hold_the_end_up(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unbuffer.relay.clients.LAST_WORDS", 0.1)
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    stop_reading(client)
    upstream.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n" + bytes(16 << 20))
    await eventually(lambda: relay.totals.of("default", "plain").stalls)
    await shut_down(relay, upstream)
    await finished(relay, Outcome.DRAINING, 200)


async def test_half_a_request_head_cannot_hold_the_end_up(relay: Relay) -> None:
    await relay.start()
    client = await relay.client()
    await client.send(GET[:5])
    connection = relay.connection()
    await eventually(lambda: connection._reader is not None)
    relay.plane.clients.drain()
    await soon(relay.plane.clients.shutdown(AT_ONCE))
    await client.ended()
    assert not relay.plane.clients.connections


@pytest.mark.parametrize("request_head", [GET, GET10], ids=["1.1", "1.0"])
async def test_the_rest_of_a_whole_response_goes_out_at_the_end(relay: Relay, request_head: bytes) -> None:
    """It has its outcome, and waits for its client."""
    await relay.start()
    loop = asyncio.get_running_loop()
    body = bytes(60000)
    with await narrow_client(relay) as client:
        await soon(loop.sock_sendall(client, request_head))
        upstream = await relay.upstream.accept()
        await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await finished(relay, Outcome.COMPLETED, 200)
        connection = relay.connection()
        assert connection.transport.get_write_buffer_size()
        relay.plane.clients.end_streams()
        read = b""
        while data := await soon(loop.sock_recv(client, 65536)):
            read += data
        assert read.endswith(b"\r\n\r\n" + body)
