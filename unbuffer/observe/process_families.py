"""What is said of the process and of Python, under the names that every client library of Prometheus has for it."""

import gc
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from unbuffer.observe.family import Family, Value

_UTIME, _STIME, _STARTTIME, _VSIZE, _RSS = 11, 12, 19, 20, 21
"""Places after the name of the program in /proc/PID/stat (proc(5), there from 1 on and three further)."""


def process_families() -> list[Family]:
    """Families whose values were read now. What /proc tells is left out where there is none."""
    return [*_process(), *_python()]


def _process() -> Iterator[Family]:
    try:
        stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        boot = next(line for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime "))
        open_files = len(os.listdir("/proc/self/fd"))
    except (OSError, StopIteration):
        return
    import resource  # not on every system that has no /proc

    ticks = os.sysconf("SC_CLK_TCK")
    numbers = [int(stat[at]) for at in (_UTIME, _STIME, _STARTTIME, _VSIZE, _RSS)]
    utime, stime, started, size, pages = numbers
    yield _alone("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.", size)
    resident = pages * os.sysconf("SC_PAGE_SIZE")
    yield _alone("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.", resident)
    begun = int(boot.split()[1]) + started / ticks
    yield _alone("process_start_time_seconds", "gauge", "Start time of the process since unix epoch in seconds.", begun)
    spent = (utime + stime) / ticks
    yield _alone("process_cpu_seconds_total", "counter", "Total user and system CPU time spent in seconds.", spent)
    yield _alone("process_open_fds", "gauge", "Number of open file descriptors.", open_files)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield _alone("process_max_fds", "gauge", "Maximum number of open file descriptors.", most)


def _python() -> Iterator[Family]:
    major, minor, patch = map(str, sys.version_info[:3])
    values = (platform.python_version(), platform.python_implementation(), major, minor, patch)
    labels = ("version", "implementation", "major", "minor", "patchlevel")
    yield _known("python_info", "gauge", labels, "Python platform information", [(values, 1)])
    stats = [((str(generation),), counts) for generation, counts in enumerate(gc.get_stats())]
    for name, key, text in (
        ("python_gc_objects_collected_total", "collected", "Objects collected during gc"),
        ("python_gc_objects_uncollectable_total", "uncollectable", "Uncollectable objects found during GC"),
        ("python_gc_collections_total", "collections", "Number of times this generation was collected"),
    ):
        yield _known(name, "counter", ("generation",), text, [(label, counts[key]) for label, counts in stats])


def _alone(name: str, kind: Literal["counter", "gauge"], text: str, value: float) -> Family:
    return _known(name, kind, (), text, [((), value)])


def _known(
    name: str, kind: Literal["counter", "gauge"], labels: tuple[str, ...], text: str, values: Iterable[Value]
) -> Family:
    return Family(name, kind, labels, text, "at the scrape", lambda _: values)
