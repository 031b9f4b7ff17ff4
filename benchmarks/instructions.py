"""`make bench-check`: instructions of the processor for a request, a chunk and a log line, against recorded figures.

Times need a quiet machine, counts do not: the same build gives the same count to within a fraction of a percent,
whatever else runs. cachegrind counts those of the relay's code, with transports that do nothing; the kernel's share is
not in them. What a count means depends on the build of Python and on the compiler, so the figures of each are kept
apart; a build that has none is measured and told how to add them.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.unwired import Unwired
from unbuffer.compiled import YES_OR_NO
from unbuffer.observe.access_log import AccessLog
from unbuffer.observe.observer import Observer
from unbuffer.observe.recent import Recent
from unbuffer.observe.stream_line import StreamLine, WallClock
from unbuffer.settings.model import SSE, Settings
from unbuffer.settings.resume import Resume

FIGURES = Path(__file__).with_name("instructions.json")

TOLERANCE = 0.03
"""Share by which a count may exceed its figure."""

EVENT = b'data: {"choices":[{"delta":{"content":"token"}}]}\n\n'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024


def _requests(count: int) -> None:
    with Unwired() as relay:
        for _ in range(count):
            _, sent = relay.begin()
            relay.push(ANSWER, sent + 0.01)


def _requests_by_http2(count: int) -> None:
    with Unwired(http2=True) as relay:
        for _ in range(count):
            _, sent = relay.begin()
            relay.push(ANSWER, sent + 0.01)


def _streams(count: int) -> None:
    with Unwired() as relay:
        for _ in range(count):
            relay.play("sse", 0.01, [(0.02, EVENT), (0.04, EVENT), (0.06, EVENT)])


def _chunks(kind: str, data: bytes, http2: bool = False) -> Callable[[int], None]:
    def play(count: int) -> None:
        with Unwired(http2=http2) as relay:
            relay.play(kind, 0.01, [(0.02 + n / 100, data) for n in range(count)])

    return play


def _resumable(count: int) -> None:
    from unbuffer.resume.registry import Registry  # loaded where a route has it, and nowhere else

    settings = Settings(sse=SSE(heartbeat=0.0), resume=Resume(window=60.0))
    with Unwired(settings, resumption=Registry) as relay:
        relay.play("sse", 0.01, [(0.02 + n / 100, EVENT) for n in range(count)])


def _lines(count: int) -> None:
    with Unwired() as relay:
        record = relay.play("sse", 0.01, [(0.02, EVENT)])
    line, clock, lines = StreamLine("otel"), WallClock(), bytearray()
    for _ in range(count):
        line.json(lines, record, clock.at(record.ended), 0)
        lines.clear()


def _ends(count: int) -> None:
    with Unwired() as relay:
        record = relay.play("sse", 0.01, [(0.02, EVENT), (0.04, EVENT), (0.06, EVENT)])
        observer = Observer(relay.totals, AccessLog("off", sys.stdout.buffer), Recent())
        for _ in range(count):
            observer.ended(record)


SCENES: dict[str, tuple[int, Callable[[int], None]]] = {
    "request": (1000, _requests),
    "stream of three events": (500, _streams),
    "chunk of text": (10000, _chunks("stream", b"x" * 64)),
    "event of an event-stream": (10000, _chunks("sse", EVENT)),
    "event of a resumable stream": (10000, _resumable),
    "line of NDJSON": (10000, _chunks("ndjson", b'{"token":"token"}\n')),
    "chunk of 64 KiB": (1000, _chunks("stream", b"x" * 65536)),
    "request by HTTP/2": (200, _requests_by_http2),
    "event by HTTP/2": (5000, _chunks("sse", EVENT, http2=True)),
    "chunk of 64 KiB by HTTP/2": (1000, _chunks("stream", b"x" * 65536, http2=True)),
    "verdict on a stream": (5000, _ends),
    "log line": (5000, _lines),
}
"""What is counted, and how often it is done for that."""


def main() -> int:
    """Print the counts; returns 1 if one is above its figure, 2 if nothing can be counted here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.instructions", description=__doc__)
    parser.add_argument("--figures", type=Path, default=FIGURES, metavar="FILE")
    parser.add_argument("--record", action="store_true", help="write the counts as this build's figures")
    parser.add_argument("--play", nargs=2, metavar=("SCENE", "COUNT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.play:
        scene, count = arguments.play
        SCENES[scene][1](int(count))
        return 0
    try:
        counts = _counted()
    except FileNotFoundError:
        print("bench-check: valgrind is not installed, nothing was counted", file=sys.stderr)
        return 2
    known: dict[str, dict[str, float]] = json.loads(arguments.figures.read_text())
    if arguments.record:
        known[_build()] = counts
        arguments.figures.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    return _compared(counts, known.get(_build()))


def _counted() -> dict[str, float]:
    """Instructions for one of each scene. Raises FileNotFoundError if valgrind is not there."""
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        nothing = workers.submit(_run, "request", 0)
        whole = {scene: workers.submit(_run, scene, count) for scene, (count, _) in SCENES.items()}
        return {scene: round((whole[scene].result() - nothing.result()) / SCENES[scene][0]) for scene in SCENES}


def _run(scene: str, count: int) -> int:
    """All instructions of a process that plays a scene so often."""
    counter = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
    play = (sys.executable, "-m", "benchmarks.instructions", "--play", scene, str(count))
    done = subprocess.run(
        [*counter, *play], env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=True
    )
    found = re.search(r"I +refs: +([\d,]+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1].replace(",", ""))


def _build() -> str:
    """What a count depends on. The C library copies memory by other instructions on other makes of processors."""
    info = Path("/proc/cpuinfo").read_text()
    vendor = re.search(r"vendor_id\s*: (\S+)", info)
    python = f"Python {platform.python_version()}, {platform.python_compiler()}"
    return f"{python}, {platform.machine()}, {vendor[1] if vendor else 'unknown'}, compiled: {YES_OR_NO}"


def _compared(counts: dict[str, float], figures: dict[str, float] | None) -> int:
    print(f"{_build()}\n\n| | instructions | figure | ratio |\n|---|---:|---:|---:|")
    slower = []
    for scene, count in counts.items():
        figure = figures.get(scene) if figures else None
        print(f"| {scene} | {count:,.0f} | {figure or '-'} | {count / figure if figure else float('nan'):.3f} |")
        if figure and count > figure * (1 + TOLERANCE):
            slower.append(f"{scene}: {count / figure - 1:+.1%}")
    if figures is None:
        print("\nThere are no figures for this build; --record adds them.")
    for one in slower:
        print(f"\nSLOWER THAN ITS FIGURE: {one}")
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
