"""`python -m benchmarks.slow_senders`: what clients that send by drops cost, and what the live streams feel of them.

Beside 200 streams of events, 2,000 connections send one byte a second: of a head, then of a body. Each has to be cut
by its own deadline, with 408. The load and the cores are those of `python -m benchmarks`.
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
from subprocess import PIPE

import msgspec

from benchmarks.measure import Bench, Failed, build_streamload, free_port, line_of, sink_command, wait_for_answer
from benchmarks.processes import proportional_size, running, tree
from benchmarks.proxies import UNBUFFER, unbuffer
from benchmarks.samples import Load, Opened
from benchmarks.scenes import Scene

DRIPPING = {
    "nobody": b"",
    "heads": b"GET /stream HTTP/1.1\r\nHost: bench\r\nX-Slow: ",
    "bodies": b"POST /upload HTTP/1.1\r\nHost: bench\r\nContent-Length: 1000000\r\n\r\n",
}
"""Who sends by drops, and what each sends at once."""

LIVE = Scene("live", "", "-c 200 -n 1000000 -g 50000 -s 64", ())
"""200 streams, 20 events a second each."""

DEADLINE = 20.0
"""Seconds, for heads and for bodies: longer than a window with what is around it."""


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
                if descriptor in self._left:
                    self._left[descriptor].send(b"x")
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


@dataclass(frozen=True, slots=True)
class Row:
    """What one kind of senders did."""

    load: Load
    cpu: float
    """Seconds of the proxy inside the window."""
    bytes_each: float
    cut: int
    """Senders that were answered with 408."""


def _measure(bench: Bench, who: str, count: int) -> Row:
    directory = Path(tempfile.mkdtemp(dir=bench.directory))
    with (directory / "log").open("a") as log, ExitStack() as started:
        source = started.enter_context(running([bench.streamload, "source"], bench.load_core, PIPE, log, {}))
        upstream, port = int(line_of(source, log)), free_port()
        deadlines = f" --set timeouts.request_head={DEADLINE:g}s --set timeouts.request_body={DEADLINE:g}s"
        command, environment = unbuffer(UNBUFFER + deadlines).prepare(directory, upstream, port)
        process = started.enter_context(running(command, bench.proxy_core, log, log, environment))
        wait_for_answer(process, port, log)
        pids = tree(process.pid)
        before = proportional_size(pids)
        drippers = Drippers(port, count if DRIPPING[who] else 0, DRIPPING[who])
        time.sleep(1.0)  # the first drops of all
        after = proportional_size(pids)
        sink = started.enter_context(running(sink_command(bench, LIVE, port, pids), bench.load_core, PIPE, log, {}))
        msgspec.json.decode(line_of(sink, log), type=Opened)
        load = msgspec.json.decode(line_of(sink, log), type=Load)
        drippers.wait(2 * DEADLINE)
    if load.errors:
        raise Failed(f"{load.errors} wrong answers, the first: {load.first_error}")
    cut = sum(answer.startswith(b"HTTP/1.1 408") for answer in drippers.answers)
    return Row(load, sum(load.cpu), (after - before) / count, cut)


def main() -> int:
    """Measure all three, print a table; 1 if a sender got away."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_senders", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="senders; default 2000")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of a window; default 8")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="unbuffer-bench-") as name:
        bench = Bench(Path(name), build_streamload(Path(name)), cores[0], cores[-1], options.seconds)
        os.sched_setaffinity(0, {bench.load_core})
        print("| dripping | delay p50 µs | delay p99 µs | proxy's core % | KB per sender | answered 408 |")
        print("| --- | ---: | ---: | ---: | ---: | ---: |")
        missed = 0
        for who, beginning in DRIPPING.items():
            row = _measure(bench, who, options.count)
            load, each = row.load, f"{row.bytes_each / 1000:.1f}" if beginning else ""
            missed += options.count - row.cut if beginning else 0
            print(
                f"| {who} | {load.delay_p50_us:,.0f} | {load.delay_p99_us:,.0f} | {100 * row.cpu / load.seconds:.0f} "
                f"| {each} | {row.cut if beginning else ''} |",
                flush=True,
            )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
