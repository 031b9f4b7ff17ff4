"""The answer to /metrics: the families and their values in Prometheus' text format or in OpenMetrics.

A scrape must not be felt by the streams: it is written in short steps, and the event loop turns between them.
"""

import asyncio
import platform
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from itertools import accumulate
from typing import Protocol

from unbuffer import __version__
from unbuffer.compiled import YES_OR_NO
from unbuffer.histogram import Histogram
from unbuffer.observe.family import Family, Reloads, Snapshot
from unbuffer.observe.metrics import FAMILIES
from unbuffer.observe.process_families import process_families
from unbuffer.totals import Totals

STEP = 64
"""Lines after which the loop turns; a histogram that is under way is finished first. A line takes 4 µs."""

CONNECTIONS = 256
"""Clients after which the loop turns, while all are asked what waits for them: 0.4 µs each."""

PART = 65536
"""Bytes from which on a part is written: megabytes at once would keep the loop in one system call."""

UPSTREAM_PATIENCE = 1.0
"""Seconds that a scrape waits for the upstream. Prometheus gives up after 10 s, often after less."""

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
"""The two formats. Every name is one that needs no escaping."""


class Lifecycle(Protocol):
    """What the exposition asks of the process."""

    @property
    def draining(self) -> bool:
        """Whether the graceful end has begun."""


class Check(Protocol):
    """What the exposition asks of the check of the upstream."""

    async def check(self) -> tuple[bool, str]:
        """Whether a connection can be opened, and if not, why."""


class Exposition:
    """The answer to /metrics."""

    def __init__(
        self,
        totals: Totals,
        lifecycle: Lifecycle,
        upstream: Check,
        reloads: Reloads,
        buffered: Callable[[], Iterable[int]],
    ) -> None:
        """Must be made where the event loop runs: unbuffer_build_info names it.

        buffered: tells how many bytes wait for each client.
        """
        self._totals = totals
        self._lifecycle = lifecycle
        self._upstream = upstream
        self._reloads = reloads
        self._buffered = buffered
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        uvloop = _version("uvloop") if loop == "uvloop" else "none"
        self._build = (__version__, platform.python_version(), uvloop, YES_OR_NO)

    def render(self, accept: str) -> tuple[AsyncGenerator[bytes, None], str]:
        """The body in parts and its Content-Type: OpenMetrics for an Accept value that asks for it, else text."""
        openmetrics = any(map(_is_openmetrics, accept.split(",")))
        return self._parts(openmetrics), OPENMETRICS if openmetrics else TEXT

    async def _parts(self, openmetrics: bool) -> AsyncGenerator[bytes, None]:
        snapshot = await self.snapshot()
        # In a thread: with many connections the kernel takes milliseconds to list the open files.
        process = await asyncio.to_thread(process_families)
        part = b""
        for family in (*FAMILIES, *process):
            for step in _steps(family, snapshot, openmetrics):
                part += step.encode()
                if len(part) >= PART:
                    yield part
                    part = b""
                await asyncio.sleep(0)
        yield part + b"# EOF\n" if openmetrics else part

    async def snapshot(self) -> Snapshot:
        """Where the families read their values, now."""
        up = await self._upstream_up()
        buffered = await self._all_buffered()
        return Snapshot(self._totals, self._lifecycle.draining, up, buffered, self._reloads, self._build)

    async def _all_buffered(self) -> int:
        total = 0
        for number, size in enumerate(self._buffered()):
            total += size
            if number % CONNECTIONS == 0:
                await asyncio.sleep(0)
        return total

    async def _upstream_up(self) -> bool:
        try:
            async with asyncio.timeout(UPSTREAM_PATIENCE):
                up, _ = await self._upstream.check()
        except TimeoutError:
            return False
        return up


def _is_openmetrics(accepted: str) -> bool:
    """Whether a member of an Accept value is OpenMetrics, of a version that any reader of 1.0 knows."""
    media, *parameters = (part.strip() for part in accepted.split(";"))
    versions = [value for name, _, value in (one.partition("=") for one in parameters) if name == "version"]
    return media == "application/openmetrics-text" and all(one in ("0.0.1", "1.0.0") for one in versions)


def _steps(family: Family, snapshot: Snapshot, openmetrics: bool) -> Iterator[str]:
    """The family in steps. What is counted is read when its step is made, a histogram's numbers all at once."""
    # OpenMetrics announces a counter without the suffix that its samples have.
    name = family.name.removesuffix("_total") if openmetrics else family.name
    lines = [f"# HELP {name} {family.help}\n# TYPE {name} {family.type}\n"]
    for values, value in family.read(snapshot):
        # In the order of their names, as most programs write them, so that a grep for a series finds it.
        labels = sorted(
            f'{label}="{one.translate(_ESCAPES)}"' for label, one in zip(family.labels, values, strict=True)
        )
        if isinstance(value, Histogram):
            lines += _histogram_lines(family.name, labels, value, openmetrics)
        else:
            lines.append(_line(family.name, labels, value))
        if len(lines) >= STEP:
            yield "".join(lines)
            lines.clear()
    yield "".join(lines)


def _histogram_lines(name: str, labels: list[str], histogram: Histogram, openmetrics: bool) -> Iterator[str]:
    total = 0
    before = "".join(f"{one}," for one in labels if one < "le=")
    after = "".join(f",{one}" for one in labels if one > "le=")
    exemplars = (histogram.exemplars or {}) if openmetrics else {}  # the text format knows none
    for index, (bound, total) in enumerate(zip((*histogram.bounds, "+Inf"), accumulate(histogram.counts), strict=True)):
        exemplar = exemplars.get(index)
        told = f' # {{trace_id="{exemplar.trace}"}} {exemplar.value} {exemplar.time}' if exemplar else ""
        yield f'{name}_bucket{{{before}le="{bound}"{after}}} {float(total)}{told}\n'
    yield _line(f"{name}_count", labels, total)
    yield _line(f"{name}_sum", labels, histogram.sum)


def _line(name: str, labels: list[str], value: float) -> str:
    return f"{name}{{{','.join(labels)}}} {float(value)}\n" if labels else f"{name} {float(value)}\n"


_ESCAPES = {ord("\\"): "\\\\", ord("\n"): "\\n", ord('"'): '\\"'}


def _version(library: str) -> str:
    """Of a library that is loaded. (importlib.metadata would know of the others, for 2 MB of memory.)"""
    return getattr(sys.modules.get(library), "__version__", "none")
