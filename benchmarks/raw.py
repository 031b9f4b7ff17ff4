"""`python -m benchmarks.raw`: what requests, streams and chunks cost, beside a relay that only passes bytes on.

The relays run in this process, one at a time, on the same event loop and over real sockets; the application and the
client are one other process. Whatever is sent waits until the client has what was sent before, so nothing shares a
wake-up. The times are CPU time of this thread, the kernel's share included: medians of alternating rounds. System calls
are counted by strace, in runs of their own.
"""

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import uvloop

from unbuffer.compiled import YES_OR_NO
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.plane import Plane
from unbuffer.settings.model import SSE, Settings, Upstream
from unbuffer.totals import Totals

ROUNDS = 9

RELAYS = ("raw", "raw, into a kept buffer", "unbuffer")

_REQUEST = b"GET /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\r\n"
_WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1024\r\n\r\n" + b"z" * 1024
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_EVENT = b'data: {"choices":[{"delta":{"content":"token"}}]}\n\n'
_LARGE = b"z" * 65536


@dataclass(frozen=True)
class Part:
    """What the application writes, and when the client has it: something has come so many times."""

    data: bytes
    word: bytes
    times: int = 1


def _chunk(data: bytes, word: bytes, times: int = 1) -> Part:
    return Part(b"%x\r\n%b\r\n" % (len(data), data), word, times)


_BEGIN = Part(_HEAD, b"\r\n\r\n")
_END = Part(b"0\r\n\r\n", b"0\r\n\r\n")
_ONE = _chunk(_EVENT, b"data:")


@dataclass(frozen=True)
class Scene:
    """requests: a round has `count` of them, each with an answer; else one, whose answer has so many chunks."""

    count: int
    answer: Callable[[int], Iterator[Part]]
    requests: bool = False


SCENES = {
    "request": Scene(2000, lambda _: iter((Part(_WHOLE, b"z", 1024),)), requests=True),
    "stream": Scene(1000, lambda _: iter((_BEGIN, _ONE, _ONE, _ONE, _END)), requests=True),
    "chunk": Scene(5000, lambda count: iter((_BEGIN, *[_ONE] * count, _END))),
    "large": Scene(1000, lambda count: iter((_BEGIN, *[_chunk(_LARGE, b"z", 65536)] * count, _END))),
}


# -- the other process


class _Application(asyncio.Protocol):
    """Whoever asked last is written to."""

    latest: ClassVar[asyncio.Transport]
    parts: ClassVar[Iterator[Part]]
    answer: ClassVar[Callable[[], Iterator[Part]]]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        _Application.latest, _Application.parts = self._transport, _Application.answer()
        _Client.waits_for = next(_Application.parts)
        self._transport.write(_Client.waits_for.data)


class _Client(asyncio.Protocol):
    """Asks so often; lets the application write the next part as soon as it has one."""

    waits_for: ClassVar[Part]

    def __init__(self, requests: int) -> None:
        self.over = asyncio.Event()
        self._requests = requests
        self._seen = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(_REQUEST)

    def data_received(self, data: bytes) -> None:
        self._seen += data.count(_Client.waits_for.word)
        if self._seen < _Client.waits_for.times:
            return
        self._seen = 0
        if part := next(_Application.parts, None):
            _Client.waits_for = part
            _Application.latest.write(part.data)
        else:
            self._requests -= 1
            if self._requests:
                self._transport.write(_REQUEST)
            else:
                self._transport.close()
                self.over.set()


async def _peers() -> None:
    """Commands come as lines, `PORT SCENE COUNT`; each is answered when all of it was there."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Application, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        port, name, count = line.split()
        scene = SCENES[name]
        _Application.answer = lambda scene=scene, count=int(count): scene.answer(count)  # type: ignore[misc]
        client = _Client(int(count) if scene.requests else 1)
        await loop.create_connection(lambda client=client: client, "127.0.0.1", int(port))  # type: ignore[misc]
        await client.over.wait()
        print("done", flush=True)


# -- this process


class _Passing(asyncio.BaseProtocol):
    """Passes on what it reads, in both directions."""

    def __init__(self, upstream: int) -> None:
        """upstream: the port to dial for a client; 0 for the connection that was dialled."""
        self._upstream = upstream
        self._early: list[bytes] = []
        self.other: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if self._upstream:
            self._dialling = asyncio.ensure_future(self._dial())

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        _, there = await loop.create_connection(lambda: type(self)(0), "127.0.0.1", self._upstream)
        self.other, there.other = there.transport, self.transport
        for data in self._early:
            self.other.write(data)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
        else:
            self.other.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.close()


class _Raw(_Passing, asyncio.Protocol):
    """Reads as the relay does."""


class _Kept(_Passing, asyncio.BufferedProtocol):
    """Reads into a buffer that is kept, and copies what is there."""

    _buffer = bytearray(262144)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(memoryview(self._buffer)[:nbytes]))


@asynccontextmanager
async def _relays() -> AsyncIterator[Callable[[str, str, int], Awaitable[float]]]:
    """A function that plays a scene through a relay, and returns the CPU seconds of this thread."""
    loop = asyncio.get_running_loop()
    peers = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.raw", "--peers", stdin=PIPE, stdout=PIPE
    )
    assert peers.stdin is not None
    assert peers.stdout is not None
    upstream = int(await peers.stdout.readline())
    settings = Settings(upstream=Upstream(url=f"http://127.0.0.1:{upstream}"), sse=SSE(heartbeat=0.0))
    plane = Plane(settings, Totals(), loop, lambda record: None)
    factories: tuple[Callable[[], asyncio.BaseProtocol], ...] = (
        lambda: _Raw(upstream),
        lambda: _Kept(upstream),
        lambda: DownstreamConnection(plane),
    )
    servers = {
        name: await loop.create_server(make, "127.0.0.1", 0) for name, make in zip(RELAYS, factories, strict=True)
    }

    async def play(relay: str, scene: str, count: int) -> float:
        assert peers.stdin is not None
        assert peers.stdout is not None
        port = servers[relay].sockets[0].getsockname()[1]
        began = time.thread_time()
        peers.stdin.write(f"{port} {scene} {count}\n".encode())
        await peers.stdout.readline()
        return time.thread_time() - began

    try:
        yield play
    finally:
        peers.stdin.close()
        await peers.wait()
        for server in servers.values():
            server.close()
        plane.close()


async def _times(scene: str) -> dict[str, float]:
    """Microseconds of CPU for one, by relay."""
    count = SCENES[scene].count
    took: dict[str, list[float]] = {relay: [] for relay in RELAYS}
    async with _relays() as play:
        for relay in RELAYS:
            await play(relay, scene, 100)
        for _ in range(ROUNDS):
            for relay in RELAYS:
                took[relay].append(await play(relay, scene, count) / count * 1e6)
    return {relay: statistics.median(each) for relay, each in took.items()}


async def _once(relay: str, scene: str, count: int) -> None:
    async with _relays() as play:
        await play(relay, scene, count)


def _calls(relay: str, scene: str) -> str:
    """The system calls of one: of two runs, the difference."""
    counts = []
    for count in (100, 600):
        with tempfile.NamedTemporaryFile("r") as out:
            play = (sys.executable, "-m", "benchmarks.raw", "--play", relay, scene, str(count))
            subprocess.run(["strace", "-c", "-U", "name,calls", "-o", out.name, *play], check=True)
            rows = [line.split() for line in Path(out.name).read_text().splitlines()]
            counts.append({row[0]: int(row[1]) for row in rows if row[-1].isdigit() and row[0] != "total"})
    few, many = counts
    each = {name: (many[name] - few.get(name, 0)) / 500 for name in many}
    return ", ".join(f"{name} {n:.1f}" for name, n in sorted(each.items(), key=lambda one: -one[1]) if n >= 0.05)


def main() -> int:
    """Print the tables; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.raw", description=__doc__)
    parser.add_argument("--play", nargs=3, metavar=("RELAY", "SCENE", "COUNT"), help=argparse.SUPPRESS)
    parser.add_argument("--peers", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peers:
        uvloop.run(_peers())
    elif arguments.play:
        relay, scene, count = arguments.play
        uvloop.run(_once(relay, scene, int(count)))
    else:
        print(f"Python {sys.version.split()[0]}, compiled: {YES_OR_NO}\n")
        print(f"| CPU µs | {' | '.join(RELAYS)} | unbuffer / raw |\n|---|{'---:|' * (len(RELAYS) + 1)}")
        for scene in SCENES:
            took = uvloop.run(_times(scene))
            row = " | ".join(f"{took[relay]:.1f}" for relay in RELAYS)
            print(f"| {scene} | {row} | {took['unbuffer'] / took['raw']:.2f} |")
        print("\n| | relay | system calls |\n|---|---|---|")
        for scene in SCENES:
            for relay in RELAYS:
                print(f"| {scene} | {relay} | {_calls(relay, scene)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
