"""What the process uses, under the names of OpenTelemetry's semantic conventions."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

Usage = tuple[str, str, Literal["counter", "up_down"], list[tuple[dict[str, str | int], float]]]


def usage() -> list[Usage]:
    """Name, unit, kind and values by attributes of each metric. Memory and files where /proc tells of them."""
    return [*_cpu(), *_memory(), *_files()]


def _cpu() -> Iterator[Usage]:
    spent = os.times()
    modes = {"user": spent.user, "system": spent.system}
    yield "process.cpu.time", "s", "counter", [({"cpu.mode": mode}, seconds) for mode, seconds in modes.items()]


def _memory() -> Iterator[Usage]:
    try:
        _, resident, *_ = Path("/proc/self/statm").read_text().split()
    except OSError:
        return
    yield "process.memory.usage", "By", "up_down", [({}, int(resident) * os.sysconf("SC_PAGE_SIZE"))]


def _files() -> Iterator[Usage]:
    try:
        count = len(os.listdir("/proc/self/fd"))
    except OSError:
        return
    yield "process.unix.file_descriptor.count", "{file_descriptor}", "up_down", [({}, count)]
