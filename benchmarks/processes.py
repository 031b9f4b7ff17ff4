"""Processes of a measurement: pinned to one core, ended by their own id, their memory read from /proc."""

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import IO


@contextmanager
def running(
    command: list[str],
    core: int,
    stdout: IO[str] | int,
    stderr: IO[str],
    environment: Mapping[str, str],
    stdin: int = DEVNULL,
) -> Iterator[Popen[str]]:
    """Run a command on one core while the block lasts; then it and its children are gone."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # Children inherit it.
    try:
        # A process group of its own: Ctrl-C reaches this program alone, which then ends the others in order.
        process = Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, **environment},
            text=True,
            process_group=0,
        )
    finally:
        os.sched_setaffinity(0, cores)
    try:
        yield process
    finally:
        _end(process)


@contextmanager
def reader(core: int, stderr: IO[str]) -> Iterator[int]:
    """A pipe whose other end somebody reads on this core, as a container's output is; yields its writing end."""
    read, write = os.pipe()
    try:
        with running(["cat"], core, DEVNULL, stderr, {}, stdin=read):
            yield write
    finally:
        os.close(read)
        os.close(write)


def _end(process: Popen[str]) -> None:
    process.terminate()
    with suppress(TimeoutExpired):
        process.wait(5)
    if process.poll() is None:
        for pid in tree(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
    if process.stdout:
        process.stdout.close()


def tree(pid: int) -> list[int]:
    """The process and all that descend from it (nginx: the master and its worker)."""
    pids = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # A thread that ended meanwhile.
            for child in children.read_text().split():
                pids += tree(int(child))
    return pids


def idle(cores: Sequence[int]) -> float:
    """Seconds since boot in which these cores had nothing to do.

    Idle time is measured by the kernel, while busy time in /proc/stat is counted in ticks, which loads that run by
    timers miss.
    """
    ticks = 0
    wanted = {f"cpu{core}" for core in cores}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in wanted:
            _user, _nice, _system, idling, waiting_for_disks = map(int, fields[:5])
            ticks += idling + waiting_for_disks
    return ticks / os.sysconf("SC_CLK_TCK")


def proportional_size(pids: Sequence[int]) -> int:
    """Bytes of memory that these processes hold (PSS: a page that n processes share counts 1/n in each)."""
    return sum(_kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss:") for pid in pids) * 1024


def _kilobytes(path: Path, key: str) -> int:
    lines = (line.split() for line in path.read_text().splitlines())
    return next(int(words[1]) for words in lines if words[0] == key)
