"""After an early answer a client may finish what it sends, as with nginx: many read nothing before they have."""

import asyncio
import http.client
import queue
import ssl
import threading
import time
from collections.abc import Iterator

import pytest
import trustme

from tests.peers import LONG_POST, PATIENCE, Peer, eventually, soon
from tests.relay.conftest import Relay, finished, own_answer
from unbuffer.outcome import Outcome
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.patience import LINGER, LINGER_TOTAL
from unbuffer.settings.model import Limits

BAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"
EARLY = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n"
ALMOST = LINGER * 0.9


def age(connection: DownstreamConnection, seconds: float) -> None:
    """Have so many seconds pass for this connection, and its deadlines looked at."""
    closing = connection._closing
    assert closing is not None
    closing.read_at -= seconds
    closing._until -= seconds
    connection.look(time.monotonic())


def read_at(connection: DownstreamConnection) -> float:
    """When the latest read was, of what is dropped."""
    assert connection._closing is not None
    return connection._closing.read_at


async def read(connection: DownstreamConnection, client: Peer, data: bytes) -> None:
    """The client sends this, and the relay has read of it."""
    before = read_at(connection)
    await client.send(data)
    await eventually(lambda: read_at(connection) > before)


async def lingering(relay: Relay) -> tuple[Peer, DownstreamConnection]:
    """A client that has its early answer and sends on, and the relay's side of its connection."""
    await relay.start(limits=Limits(body=1))
    client = await relay.client()
    await client.send(LONG_POST)
    await own_answer(client, 413, "http_request_error")
    await finished(relay, Outcome.REQUEST_TOO_LARGE, 413, "limits.body")
    connection = relay.connection()
    return client, connection


async def test_the_rest_of_a_request_may_take_longer_than_a_pause_in_it(relay: Relay) -> None:
    client, connection = await lingering(relay)
    for _ in range(5):
        age(connection, ALMOST)
        await read(connection, client, b"x")
    age(connection, LINGER)
    await eventually(lambda: not relay.plane.clients.connections)


async def test_who_never_stops_sending_is_ended(relay: Relay) -> None:
    client, connection = await lingering(relay)
    for _ in range(int(LINGER_TOTAL // ALMOST)):
        age(connection, ALMOST)
        await read(connection, client, b"x")
    assert relay.plane.clients.connections
    age(connection, ALMOST)
    await eventually(lambda: not relay.plane.clients.connections)


@pytest.mark.parametrize("early", ["a bad request", "the upstream's own", "a limit"])
async def test_every_early_answer_lingers(relay: Relay, early: str) -> None:
    limits = Limits(connections=1) if early == "a limit" else Limits()
    await relay.start(limits=limits)
    first = await relay.client()
    if early == "a bad request":
        await first.send(BAD)
        await own_answer(first, 400, "http_request_error")
    elif early == "the upstream's own":
        await first.send(LONG_POST)
        upstream = await relay.upstream.accept()
        await upstream.send(EARLY)
        await first.head()
    else:
        await eventually(lambda: relay.plane.clients.connections)
        first = await relay.client()
        await own_answer(first, 503, "connection_limit_reached")
    await relay.record()
    (connection,) = (one for one in relay.plane.clients.connections if "ending" in repr(one))
    assert isinstance(connection, DownstreamConnection)
    for _ in range(2):
        age(connection, ALMOST)
        await read(connection, first, b"x")
    assert connection in relay.plane.clients.connections


async def test_with_tls_it_lingers_as_well(relay: Relay) -> None:
    await relay.start(limits=Limits(body=1))
    authority = trustme.CA()
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(theirs)
    authority.issue_cert("localhost").configure_cert(ours)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: DownstreamConnection(relay.plane), "127.0.0.1", 0, ssl=ours)
    port = server.sockets[0].getsockname()[1]
    client = Peer(*await soon(asyncio.open_connection("127.0.0.1", port, ssl=theirs, server_hostname="localhost")))
    await client.send(LONG_POST)
    await own_answer(client, 413, "http_request_error")
    await relay.record()
    connection = relay.connection()
    for _ in range(2):
        age(connection, ALMOST)
        await read(connection, client, b"x")
    assert relay.plane.clients.connections
    await client.close()
    server.close()


async def test_whoever_lingers_takes_a_place(relay: Relay) -> None:
    """Half a minute is long: else limits.connections would be no limit for clients that are refused on purpose."""
    await relay.start(limits=Limits(body=1, connections=1))
    client = await relay.client()
    await client.send(LONG_POST)
    await own_answer(client, 413, "http_request_error")
    await relay.record()
    other = await relay.client()
    await own_answer(other, 503, "connection_limit_reached")


async def test_a_drain_waits_for_whoever_lingers_and_ends_it_in_time(relay: Relay) -> None:
    _, connection = await lingering(relay)
    relay.plane.clients.drain()
    assert not connection.transport.is_closing()
    assert relay._server is not None
    relay._server.close()
    await relay.plane.clients.shutdown(0.01)
    assert not relay.plane.clients.connections


async def test_an_upload_with_pauses_sees_why_it_was_refused(relay: Relay) -> None:
    """Python's own client sends the whole body before it reads a byte of the answer."""
    await relay.start(limits=Limits(body=1))
    pieces: queue.Queue[bytes] = queue.Queue()
    answers: queue.Queue[int | Exception] = queue.Queue()

    def body() -> Iterator[bytes]:
        while piece := pieces.get(timeout=PATIENCE):
            yield piece

    def upload() -> None:
        client = http.client.HTTPConnection("127.0.0.1", relay.port, timeout=PATIENCE)
        try:
            client.request("POST", "/", body(), {"Content-Length": "4"})
            answers.put(client.getresponse().status)
        except OSError as error:
            answers.put(error)
        finally:
            client.close()

    thread = threading.Thread(target=upload)
    thread.start()
    await finished(relay, Outcome.REQUEST_TOO_LARGE, 413, "limits.body")
    connection = relay.connection()
    for piece in (b"1", b"2", b"3", b"4"):
        age(connection, ALMOST)
        before = read_at(connection)
        pieces.put(piece)
        await eventually(lambda: read_at(connection) > before)  # noqa: B023 - it is waited for at once
    pieces.put(b"")
    assert await soon(asyncio.to_thread(answers.get, timeout=PATIENCE)) == 413
    thread.join()
