"""`python -m benchmarks.http2`: streams over HTTP/2 through unbuffer, nginx, Envoy and Caddy; and unbuffer's HTTP/1.1.

Clear text, by prior knowledge, from `http2load.c`; the source is streamload's, over HTTP/1.1. The proxy has the first
core, all else the second one. Each row is one of alternating rounds; memory is that of streams that wait. Requests for
small answers, as many a second as the proxy serves, are those of h2load, if there is one (Debian: nghttp2-client).
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from hpack import Encoder

from benchmarks.measure import build_streamload
from benchmarks.processes import proportional_size, running, tree
from benchmarks.proxies import PEERS, UNBUFFER, Proxy, unbuffer

STREAMS, CONNECTIONS, SIZE = 400, 8, 64
WARM_UP = 2
WAITING, ON_ONE = 2000, 100
"""Streams that are open for the measurement of memory, and how many of them on a connection."""

WARM_REQUESTS = 1000

# What has a peer listen for HTTP/2 in clear text; Envoy does so by itself.
SPEAKS = {
    "nginx-1.31": {"{tls};": ";\n    http2 on;\n    http2_max_concurrent_streams 128;"},
    "envoy": {},
    "caddy": {"auto_https off": "auto_https off\n\tservers {\n\t\tprotocols h1 h2c\n\t}"},
}


@dataclass(frozen=True, slots=True)
class Row:
    """What one round showed. cpu: microseconds for a chunk. p99: microseconds. own: share of the load's core."""

    per_second: float
    cpu: float
    p50: float
    p99: float
    own: float
    errors: int
    first_error: str


@contextmanager
def proxy(one: Proxy, upstream: int, core: int) -> Iterator[tuple[int, list[int]]]:
    """A proxy that serves; yields its port and its processes."""
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        if one.name in SPEAKS:
            one = speaking(one, Path(folder))
        command, environment = one.prepare(Path(folder), upstream, port, False, None)
        with running(command, core, subprocess.DEVNULL, nowhere, environment) as process:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    assert process.poll() is None, f"{one.name} has ended"
                    time.sleep(0.05)
            time.sleep(0.5)
            yield port, tree(process.pid)


def speaking(one: Proxy, folder: Path) -> Proxy:
    """The peer with a configuration that speaks HTTP/2."""
    text = (Path(__file__).parent / "peers" / one.config).read_text()
    for old, new in SPEAKS[one.name].items():
        assert old in text, f"{one.config} has changed"
        text = text.replace(old, new)
    file = folder / f"{one.name}-{one.config}"
    file.write_text(text)
    return replace(one, config=str(file))


def play(command: list[str], pids: list[int], seconds: int, per_second: int) -> Row:
    """One round of a load that speaks either version, of so many chunks each second."""
    gap = 1_000_000 * STREAMS // per_second
    options = f"-t {seconds} -w {WARM_UP} -n 1000000 -g {gap} -s {SIZE} -P {pids[-1]}".split()
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    cpu = result["cpu"] if isinstance(result["cpu"], float) else result["cpu"][0]
    events = result["events"] or 1
    return Row(
        result["events"] / result["seconds"],
        cpu * 1e6 / events,
        result["delay_p50_us"],
        result["delay_p99_us"],
        result["own_cpu"] / result["seconds"],
        result["errors"],
        result["first_error"],
    )


def cpu_seconds(pids: list[int]) -> float:
    """Seconds of CPU that processes have had so far."""
    ticks = 0
    for pid in pids:
        user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def ask_often(port: int, pids: list[int], count: int) -> tuple[float, float]:
    """So many requests by h2load, on as many connections and at a time as the streams are. Returns requests a second,
    and microseconds of CPU for each."""
    shape = ["-c", str(CONNECTIONS), "-m", str(STREAMS // CONNECTIONS), f"http://127.0.0.1:{port}/plain?size={SIZE}"]
    subprocess.run(["h2load", "-n", str(WARM_REQUESTS), *shape], stdout=subprocess.DEVNULL, check=True)
    before = cpu_seconds(pids)
    done = subprocess.run(["h2load", "-n", str(count), *shape], capture_output=True, text=True, check=True)
    took = cpu_seconds(pids) - before
    assert f"status codes: {count} 2xx" in done.stdout, done.stdout
    rate = re.search(r"finished in [^,]+, ([\d.]+) req/s", done.stdout)
    assert rate is not None, done.stdout
    return float(rate[1]), took / count * 1e6


def show(name: str, rows: list[Row]) -> None:
    """The medians of the rounds."""
    numbers = [
        median([getattr(row, key) for row in rows]) for key in ("per_second", "cpu", "p50", "p99", "own", "errors")
    ]
    rate, cpu, p50, p99, own, errors = numbers
    print(
        f"| {name} | {rate:,.0f} | {cpu:.1f} | {p50:,.0f} | {p99:,.0f} | {own * 100:.0f} | {errors:.0f} "
        f"{rows[-1].first_error} |",
        flush=True,
    )


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    """A frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def ask(port: int, path: str, streams: int) -> socket.socket:
    """A connection that has asked for the same path so many times."""
    encoder = Encoder()
    head = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)]
    sections = (frame(1, encoder.encode(head), 0x5, 2 * number + 1) for number in range(streams))
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4) + frame(4, b"", 1) + b"".join(sections))
    return client


def memory(port: int, pids: list[int]) -> float:
    """Kilobytes for each open stream that waits."""
    before = proportional_size(pids)
    clients = [ask(port, f"/stream?n=1000&gap_us=60000000&size={SIZE}", ON_ONE) for _ in range(WAITING // ON_ONE)]
    time.sleep(4)
    took = (proportional_size(pids) - before) / WAITING / 1000
    for client in clients:
        client.close()
    return took


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http2", description=__doc__)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--per-second", type=int, default=40_000, help="chunks of all streams; default %(default)s")
    parser.add_argument("--requests", type=int, default=20_000, help="in a round; 0 = none; default %(default)s")
    parser.add_argument("--peers", default=",".join(SPEAKS), help="of these: %(default)s; empty = none")
    arguments = parser.parse_args()
    first, second, *_ = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name, open(os.devnull, "w") as nowhere:
        folder = Path(name)
        http1 = build_streamload(folder)
        http2 = folder / "http2load"
        subprocess.run(["gcc", "-O2", "-o", http2, Path(__file__).with_name("http2load.c")], check=True)
        wanted = [name for name in arguments.peers.split(",") if name]
        peers = [one for one in PEERS if one.name in wanted and one.program]
        for missing in set(wanted) - {one.name for one in peers}:
            print(f"{missing} is not installed")
        own = unbuffer(UNBUFFER)
        rows: dict[str, list[Row]] = {}
        held: dict[str, float] = {}
        asked: dict[str, list[tuple[float, float]]] = {}
        if arguments.requests and shutil.which("h2load") is None:
            print("h2load is not installed")
            arguments.requests = 0
        with running([http1, "source"], second, subprocess.PIPE, nowhere, {}) as source:
            assert source.stdout is not None
            upstream = int(source.stdout.readline().rpartition(":")[2].split()[-1])
            os.sched_setaffinity(0, {second})
            for number in range(arguments.rounds):
                for one in (own, *peers):
                    with proxy(one, upstream, first) as (port, pids):
                        load = [str(http2), str(port), "-c", str(CONNECTIONS), "-m", str(STREAMS // CONNECTIONS)]
                        rows.setdefault(one.name, []).append(play(load, pids, arguments.seconds, arguments.per_second))
                        if one is own:
                            load = [http1, "sink", str(port), "-c", str(STREAMS)]
                            rows.setdefault("unbuffer, HTTP/1.1", []).append(
                                play(load, pids, arguments.seconds, arguments.per_second)
                            )
                        if arguments.requests:
                            asked.setdefault(one.name, []).append(ask_often(port, pids, arguments.requests))
                        if not number:
                            time.sleep(1)
                            held[one.name] = memory(port, pids)
            print("| | chunks/s | CPU µs per chunk | p50 µs | p99 µs | load's core % | errors |")
            print("|---|---:|---:|---:|---:|---:|---:|")
            for name, seen in rows.items():
                show(name, seen)
            print("\nMemory for each open stream: " + ", ".join(f"{name} {kb:.1f} KB" for name, kb in held.items()))
            if asked:
                print("\n| | requests/s | CPU µs per request |\n|---|---:|---:|")
            for name, results in asked.items():
                rate, cpu = (median(numbers) for numbers in zip(*results, strict=True))
                print(f"| {name} | {rate:,.0f} | {cpu:.1f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
