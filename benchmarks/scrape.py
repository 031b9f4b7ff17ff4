"""`python -m benchmarks.scrape`: how long a scrape keeps the event loop from the streams.

One process has its largest table of series and a thousand live streams, and is scraped over HTTP by another one. A
callback that runs in every turn of the loop takes the time that the turn before it took, as CPU time of this thread.
"""

import argparse
import asyncio
import gc
import statistics
import sys
import time
from types import SimpleNamespace
from typing import cast

import uvloop

from unbuffer.histogram import Exemplar
from unbuffer.observe.exposition import Exposition
from unbuffer.outcome import Outcome
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.plane import Plane
from unbuffer.server.admin import build_admin
from unbuffer.server.lifecycle import Lifecycle
from unbuffer.server.listeners import AdminListener
from unbuffer.server.upstream_check import UpstreamCheck
from unbuffer.settings.model import Settings, Upstream
from unbuffer.totals import KINDS, Totals

ROUTES = 50
STREAMS = 1000
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Turns:
    """The loop's turns, while it watches: CPU milliseconds of each."""

    def __init__(self) -> None:
        self.took: list[float] = []
        self._before = 0.0
        self._on = False

    def start(self) -> None:
        self.took = []
        self._on = True
        self._before = time.thread_time()
        asyncio.get_running_loop().call_soon(self._turn)

    def stop(self) -> None:
        self._on = False

    def _turn(self) -> None:
        now = time.thread_time()
        self.took.append((now - self._before) * 1000)
        self._before = now
        if self._on:
            asyncio.get_running_loop().call_soon(self._turn)


def fill(totals: Totals, kinds: int, routes: int = ROUTES) -> None:
    """Every bucket of every series, with exemplars where there may be some."""
    for number in range(routes):
        for kind in KINDS[:kinds]:
            series = totals.of(f"route-with-a-name-{number}", kind)
            series.outcomes.update(list(Outcome)[:6])
            for histogram in (series.ttfb, series.ttfc, series.durations):
                for bound in histogram.bounds:
                    histogram.observe(bound)
                    histogram.exemplify(Exemplar("4bf92f3577b34da6a3ce929d0e0e4736", bound, time.time()))
            totals.verdicts[series.route, "streamed"] += 1
            for code in (200, 404, 502):
                totals.requests[series.route, "GET", code] += 1


class _Stream(asyncio.Protocol):
    """The upstream: a head, an event, and silence until the other side leaves. No task: unbuffer has none, either."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(_HEAD + b"8\r\ndata: 1\n\r\n")


async def _no_reload() -> tuple[bool, str]:
    return False, "nothing to read again"


async def _measure(scrapes: int, kinds: int) -> None:
    loop = asyncio.get_running_loop()
    upstream = await loop.create_server(_Stream, "127.0.0.1", 0, backlog=STREAMS)
    port = upstream.sockets[0].getsockname()[1]
    totals, lifecycle = Totals(), Lifecycle()
    plane = Plane(Settings(upstream=Upstream(url=f"http://127.0.0.1:{port}")), totals, loop, lambda record: None)
    server = await loop.create_server(lambda: DownstreamConnection(plane), "127.0.0.1", 0, backlog=STREAMS)
    check = UpstreamCheck(plane.pool.dialer)
    reloads = SimpleNamespace(successful=True, at=0.0)
    exposition = Exposition(totals, lifecycle, check, reloads, plane.clients.buffered)
    admin = AdminListener(build_admin(lifecycle, check, exposition, _no_reload))
    await admin.open("127.0.0.1:0")
    (listening,) = admin.sockets
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/metrics"
    fill(totals, kinds)
    clients = [await _client(server.sockets[0].getsockname()[1]) for _ in range(STREAMS)]
    gc.collect()
    gc.freeze()
    turns = Turns()
    for name, accept in (("text", "*/*"), ("OpenMetrics", OPENMETRICS)):
        # It waits for a line before each scrape, so that nothing is started while the turns are watched.
        command = f"while read _; do curl -s -H 'Accept: {accept}' {address} | wc -lc; done"
        curl = await asyncio.create_subprocess_shell(
            command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert curl.stdin is not None
        assert curl.stdout is not None
        worst, lasted, size = [], [], b""
        for _ in range(scrapes):
            started = time.monotonic()
            turns.start()
            curl.stdin.write(b"\n")
            size = await curl.stdout.readline()
            turns.stop()
            await asyncio.sleep(0.05)
            worst.append(max(turns.took))
            lasted.append(time.monotonic() - started)
        curl.stdin.close()
        await curl.wait()
        lines, length = (int(number) for number in size.split())
        print(
            f"| {name}, {ROUTES} routes x {kinds} kinds | {lines:,} lines, {length / 1e6:.1f} MB | "
            f"{statistics.median(lasted) * 1000:.0f} | {statistics.median(worst):.2f} | {max(worst):.2f} |",
            flush=True,
        )
    for client in clients:
        client.close()
    server.close()
    await plane.clients.shutdown(5.0)
    plane.close()
    await admin.close()
    upstream.close()


async def _client(port: int) -> asyncio.StreamWriter:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"data: 1\n\r\n")
    return writer


def main() -> int:
    """Print a row for each format; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scrape", description=__doc__)
    parser.add_argument("--scrapes", type=int, default=30, help="of each format; default 30")
    options = parser.parse_args()
    print("| format | answer | ms for a scrape | longest turn of a scrape, ms: median | most |")
    print("|---|---|---:|---:|---:|")
    for kinds in (1, len(KINDS)):
        uvloop.run(_measure(options.scrapes, kinds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
