"""`python -m benchmarks.soak`: warm up, rest, soak, rest, compare what unbuffer holds at the two rests.

Exit codes: 0 nothing was left and nothing was wrong, 1 otherwise, 2 usage.
"""

import argparse
import asyncio
import os
import re
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvloop

from benchmarks.soak.traffic import Traffic
from benchmarks.soak.upstream import Upstream

REST = 20.0
"""Seconds that a process has to come to rest: connections in the pool are kept for 4 s."""

GROWTH = 2_000_000
"""Bytes by which the memory at rest may differ: arenas of the allocator that one round leaves and another does not."""

_GAUGES = (
    "unbuffer_active_streams",
    "unbuffer_client_connections",
    "unbuffer_upstream_connections",
    "unbuffer_event_loop_tasks",
    "process_open_fds",
)
_NEVER_ZERO = _GAUGES[-2:]


@dataclass(frozen=True, slots=True)
class Held:
    """What a process holds at rest. memory: bytes of RSS; gauges: streams, connections, tasks, open files by name."""

    memory: int
    gauges: dict[str, float]


async def main() -> int:
    """Run the soak; returns the exit code."""
    options = _options()
    _allow_files(options.clients)
    upstream = Upstream()
    port = await upstream.start()
    try:
        async with _unbuffer(port) as (pid, listen, admin):
            traffic = Traffic(listen, options.seed)
            await traffic.run(options.clients, options.warm_up)
            before = await _at_rest(pid, admin)
            print(f"warm: {_shown(before)}", flush=True)
            started, done = time.monotonic(), traffic.done.total()
            await traffic.run(options.clients, options.seconds)
            rate = (traffic.done.total() - done) / (time.monotonic() - started)
            after = await _at_rest(pid, admin)
    finally:
        await upstream.stop()
    print(f"end:  {_shown(after)}")
    print(f"{traffic.done.total()} actions, {rate:.0f}/s: {dict(sorted(traffic.done.items()))}")
    faults = [*traffic.wrong, *_left(before, after)]
    print("\n".join(f"WRONG {fault}" for fault in faults) or "nothing is left, nothing was wrong")
    return int(bool(faults))


def _left(before: Held, after: Held) -> list[str]:
    """What the second rest holds that the first did not."""
    left = [
        f"{name}: {before.gauges[name]:g} before, {value:g} after"
        for name, value in after.gauges.items()
        if value != before.gauges[name]
    ]
    if after.memory - before.memory > GROWTH:
        left.append(f"memory: {before.memory} bytes before, {after.memory} after")
    return left


@asynccontextmanager
async def _unbuffer(upstream: int) -> AsyncIterator[tuple[int, int, str]]:
    """`unbuffer serve` while the block lasts: its process id, its port, the URL of its admin port."""
    command = [sys.executable, "-m", "unbuffer", "serve", "--upstream", f"http://127.0.0.1:{upstream}"]
    command += ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--set", "log.format=off"]
    command += ["--set", "metrics.openapi=off"]  # a request of its own would be a connection that comes and goes
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        ports: dict[str, int] = {}
        while len(ports) < 2:
            line = (await process.stderr.readline()).decode()
            if not line:
                raise SystemExit("unbuffer did not start")
            if found := re.search(r"(listening|admin) on http://127\.0\.0\.1:(\d+)", line):
                ports[found[1]] = int(found[2])
        log = asyncio.ensure_future(_copy(process.stderr))
        yield process.pid, ports["listening"], f"http://127.0.0.1:{ports['admin']}"
        process.send_signal(signal.SIGTERM)
        if code := await asyncio.wait_for(process.wait(), REST):
            raise SystemExit(f"unbuffer ended with {code}")
        await log
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _copy(stream: asyncio.StreamReader) -> None:
    while line := await stream.readline():
        sys.stderr.write(line.decode())


async def _at_rest(pid: int, admin: str) -> Held:
    """Wait until no stream and no connection is left, and look; twice, as a socket is closed after its last count."""
    deadline = time.monotonic() + REST
    seen: dict[str, float] = {}
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(f"{admin}/metrics") as answer:
                gauges = _gauges(await answer.text())
            busy = (value for name, value in gauges.items() if name not in _NEVER_ZERO)
            if (not any(busy) and gauges == seen) or time.monotonic() > deadline:
                return Held(_resident(pid), gauges)
            seen = gauges
            await asyncio.sleep(0.2)


def _gauges(text: str) -> dict[str, float]:
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line.startswith(_GAUGES))
    return {name: float(value) for name, value in lines}


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _shown(held: Held) -> str:
    gauges = ", ".join(f"{name.removeprefix('unbuffer_')} {value:g}" for name, value in held.gauges.items())
    return f"{held.memory / 1e6:.1f} MB, {gauges}"


def _allow_files(clients: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients * 4 + 256
    if wanted > hard:
        raise SystemExit(f"{clients} clients need {wanted} open files, the system allows {hard}: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="of the soak itself; default 600")
    parser.add_argument("--warm-up", type=float, default=60.0, help="seconds; default 60")
    parser.add_argument("--clients", type=int, default=500, help="at the same time; default 500")
    parser.add_argument("--seed", type=int, default=1, help="of what the clients choose")
    return parser.parse_args()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sys.exit(runner.run(main()))
