"""The answer to /metrics: the families and their values in Prometheus' text format or in OpenMetrics.

A scrape must not be felt by the streams: it is written in short steps, and the event loop turns between them.
"""

import asyncio
import platform
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import Protocol

from prometheus_client import CollectorRegistry, GCCollector, Metric, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.samples import Exemplar, Sample

from unbuffer import __version__
from unbuffer.compiled import YES_OR_NO
from unbuffer.histogram import Histogram
from unbuffer.observe.family import Family, Reloads, Snapshot
from unbuffer.observe.metrics import FAMILIES
from unbuffer.totals import Totals

STEP = 8
"""Samples after which the loop turns; the histogram that is under way is finished first. prometheus_client takes 5 µs
for a sample in text and 10 µs in OpenMetrics: a step takes up to half a millisecond."""

CONNECTIONS = 256
"""Clients after which the loop turns, while all are asked what waits for them: 0.4 µs each."""

PART = 65536
"""Bytes from which on a part is written: megabytes at once would keep the loop in one system call."""

UPSTREAM_PATIENCE = 1.0
"""Seconds that a scrape waits for the upstream. Prometheus gives up after 10 s, often after less."""


class Lifecycle(Protocol):
    """What the exposition asks of the process."""

    @property
    def draining(self) -> bool:
        """Whether the graceful end has begun."""


class Probe(Protocol):
    """What the exposition asks of the upstream's probe."""

    async def check(self) -> tuple[bool, str]:
        """Whether a connection can be opened, and if not, why."""


class Exposition:
    """The answer to /metrics."""

    def __init__(
        self,
        totals: Totals,
        lifecycle: Lifecycle,
        probe: Probe,
        reloads: Reloads,
        buffered: Callable[[], Iterable[int]],
    ) -> None:
        """Must be made where the event loop runs: unbuffer_build_info names it.

        buffered: tells how many bytes wait for each client.
        """
        self._totals = totals
        self._lifecycle = lifecycle
        self._probe = probe
        self._reloads = reloads
        self._buffered = buffered
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        uvloop = _version("uvloop") if loop == "uvloop" else "none"
        self._build = (__version__, platform.python_version(), _version("aiohttp"), uvloop, YES_OR_NO)
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)

    def render(self, accept: str) -> tuple[AsyncIterator[bytes], str]:
        """The body in parts and its Content-Type: OpenMetrics for an Accept value that asks for it, else text."""
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # its way to say that the version asked for is no number
            encode, content_type = choose_encoder("")
        return self._parts(encode, content_type.startswith("application/openmetrics-text")), content_type

    async def _parts(self, encode: "Callable[[_Step], bytes]", openmetrics: bool) -> AsyncIterator[bytes]:
        snapshot = await self.snapshot()
        # In a thread: with many connections the kernel takes milliseconds to list the open files.
        process = await asyncio.to_thread(list, self._process.collect())
        part = b""
        for step in chain(*(_steps(family, snapshot) for family in FAMILIES), map(_Step, process)):
            part += step.written(encode)
            if len(part) >= PART:
                yield part
                part = b""
            await asyncio.sleep(0)
        yield part + _EOF if openmetrics else part

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
                up, _ = await self._probe.check()
        except TimeoutError:
            return False
        return up


_EOF = b"# EOF\n"


@dataclass(frozen=True, slots=True)
class _Step:
    """Samples of one family, as prometheus_client's encoders take them."""

    metric: Metric
    first: bool = True

    def collect(self) -> Iterable[Metric]:
        return (self.metric,)

    def written(self, encode: "Callable[[_Step], bytes]") -> bytes:
        """The lines of this step; only the first of a family has HELP and TYPE."""
        text = encode(self).removesuffix(_EOF)
        return text if self.first else text.split(b"\n", 2)[2]


def _steps(family: Family, snapshot: Snapshot) -> Iterator[_Step]:
    """The family in steps. What is counted is read when its step is made, a histogram's numbers all at once."""
    # prometheus_client adds the suffix of a counter by itself, where the format wants it.
    name = family.name.removesuffix("_total")
    metric, first = Metric(name, family.help, family.type), True
    for labels, value in family.read(snapshot):
        names = dict(zip(family.labels, labels, strict=True))
        if isinstance(value, Histogram):
            metric.samples += _histogram_samples(name, names, value)
        else:
            metric.samples.append(Sample(family.name, names, value))
        if len(metric.samples) >= STEP:
            yield _Step(metric, first)
            metric, first = Metric(name, family.help, family.type), False
    if first or metric.samples:
        yield _Step(metric, first)


def _histogram_samples(name: str, labels: dict[str, str], histogram: Histogram) -> Iterator[Sample]:
    total, bucket, exemplars = 0, f"{name}_bucket", histogram.exemplars or {}
    for index, (bound, total) in enumerate(zip((*histogram.bounds, "+Inf"), accumulate(histogram.counts), strict=True)):
        exemplar = exemplars.get(index)
        told = Exemplar({"trace_id": exemplar.trace}, exemplar.value, exemplar.time) if exemplar else None
        yield Sample(bucket, {**labels, "le": str(bound)}, total, exemplar=told)
    yield Sample(f"{name}_count", labels, total)
    yield Sample(f"{name}_sum", labels, histogram.sum)


def _version(library: str) -> str:
    """Of a library that is loaded. (importlib.metadata would know of the others, for 2 MB of memory.)"""
    return getattr(sys.modules.get(library), "__version__", "none")
