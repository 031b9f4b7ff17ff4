"""A WebSocket is told to go elsewhere when the process drains: by one Close frame, at the end of a frame."""

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close, CloseCode, Frame, Opcode

from tests.peers import Peer, eventually, soon
from tests.relay.conftest import Relay, finished
from tests.relay.test_tunnel import SWITCH, UPGRADE, say, tunnel
from unbuffer.http.websocket import GOING_AWAY
from unbuffer.outcome import Outcome
from unbuffer.settings.model import Settings, Upstream

REASON = "the server is restarting"


def text(content: bytes) -> bytes:
    """A server's frame."""
    return Frame(Opcode.TEXT, content).serialize(mask=False)


def close(code: CloseCode, reason: str = "", mask: bool = False) -> bytes:
    return Frame(Opcode.CLOSE, Close(code, reason).serialize()).serialize(mask=mask)


ANSWER = close(CloseCode.GOING_AWAY, mask=True)


async def part(relay: Relay, client: Peer, upstream: Peer) -> None:
    """The client answers the Close frame, the upstream closes on it, and so does the client."""
    await client.send(ANSWER)
    assert await upstream.read(len(ANSWER)) == ANSWER
    await upstream.send(close(CloseCode.GOING_AWAY))
    await upstream.close()
    assert await client.rest() == b""
    await client.close()
    await finished(relay, Outcome.COMPLETED, 101)
    await eventually(lambda: not relay.plane.clients.connections)


# -- a WebSocket, byte by byte


async def test_between_two_frames_at_once(relay: Relay) -> None:
    client, upstream = await tunnel(relay)
    await say(upstream, client, text(b"hello"))
    relay.plane.clients.drain()
    assert await client.read(len(GOING_AWAY)) == GOING_AWAY
    await part(relay, client, upstream)


async def test_before_the_first_frame(relay: Relay) -> None:
    client, upstream = await tunnel(relay)
    relay.plane.clients.drain()
    assert await client.read(len(GOING_AWAY)) == GOING_AWAY
    await part(relay, client, upstream)


@pytest.mark.parametrize("size", [1, 200, 70000])
@pytest.mark.parametrize("cut", [1, 2, 3, 5, -1])
async def test_inside_a_frame_at_its_end(relay: Relay, size: int, cut: int) -> None:
    """Also inside the head of a frame. What came with its end is no longer for this client."""
    client, upstream = await tunnel(relay)
    frame = text(b"x" * size)
    cut = min(cut, len(frame) - 1) if cut > 0 else len(frame) - 1
    await say(upstream, client, text(b"before"))
    await say(upstream, client, frame[:cut])
    relay.plane.clients.drain()
    if rest := frame[cut:-1]:
        await say(upstream, client, rest)
    await upstream.send(frame[-1:] + text(b"beh")[:-1])
    assert await client.read(1 + len(GOING_AWAY)) == frame[-1:] + GOING_AWAY
    await part(relay, client, upstream)


async def test_frames_that_come_whole_with_the_end_arrive(relay: Relay) -> None:
    client, upstream = await tunnel(relay)
    frame, more = text(b"hello"), text(b"a") + text(b"")
    await say(upstream, client, frame[:3])
    relay.plane.clients.drain()
    await upstream.send(frame[3:] + more + text(b"cut")[:1])
    expected = frame[3:] + more + GOING_AWAY
    assert await client.read(len(expected)) == expected
    await part(relay, client, upstream)


async def test_nothing_of_the_upstream_follows(relay: Relay) -> None:
    client, upstream = await tunnel(relay)
    relay.plane.clients.drain()
    assert await client.read(len(GOING_AWAY)) == GOING_AWAY
    for _ in range(3):
        await upstream.send(text(b"x" * 1000))
    # What the client has still to say goes up.
    await say(client, upstream, b"\x81\x82maskhi")
    await part(relay, client, upstream)


async def test_an_upstream_that_has_closed_needs_no_second_close(relay: Relay) -> None:
    client, upstream = await tunnel(relay)
    await say(upstream, client, close(CloseCode.NORMAL_CLOSURE, "bye"))
    relay.plane.clients.drain()
    await part(relay, client, upstream)


@pytest.mark.parametrize("cut", [1, 3])
async def test_a_close_that_is_under_way_goes_through(relay: Relay, cut: int) -> None:
    client, upstream = await tunnel(relay)
    frame = close(CloseCode.NORMAL_CLOSURE, "bye")
    await say(upstream, client, frame[:cut])
    relay.plane.clients.drain()
    await say(upstream, client, frame[cut:])
    await part(relay, client, upstream)


@pytest.mark.parametrize("whole", [True, False])
async def test_a_close_after_the_frame_that_was_under_way(relay: Relay, whole: bool) -> None:
    """The client gets one Close: the upstream's if all of it is there, else ours."""
    client, upstream = await tunnel(relay)
    frame, last = text(b"hello"), close(CloseCode.NORMAL_CLOSURE, "bye")
    await say(upstream, client, frame[:3])
    relay.plane.clients.drain()
    await upstream.send(frame[3:] + (last if whole else last[:-1]))
    expected = frame[3:] + (last if whole else GOING_AWAY)
    assert await client.read(len(expected)) == expected
    if not whole:
        await upstream.send(last[-1:])
    await part(relay, client, upstream)


@pytest.mark.parametrize("told_by", ["upstream", "us"])
@pytest.mark.parametrize("first", ["client", "upstream"])
async def test_a_reset_after_the_last_word_is_an_ordinary_end(relay: Relay, told_by: str, first: str) -> None:
    """A server that does not wait for the client's Close frame resets the connection when it comes."""
    client, upstream = await tunnel(relay)
    if told_by == "upstream":
        await say(upstream, client, close(CloseCode.NORMAL_CLOSURE, "bye"))
    else:
        relay.plane.clients.drain()
        assert await client.read(len(GOING_AWAY)) == GOING_AWAY
    breaking, other = (client, upstream) if first == "client" else (upstream, client)
    breaking.reset()
    await other.ended()
    await finished(relay, Outcome.COMPLETED, 101)
    await eventually(lambda: not relay.plane.clients.connections)


async def test_it_is_told_once(relay: Relay) -> None:
    client, upstream = await tunnel(relay)
    connection = relay.connection()
    for _ in range(3):
        connection.drain()
    assert await client.read(len(GOING_AWAY)) == GOING_AWAY
    await part(relay, client, upstream)


async def test_an_upgrade_that_is_accepted_during_the_drain(relay: Relay) -> None:
    """Nobody would tell it later."""
    await relay.start()
    client, upstream, _ = await relay.exchange(UPGRADE)
    relay.plane.clients.drain()
    await upstream.send(SWITCH + text(b"hello"))
    assert (await client.head()).startswith(b"HTTP/1.1 101 ")
    assert await client.read(len(GOING_AWAY)) == GOING_AWAY
    await part(relay, client, upstream)


async def test_a_client_that_does_not_answer_is_left_until_the_end(relay: Relay) -> None:
    client, upstream = await tunnel(relay)
    relay.plane.clients.drain()
    assert await client.read(len(GOING_AWAY)) == GOING_AWAY
    await soon(relay.plane.clients.shutdown(0.0))
    assert await client.rest() == b""
    await upstream.ended()
    assert await relay.outcome() is Outcome.DRAINING


async def test_any_other_protocol_is_left_alone(relay: Relay) -> None:
    """What it would want to hear is not known. It has until drain.timeout."""
    await relay.start()
    client, upstream, _ = await relay.exchange(UPGRADE.replace(b"websocket", b"tcp"))
    await upstream.send(SWITCH.replace(b"websocket", b"tcp"))
    await client.head()
    relay.plane.clients.drain()
    await say(upstream, client, text(b"hello"))
    await say(client, upstream, b"and on")
    await soon(relay.plane.clients.shutdown(0.0))
    assert await client.rest() == b""
    await upstream.ended()
    assert await relay.outcome() is Outcome.DRAINING


# -- a WebSocket of the `websockets` library


class Application:
    """A server that greets with numbered messages until it is told to stop, then sends every message back."""

    def __init__(self) -> None:
        self.closed: asyncio.Queue[ConnectionClosed] = asyncio.Queue()
        """How each of its connections ended."""
        self.quiet = asyncio.Event()
        self._server: Server

    async def talk(self, socket: ServerConnection) -> None:
        number = 0
        try:
            while not self.quiet.is_set():
                # Fragmented, in frames of every way to write a length.
                await socket.send([f"{number} ", "x" * (number % 300), "y" * 70_000])
                number += 1
                await asyncio.sleep(0)  # a write that finds room gives nobody else a turn
            while True:
                await socket.send(await socket.recv())
        except ConnectionClosed as closed:
            self.closed.put_nowait(closed)

    async def start(self, relay: Relay, compression: str | None) -> None:
        """Have the relay in front of it."""
        self._server = await serve(self.talk, "127.0.0.1", 0, compression=compression)
        port = next(iter(self._server.sockets)).getsockname()[1]
        await relay.serve(Settings(upstream=Upstream(url=f"http://127.0.0.1:{port}")))

    async def stop(self) -> None:
        self._server.close()
        await soon(self._server.wait_closed())


@pytest.fixture
async def application() -> AsyncIterator[Application]:
    application = Application()
    yield application
    await application.stop()


compressions = pytest.mark.parametrize("compression", [None, "deflate"])


async def gone(relay: Relay, application: Application, closed: ConnectionClosed) -> None:
    """Both sides have closed as the protocol has it, and know why."""
    for frame in (closed.rcvd, closed.sent):
        assert frame is not None
        assert (frame.code, frame.reason) == (CloseCode.GOING_AWAY, REASON)
    seen = await soon(application.closed.get())
    assert seen.rcvd is not None
    assert (seen.rcvd.code, seen.rcvd.reason) == (CloseCode.GOING_AWAY, REASON)
    await finished(relay, Outcome.COMPLETED, 101)
    await soon(relay.plane.clients.shutdown(60.0))


@compressions
async def test_a_client_at_rest_closes_with_1001(
    relay: Relay, application: Application, compression: str | None
) -> None:
    await application.start(relay, compression)
    application.quiet.set()
    async with connect(f"ws://127.0.0.1:{relay.port}/", proxy=None, compression=compression) as client:
        for message in ("hello", b"\0" * 70_000):
            await client.send(message)
            assert await soon(client.recv()) == message
        relay.plane.clients.drain()
        with pytest.raises(ConnectionClosed) as closed:
            await soon(client.recv())
    await gone(relay, application, closed.value)


@compressions
async def test_a_client_that_is_spoken_to_gets_whole_messages_until_then(
    relay: Relay, application: Application, compression: str | None
) -> None:
    await application.start(relay, compression)
    async with connect(f"ws://127.0.0.1:{relay.port}/", proxy=None, compression=compression) as client:
        numbers = itertools.count()

        async def next_message() -> None:
            number = next(numbers)
            assert await soon(client.recv()) == f"{number} " + "x" * (number % 300) + "y" * 70_000

        for _ in range(20):
            await next_message()
        relay.plane.clients.drain()
        with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012 - some are on their way
            while True:
                await next_message()
    await gone(relay, application, closed.value)
