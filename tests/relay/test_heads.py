"""Heads on their way through: what goes in comes out, but for the fields that are stripped, forced and added."""

import pytest

from tests.peers import DATE, GET, LAST, Peer, timeless
from tests.relay.conftest import Relay
from unbuffer.outcome import Outcome
from unbuffer.relay.trust import Origin
from unbuffer.settings.model import Forwarded

NOSNIFF = b"X-Content-Type-Options: nosniff\r\nX-Accel-Buffering: no\r\n"
ADDED = DATE + b"\r\n" + NOSNIFF


async def answered(client: Peer, upstream: Peer, response: bytes) -> bytes:
    """The head that the client gets of `response`, a whole one."""
    await upstream.send(response)
    return await client.head()


@pytest.mark.parametrize(
    "method", [b"GET", b"FOO", b"M-SEARCH", b"QUERY", b"get", b"SOURCE", b"PRI", b"!#$%&'*+-.^_`|~"]
)
async def test_any_method_reaches_the_upstream(relay: Relay, method: bytes) -> None:
    await relay.start()
    client, upstream, head = await relay.exchange(b"%b /x HTTP/1.1\r\nHost: a\r\n\r\n" % method)
    assert head.startswith(b"%b /x HTTP/1.1\r\nHost: a\r\n" % method)
    seen = await answered(client, upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert seen.startswith(b"HTTP/1.1 200 OK\r\n")
    assert await client.read(2) == b"ok"
    assert (await relay.record()).method == method.decode()


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/?",
        b"/a?b?",
        b"//x",
        b"//x//../y/./",
        b"/%2F..;",
        b"/%41%7e%zz",
        b"/a+b&c=d",
        b'/"<>\\^`{|}',
        b"/http://b/",
    ],
)
async def test_a_target_reaches_the_upstream_byte_for_byte(relay: Relay, target: bytes) -> None:
    await relay.start()
    client, upstream, head = await relay.exchange(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target)
    assert head.startswith(b"GET %b HTTP/1.1\r\nHost: a\r\n" % target)
    await answered(client, upstream, b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (await relay.record()).path == target.partition(b"?")[0].decode()


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        (b"GET http://b:81/x?y? HTTP/1.1", b"GET /x?y? HTTP/1.1\r\nHost: b:81\r\n"),
        (b"GET http://b HTTP/1.1", b"GET / HTTP/1.1\r\nHost: b\r\n"),
        (b"OPTIONS * HTTP/1.1", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n"),
    ],
)
async def test_other_targets_become_what_a_server_is_asked(relay: Relay, line: bytes, seen: bytes) -> None:
    await relay.start()
    client, upstream, head = await relay.exchange(line + b"\r\nHost: a\r\n\r\n")
    assert head.startswith(seen)
    assert head.count(b"\r\nHost:") == 1
    await answered(client, upstream, b"HTTP/1.1 204 No Content\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (b"HTTP/1.1 200 Fine and dandy", b"HTTP/1.1 200 Fine and dandy\r\n"),
        (b"HTTP/1.1 200 ", b"HTTP/1.1 200 \r\n"),
        (b"HTTP/1.1 200", b"HTTP/1.1 200 \r\n"),
        (b"HTTP/1.1 404 gr\xc3\xbcn \xe4", b"HTTP/1.1 404 gr\xc3\xbcn \xe4\r\n"),
        (b"HTTP/1.1 999 Way out", b"HTTP/1.1 999 Way out\r\n"),
        (b"HTTP/1.0 200 OK", b"HTTP/1.1 200 OK\r\n"),
    ],
)
async def test_status_and_reason_are_kept(relay: Relay, sent: bytes, seen: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    assert (await answered(client, upstream, sent + b"\r\nContent-Length: 0\r\n\r\n")).startswith(seen)


async def test_order_case_repetitions_and_bytes_are_kept_both_ways(relay: Relay) -> None:
    fields = b"X-b: 1\r\nx-A: \r\nCookie: a=b; c\r\nX-b: \xe4\xff\r\nX-B:\t2 \t \r\nAccept: */*\r\n"
    kept = fields.replace(b":\t2 \t ", b": 2")
    await relay.start()
    client, upstream, head = await relay.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % fields)
    assert head.startswith(b"GET / HTTP/1.1\r\nHost: a\r\n" + kept)
    seen = await answered(client, upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n%b\r\n" % fields)
    assert timeless(seen) == b"HTTP/1.1 200 OK\r\n%b%bContent-Length: 0\r\n\r\n" % (kept, ADDED)


async def test_hop_by_hop_fields_stay_on_their_hop(relay: Relay) -> None:
    hop = b"Connection: x-hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n"
    await relay.start()
    client, upstream, head = await relay.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n%bX-End: 1\r\n\r\n" % hop)
    assert b"\r\nX-End: 1\r\n" in head
    seen = await answered(client, upstream, b"HTTP/1.1 200 OK\r\n%bContent-Length: 0\r\nX-End: 1\r\n\r\n" % hop)
    assert b"\r\nX-End: 1\r\n" in seen
    for text in (head.lower(), seen.lower()):
        assert b"hop" not in text
        assert b"keep-alive" not in text


async def test_206_is_untouched(relay: Relay) -> None:
    ranges = b'Content-Range: bytes 0-1/9\r\nAccept-Ranges: bytes\r\nContent-Encoding: gzip\r\nETag: "x"\r\n'
    await relay.start()
    client, upstream, head = await relay.exchange(
        b'GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=0-1\r\nIf-Range: "x"\r\n\r\n'
    )
    assert b'Range: bytes=0-1\r\nIf-Range: "x"\r\n' in head
    await upstream.send(b"HTTP/1.1 206 Partial Content\r\n%bContent-Length: 2\r\n\r\n\x1f\x8b" % ranges)
    seen = timeless(await client.head())
    assert seen == b"HTTP/1.1 206 Partial Content\r\n%b%bContent-Length: 2\r\n\r\n" % (ranges, ADDED)
    assert await client.read(2) == b"\x1f\x8b"


@pytest.mark.parametrize("trusted", [(), ("10.0.0.0/8", "127.0.0.0/8")])
async def test_forwarding_fields_are_believed_from_trusted_networks(relay: Relay, trusted: tuple[str, ...]) -> None:
    await relay.start(forwarded=Forwarded(trusted_proxies=trusted, rfc7239=True))
    client, upstream, head = await relay.exchange(
        b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.5\r\nX-Forwarded-Proto: https\r\nVia: 1.1 lb\r\n\r\n"
    )
    proto, chain = (b"https", b"203.0.113.5, 127.0.0.1") if trusted else (b"http", b"127.0.0.1")
    assert b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: a\r\n" % (chain, proto) in head
    assert b'Forwarded: for=127.0.0.1;proto=http;host="a"\r\n' in head
    assert b"Via: 1.1 lb\r\n" in head
    assert head.endswith(b"Accept-Encoding: identity\r\nVia: 1.1 unbuffer\r\n\r\n")
    await answered(client, upstream, b"HTTP/1.1 204 No Content\r\n\r\n")


@pytest.mark.parametrize(
    ("peername", "address", "trusted"),
    [
        (("192.0.2.9", 5), "192.0.2.9", False),
        (("10.1.2.3", 5), "10.1.2.3", True),
        (("2001:db8::1", 5, 0, 0), "2001:db8::1", True),
        (("2001:DB8:1::1", 5, 0, 0), "2001:db8:1::1", False),
        (("::ffff:10.1.2.3", 5, 0, 0), "10.1.2.3", True),
        (("fe80::1%eth0", 5, 0, 3), "fe80::1", False),
        ("", "", False),
        (None, "", False),
    ],
)
async def test_who_a_client_is_and_whether_it_is_trusted(
    relay: Relay, peername: object, address: str, trusted: bool
) -> None:
    await relay.start(forwarded=Forwarded(trusted_proxies=("10.0.0.0/8", "2001:db8::/64")))
    peer = relay.plane.trust.peer(Origin(peername, secure=False))
    assert (peer.address, peer.trusted, peer.secure, peer.rfc7239) == (address, trusted, False, False)


async def test_unix_sockets_are_trusted_by_name_only(relay: Relay) -> None:
    await relay.start(forwarded=Forwarded(trusted_proxies=("unix",), rfc7239=True))
    assert relay.plane.trust.peer(Origin("", secure=True)).trusted
    assert not relay.plane.trust.peer(Origin(None, secure=True)).trusted  # a TCP connection that is gone
    assert not relay.plane.trust.peer(Origin(("127.0.0.1", 5), secure=True)).trusted


@pytest.mark.parametrize(
    ("connection", "kept"),
    [(b"", False), (b"Connection: keep-alive\r\n", True), (b"Connection: keep-alive, close\r\n", False)],
)
async def test_http_1_0_clients_keep_their_connection_if_they_ask(relay: Relay, connection: bytes, kept: bool) -> None:
    await relay.start()
    client, upstream, head = await relay.exchange(b"GET / HTTP/1.0\r\nHost: a\r\n%b\r\n" % connection)
    assert head.startswith(b"GET / HTTP/1.1\r\nHost: a\r\n")
    assert b"connection:" not in head.lower()
    seen = await answered(client, upstream, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert seen.startswith(b"HTTP/1.1 200 OK\r\n")
    assert seen.count(b"Connection: ") == 1
    assert (b"Connection: keep-alive\r\n" in seen) is kept
    assert (b"Connection: close\r\n" in seen) is not kept
    assert await client.read(2) == b"ok"
    if not kept:
        assert await client.rest() == b""
        return
    await client.send(b"GET /2 HTTP/1.0\r\n\r\n")
    own = relay.plane.pool.host
    assert (await upstream.head()).startswith(b"GET /2 HTTP/1.1\r\nHost: %b\r\n" % own)
    seen = await answered(client, upstream, b"HTTP/1.1 304 Not Modified\r\n\r\n")
    assert b"Connection: close\r\n" in seen
    assert await client.rest() == b""


async def test_a_stream_ends_the_connection_of_an_http_1_0_client_that_asked_to_keep_it(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    seen = await answered(
        client, upstream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    )
    assert b"Connection: close\r\n" in seen
    assert b"keep-alive" not in seen
    assert b"Transfer-Encoding" not in seen
    assert await client.rest() == b"ok"
    assert await relay.outcome() is Outcome.COMPLETED


TRAILERS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("together", [True, False], ids=["one-read", "own-read"])
async def test_trailers_reach_a_client_that_takes_them(relay: Relay, wanted: bool, together: bool) -> None:
    """However they come: alone, or in one read with the last of the body."""
    await relay.start()
    te = b"TE: trailers\r\nConnection: TE\r\n" if wanted else b""
    client, upstream, head = await relay.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n" % te)
    assert (b"TE: trailers\r\nConnection: TE\r\n" in head) is wanted
    await upstream.send(TRAILERS)
    assert (b"Trailer: X-Sum\r\n" in await client.head()) is wanted
    end = b"0\r\nX-Sum: 42\r\nSet-Cookie: no\r\n\r\n"
    await upstream.send(b"2\r\nok\r\n" + (end if together else b""))
    assert await client.chunk() == b"ok"
    if not together:
        await upstream.send(end)
    seen = b"0\r\nX-Sum: 42\r\n\r\n" if wanted else LAST
    assert await client.head() == seen
    assert await relay.outcome() is Outcome.COMPLETED
