"""`python -m benchmarks.footprint`: what an open stream keeps in memory, object by object, how cost grows, and what the
garbage collector's pauses are.

The relay runs in this process, over real sockets; the application and the clients are one other process. Counts and
bytes are the same on any machine with the same build. Times are CPU time of this thread, to be compared within one run.
"""

import asyncio
import gc
import statistics
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar, cast

import uvloop

from benchmarks.scrape import fill
from benchmarks.unwired import Unwired
from unbuffer.compiled import YES_OR_NO
from unbuffer.observe.exposition import Exposition
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.plane import Plane
from unbuffer.server.lifecycle import Lifecycle
from unbuffer.server.open_files import within_the_limit
from unbuffer.server.upstream_check import UpstreamCheck
from unbuffer.settings.model import SSE, Settings, Upstream
from unbuffer.settings.route import Route
from unbuffer.totals import Totals

EVENT = b'data: {"choices":[{"delta":{"content":"token"}}]}\n\n'
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
_MANY = 100_000
"""Seconds: no heartbeat comes."""


# -- the other process


class _Application(asyncio.Protocol):
    """A head, an event, and silence; more events when they are asked for."""

    open: ClassVar[list[asyncio.Transport]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(_HEAD + _CHUNK)
        self.open.append(self._transport)


class _Client(asyncio.Protocol):
    """Asks for a stream. events: how many all clients have."""

    events = 0
    wanted = 0
    there = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(b"GET /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        _Client.events += data.count(b"data:")
        if _Client.events >= _Client.wanted:
            _Client.there.set()


async def _peers() -> None:
    """Commands come as lines: `open PORT COUNT`, `send STREAMS TIMES`; each is answered when its events are there."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Application, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        verb, first, second = line.split()
        _Client.there = asyncio.Event()
        if verb == "open":
            _Client.wanted += int(second)
            for _ in range(int(second)):
                await loop.create_connection(_Client, "127.0.0.1", int(first))
            await _Client.there.wait()
        else:
            for _ in range(int(second)):
                _Client.wanted += int(first)
                _Client.there.clear()
                for transport in _Application.open[: int(first)]:
                    transport.write(_CHUNK)
                await _Client.there.wait()
        print("done", flush=True)


# -- this process


class Relay:
    """A data plane that listens, and the process of its peers."""

    def __init__(self, plane: Plane, totals: Totals, peers: Process, port: int) -> None:
        self.plane = plane
        self.totals = totals
        self._peers = peers
        self._port = port

    async def _tell(self, command: str) -> None:
        assert self._peers.stdin is not None
        assert self._peers.stdout is not None
        self._peers.stdin.write(f"{command}\n".encode())
        await self._peers.stdout.readline()

    async def open(self, count: int) -> None:
        """So many more streams have had their first event."""
        await self._tell(f"open {self._port} {count}")

    async def send(self, streams: int, times: int) -> None:
        """So many streams have had so many events more, all of them one at a time."""
        await self._tell(f"send {streams} {times}")


@asynccontextmanager
async def relay(heartbeat: float = _MANY) -> AsyncIterator[Relay]:
    """A relay with as many open files as there may be."""
    peers = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.footprint", "--peers", stdin=PIPE, stdout=PIPE
    )
    assert peers.stdin is not None
    assert peers.stdout is not None
    upstream = Upstream(url=f"http://127.0.0.1:{int(await peers.stdout.readline())}")
    settings = within_the_limit(Settings(upstream=upstream, sse=SSE(heartbeat=heartbeat)))
    totals, loop = Totals(), asyncio.get_running_loop()
    plane = Plane(settings, totals, loop, lambda record: None)
    server = await loop.create_server(lambda: DownstreamConnection(plane), "127.0.0.1", 0, backlog=4096)
    try:
        yield Relay(plane, totals, peers, server.sockets[0].getsockname()[1])
    finally:
        peers.stdin.close()
        await peers.wait()
        server.close()
        plane.close()


def _census() -> tuple[Counter[str], Counter[str]]:
    """How many objects of each type there are, and their bytes: those the collector knows, and what they hold."""
    gc.collect()
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    known = gc.get_objects()
    seen = {id(one) for one in known}
    for one in known:
        _count(one, counts, sizes)
        for held in gc.get_referents(one):
            if id(held) not in seen:
                seen.add(id(held))
                _count(held, counts, sizes)
    return counts, sizes


def _count(one: object, counts: Counter[str], sizes: Counter[str]) -> None:
    kind = type(one)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    counts[name] += 1
    sizes[name] += sys.getsizeof(one)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def objects(few: int = 500, more: int = 2000) -> None:
    """Print what `more` further streams hold, divided by their number."""
    async with relay() as one:
        await one.open(few)
        before = _resident()
        await one.open(more)
        resident = (_resident() - before) / more
    async with relay() as one:
        await one.open(few)
        counts, sizes = _census()
        await one.open(more)
        counts_after, sizes_after = _census()
    print(f"\n## An open event-stream, in {more} more of them\n\n| object | of each | bytes |\n|---|---:|---:|")
    rows = []
    for name in counts_after:
        each = (counts_after[name] - counts[name]) / more
        if each >= 0.05:
            rows.append(((sizes_after[name] - sizes[name]) / more, each, name))
    for size, each, name in sorted(rows, reverse=True):
        print(f"| `{name}` | {each:.1f} | {size:,.0f} |")
    print(f"| all | {sum(each for _, each, _ in rows):.0f} | {sum(size for size, _, _ in rows):,.0f} |")
    print(f"\nResident memory grew by {resident:,.0f} bytes a stream.")


async def streams() -> None:
    """Print the CPU time of an event on ten streams, beside how many others are open."""
    print("\n## Events on ten streams, others are open and silent\n\n| open | µs an event | ratio |\n|---:|---:|---:|")
    first = 0.0
    async with relay() as one:
        there = 0
        for count in (10, 1000, 4000):
            await one.open(count - there)
            there = count
            gc.collect()
            gc.freeze()
            took = []
            for _ in range(9):
                began = time.thread_time()
                await one.send(10, 50)
                took.append((time.thread_time() - began) / 500)
            cost = statistics.median(took)
            first = first or cost
            print(f"| {count:,} | {cost * 1e6:.1f} | {cost / first:.2f} |")
        gc.unfreeze()


async def heartbeats(count: int = 2000, seconds: float = 5.0) -> None:
    """Print what silent streams cost, without heartbeats and with one a second."""
    print(f"\n## {count} silent streams\n\n| heartbeat | CPU ms a second | a heartbeat |\n|---|---:|---:|")
    silent = 0.0
    for heartbeat in (_MANY, 1.0):
        async with relay(heartbeat) as one:
            await one.open(count)
            series = one.totals.of("default", "sse")
            sent, began = series.heartbeats, time.thread_time()
            await asyncio.sleep(seconds)
            spent, sent = time.thread_time() - began, series.heartbeats - sent
            each = f"{(spent - silent) / sent * 1e6:.1f} µs" if sent else "-"
            silent = silent or spent
            print(f"| {'none' if heartbeat == _MANY else 'each second'} | {spent / seconds * 1000:.1f} | {each} |")


async def collector() -> None:
    """Print how long the collector's passes take, and how often they come."""
    print("\n## Pauses of the collector\n\n| open streams | objects | full pass | after gc.freeze |")
    print("|---:|---:|---:|---:|")
    async with relay() as one:
        there = 0
        for count in (0, 1000, 4000):
            if count:
                await one.open(count - there)
            there = count
            gc.collect()
            known = len(gc.get_objects())
            full = _least(gc.collect)
            gc.freeze()
            frozen = _least(gc.collect)
            gc.unfreeze()
            print(f"| {count:,} | {known:,} | {full * 1000:.2f} ms | {frozen * 1000:.3f} ms |")
    print("\n| meanwhile | young passes | middle | full | longest |\n|---|---:|---:|---:|---:|")
    for frozen in (False, True):
        async with relay() as one:
            with _passes(f"4,000 streams are opened, {'after' if frozen else 'without'} gc.freeze", frozen):
                await one.open(4000)
    for name, play in (("requests", _requests), ("chunks of one stream", _events)):
        with _passes(f"20,000 {name}", True):
            play(20_000)


@contextmanager
def _passes(title: str, frozen: bool) -> Iterator[None]:
    """Print how often the collector comes inside the block, and how long its longest pass takes."""
    gc.collect()
    if frozen:
        gc.freeze()
    passes: list[tuple[int, float]] = []
    began = 0.0

    def note(phase: str, info: dict[str, int]) -> None:
        nonlocal began
        if phase == "start":
            began = time.thread_time()
        else:
            passes.append((info["generation"], time.thread_time() - began))

    gc.callbacks.append(note)
    yield
    gc.callbacks.remove(note)
    gc.unfreeze()
    by = Counter(generation for generation, _ in passes)
    longest = max((took for _, took in passes), default=0.0)
    print(f"| {title} | {by[0]} | {by[1]} | {by[2]} | {longest * 1000:.2f} ms |")


def _requests(count: int, settings: Settings | None = None) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    with Unwired(settings) if settings else Unwired() as plane:
        for _ in range(count):
            _, sent = plane.begin()
            plane.push(answer, sent + 0.01)
            plane._records.clear()


def _events(count: int, size: int = len(EVENT)) -> None:
    chunk = b"%x\r\n%b\r\n" % (size, b"x" * size)
    with Unwired() as plane:
        _, sent = plane.begin()
        plane.head("stream", sent + 0.01)
        for number in range(count):
            plane.push(chunk, sent + 0.02 + number / 100)


def _least(act: Callable[[], object], times: int = 7) -> float:
    """CPU seconds of the quickest of some runs."""
    took = []
    for _ in range(times):
        began = time.thread_time()
        act()
        took.append(time.thread_time() - began)
    return min(took)


def routes() -> None:
    """Print what a request costs where its path is the last of so many routes, or of none."""
    print("\n## Routes\n\n| routes | µs a request | ratio |\n|---:|---:|---:|")
    first = 0.0
    for count in (0, 10, 50, 1000):
        table = tuple(Route(name=f"r{n}", prefix=f"/api/{n}/") for n in range(count))
        cost = _least(lambda table=table: _requests(1000, Settings(sse=SSE(heartbeat=0.0), routes=table))) / 1000  # type: ignore[misc]
        first = first or cost
        print(f"| {count} | {cost * 1e6:.1f} | {cost / first:.2f} |")


def sizes() -> None:
    """Print what a chunk costs by its size, with transports that do nothing."""
    print("\n## Size of a chunk\n\n| bytes | µs a chunk | ratio |\n|---:|---:|---:|")
    first = 0.0
    for size in (64, 1024, 16384, 65536):
        cost = _least(lambda size=size: _events(2000, size)) / 2000  # type: ignore[misc]
        first = first or cost
        print(f"| {size:,} | {cost * 1e6:.2f} | {cost / first:.2f} |")


async def scrapes() -> None:
    """Print what a scrape costs by the number of routes that have streams of all kinds."""
    print("\n## Scrapes\n\n| routes | lines | CPU ms a scrape | µs a line |\n|---:|---:|---:|---:|")
    upstream = cast(UpstreamCheck, SimpleNamespace(check=_reachable))
    reloads = SimpleNamespace(successful=True, at=0.0)
    for count in (1, 10, 50):
        totals = Totals()
        fill(totals, 5, count)
        exposition = Exposition(totals, Lifecycle(), upstream, reloads, lambda: ())
        took, lines = [], 0
        for _ in range(5):
            began = time.thread_time()
            body = b"".join([part async for part in exposition.render("text/plain")[0]])
            took.append(time.thread_time() - began)
            lines = body.count(b"\n")
        print(f"| {count} | {lines:,} | {min(took) * 1000:.1f} | {min(took) / lines * 1e6:.1f} |")


async def _reachable() -> tuple[bool, str]:
    return True, ""


async def _all() -> None:
    print(f"Python {sys.version.split()[0]}, compiled: {YES_OR_NO}")
    await objects()
    await streams()
    routes()
    sizes()
    await heartbeats()
    await scrapes()
    await collector()


if __name__ == "__main__":
    uvloop.run(_peers() if "--peers" in sys.argv else _all())
