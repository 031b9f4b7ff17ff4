"""Connections that begin with a PROXY header: whose they are, who may say so, and what becomes of all others."""

import contextlib
import socket
import struct
from typing import Any

import pytest
from msgspec import structs

from tests.peers import Peer, eventually
from tests.relay.conftest import Relay, finished
from tests.relay.test_proxy_header import IPV4, IPV6, UNIX, binary, tls
from unbuffer.outcome import Outcome
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.preface import Preface
from unbuffer.settings.model import Forwarded, Limits, Listen, Timeouts

GET = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
Connection = Preface | DownstreamConnection
LINE = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n"


async def start(relay: Relay, *trusted: str, **sections: Any) -> None:
    await relay.start(
        listen=Listen(proxy_protocol=True),
        forwarded=Forwarded(trusted_proxies=trusted or ("127.0.0.0/8",)),
        **sections,
    )


async def connected(relay: Relay) -> tuple[Peer, Connection]:
    """A new client, the only one, and the relay's side of its connection."""
    client = await relay.client()
    await eventually(lambda: relay.plane.clients.connections)
    (connection,) = relay.plane.clients.connections
    assert isinstance(connection, Preface | DownstreamConnection)
    return client, connection


def take(connection: Connection, data: bytes) -> None:
    """Give this to whoever has the connection now."""
    now = connection.transport.get_protocol()
    assert isinstance(now, Preface | DownstreamConnection)
    now.data_received(data)


async def served(relay: Relay, client: Peer, upstream: Peer, address: str) -> None:
    """Answer, and see whose request was logged."""
    await upstream.send(EMPTY)
    await client.head()
    record = await finished(relay, Outcome.COMPLETED, 200)
    assert (record.client, record.path) == (address, "/a")


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (LINE, "192.0.2.1"),
        (b"PROXY TCP6 2001:DB8::1 ::1 1 2\r\n", "2001:db8::1"),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1"),
        (binary(0x21, 0x11, IPV4), "192.0.2.1"),
        (binary(0x21, 0x21, IPV6), "2001:db8::1"),
    ],
)
async def test_the_client_is_whom_the_header_names(relay: Relay, header: bytes, client: str) -> None:
    await start(relay)
    peer, upstream, head = await relay.exchange(header + GET)
    assert b"X-Forwarded-For: %b\r\n" % client.encode() in head
    assert head.startswith(b"GET /a HTTP/1.1\r\nHost: a\r\n")
    await served(relay, peer, upstream, client)
    assert not any(relay.totals.rejected.values())


@pytest.mark.parametrize("header", [LINE, binary(0x21, 0x21, IPV6)])
async def test_it_may_come_in_any_pieces(relay: Relay, header: bytes) -> None:
    await start(relay)
    data = header + GET
    peer, upstream, expected = await relay.exchange(data)
    for cut in range(1, len(data)):
        await upstream.send(EMPTY)
        await peer.head()
        await peer.close()
        await eventually(lambda: not relay.plane.clients.connections)
        peer, connection = await connected(relay)
        take(connection, data[:cut])
        take(connection, data[cut:])
        assert await upstream.head() == expected


async def test_byte_by_byte(relay: Relay) -> None:
    await start(relay)
    peer, connection = await connected(relay)
    for byte in LINE + GET:
        take(connection, bytes((byte,)))
    upstream = await relay.upstream.accept()
    assert b"X-Forwarded-For: 192.0.2.1\r\n" in await upstream.head()
    await served(relay, peer, upstream, "192.0.2.1")


async def test_it_holds_for_every_request_of_the_connection(relay: Relay) -> None:
    await start(relay)
    peer, upstream, _ = await relay.exchange(LINE + GET + GET)
    await upstream.send(EMPTY)
    assert b"X-Forwarded-For: 192.0.2.1\r\n" in await upstream.head()
    await upstream.send(EMPTY)
    await peer.head()
    await peer.head()


async def test_forwarding_fields_are_believed_only_of_the_client_in_the_header(relay: Relay) -> None:
    await start(relay, "127.0.0.1", "192.0.2.0/24")
    told = GET[:-2] + b"X-Forwarded-For: 203.0.113.9\r\n\r\n"
    _, _, head = await relay.exchange(LINE + told)
    assert b"X-Forwarded-For: 203.0.113.9, 192.0.2.1\r\n" in head
    _, _, head = await relay.exchange(LINE.replace(b"192.0.2.1", b"198.51.100.7") + told)
    assert b"X-Forwarded-For: 198.51.100.7\r\n" in head
    assert b"203.0.113.9" not in head


async def test_a_proxy_that_speaks_for_itself_is_the_client(relay: Relay) -> None:
    await start(relay)
    told = GET[:-2] + b"X-Forwarded-For: 203.0.113.9\r\n\r\n"
    peer, upstream, head = await relay.exchange(binary(0x20, 0x11, IPV4) + told)
    assert b"X-Forwarded-For: 203.0.113.9, 127.0.0.1\r\n" in head
    await served(relay, peer, upstream, "127.0.0.1")


async def scheme(relay: Relay, client: Peer) -> bytes:
    """The scheme that the application is told of the client's next request."""
    await client.send(GET)
    upstream = await relay.upstream.accept()
    head = await upstream.head()
    await upstream.send(EMPTY[:-2] + b"Connection: close\r\n\r\n")
    await client.head()
    await relay.record()
    return head.partition(b"\r\nX-Forwarded-Proto: ")[2].partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("header", "expected"),
    [(LINE, b"http"), (binary(0x21, 0x11, IPV4 + tls(1)), b"https"), (binary(0x21, 0x11, IPV4 + tls(0)), b"http")],
)
async def test_the_scheme_is_the_one_that_the_header_tells(relay: Relay, header: bytes, expected: bytes) -> None:
    await start(relay)
    client = await relay.client()
    await client.send(header)
    assert await scheme(relay, client) == expected


async def test_a_reload_decides_the_scheme_anew(relay: Relay) -> None:
    await start(relay)
    settings = relay.plane.settings
    client = await relay.client()
    await client.send(LINE)
    assert await scheme(relay, client) == b"http"
    for listen, expected in (
        (Listen(proxy_protocol=True, proxy_https_ports=(443,)), b"https"),
        (Listen(proxy_protocol=True, proxy_https_ports=(8443,)), b"http"),
        (Listen(proxy_protocol=True, proxy_scheme="https"), b"https"),
    ):
        relay.plane.reload(structs.replace(settings, listen=listen))
        assert await scheme(relay, client) == expected


@pytest.mark.parametrize("reloaded", [False, True])
@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", binary(0x21, 0x00, b""), binary(0x21, 0x31, UNIX)])
async def test_a_client_that_is_not_named_is_not_believed(relay: Relay, header: bytes, reloaded: bool) -> None:
    await start(relay)
    peer, connection = await connected(relay)
    take(connection, header)
    if reloaded:
        (now,) = relay.plane.clients.connections
        now.reload()
    await peer.send(GET[:-2] + b"X-Forwarded-For: 203.0.113.9\r\n\r\n")
    upstream = await relay.upstream.accept()
    assert b"X-Forwarded-For: 127.0.0.1\r\n" in await upstream.head()
    await served(relay, peer, upstream, "127.0.0.1")


async def refused(relay: Relay, client: Peer, outcome: Outcome, detail: str) -> None:
    """The connection was ended without a byte of an answer, counted and logged, and nothing went up."""
    with contextlib.suppress(ConnectionError):  # it is reset
        assert await client.rest() == b""
    await finished(relay, outcome, 0, detail)
    assert {reason: count for reason, count in relay.totals.rejected.items() if count} == {"proxy_protocol": 1}
    assert not relay.upstream.untaken


@pytest.mark.parametrize(
    "data",
    [GET, b"PROXY TCP4 192.0.2.1\r\n" + GET, LINE.replace(b"TCP4", b"TCP6") + GET, binary(0x21, 0x41, IPV4) + GET],
)
async def test_without_a_valid_header_the_connection_ends_without_an_answer(relay: Relay, data: bytes) -> None:
    await start(relay)
    client = await relay.client()
    await client.send(data)
    await refused(relay, client, Outcome.REQUEST_MALFORMED, "PROXY")


async def test_whoever_is_not_trusted_is_refused_before_it_speaks(relay: Relay) -> None:
    await start(relay, "192.0.2.0/24", "unix")
    await refused(relay, await relay.client(), Outcome.REQUEST_MALFORMED, "forwarded.trusted_proxies")


async def test_who_was_gone_before_it_was_accepted_made_no_request(relay: Relay) -> None:
    await start(relay)
    with socket.create_connection(("127.0.0.1", relay.port)) as sock:
        sock.send(GET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client, upstream, _ = await relay.exchange(LINE + GET)
    await upstream.send(EMPTY)
    await client.head()
    # uvloop does not know any more who that was, asyncio does and refuses it.
    record = await relay.record()
    if record.outcome is Outcome.REQUEST_MALFORMED:
        record = await relay.record()
    assert (record.outcome, record.client) == (Outcome.COMPLETED, "192.0.2.1")


async def test_a_header_where_none_is_expected_is_no_request(relay: Relay) -> None:
    await relay.start(forwarded=Forwarded(trusted_proxies=("127.0.0.0/8",)))
    client = await relay.client()
    await client.send(LINE + GET)
    assert (await client.head()).startswith(b"HTTP/1.1 400 ")
    await finished(relay, Outcome.REQUEST_MALFORMED, 400, "bad request line")


@pytest.mark.parametrize("data", [b"", b"PROXY TCP4 192."])
async def test_the_deadline_of_the_head_is_that_of_the_header(relay: Relay, data: bytes) -> None:
    await start(relay, timeouts=Timeouts(request_head=0.01))
    client = await relay.client()
    await client.send(data)
    await refused(relay, client, Outcome.REQUEST_HEAD_TIMEOUT, "no PROXY header came in time")


async def test_after_the_header_a_connection_may_be_idle(relay: Relay) -> None:
    await start(relay, timeouts=Timeouts(request_head=0.01))
    _, connection = await connected(relay)
    take(connection, LINE)
    (now,) = relay.plane.clients.connections
    assert isinstance(now, DownstreamConnection)
    assert now.look(now._since + 600) == now._since + 620


async def test_after_the_header_keep_alive_counts(relay: Relay) -> None:
    await start(relay, timeouts=Timeouts(request_head=0.0, keep_alive=0.01))
    client = await relay.client()
    await client.send(LINE)
    assert await client.rest() == b""


async def test_who_leaves_inside_the_header_is_recorded_and_who_said_nothing_is_not(relay: Relay) -> None:
    await start(relay)
    for data in (b"", b"PROXY "):
        client, connection = await connected(relay)
        take(connection, data)
        client.eof()
        assert await client.rest() == b""
        await eventually(lambda: not relay.plane.clients.connections)
    await finished(relay, Outcome.CLIENT_DISCONNECT, 0, "inside a PROXY header")
    assert relay._records.empty()
    assert not any(relay.totals.rejected.values())


@pytest.mark.parametrize("data", [b"", b"PROXY "])
async def test_a_drain_ends_a_connection_that_waits_for_its_header(
    relay: Relay, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unbuffer.relay.patience.CROSSING", 0.0)  # how long it waits where there was no time yet
    await start(relay)
    client, connection = await connected(relay)
    take(connection, data)
    relay.plane.clients.drain()
    assert connection.transport.is_closing()
    await client.ended()


async def test_a_connection_that_a_drain_still_accepts_is_not_waited_for_for_long(relay: Relay) -> None:
    await start(relay, timeouts=Timeouts(request_head=0.0))
    relay.plane.clients.drain()
    client, _ = await connected(relay)
    assert await client.rest() == b""


async def test_the_limit_of_connections_holds_before_the_header(relay: Relay) -> None:
    await start(relay, limits=Limits(connections=1))
    await relay.client()
    await eventually(lambda: relay.plane.clients.connections)
    client = await relay.client()
    assert (await client.head()).startswith(b"HTTP/1.1 503 ")
    await finished(relay, Outcome.REJECTED, 503, "limits.connections")


async def test_who_was_admitted_before_the_header_is_not_counted_again(relay: Relay) -> None:
    await start(relay, limits=Limits(connections=2))
    first, _ = await connected(relay)
    await relay.client()
    await eventually(lambda: len(relay.plane.clients.connections) == 2)
    relay.plane.reload(structs.replace(relay.plane.settings, limits=Limits(connections=1)))
    await first.send(LINE + GET)
    upstream = await relay.upstream.accept()
    await upstream.head()
    assert (len(relay.plane.clients.connections), relay.totals.client_connections) == (2, 2)
    await served(relay, first, upstream, "192.0.2.1")
    assert not any(relay.totals.rejected.values())
