"""Memory of a process whose clients have all left their resumable streams: what it counts of them, and what it takes.

`python -m benchmarks.abandoned`: so many streams over real sockets, an event of 200 bytes every four seconds in each.
Their clients hang up, all of them at once; the upstream goes on. Once with room for all, and once with half of that.
"""

import argparse
import os
import resource
import shlex
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from subprocess import PIPE

from benchmarks.measure import build_streamload, free_port, line_of, wait_for_answer
from benchmarks.processes import proportional_size, running, tree
from benchmarks.proxies import UNBUFFER

_SETTINGS = {
    "UNBUFFER_RESUME__WINDOW": "10m",
    "UNBUFFER_RESUME__LINGER": "10m",
    "UNBUFFER_LOG__FORMAT": "off",
}
_GAP = 4
"""Seconds between two events of a stream: what is measured is memory, and one core has to keep up with all of them."""
_STAYS = 10
"""Seconds that all clients stay, once the last one has its answer."""
_FORGOTTEN = 300.0
"""Seconds that a process may take, at the most, until it has seen all of them go."""


def _numbers(admin: int) -> tuple[int, int, int]:
    """Connections of clients, streams that are kept, and bytes that are counted of them."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{admin}/metrics") as answer:
        samples = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line[0] != "#")
    names = ("client_connections", "resumable_streams", "resume_held_bytes")
    clients, streams, held = (int(float(samples[f"unbuffer_{name}"])) for name in names)
    return clients, streams, held


def _measure(directory: Path, streamload: str, command: str, streams: int, total: int) -> tuple[int, int, int]:
    """With this `resume.total`: streams that are kept, bytes that are counted, bytes that the process has grown by
    since its first answer."""
    proxy_core, load_core = sorted(os.sched_getaffinity(0))[:2]
    with (directory / "log").open("a") as log, running([streamload, "source"], load_core, PIPE, log, {}) as source:
        upstream, port, admin = int(line_of(source, log)), free_port(), free_port()
        words = shlex.split(command.format(upstream=upstream, listen=port).replace("--admin off", ""))
        settings = {**_SETTINGS, "UNBUFFER_RESUME__TOTAL": str(total)}
        words += ["--admin", f"127.0.0.1:{admin}", "--set", f"limits.connections={2 * streams}"]
        with running(words, proxy_core, log, log, settings) as process:
            wait_for_answer(process, port, log)
            idle = proportional_size(tree(process.pid))
            load = f"-a -o 1000 -c {streams} -n 1000 -g {_GAP * 1_000_000} -s 200 -i -w {_STAYS} -t 0.1"
            with running([streamload, "sink", str(port), *load.split()], load_core, PIPE, log, {}) as sink:
                line_of(sink, log)
                result = line_of(sink, log)
            assert '"errors": 0' in result, result
            deadline = time.monotonic() + _FORGOTTEN
            while _numbers(admin)[0]:
                assert time.monotonic() < deadline, "clients that have gone are still counted"
                time.sleep(1)
            taken = proportional_size(tree(process.pid)) - idle
            return *_numbers(admin)[1:], taken


def main() -> int:
    """Print both; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.abandoned", description=__doc__)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    parser.add_argument("--streams", type=int, default=min(10_000, (files - 200) // 2), help="two open files for each")
    parser.add_argument("--unbuffer", metavar="COMMAND", default=UNBUFFER, help="as in python -m benchmarks")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    with tempfile.TemporaryDirectory(prefix="unbuffer-bench-") as directory:
        streamload = build_streamload(Path(directory))
        total = 1 << 30
        for _ in range(2):
            streams, held, taken = _measure(Path(directory), streamload, options.unbuffer, options.streams, total)
            print(
                f"{options.streams:,} left, resume.total {total:,}: {streams:,} kept, {held:,} bytes counted, "
                f"{taken:,} taken",
                flush=True,
            )
            total = held // 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
