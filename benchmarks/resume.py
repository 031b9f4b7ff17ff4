"""What resumable streams cost: memory for each, a bound for all, time for a chunk and for a replay.

`python -m benchmarks.resume`: the relay's code alone, with transports that do nothing, but for the replay, which goes
over loopback. A build that is compiled is measured where its modules are (`make compiled`, then in build/compiled).
"""

import argparse
import asyncio
import contextlib
import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import cast

from benchmarks.unwired import Unwired
from unbuffer.compiled import YES_OR_NO
from unbuffer.record import Record
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.plane import Plane
from unbuffer.relay.upstream import UpstreamConnection
from unbuffer.resume.registry import Registry
from unbuffer.settings.model import SSE, Settings, Upstream
from unbuffer.settings.resume import Resume
from unbuffer.totals import Totals

REQUEST = b"GET /v1/chat HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer me\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = b'data: {"choices":[{"delta":{"content":"token"}}]}\n\n'


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Many:
    """A data plane with any number of streams at a time, each on connections of its own; nobody turns the loop."""

    def __init__(self, resume: Resume) -> None:
        self.loop = asyncio.new_event_loop()
        self.records: list[Record] = []
        self.totals = Totals()
        settings = Settings(sse=SSE(heartbeat=0.0), resume=resume)
        self.plane = Plane(settings, self.totals, self.loop, self.records.append, resumption=Registry)
        self._unwired = Unwired()
        self._taker = cast(asyncio.Transport, self._unwired.taker)

    def close(self) -> None:
        """Leave nothing behind."""
        self.plane.close()
        self.loop.close()
        self._unwired.__exit__(None, None, None)

    def begin(self, *events: bytes) -> tuple[DownstreamConnection, UpstreamConnection]:
        """A stream with these events so far."""
        client = DownstreamConnection(self.plane)
        client.connection_made(self._taker)
        upstream = UpstreamConnection(self.plane.pool, self.plane.settings.limits)
        upstream.transport = self._taker
        self.plane.pool.rest(upstream, time.monotonic())
        client.data_received(REQUEST)
        self.push(upstream, HEAD)
        for event in events:
            self.push(upstream, chunk(event))
        return client, upstream

    @staticmethod
    def push(upstream: UpstreamConnection, data: bytes) -> None:
        """What one read of the upstream's socket brought."""
        if upstream.exchange is not None:
            upstream.data_received(data)


def abandoned(count: int, total: int) -> tuple[int, int, int]:
    """So many streams of 2.5 kB whose clients have left: bytes counted, bytes taken, and streams still there."""
    gc.collect()
    tracemalloc.start()
    try:
        many = Many(Resume(window=600.0, linger=600.0, bytes=65536, total=total))
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(count):
            client, _ = many.begin(*[b"data: %b\n\n" % (b"x" * 200)] * 10)
            client.connection_lost(None)
            many.records.clear()
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
        held, streams = many.totals.resume_held, many.totals.resume_streams
        many.close()
    finally:
        tracemalloc.stop()
    return held, taken, streams


def each(count: int, events: int) -> tuple[float, float]:
    """Of streams that have ended: bytes that one takes, and what its ring has of that."""
    gc.collect()
    tracemalloc.start()
    try:
        many = Many(Resume(window=600.0, bytes=1 << 20, total=1 << 30))
        before = 0
        for number in range(count + 16):
            if number == 16:  # what is made once is there
                gc.collect()
                before, held = tracemalloc.get_traced_memory()[0], many.totals.resume_held
            client, upstream = many.begin(*[EVENT] * events)
            many.push(upstream, b"0\r\n\r\n")
            many.records.clear()
            client.connection_lost(None)
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
        ring = sum(kept._ring.size for kept in list(many.plane.resumption.streams.values())[16:])  # type: ignore[union-attr]
        del held
        many.close()
    finally:
        tracemalloc.stop()
    return taken / count, ring / count


def chunk_cost(resume: Resume, count: int) -> float:
    """Seconds of CPU that one event takes, the best of five."""
    best = 1.0
    for _ in range(5):
        many = Many(resume)
        _, upstream = many.begin()
        data = chunk(EVENT)
        exchange = upstream.exchange
        assert exchange is not None
        push: Callable[[bytes], None] = upstream.data_received
        begun = time.process_time()
        for _ in range(count):
            push(data)
        best = min(best, (time.process_time() - begun) / count)
        many.close()
    return best


async def replay(size: int) -> tuple[float, float]:
    """Seconds from the request to the last byte of so much that was missed, over loopback, and those of CPU, the
    client's own share included; the best of nine."""
    many_events = size // 1024

    async def app(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD)
        for _ in range(many_events):
            writer.write(chunk(b"data: %b\n\n" % (b"x" * 1000)))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        with contextlib.suppress(asyncio.CancelledError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(app, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    loop = asyncio.get_running_loop()
    settings = Settings(upstream=Upstream(url=url), resume=Resume(window=60.0, bytes=2 * size))
    plane = Plane(settings, Totals(), loop, lambda _: None, resumption=Registry)
    relay = await loop.create_server(lambda: DownstreamConnection(plane), "127.0.0.1", 0)
    port = relay.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4 * size)
    writer.write(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readuntil(b"\r\n0\r\n\r\n")
    name = head.partition(b"Unbuffer-Stream: ")[2].partition(b"\r\n")[0]
    ask = REQUEST.replace(b"/v1/chat ", b"/v1/chat?unbuffer-stream=%b&after=0 " % name)
    best = (10.0, 10.0)
    for _ in range(9):
        begun, used = time.perf_counter(), time.process_time()
        writer.write(ask)
        await reader.readuntil(b"\r\n0\r\n\r\n")
        taken = time.perf_counter() - begun, time.process_time() - used
        best = min(best[0], taken[0]), min(best[1], taken[1])
    writer.close()
    relay.close()
    server.close()
    await plane.clients.shutdown(1.0)
    plane.close()
    return best


def main() -> None:
    """Print the numbers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.resume", description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000, help="that are abandoned")
    arguments = parser.parse_args()
    off, on = chunk_cost(Resume(), 40_000), chunk_cost(Resume(window=60.0), 40_000)
    print(f"compiled: {YES_OR_NO}")
    print(f"an event: {off * 1e6:.2f} us of CPU off, {on * 1e6:.2f} us on, in memory")
    for events in (0, 100, 1000):
        taken, ring = each(200, events)
        print(f"a stream of {events} events: {taken:,.0f} bytes, of which its ring {ring:,.0f}")
    total = 64 << 20
    held, taken_all, streams = abandoned(arguments.streams, total)
    print(f"{arguments.streams:,} abandoned of 2.5 kB: {held:,} bytes counted, {taken_all:,} taken, {streams:,} there")
    held, taken_all, streams = abandoned(arguments.streams, total // 8)
    print(f"the same with a total of {total // 8:,}: {held:,} counted, {taken_all:,} taken, {streams:,} there")
    wall, cpu = asyncio.run(replay(1 << 20))
    print(f"a replay of 1 MiB over loopback: {wall * 1000:.1f} ms, {cpu * 1000:.1f} of CPU with the client's share")


if __name__ == "__main__":
    main()
