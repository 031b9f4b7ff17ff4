"""After 101: bytes both ways, none lost, held back or made up; and upgrades that are declined."""

import asyncio
import socket
from pathlib import Path

import pytest

from tests.peers import GET, LAST, PATIENCE, Peer, eventually, read_again, soon, stop_reading
from tests.relay.conftest import Relay, finished, own_answer
from unbuffer.outcome import Outcome
from unbuffer.settings.model import Settings, Upstream

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


async def tunnel(relay: Relay, early: bytes = b"", after: bytes = b"") -> tuple[Peer, Peer]:
    """Both ends of a tunnel; `early` came with the request head, `after` with the 101."""
    await relay.start()
    client, upstream, _ = await relay.exchange(UPGRADE + early)
    await upstream.send(SWITCH + after)
    assert (await client.head()).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    return client, upstream


async def say(sender: Peer, reader: Peer, data: bytes) -> None:
    """Send, and see it arrive."""
    await sender.send(data)
    assert await reader.read(len(data)) == data


async def test_the_heads_of_an_upgrade(relay: Relay) -> None:
    await relay.start()
    client, upstream, head = await relay.exchange(UPGRADE)
    assert b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" in head
    assert b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" in head
    assert b"keep-alive" not in head
    await upstream.send(SWITCH)
    assert await client.head() == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"X-Accel-Buffering: no\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"\r\n"
    )


async def test_h2c_is_not_offered_beside_another_protocol(relay: Relay) -> None:
    await relay.start()
    _, _, head = await relay.exchange(UPGRADE.replace(b"websocket", b"h2c, websocket", 1))
    assert b"\r\nUpgrade: websocket\r\n" in head
    assert b"h2c" not in head


async def test_bytes_both_ways_in_lock_step(relay: Relay) -> None:
    """Any bytes: also those that look like the end of a chunked body, or like a request."""
    client, upstream = await tunnel(relay)
    pieces = (b"\x81\x05hello", b"\0", LAST, GET, b"HTTP/1.1 200 OK\r\n\r\n", b"\xff" * 1000)
    for data in pieces:
        await say(client, upstream, data)
        await say(upstream, client, data)
    await client.close()
    await upstream.ended()
    await upstream.close()
    record = await finished(relay, Outcome.COMPLETED, 101)
    size = sum(map(len, pieces))
    assert (record.kind, record.chunks) == ("upgrade", len(pieces))
    assert (record.bytes_up, record.bytes_read, record.bytes_down) == (size, size, size)


async def test_early_bytes_of_both_sides_are_not_lost(relay: Relay) -> None:
    """A client need not wait for the 101 to speak, and the upstream may speak in the same breath."""
    client, upstream = await tunnel(relay, early=b"\x81\x05early", after=b"\x81\x05after")
    assert await upstream.read(7) == b"\x81\x05early"
    assert await client.read(7) == b"\x81\x05after"
    await say(client, upstream, b"on")
    await say(upstream, client, b"on")


async def test_early_bytes_that_come_before_the_answer(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(UPGRADE)
    connection = relay.connection()
    await client.send(b"early")
    await eventually(lambda: not connection.transport.is_reading())
    await client.send(b"later")
    await upstream.send(SWITCH)
    await client.head()
    assert await upstream.read(10) == b"earlylater"
    await say(client, upstream, b"on")


@pytest.mark.parametrize("early", [b"", b"x" * 1_000_000], ids=["nothing-early", "much-early"])
async def test_much_in_both_directions_at_once(relay: Relay, early: bytes) -> None:
    client, upstream = await tunnel(relay, early)
    up, down = bytes(range(256)) * 8192, bytes(range(255, -1, -1)) * 8192
    sending = [asyncio.create_task(client.send(up)), asyncio.create_task(upstream.send(down))]
    came_up, came_down = await asyncio.gather(upstream.read(len(early + up)), client.read(len(down)))
    await asyncio.gather(*sending)
    assert came_up == early + up
    assert came_down == down


# -- endings


@pytest.mark.parametrize("first", ["client", "upstream"])
@pytest.mark.parametrize("then", ["end", "close"])
async def test_each_side_may_say_its_last_word_and_still_listen(relay: Relay, first: str, then: str) -> None:
    ends = await tunnel(relay)
    silent, speaking = ends if first == "client" else ends[::-1]
    await say(silent, speaking, b"bye")
    silent.eof()
    assert await speaking.rest() == b""
    for n in range(3):
        await say(speaking, silent, b"%d" % n)
    speaking.writer.write(b"last")
    if then == "end":
        speaking.eof()
    else:
        await speaking.close()
    assert await silent.rest() == b"last"
    await finished(relay, Outcome.COMPLETED, 101)
    await eventually(lambda: not relay.plane.clients.connections)
    assert relay.totals.upstream_idle == 0


@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_a_side_that_closes_ends_the_tunnel(relay: Relay, first: str) -> None:
    """Once the other side has nobody to listen to and nobody to speak to, its connection ends too."""
    ends = await tunnel(relay)
    closing, other = ends if first == "client" else ends[::-1]
    await closing.send(b"last")
    await closing.close()
    assert await other.read(4) == b"last"
    assert await other.rest() == b""
    await other.close()
    await finished(relay, Outcome.COMPLETED, 101)
    await eventually(lambda: not relay.plane.clients.connections)


async def test_an_upstream_that_is_gone_before_the_answer_to_its_last_word(relay: Relay, tmp_path: Path) -> None:
    """A server that closes a WebSocket need not wait for the client's Close frame. The failed write is no failure."""
    loop = asyncio.get_running_loop()
    path = str(tmp_path / "upstream")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.setblocking(False)
        await relay.serve(Settings(upstream=Upstream(url=f"unix:{path}")))
        client = await relay.client()
        await client.send(UPGRADE)
        upstream, _ = await soon(loop.sock_accept(listener))
        await soon(loop.sock_recv(upstream, 65536))
        upstream.send(SWITCH)
        await client.head()
        connection = relay.connection()
        # In one turn of the loop: it has no occasion to see the end first.
        upstream.send(b"last")
        upstream.close()
        connection.data_received(b"answer")
        assert await client.read(4) == b"last"
        assert await client.rest() == b""
    await finished(relay, Outcome.COMPLETED, 101)


@pytest.mark.parametrize(
    ("first", "outcome"), [("client", Outcome.CLIENT_DISCONNECT), ("upstream", Outcome.UPSTREAM_DISCONNECT)]
)
async def test_a_side_that_breaks_ends_the_tunnel(relay: Relay, first: str, outcome: Outcome) -> None:
    ends = await tunnel(relay)
    breaking, other = ends if first == "client" else ends[::-1]
    breaking.reset()
    await other.ended()
    record = await relay.record()
    assert (record.outcome, record.status) == (outcome, 101)
    await eventually(lambda: not relay.plane.clients.connections)


async def test_a_tunnel_is_told_from_a_request_that_follows(relay: Relay) -> None:
    """Neither connection carries HTTP again."""
    client, upstream = await tunnel(relay)
    upstream.eof()
    assert await client.rest() == b""
    client.eof()
    await finished(relay, Outcome.COMPLETED, 101)
    assert relay.totals.upstream_idle == 0
    other = await relay.client()
    await other.send(GET)
    assert (await (await relay.upstream.accept()).head()).startswith(b"GET / HTTP/1.1\r\n")


# -- backpressure


BLOCK = b"\x82\x7f" + (65536 - 10).to_bytes(8, "big") + bytes(65536 - 10)
"""One long frame."""


@pytest.mark.parametrize("slow", ["client", "upstream"])
async def test_a_side_that_does_not_read_holds_the_other_back(relay: Relay, slow: str) -> None:
    """And only the other: what it says itself still arrives."""
    ends = await tunnel(relay)
    idle, sender = ends if slow == "client" else ends[::-1]
    connection = relay.connection()
    series = relay.totals.of("default", "upgrade")
    stop_reading(idle)
    sent = 0
    async with asyncio.timeout(PATIENCE):
        while not (series.stalls if slow == "client" else connection.reading_paused):
            sender.writer.write(BLOCK)
            sent += len(BLOCK)
            await asyncio.sleep(0)
    assert connection.transport.get_write_buffer_size() < 1 << 20
    assert connection.transport.is_reading() is (slow == "client")
    await say(idle, sender, b"still here")
    read_again(idle)
    assert await idle.read(sent) == BLOCK * (sent // len(BLOCK))
    await say(sender, idle, b"and on")
    await say(idle, sender, b"both ways")


async def test_a_last_word_after_a_full_buffer_arrives(relay: Relay) -> None:
    client, upstream = await tunnel(relay)
    stop_reading(client)
    sent = 0
    async with asyncio.timeout(PATIENCE):
        while not relay.totals.of("default", "upgrade").stalls:
            upstream.writer.write(BLOCK)
            sent += len(BLOCK)
            await asyncio.sleep(0)
    upstream.writer.write(b"last")
    upstream.eof()
    read_again(client)
    assert await client.rest() == BLOCK * (sent // len(BLOCK)) + b"last"
    client.eof()
    await finished(relay, Outcome.COMPLETED, 101)


# -- declined and unasked upgrades


DECLINED = [
    pytest.param(b"200 OK", b"", id="200"),
    pytest.param(b"426 Upgrade Required", b"Upgrade: websocket\r\nConnection: Upgrade\r\n", id="426"),
    pytest.param(b"403 Forbidden", b"", id="403"),
]


@pytest.mark.parametrize(("status", "fields"), DECLINED)
async def test_a_declined_upgrade_is_an_ordinary_answer(relay: Relay, status: bytes, fields: bytes) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(UPGRADE)
    for _ in range(2):
        await upstream.send(b"HTTP/1.1 %b\r\n%bContent-Length: 2\r\n\r\nno" % (status, fields))
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 %b\r\n" % status)
        assert head.endswith(fields + b"\r\n")
        assert await client.read(2) == b"no"
        await finished(relay, Outcome.COMPLETED, int(status[:3]))
        # Both connections go on.
        await client.send(UPGRADE)
        await upstream.head()
    await upstream.send(SWITCH)
    await client.head()
    await say(client, upstream, b"hello")


async def test_what_was_said_too_early_for_a_declined_upgrade_is_no_request(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(UPGRADE + b"\x81\x05early")
    await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert await client.read(2) == b"no"
    await own_answer(client, 400, "http_request_error")
    assert await client.rest() == b""
    assert relay.upstream.untaken == 0


@pytest.mark.parametrize(
    "request_head",
    [GET, UPGRADE.replace(b"websocket", b"h2c"), UPGRADE.replace(b", Upgrade", b""), UPGRADE.replace(b"1.1", b"1.0")],
    ids=["no-upgrade", "h2c", "no-connection", "1.0"],
)
async def test_a_101_that_was_not_asked_for_is_no_answer(relay: Relay, request_head: bytes) -> None:
    await relay.start()
    client, upstream, head = await relay.exchange(request_head)
    assert b"Upgrade" not in head
    await upstream.send(SWITCH + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    await own_answer(client, 502, "http_protocol_error")
    await finished(relay, Outcome.UPSTREAM_PROTOCOL_ERROR, 502, "not asked for")
    await upstream.ended()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_request_with_an_offer_of_h2c_keeps_its_body(relay: Relay, chunked: bool) -> None:
    """As some clients send every first request to a server."""
    body = GET
    framed = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" if chunked else b"Content-Length: %d\r\n\r\n%b"
    offer = b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
    await relay.start()
    client, upstream, head = await relay.exchange(
        b"POST / HTTP/1.1\r\nHost: a\r\n" + offer + framed % (len(body), body)
    )
    assert b"h2c" not in head
    assert b"HTTP2" not in head
    assert await (upstream.chunks_of(len(body)) if chunked else upstream.read(len(body))) == body
    await upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (await client.head()).startswith(b"HTTP/1.1 204 ")
    assert (await finished(relay, Outcome.COMPLETED, 204)).bytes_up == len(body)
    assert relay.upstream.untaken == 0
