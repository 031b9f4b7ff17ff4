"""`python -m benchmarks.http2`: what a chunk and an open stream cost over HTTP/2, beside HTTP/1.1.

The source is streamload's (`streamload.c`), and so is the sink of HTTP/1.1. Here is the one of HTTP/2: it asks for
streams on a few connections, opens every window as far as it goes, and counts events. unbuffer has the first core,
all else the second one.
"""

import argparse
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hpack import Encoder

from benchmarks.measure import build_streamload
from benchmarks.processes import proportional_size, running

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WARM_UP = 2.0
STREAMS, CONNECTIONS = 400, 8


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    """A frame of HTTP/2."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def ask(port: int, path: str, streams: int) -> socket.socket:
    """A connection that has asked for the same path so many times."""
    encoder = Encoder()
    head = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)]
    sections = (frame(1, encoder.encode(head), 0x5, 2 * number + 1) for number in range(streams))
    windows = frame(4, b"\0\4\x7f\xff\xff\xff") + frame(8, (2**31 - 1 - 65535).to_bytes(4, "big")) + frame(4, b"", 1)
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(PREFACE + windows + b"".join(sections))
    return client


def count_events(data: bytes) -> tuple[int, bytes]:
    """The events in the DATA frames that are whole, and the rest. Some may have come together, as over HTTP/1.1."""
    count = at = 0
    while len(data) - at >= 9 and len(data) - at >= (size := 9 + int.from_bytes(data[at : at + 3], "big")):
        count += (size - 9) // 64 if data[at + 3] == 0 else 0
        at += size
    return count, data[at:]


def events_of(clients: list[socket.socket], seconds: float, begun: Callable[[], None]) -> int:
    """Events in a window of so many seconds, after the warm-up."""
    rests = dict.fromkeys(clients, b"")
    count, opens = 0, time.monotonic() + WARM_UP
    by_number = {client.fileno(): client for client in clients}
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.setblocking(False)
            selector.register(client, selectors.EVENT_READ)
        while (now := time.monotonic()) < opens + seconds:
            if begun is not _nothing and now >= opens:
                begun()
                begun, count = _nothing, 0
            for key, _ in selector.select(0.05):
                client = by_number[key.fd]
                data = client.recv(1 << 20)
                assert data, "unbuffer has closed the connection"
                more, rests[client] = count_events(rests[client] + data)
                count += more
    return count


def _nothing() -> None:
    """The window is open already."""


def cpu(pid: int) -> float:
    """Seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(load: str, port: int, pid: int, seconds: float) -> None:
    """Print a row for each version."""
    path = f"/stream?n=1000000&gap_us={1_000_000 * STREAMS // 40_000}&size=64"
    options = f"-c {STREAMS} -t {seconds:.0f} -w {WARM_UP:.0f} -P {pid} -n 1000000 -g 10000 -s 64".split()
    sink = subprocess.run([load, "sink", str(port), *options], capture_output=True, text=True, check=True)
    result = json.loads(sink.stdout.splitlines()[-1])
    print(f"| 1.1 | {result['events'] / result['seconds']:,.0f} | {result['cpu'][0] * 1e6 / result['events']:.1f} |")
    clients = [ask(port, path, STREAMS // CONNECTIONS) for _ in range(CONNECTIONS)]
    at_start = [0.0]
    count = events_of(clients, seconds, lambda: at_start.__setitem__(0, cpu(pid)))
    print(f"| 2 | {count / seconds:,.0f} | {(cpu(pid) - at_start[0]) * 1e6 / count:.1f} |")
    for client in clients:
        client.close()
    time.sleep(1)
    before = proportional_size([pid])
    clients = [ask(port, "/stream?n=1000&gap_us=60000000&size=64", 100) for _ in range(20)]
    time.sleep(4)
    print(f"\nMemory for each open stream over HTTP/2: {(proportional_size([pid]) - before) / 2000 / 1000:.1f} KB")
    for client in clients:
        client.close()


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http2", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    seconds = parser.parse_args().seconds
    first, second, *_ = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        load = build_streamload(Path(folder))
        with running([load, "source"], second, subprocess.PIPE, nowhere, {}) as source:
            assert source.stdout is not None
            upstream = int(source.stdout.readline().rpartition(":")[2].split()[-1])
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            command = [sys.executable, "-m", "unbuffer", "serve", "--upstream", f"http://127.0.0.1:{upstream}"]
            more = ["--listen", f"127.0.0.1:{port}", "--admin", "off", "--set", "log.format=off"]
            with running([*command, *more], first, subprocess.DEVNULL, nowhere, {}) as proxy:
                os.sched_setaffinity(0, {second})
                while True:
                    try:
                        socket.create_connection(("127.0.0.1", port)).close()
                        break
                    except ConnectionRefusedError:
                        time.sleep(0.05)
                print("| HTTP | chunks/s | CPU µs per chunk |\n|---|---:|---:|")
                measure(load, port, proxy.pid, seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
