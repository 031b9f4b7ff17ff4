"""A real data plane on an ephemeral port between scripted peers, under both event loops, checked for leftovers."""

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import pytest
import uvloop

from tests.peers import DATE, GET, Peer, ScriptedUpstream, connect, eventually, soon, timeless
from unbuffer.compiled import COMPILED
from unbuffer.outcome import Outcome
from unbuffer.record import OTHER_METHOD, Record
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.plane import Plane
from unbuffer.relay.preface import client_connection
from unbuffer.resume.registry import Registry
from unbuffer.settings.model import Settings, Upstream
from unbuffer.totals import Totals


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    return {"uvloop": loops["uvloop"]} if COMPILED else loops


class Relay:
    """A data plane under test, its upstream, and what it recorded."""

    def __init__(self) -> None:
        self.upstream = ScriptedUpstream()
        self.totals = Totals()
        self.port = 0
        self.plane: Plane
        self._records: asyncio.Queue[Record] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._clients: list[Peer] = []

    async def start(self, **sections: Any) -> None:
        """Start with these sections of the settings."""
        await self.upstream.start()
        sections.setdefault("upstream", Upstream(url=f"http://127.0.0.1:{self.upstream.port}"))
        await self.serve(Settings(**sections))

    async def serve(self, settings: Settings) -> None:
        """Start with these settings; the upstream is the test's own."""
        loop = asyncio.get_running_loop()
        self.plane = Plane(settings, self.totals, loop, self._records.put_nowait, resumption=Registry)
        self._server = await loop.create_server(lambda: client_connection(self.plane), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def client(self) -> Peer:
        """A new client connection."""
        peer = await connect(self.port)
        self._clients.append(peer)
        return peer

    def connection(self) -> DownstreamConnection:
        """The relay's side of the only client's connection, which speaks HTTP."""
        (connection,) = self.plane.clients.connections
        assert isinstance(connection, DownstreamConnection)
        return connection

    async def exchange(self, request: bytes) -> tuple[Peer, Peer, bytes]:
        """A client that sent `request`, the upstream's connection, and the request head that came through."""
        client = await self.client()
        await client.send(request)
        upstream = await self.upstream.accept()
        return client, upstream, await upstream.head()

    async def stream(self, head: bytes, request: bytes = GET) -> tuple[Peer, Peer]:
        """Both ends of a response whose head the client has."""
        client, upstream, _ = await self.exchange(request)
        await upstream.send(head)
        await client.head()
        return client, upstream

    async def record(self) -> Record:
        """The record of the next stream that ends."""
        return await soon(self._records.get())

    async def outcome(self) -> Outcome:
        """The outcome of the next stream that ends."""
        outcome = (await self.record()).outcome
        assert outcome is not None
        return outcome

    async def stop(self) -> None:
        """End everything, and see that nothing is left behind."""
        for client in self._clients:
            await client.close()
        await self.upstream.stop()
        if self._server is not None:
            self._server.close()
            await self.plane.clients.shutdown(5.0)
            if self.plane.resumption is not None:
                self.plane.resumption.close()
                await self.plane.resumption.finish()
                assert not self.totals.resume_streams
                assert not self.totals.resume_held
            self.plane.pool.close()
            self.plane.watchdog.forget(self.plane.pool)
            assert not self.plane.watchdog._slots, "somebody is still watched"
            self.plane.close()
        assert not self.plane.clients.connections
        assert self.totals.streams == 0
        assert self.totals.client_connections == 0
        assert self.totals.upstream_active == 0
        assert all(series.active == 0 for series in self.totals.series.values())


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """A data plane that is not started yet."""
    relay = Relay()
    failures: list[Mapping[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    yield relay
    await relay.stop()
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if "Exchange" in repr(task)], "tasks are left"
    gc.collect()
    assert not failures, failures


def long_ago() -> float:
    """Seconds that may be taken from a time of now three times, an hour at the most: no time is before the clock's
    beginning, which on a machine that has just started is near."""
    return min(time.monotonic() / 4, 3600.0)


async def finished(relay: Relay, outcome: Outcome, status: int, detail: str = "") -> Record:
    """The record of the next stream that ends: with `detail` in its detail, and counted."""
    record = await relay.record()
    assert (record.outcome, record.status) == (outcome, status), record.detail
    assert detail in record.detail if detail else not record.detail
    assert relay.totals.series[record.route, record.kind].outcomes[outcome]
    # What never became an exchange has no version, and is counted without its method.
    method = record.method_label if record.version else OTHER_METHOD
    assert not status or relay.totals.requests[record.route, method, status]
    return record


async def own_answer(client: Peer, status: int, error: str, head_only: bool = False) -> bytes:
    """The head of an answer that unbuffer itself made, checked and read with its body."""
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    mark = b"Proxy-Status: unbuffer; error=%b;" % error.encode() if error else b""
    assert mark in head
    assert error or b"Proxy-Status" not in head
    assert b"X-Content-Type-Options: nosniff\r\n" in head
    assert DATE in timeless(head)
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    if not head_only:
        assert (await client.read(length)).startswith(b"%d " % status)
    return head


@contextlib.asynccontextmanager
async def endless_upload(relay: Relay, client: Peer) -> AsyncIterator[None]:
    """The only client sends a body without end. Entered when the relay reads no more of it, left by a reset."""
    over = asyncio.Event()

    async def offer() -> None:
        with contextlib.suppress(ConnectionError):
            while not over.is_set():
                await client.send(b"x" * 65536)

    task = asyncio.create_task(offer())
    connection = relay.connection()
    try:
        await eventually(lambda: connection.reading_paused)
        yield
    finally:
        over.set()
        client.reset()
        await task


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose listener has its queue full: the kernel answers nobody."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
        for sock in waiting:
            sock.close()


async def narrow_client(relay: Relay) -> socket.socket:
    """A client connection with small buffers on its way, to be read as slowly as a test likes."""
    assert relay._server is not None
    for listener in relay._server.sockets:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await soon(asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", relay.port)))
    return sock
