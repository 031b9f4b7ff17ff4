"""WebSockets through the tunnel, with the synchronous and the asyncio client of the `websockets` library."""

from collections.abc import Callable
from contextlib import suppress
from socket import SHUT_RDWR

import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.e2e.stack import Stack
from tests.peers import PATIENCE, soon

pytestmark = pytest.mark.process

LARGE = 1 << 20


@pytest.fixture(params=["uvicorn", "hypercorn", "granian"])
def stack(stack_of: Callable[[str], Stack], request: pytest.FixtureRequest) -> Stack:
    """The servers that differ here: uvicorn's WebSockets do not depend on its HTTP parser."""
    return stack_of(request.param)


def address(stack: Stack, name: str) -> str:
    return f"ws://127.0.0.1:{stack.unbuffer.port}/ws/{name}"


def test_messages_come_back_one_by_one(stack: Stack) -> None:
    with connect(address(stack, stack.gate().name), proxy=None, max_size=2 * LARGE) as socket:
        for message in ("word", "Wörter", b"\x00\xff\r\n", b"", "t" * LARGE, b"\x81" * LARGE):
            socket.send(message)
            assert socket.recv(PATIENCE) == message


async def test_messages_come_back_one_by_one_to_asyncio(stack: Stack) -> None:
    async with connect_async(address(stack, stack.gate().name), proxy=None, max_size=2 * LARGE) as socket:
        for message in ("word", "Wörter", b"\x00\xff\r\n", b"", "t" * LARGE, b"\x81" * LARGE):
            await soon(socket.send(message))
            assert await soon(socket.recv()) == message


def test_a_ping_is_answered(stack: Stack) -> None:
    with connect(address(stack, stack.gate().name), proxy=None) as socket:
        assert socket.ping(b"there?").wait(PATIENCE)


async def test_a_ping_of_asyncio_is_answered(stack: Stack) -> None:
    async with connect_async(address(stack, stack.gate().name), proxy=None) as socket:
        await soon(await socket.ping(b"there?"))


def test_the_close_code_of_the_application_arrives(stack: Stack) -> None:
    with connect(address(stack, stack.gate().name), proxy=None) as socket:
        socket.send("close 4001 enough said")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(PATIENCE)

    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "enough said")


async def test_the_close_code_of_the_application_arrives_at_asyncio(stack: Stack) -> None:
    async with connect_async(address(stack, stack.gate().name), proxy=None) as socket:
        await socket.send("close 4001 enough said")
        with pytest.raises(ConnectionClosed) as closed:
            await soon(socket.recv())

    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "enough said")


# Not with hypercorn: it reports 1006 to the application, whatever the client sent.
@pytest.mark.parametrize("stack", ["uvicorn", "granian"], indirect=True)
def test_the_close_code_of_the_client_arrives(stack: Stack) -> None:
    gate = stack.gate()
    with connect(address(stack, gate.name), proxy=None) as socket:
        socket.close(4002, "")

    assert gate.over().split()[:2] == ["closed", "4002"]


@pytest.mark.parametrize("stack", ["uvicorn", "granian"], indirect=True)
async def test_the_close_code_of_asyncio_arrives(stack: Stack) -> None:
    gate = stack.gate()
    async with connect_async(address(stack, gate.name), proxy=None) as socket:
        await soon(socket.close(4002, ""))

    assert gate.over().split()[:2] == ["closed", "4002"]


def test_a_client_that_vanishes_without_a_close_frame_is_noticed(stack: Stack) -> None:
    gate = stack.gate()
    with connect(address(stack, gate.name), proxy=None) as socket:
        socket.send("here")
        assert socket.recv(PATIENCE) == "here"
        socket.socket.shutdown(SHUT_RDWR)

    assert gate.over().startswith("closed ")


@pytest.mark.parametrize("last_word", ["hello", "close 4001 enough said"])
def test_whoever_closes_the_tunnel_has_completed_it(stack: Stack, last_word: str) -> None:
    """The side that closes a WebSocket may be gone before the other side's answer to its close frame arrives."""
    gate = stack.gate()
    with connect(address(stack, gate.name), proxy=None) as socket:
        socket.send(last_word)
        with suppress(ConnectionClosed):
            assert socket.recv(PATIENCE) == last_word

    line = stack.unbuffer.line(f"/ws/{gate.name}")
    assert line["unbuffer.kind"] == "upgrade"
    assert line["unbuffer.outcome"] == "completed"
    assert line["http.response.status_code"] == 101
