"""A client that leaves takes its upstream connection with it, at whatever moment: nobody generates for nobody."""

import pytest

from tests.peers import GET, GET10, LAST, LONG_POST, OK, POST, STREAM, Peer, eventually, read_again, stop_reading
from tests.relay.conftest import Relay, endless_upload, finished
from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.settings.model import Listen, Settings, Upstream

either_way = pytest.mark.parametrize("how", ["fin", "reset"])


def leave(client: Peer, how: str) -> None:
    """Have the client end its sending side, or everything."""
    if how == "reset":
        client.reset()
    else:
        client.eof()


async def cancelled(relay: Relay, how: str, status: int = 0) -> Record:
    """The record of the stream whose client has left."""
    return await finished(relay, Outcome.CLIENT_DISCONNECT, status, "reset" if how == "reset" else "")


@either_way
async def test_before_the_head(relay: Relay, how: str) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    leave(client, how)
    await upstream.ended()
    await cancelled(relay, how)
    if how == "fin":
        await client.ended()


@either_way
@pytest.mark.parametrize("http", [b"1.1", b"1.0"])
async def test_in_the_body(relay: Relay, how: str, http: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % http)
    await upstream.send(STREAM + b"b\r\ndata: one\n\n\r\n")
    await client.head()
    await client.until(b"data: one\n\n")
    leave(client, how)
    await upstream.ended()
    record = await cancelled(relay, how, 200)
    assert (record.chunks, record.bytes_down) == (1, 11)


async def test_who_only_ends_its_side_sees_that_an_http10_body_was_cut(relay: Relay) -> None:
    """It is still there and reads: a clean end would make a whole body of what it has."""
    await relay.start()
    client, upstream, _ = await relay.exchange(GET10)
    await upstream.send(STREAM + b"3\r\none\r\n")
    await client.head()
    assert await client.read(3) == b"one"
    client.eof()
    with pytest.raises(ConnectionResetError):
        await client.rest()
    await cancelled(relay, "fin", 200)


@either_way
async def test_between_the_head_and_the_body(relay: Relay, how: str) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(STREAM)
    await client.head()
    leave(client, how)
    await upstream.ended()
    assert (await cancelled(relay, how, 200)).chunks == 0


@either_way
async def test_while_an_upload_runs(relay: Relay, how: str) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(POST)
    await client.send(b"12345")
    assert await upstream.read(5) == b"12345"
    leave(client, how)
    # The upstream must not take half a request for a whole one: its length says so, or the missing last chunk.
    await upstream.ended()
    assert (await cancelled(relay, how)).bytes_up == 5


async def test_while_the_upstream_takes_no_more_of_an_upload(relay: Relay) -> None:
    """The end stands after bytes that the relay does not read yet; it is seen when the upstream goes on."""
    await relay.start()
    client, upstream, _ = await relay.exchange(LONG_POST)
    stop_reading(upstream)
    async with endless_upload(relay, client):
        pass
    read_again(upstream)
    await upstream.ended()
    record = await relay.record()
    assert (record.outcome, record.status) == (Outcome.CLIENT_DISCONNECT, 0)


@either_way
async def test_while_the_response_waits_for_the_client(relay: Relay, how: str) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    stop_reading(client)
    upstream.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n" + bytes(16 << 20))
    await eventually(lambda: relay.totals.of("default", "plain").stalls)
    leave(client, how)
    await upstream.ended()
    record = await cancelled(relay, how, 200)
    assert record.stalls == 1
    assert record.stalled > 0


@either_way
async def test_while_the_upstream_is_being_connected(relay: Relay, how: str, full_port: int) -> None:
    await relay.serve(Settings(upstream=Upstream(url=f"http://127.0.0.1:{full_port}")))
    client = await relay.client()
    await client.send(GET)
    await eventually(lambda: relay.totals.streams)
    leave(client, how)
    await cancelled(relay, how)
    assert not any(relay.totals.connects.values())


@either_way
async def test_while_the_request_waits_for_an_upstream_that_starts(relay: Relay, how: str, closed_port: int) -> None:
    await relay.serve(Settings(upstream=Upstream(url=f"http://127.0.0.1:{closed_port}", wait=60.0)))
    client = await relay.client()
    await client.send(GET)
    await eventually(lambda: relay.totals.connects["refused"])
    leave(client, how)
    await cancelled(relay, how)
    # The upstream never hears of it.
    relay.upstream.port = closed_port
    await relay.upstream.start()
    _, upstream, head = await relay.exchange(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    assert head.startswith(b"GET /next ")
    assert relay.upstream.untaken == 0
    await upstream.close()


async def test_an_upload_that_waits_for_an_upstream_that_starts(relay: Relay, closed_port: int) -> None:
    """Its client is not read meanwhile; that it has left is seen before anything could take the upload for whole."""
    await relay.serve(Settings(upstream=Upstream(url=f"http://127.0.0.1:{closed_port}", wait=60.0)))
    client = await relay.client()
    await client.send(POST + b"12345")
    await eventually(lambda: relay.totals.connects["refused"])
    client.reset()
    relay.upstream.port = closed_port
    await relay.upstream.start()
    upstream = await relay.upstream.accept()
    await upstream.ended()
    assert (await cancelled(relay, "reset")).bytes_up == 5


@either_way
async def test_inside_a_request_head(relay: Relay, how: str) -> None:
    await relay.start()
    client = await relay.client()
    await client.send(GET[:-2])
    await eventually(lambda: relay.plane.clients.connections)
    leave(client, how)
    record = await finished(relay, Outcome.CLIENT_DISCONNECT, 0, "inside a request head")
    assert (record.method, record.path) == ("GET", "/")
    assert relay.upstream.untaken == 0


async def test_other_streams_go_on(relay: Relay) -> None:
    await relay.start()
    staying, its_upstream, _ = await relay.exchange(GET)
    leaving, upstream, _ = await relay.exchange(GET)
    for peer in (its_upstream, upstream):
        await peer.send(STREAM + b"3\r\none\r\n")
    leaving.reset()
    await upstream.ended()
    await cancelled(relay, "reset", 200)
    await its_upstream.send(b"3\r\ntwo\r\n0\r\n\r\n")
    await staying.head()
    assert await staying.chunks_of(6) == b"onetwo"
    assert await staying.chunk() == b""
    await finished(relay, Outcome.COMPLETED, 200)


# -- listen.half_close: some clients end their side after the request and wait for the answer


async def test_a_half_close_is_a_departure_only_by_default(relay: Relay) -> None:
    await relay.start(listen=Listen(half_close=True))
    client, upstream, _ = await relay.exchange(GET)
    client.eof()
    connection = relay.connection()
    await eventually(lambda: connection.close_after)
    await upstream.send(STREAM)
    assert b"Connection: close\r\n" in await client.head()
    for n in range(5):
        await upstream.send(b"1\r\n%d\r\n" % n)
        assert await client.chunk() == b"%d" % n
    await upstream.send(LAST)
    assert await client.rest() == LAST
    await finished(relay, Outcome.COMPLETED, 200)


async def test_a_half_close_in_one_packet_with_the_request(relay: Relay) -> None:
    await relay.start(listen=Listen(half_close=True))
    client = await relay.client()
    client.writer.write(GET)
    client.eof()
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(OK)
    assert (await client.rest()).endswith(b"\r\n\r\nok")
    await finished(relay, Outcome.COMPLETED, 200)


async def test_a_half_close_after_pipelined_requests(relay: Relay) -> None:
    await relay.start(listen=Listen(half_close=True))
    client = await relay.client()
    client.writer.write(GET + GET)
    client.eof()
    upstream = await relay.upstream.accept()
    for _ in range(2):
        await upstream.head()
        await upstream.send(OK)
        await client.head()
        assert await client.read(2) == b"ok"
        await finished(relay, Outcome.COMPLETED, 200)
    assert await client.rest() == b""


async def test_a_half_close_inside_the_request_is_a_departure_all_the_same(relay: Relay) -> None:
    await relay.start(listen=Listen(half_close=True))
    client, upstream, _ = await relay.exchange(POST)
    client.eof()
    await upstream.ended()
    await cancelled(relay, "fin")


async def test_a_reset_after_a_half_close_is_a_departure(relay: Relay) -> None:
    """Between the two the upstream speaks: an end that is kept waiting must not blind the relay."""
    await relay.start(listen=Listen(half_close=True))
    client, upstream, _ = await relay.exchange(GET)
    client.eof()
    await upstream.send(STREAM + b"3\r\none\r\n")
    await client.head()
    assert await client.chunk() == b"one"
    client.reset()
    while not relay.totals.of("default", "sse").outcomes:
        await upstream.send(b"3\r\ntwo\r\n")
    await upstream.ended()
    record = await relay.record()
    assert (record.outcome, record.status) == (Outcome.CLIENT_DISCONNECT, 200)
