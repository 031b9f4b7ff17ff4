"""No client is lost when the listeners close: whoever connected before is served, whoever comes later is refused."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop
from msgspec.structs import replace

from tests.peers import GET, OK, PATIENCE, Peer, ScriptedUpstream, eventually, soon
from tests.server.conftest import Files
from unbuffer.relay.plane import Plane
from unbuffer.server import listeners
from unbuffer.server.listeners import Listeners
from unbuffer.settings.model import Listen, ListenTLS, Settings
from unbuffer.settings.model import Upstream as To
from unbuffer.totals import Totals

MANY = 20


LOOP_FACTORIES: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


class Listening(Listeners):
    """The listeners of a process, of which a test opens one."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(plane)
        self.plane = plane

    async def listen(self, address: str, certificate: str = "") -> None:
        tls = ListenTLS(certificate=certificate)
        await self.open(replace(self.plane.settings, listen=Listen(address=(address,), tls=tls)))

    @property
    def addresses(self) -> list[Any]:
        return [sock.getsockname() for sock in self.sockets]

    def connect(self) -> socket.socket:
        """A client's connection, made without a turn of the loop: the kernel completes it, nobody accepts it."""
        (address,) = self.addresses
        sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        sock.settimeout(PATIENCE)
        sock.connect(address)
        return sock

    async def end(self) -> None:
        """As the drain does it, up to where it waits for the streams."""
        accepted = await self.stop()
        self.plane.clients.drain()
        await self.serve(accepted)


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    upstream = ScriptedUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest.fixture
async def listening(upstream: ScriptedUpstream) -> AsyncIterator[Listening]:
    loop = asyncio.get_running_loop()
    failures: list[Mapping[str, Any]] = []
    loop.set_exception_handler(lambda _, context: failures.append(context))
    settings = Settings(upstream=To(url=f"http://127.0.0.1:{upstream.port}"))
    plane = Plane(settings, Totals(), loop, lambda _: None)
    listening = Listening(plane)
    yield listening
    await soon(listening.close())
    plane.close()
    assert not failures, failures


async def peer_on(sock: socket.socket) -> Peer:
    return Peer(*await asyncio.open_connection(sock=sock))


async def answered(upstream: ScriptedUpstream, *clients: Peer) -> None:
    """The upstream gets a request of each of these clients, and each client its answer."""
    for _ in clients:
        peer = await upstream.accept()
        await peer.head()
        await peer.send(OK)
    for client in clients:
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        assert b"\r\nConnection: close\r\n" in answer
        await client.close()


@pytest.fixture
def no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The listeners close before their event loop accepts anybody."""
    monkeypatch.setattr(listeners, "TURNS", 0)


@pytest.mark.usefixtures("no_turn")
@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_who_waits_in_the_queue_is_served(
    listening: Listening, upstream: ScriptedUpstream, tmp_path: Path, kind: str
) -> None:
    await listening.listen("127.0.0.1:0" if kind == "tcp" else f"unix:{tmp_path}/data.sock")
    socks = [listening.connect() for _ in range(MANY)]
    for sock in socks:
        sock.sendall(GET)

    await listening.end()

    await answered(upstream, *[await peer_on(sock) for sock in socks])


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_who_is_being_accepted_is_served(
    listening: Listening, upstream: ScriptedUpstream, tmp_path: Path, kind: str, turns: int
) -> None:
    """Waiting, accepted, on its way to a transport, or read: turns of the loop make the difference."""
    await listening.listen("127.0.0.1:0" if kind == "tcp" else f"unix:{tmp_path}/data.sock")
    socks = [listening.connect() for _ in range(MANY)]
    for sock in socks:
        sock.sendall(GET)
    for _ in range(turns):
        await asyncio.sleep(0)

    await listening.end()

    await answered(upstream, *[await peer_on(sock) for sock in socks])


@pytest.mark.usefixtures("no_turn")
async def test_a_request_that_is_yet_to_come_is_waited_for(listening: Listening, upstream: ScriptedUpstream) -> None:
    await listening.listen("127.0.0.1:0")
    sock = listening.connect()

    await listening.end()
    client = await peer_on(sock)
    await client.send(GET)

    await answered(upstream, client)


@pytest.mark.usefixtures("no_turn")
async def test_a_request_that_nobody_has_read_is_served_on_a_connection_at_rest(
    listening: Listening, upstream: ScriptedUpstream
) -> None:
    await listening.listen("127.0.0.1:0")
    sock = listening.connect()
    await eventually(lambda: listening.plane.clients.connections)
    sock.sendall(GET)

    await listening.end()

    await answered(upstream, await peer_on(sock))


@pytest.mark.usefixtures("no_turn")
async def test_a_tls_handshake_is_finished(listening: Listening, upstream: ScriptedUpstream, files: Files) -> None:
    await listening.listen("127.0.0.1:0", files.issue("localhost"))
    silent, sock = listening.connect(), listening.connect()
    silent.close()

    drained = asyncio.create_task(listening.end())
    client = Peer(*await soon(asyncio.open_connection(sock=sock, ssl=files.client(), server_hostname="localhost")))
    await client.send(GET)

    await answered(upstream, client)
    await soon(drained)


async def test_who_comes_later_is_refused(listening: Listening, tmp_path: Path) -> None:
    path = tmp_path / "data.sock"
    await listening.listen(f"unix:{path}")
    await listening.end()
    assert not path.exists()
    assert not listening.addresses


async def test_a_port_is_free_when_its_listener_is_closed(listening: Listening) -> None:
    await listening.listen("127.0.0.1:0")
    (address,) = listening.addresses
    await listening.end()
    with pytest.raises(ConnectionRefusedError), contextlib.closing(socket.socket()) as late:
        late.connect(address)
