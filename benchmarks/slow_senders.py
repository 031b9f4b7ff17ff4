"""`python -m benchmarks.slow_senders`: what clients that send by drops cost, and what the live streams feel of them.

Beside 200 streams of events, 2,000 connections send one byte a second: of a head, then of a body. Each has to be cut
by its own deadline, with 408. The load and the cores are those of `python -m benchmarks`. The senders share a core with
the streams' source and sink, which delays the streams by itself: at first they send to a socket that nobody reads.
"""

import argparse
import os
import resource
import select
import socket
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from subprocess import PIPE

import msgspec

from benchmarks.measure import Bench, Failed, build_streamload, free_port, line_of, sink_command, wait_for_answer
from benchmarks.processes import proportional_size, running, tree
from benchmarks.proxies import PEERS, UNBUFFER, Proxy, unbuffer
from benchmarks.samples import Load, Opened
from benchmarks.scenes import Scene

DRIPPING = {
    "elsewhere": b"",
    "heads": b"GET /stream HTTP/1.1\r\nHost: bench\r\nX-Slow: ",
    "bodies": b"POST /upload HTTP/1.1\r\nHost: bench\r\nContent-Length: 1000000\r\n\r\n",
}
"""What is sent by drops, and what of it at once; elsewhere = not to the proxy."""

LIVE = Scene("live", "", "-c 200 -n 1000000 -g 50000 -s 64", ())
"""200 streams, 20 events a second each."""

DEADLINE = 20.0
"""Seconds, for heads and for bodies: longer than a window with what is around it."""

OURS = unbuffer(
    f"{UNBUFFER} --set timeouts.request_head={DEADLINE:g}s --set timeouts.request_body={DEADLINE:g}s",
)
PROXIES = (OURS, *(peer for peer in PEERS if peer.name == "nginx" and peer.program))


class Drippers:
    """Connections that send a byte a second each, from a thread of their own."""

    def __init__(self, port: int, count: int, beginning: bytes) -> None:
        self.answers: list[bytes] = []
        self._left: dict[int, socket.socket] = {}
        self._poll = select.poll()
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.sendall(beginning)
            sock.setblocking(False)
            self._left[sock.fileno()] = sock
            self._poll.register(sock, select.POLLIN)
        self._thread = threading.Thread(target=self._drip, daemon=True)
        self._thread.start()

    def _drip(self) -> None:
        while self._left:
            begun = time.monotonic()
            turn = list(self._left)
            for number, descriptor in enumerate(turn):
                if number % 10 == 0:  # spread over the second
                    time.sleep(max(0.0, begun + number / len(turn) - time.monotonic()))
                    self._take_answers()
                sock = self._left.get(descriptor)
                if sock is not None:
                    sock.send(b"x")
            time.sleep(max(0.0, begun + 1.0 - time.monotonic()))

    def _take_answers(self) -> None:
        for descriptor, _ in self._poll.poll(0):
            sock = self._left.pop(descriptor)
            self._poll.unregister(descriptor)
            with sock:
                self.answers.append(sock.recv(4096)[:12])

    def wait(self, seconds: float) -> None:
        """Until every one has been answered."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise Failed(f"{len(self._left)} senders were not cut within {seconds:g} s")

    def leave(self) -> None:
        """Send no more."""
        left, self._left = self._left, {}
        self._thread.join()
        for sock in left.values():
            sock.close()


@dataclass(frozen=True, slots=True)
class Row:
    """What one kind of senders did."""

    load: Load
    cpu: float
    """Seconds of the proxy inside the window."""
    bytes_each: float
    cut: int
    """Senders that were answered with 408."""


def _measure(bench: Bench, proxy: Proxy, who: str, count: int) -> Row:
    directory = Path(tempfile.mkdtemp(dir=bench.directory))
    with (directory / "log").open("a") as log, ExitStack() as started:
        source = started.enter_context(running([bench.streamload, "source"], bench.load_core, PIPE, log, {}))
        upstream, port = int(line_of(source, log)), free_port()
        command, environment = proxy.prepare(directory, upstream, port, bench.access_log, None)
        process = started.enter_context(running(command, bench.proxy_core, log, log, environment))
        wait_for_answer(process, port, log)
        pids = tree(process.pid)
        before = proportional_size(pids)
        elsewhere = started.enter_context(socket.create_server(("127.0.0.1", 0), backlog=count))
        target = port if DRIPPING[who] else elsewhere.getsockname()[1]
        drippers = Drippers(target, count, DRIPPING[who])
        time.sleep(1.0)  # the first drops of all
        after = proportional_size(pids)
        sink = started.enter_context(running(sink_command(bench, LIVE, port, pids), bench.load_core, PIPE, log, {}))
        msgspec.json.decode(line_of(sink, log), type=Opened)
        load = msgspec.json.decode(line_of(sink, log), type=Load)
        if proxy is OURS and DRIPPING[who]:
            drippers.wait(2 * DEADLINE)
        else:
            drippers.leave()  # nobody cuts them, or much later
    if load.errors:
        raise Failed(f"{load.errors} wrong answers, the first: {load.first_error}")
    cut = sum(answer.startswith(b"HTTP/1.1 408") for answer in drippers.answers)
    return Row(load, sum(load.cpu), (after - before) / count, cut)


def _print(proxy: Proxy, who: str, rows: list[Row]) -> None:
    each = f"{median(row.bytes_each for row in rows) / 1000:.1f}" if DRIPPING[who] else ""
    p50, p99 = (
        f"{median(delays):,.0f} ({min(delays):,.0f}..{max(delays):,.0f})"
        for delays in ([row.load.delay_p50_us for row in rows], [row.load.delay_p99_us for row in rows])
    )
    core = 100 * median(row.cpu / row.load.seconds for row in rows)
    cut = "/".join(str(row.cut) for row in rows) if DRIPPING[who] and proxy is OURS else ""
    print(f"| {proxy.name} | {who} | {p50} | {p99} | {core:.0f} | {each} | {cut} |")


def main() -> int:
    """Measure all in turn, print a table; 1 if a sender got away."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_senders", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="senders; default 2000")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a window; default 8")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured; default 3")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cores = sorted(os.sched_getaffinity(0))
    rows: dict[tuple[str, str], list[Row]] = {(proxy.name, who): [] for proxy in PROXIES for who in DRIPPING}
    with tempfile.TemporaryDirectory(prefix="unbuffer-bench-") as name:
        bench = Bench(Path(name), build_streamload(Path(name)), cores[0], cores[-1], options.seconds, access_log=False)
        os.sched_setaffinity(0, {bench.load_core})
        for _ in range(options.rounds):
            for who in DRIPPING:
                for proxy in PROXIES:
                    rows[proxy.name, who].append(_measure(bench, proxy, who, options.count))
    print("| proxy | dripping | delay p50 µs | delay p99 µs | proxy's core % | KB per sender | answered 408 |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for proxy in PROXIES:
        for who in DRIPPING:
            _print(proxy, who, rows[proxy.name, who])
    dripping = [row for who, beginning in DRIPPING.items() if beginning for row in rows[OURS.name, who]]
    return int(any(row.cut != options.count for row in dripping))


if __name__ == "__main__":
    sys.exit(main())
