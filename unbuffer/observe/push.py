"""The metrics on their way to one collector, every so often: for where nobody scrapes.

Imported only where metrics.otlp asks for it: whoever has no use for it needs no OpenTelemetry and pays nothing.
"""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from operator import sub
from typing import Literal, cast

from opentelemetry.exporter.otlp.proto.http import metric_exporter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramPoints
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from unbuffer import __version__
from unbuffer.histogram import Histogram
from unbuffer.observe.complaints import Complaints
from unbuffer.observe.family import Family, Snapshot
from unbuffer.observe.metrics import FAMILIES
from unbuffer.observe.process_usage import usage
from unbuffer.observe.request_durations import Request, RequestDurations
from unbuffer.observe.resource import endpoint, resource

log = logging.getLogger("unbuffer")

CLOSE_PATIENCE = 2.0
"""Seconds for the last numbers when the process ends."""

STEP = 8
"""Data points after which the event loop turns: up to 40 µs each, for a histogram."""

_UNITS = (("_seconds", "s"), ("_bytes", "By"))

Labels = dict[str, str | int]
Kind = Literal["counter", "gauge", "up_down", "histogram"]
Values = Iterable[tuple[Labels, float | Histogram]]


class Push:
    """All families of /metrics, the durations of requests and what the process uses, for one collector."""

    def __init__(
        self,
        exporter: MetricExporter,
        snapshot: Callable[[], Awaitable[Snapshot]],
        durations: RequestDurations,
        scheme: str,
        interval: float,
        delta: bool,
    ) -> None:
        """scheme: of the listener, `http` or `https`. interval: seconds. delta: what has come since the last export
        that succeeded, in place of all since the start."""
        self._exporter = exporter
        self._snapshot = snapshot
        self._durations = durations
        self._scheme = scheme
        self._interval = interval
        self._temporality = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
        self._resource = resource()
        self._complaints = Complaints(metric_exporter.__name__, "metrics.otlp: the collector did not take the metrics")
        self._since = time.time_ns()
        self._sent: dict[object, Sequence[float]] = {}
        """With delta: what the collector has, by name and labels."""
        self._now: dict[object, Sequence[float]] = {}
        """With delta: what it has once this export has succeeded."""
        self._running: asyncio.Future[None] | None = None

    @classmethod
    def to(
        cls,
        where: str,
        snapshot: Callable[[], Awaitable[Snapshot]],
        durations: RequestDurations,
        scheme: str,
        interval: float,
        temporality: str,
    ) -> "Push | None":
        """Metrics for the collector at this URL, or for the one that the variables OTEL_... name (`env`); None where
        OTEL_SDK_DISABLED says so.

        interval: seconds; 0 = as OTEL_METRIC_EXPORT_INTERVAL says. Raises ValueError for a wrong variable.
        """
        if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return None
        exporter = metric_exporter.OTLPMetricExporter(endpoint=endpoint(where, "/v1/metrics"))
        return cls(exporter, snapshot, durations, scheme, interval or _interval(), _is_delta(temporality))

    def start(self) -> None:
        """Export from now on. Where the event loop runs."""
        self._running = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self.export()

    async def close(self) -> None:
        """Export what is left, for `CLOSE_PATIENCE` seconds at the most."""
        if self._running is not None:
            self._running.cancel()
        try:
            async with asyncio.timeout(CLOSE_PATIENCE):
                await self.export()
        except TimeoutError:
            why = f": {self._complaints.reason}" if self._complaints.reason else ""
            log.warning("metrics.otlp: the last numbers could not be exported in time%s", why)
        self._exporter.shutdown()

    async def export(self) -> None:
        """Export once. A failure is told of, and that is all."""
        snapshot = await self._snapshot()
        now = time.time_ns()
        self._now = {}
        metrics: list[Metric | None] = []
        for family in FAMILIES:
            metrics.append(await self._metric(*_named(family), family.type, _values(family, snapshot), now))
        durations = ((self._attributes(request), value) for request, value in list(self._durations.histograms.items()))
        metrics.append(await self._metric("http.server.request.duration", "s", "histogram", durations, now))
        # In a thread: with many connections the kernel takes milliseconds to list the open files.
        for name, unit, kind, values in await asyncio.to_thread(usage):
            metrics.append(await self._metric(name, unit, kind, values, now))
        scope = ScopeMetrics(InstrumentationScope("unbuffer", __version__), [one for one in metrics if one], "")
        if await self._send(MetricsData([ResourceMetrics(self._resource, [scope], "")])):
            self._sent = self._now
            if self._temporality is AggregationTemporality.DELTA:
                self._since = now

    async def _metric(self, name: str, unit: str, kind: Kind, values: Values, now: int) -> Metric | None:
        """The data points of one metric; None without any."""
        numbers: list[NumberDataPoint] = []
        histograms: list[HistogramDataPoint] = []
        for position, (labels, value) in enumerate(values, 1):
            if isinstance(value, Histogram):
                histograms.append(self._histogram(name, labels, value, now))
            else:
                if kind == "counter":
                    (value,) = self._news(name, labels, (value,))
                # What is true or false is 1 or 0, but no number to the encoder.
                numbers.append(NumberDataPoint(labels, self._since, now, float(value) if kind == "gauge" else value))
            if position % STEP == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)
        if histograms:
            return Metric(name, "", unit, HistogramPoints(histograms, self._temporality))
        if not numbers:
            return None
        if kind == "gauge":
            return Metric(name, "", unit, Gauge(numbers))
        if kind == "up_down":
            return Metric(name, "", unit, Sum(numbers, AggregationTemporality.CUMULATIVE, is_monotonic=False))
        return Metric(name, "", unit, Sum(numbers, self._temporality, is_monotonic=True))

    def _histogram(self, name: str, labels: Labels, value: Histogram, now: int) -> HistogramDataPoint:
        total, *counts = self._news(name, labels, (value.sum, *value.counts))
        unknown = cast(float, None)  # the format has both as optional; nobody keeps them here
        whole = cast(list[int], counts)
        return HistogramDataPoint(labels, self._since, now, sum(whole), total, whole, value.bounds, unknown, unknown)

    def _news(self, name: str, labels: Labels, values: Sequence[float]) -> Sequence[float]:
        """These, or with delta what of them the collector does not have."""
        if self._temporality is not AggregationTemporality.DELTA:
            return values
        key = (name, *labels.values())
        self._now[key] = values
        before = self._sent.get(key)
        return values if before is None else tuple(map(sub, values, before))

    def _attributes(self, request: Request) -> Labels:
        """What the semantic conventions ask for with http.server.request.duration."""
        found: Labels = {
            "http.request.method": request.method,
            "url.scheme": self._scheme,
            "network.protocol.version": request.version,
        }
        if request.status:
            found["http.response.status_code"] = request.status
        if request.error:
            found["error.type"] = request.error
        found["http.route" if request.route.startswith("/") else "unbuffer.route"] = request.route
        return found

    async def _send(self, data: MetricsData) -> bool:
        """Whether the collector has taken it."""
        loop = asyncio.get_running_loop()
        taken: asyncio.Future[bool] = loop.create_future()

        def tell(result: bool) -> None:
            if not taken.done():
                taken.set_result(result)

        def send() -> None:
            self._complaints.begin()
            try:
                result = self._exporter.export(data) is MetricExportResult.SUCCESS
            except Exception as error:  # whatever an exporter may come up with
                self._complaints.reason, result = str(error), False
            if not result:
                self._complaints.failed()
            if not loop.is_closed():
                loop.call_soon_threadsafe(tell, result)

        # A thread that nobody waits for at the end: the collector may be there and say nothing.
        threading.Thread(target=send, name="metrics", daemon=True).start()
        return await taken


def _named(family: Family) -> tuple[str, str]:
    """Name and unit: what Prometheus makes of them again is the name in /metrics."""
    name = family.name.removesuffix("_total").removeprefix("unbuffer_")
    for suffix, unit in _UNITS:
        if name.endswith(suffix):
            return f"unbuffer.{name.removesuffix(suffix)}", unit
    return f"unbuffer.{name}", ""


def _values(family: Family, snapshot: Snapshot) -> Values:
    return ((dict(zip(family.labels, labels, strict=True)), value) for labels, value in family.read(snapshot))


def _interval() -> float:
    """Seconds, of OTEL_METRIC_EXPORT_INTERVAL (milliseconds), else a minute."""
    text = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "").strip()
    if not text:
        return 60.0
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"OTEL_METRIC_EXPORT_INTERVAL: want milliseconds such as 60000, got {text!r}")
    return int(text) / 1000


def _is_delta(temporality: str) -> bool:
    variable = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
    chosen = os.environ.get(variable, "").strip().lower() or "cumulative" if temporality == "env" else temporality
    if chosen not in ("cumulative", "delta", "lowmemory"):
        raise ValueError(f"{variable}: want cumulative, delta or lowmemory, got {chosen!r}")
    # lowmemory is delta for counters and histograms that are counted as things happen, as all of these are.
    return chosen != "cumulative"
