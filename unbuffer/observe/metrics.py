"""The totals as Prometheus' exposition, made when /metrics is asked for; the only user of prometheus_client.

Every family stands once, in `FAMILIES`. A scrape must not be felt by the streams: it is written in short steps, and the
event loop turns between them.
"""

import asyncio
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate, chain
from operator import attrgetter
from typing import Literal, Protocol

from prometheus_client import CollectorRegistry, GCCollector, Metric, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.samples import Sample

from unbuffer import __version__
from unbuffer.record import Histogram
from unbuffer.totals import Series, Totals

STEP = 32
"""Samples after which the loop turns; the histogram that is under way is finished first. prometheus_client takes 8 µs
for a sample in text and 15 µs in OpenMetrics: a step takes about 1 ms at the most."""

UPSTREAM_PATIENCE = 1.0
"""Seconds that a scrape waits for the upstream. Prometheus gives up after 10 s, often after less."""

REJECT_REASONS = ("connections", "streams", "bad_request", "body_too_large")


class Lifecycle(Protocol):
    """What the exposition asks of the process."""

    @property
    def draining(self) -> bool:
        """Whether the graceful end has begun."""


class Probe(Protocol):
    """What the exposition asks of the upstream's probe."""

    async def check(self) -> tuple[bool, str]:
        """Whether a connection can be opened, and if not, why."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where the values are read: the totals, live, and what was found out for this scrape."""

    totals: Totals
    draining: bool
    upstream_up: bool
    build: tuple[str, ...]
    """The label values of unbuffer_build_info."""


Value = tuple[tuple[str, ...], float | Histogram]
"""Label values in the order of the family's labels, and what they count."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: what it is called, what it says, and where its values come from.

    name: as in a query, with `_total` for a counter.
    read: takes the list of what there is at its start; the loop turns in between, and the tables may grow meanwhile.
    """

    name: str
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    read: Callable[[Snapshot], Iterable[Value]]


class Exposition:
    """The answer to /metrics."""

    def __init__(self, totals: Totals, lifecycle: Lifecycle, probe: Probe) -> None:
        """Must be made where the event loop runs: unbuffer_build_info names it."""
        self._totals = totals
        self._lifecycle = lifecycle
        self._probe = probe
        loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        uvloop = version("uvloop") if loop == "uvloop" else "none"
        self._build = (__version__, platform.python_version(), version("aiohttp"), uvloop)
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        PlatformCollector(registry=self._process)
        GCCollector(registry=self._process)

    async def render(self, accept: str) -> tuple[bytes, str]:
        """The body and its Content-Type: OpenMetrics for an Accept value that asks for it, else text."""
        try:
            encode, content_type = choose_encoder(accept)
        except TypeError:  # its way to say that the version asked for is no number
            encode, content_type = choose_encoder("")
        snapshot = Snapshot(self._totals, self._lifecycle.draining, await self._upstream_up(), self._build)
        # In a thread: with many connections the kernel takes milliseconds to list the open files.
        process = await asyncio.to_thread(list, self._process.collect())
        parts = []
        for step in chain(*(_steps(family, snapshot) for family in FAMILIES), map(_Step, process)):
            parts.append(step.written(encode))
            await asyncio.sleep(0)
        if content_type.startswith("application/openmetrics-text"):
            parts.append(_EOF)
        return b"".join(parts), content_type

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
    total = 0
    for bound, total in zip((*histogram.bounds, "+Inf"), accumulate(histogram.counts), strict=True):
        yield Sample(f"{name}_bucket", {**labels, "le": str(bound)}, total)
    yield Sample(f"{name}_count", labels, total)
    yield Sample(f"{name}_sum", labels, histogram.sum)


def _by_series(read: Callable[[Series], float | Histogram]) -> Callable[[Snapshot], Iterable[Value]]:
    return lambda now: (((one.route, one.kind), read(one)) for one in list(now.totals.series.values()))


def _by_label(read: Callable[[Totals], Mapping[str, float | Histogram]]) -> Callable[[Snapshot], Iterable[Value]]:
    return lambda now: (((label,), value) for label, value in list(read(now.totals).items()))


def _alone(read: Callable[[Snapshot], float | Histogram]) -> Callable[[Snapshot], Iterable[Value]]:
    return lambda now: (((), read(now)),)


FAMILIES = (
    Family(
        "unbuffer_requests_total",
        "counter",
        ("route", "method", "code"),
        "Response heads sent to clients, unbuffer's own answers included.",
        lambda now: (
            ((route, method, str(code)), count) for (route, method, code), count in list(now.totals.requests.items())
        ),
    ),
    Family(
        "unbuffer_streams_total",
        "counter",
        ("route", "kind", "outcome"),
        "Streams that have ended, by how they ended.",
        lambda now: (
            ((one.route, one.kind, outcome.label), count)
            for one in list(now.totals.series.values())
            for outcome, count in list(one.outcomes.items())
        ),
    ),
    Family(
        "unbuffer_active_streams",
        "gauge",
        ("route", "kind"),
        "Streams that have their response head from the upstream and have not ended.",
        _by_series(attrgetter("active")),
    ),
    Family(
        "unbuffer_upstream_ttfb_seconds",
        "histogram",
        ("route", "kind"),
        "Time from the whole request head to the whole response head from the upstream.",
        _by_series(attrgetter("ttfb")),
    ),
    Family(
        "unbuffer_time_to_first_chunk_seconds",
        "histogram",
        ("route", "kind"),
        "Time from the whole request head to the first read of response body bytes from the upstream.",
        _by_series(attrgetter("ttfc")),
    ),
    Family(
        "unbuffer_inter_chunk_gap_seconds",
        "histogram",
        ("route", "kind"),
        "Time from one read of response body bytes from the upstream to the next one of the same stream.",
        _by_series(attrgetter("gaps")),
    ),
    Family(
        "unbuffer_relay_delay_seconds",
        "histogram",
        ("kind",),
        "Time from the read of a chunk to the accepted write of the same bytes: what unbuffer itself adds.",
        _by_label(lambda totals: totals.relay),
    ),
    Family(
        "unbuffer_stream_duration_seconds",
        "histogram",
        ("route", "kind"),
        "Time from the whole request head to the end of the stream.",
        _by_series(attrgetter("durations")),
    ),
    Family(
        "unbuffer_stream_chunks",
        "histogram",
        ("route", "kind"),
        "Reads that brought response body bytes, per stream; streams without a response body are left out.",
        _by_series(attrgetter("chunks")),
    ),
    Family(
        "unbuffer_chunk_size_bytes",
        "histogram",
        ("route", "kind"),
        "Response body bytes per read from the upstream, as the upstream coded them.",
        _by_series(attrgetter("chunk_sizes")),
    ),
    Family(
        "unbuffer_request_body_bytes_total",
        "counter",
        ("route",),
        "Request body bytes relayed to the upstream, added when a stream ends.",
        _by_label(lambda totals: totals.request_bytes),
    ),
    Family(
        "unbuffer_response_body_bytes_total",
        "counter",
        ("route", "kind"),
        "Response body bytes given to clients, decoded, without framing.",
        _by_series(attrgetter("bytes_down")),
    ),
    Family(
        "unbuffer_client_backpressure_seconds_total",
        "counter",
        ("route", "kind"),
        "Time in which the upstream was not read because the client's buffer was full, added when such a stall ends.",
        _by_series(attrgetter("stalled")),
    ),
    Family(
        "unbuffer_client_backpressure_events_total",
        "counter",
        ("route", "kind"),
        "Stalls: how often the upstream was not read because the client's buffer was full.",
        _by_series(attrgetter("stalls")),
    ),
    Family(
        "unbuffer_decoded_responses_total",
        "counter",
        ("route", "encoding", "result"),
        "Responses that came compressed although identity was asked for: "
        "ok = decoded, error = damaged, passed_through = left as they came.",
        lambda now: iter(list(now.totals.decoded.items())),
    ),
    Family(
        "unbuffer_upstream_connects_total",
        "counter",
        ("result",),
        "Attempts to open a connection to the upstream for a request, by result.",
        _by_label(lambda totals: totals.connects),
    ),
    Family(
        "unbuffer_upstream_connect_seconds",
        "histogram",
        (),
        "Time from the start of an attempt to connect to the upstream to the open connection, TLS included.",
        _alone(attrgetter("totals.connect_times")),
    ),
    Family(
        "unbuffer_upstream_connections",
        "gauge",
        ("state",),
        "Open connections to the upstream: active = in use by a stream, idle = at rest.",
        _by_label(lambda totals: {"active": totals.upstream_active, "idle": totals.upstream_idle}),
    ),
    Family(
        "unbuffer_upstream_connection_reuse_total",
        "counter",
        (),
        "Requests sent on an upstream connection that had served one before.",
        _alone(attrgetter("totals.reuses")),
    ),
    Family(
        "unbuffer_upstream_up",
        "gauge",
        (),
        "Whether a connection to the upstream could be opened, tried at most a second before the scrape: 1 = yes.",
        _alone(attrgetter("upstream_up")),
    ),
    Family(
        "unbuffer_client_connections",
        "gauge",
        (),
        "Open connections from clients.",
        _alone(attrgetter("totals.client_connections")),
    ),
    Family(
        "unbuffer_rejected_requests_total",
        "counter",
        ("reason",),
        "Requests and connections that unbuffer refused before the upstream saw them, by reason.",
        _by_label(lambda totals: dict.fromkeys(REJECT_REASONS, 0) | totals.rejected),
    ),
    Family(
        "unbuffer_draining",
        "gauge",
        (),
        "Whether the graceful end has begun: 1 = yes.",
        _alone(attrgetter("draining")),
    ),
    Family(
        "unbuffer_build_info",
        "gauge",
        ("version", "python", "aiohttp", "uvloop"),
        "Always 1; the labels hold the versions, uvloop=none where another event loop runs.",
        lambda now: ((now.build, 1),),
    ),
)
"""Every metric of unbuffer, in the order of the exposition; those of the process and of Python follow."""
