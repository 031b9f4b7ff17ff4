"""What all streams of the process add up to, as plain integers on the path of a chunk.

`observe.exposition` turns these into Prometheus' exposition at scrape time; nothing here knows of it.
"""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Final

from unbuffer.histogram import Exemplar, Histogram, bucket
from unbuffer.outcome import Outcome
from unbuffer.record import MISSING, SAID, UNKNOWN, Record

Bounds = tuple[float, ...]
"""Of a histogram, ascending. (Each constant says so: compiled, one whose length is known is copied with every use.)"""

# Seconds. Time to a first byte: vLLM's boundaries, plus 2 s, a common objective that vLLM lacks.
TTFB_BOUNDS: Final[Bounds] = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0,
)  # fmt: skip
# Gaps: the boundaries of OpenTelemetry's and vLLM's time per output token, with a low end for back-to-back reads.
GAP_BOUNDS: Final[Bounds] = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
)  # fmt: skip
RELAY_BOUNDS: Final[Bounds] = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
)  # fmt: skip
# Durations stand on load balancers' cut-offs (15, 30, 60, 240, 300, 3600 s), so that a step names the culprit.
DURATION_BOUNDS: Final[Bounds] = (
    0.1, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 240.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
)  # fmt: skip
CHUNK_COUNT_BOUNDS: Final[Bounds] = (
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10000.0,
)  # fmt: skip
CHUNK_SIZE_BOUNDS: Final[Bounds] = (64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0)
CONNECT_BOUNDS: Final[Bounds] = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
STORE_BOUNDS: Final[Bounds] = (0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
LAG_BOUNDS: Final[Bounds] = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

DEFAULT_ROUTE: Final = "default"
"""Streams that no route and no template matches."""

OVERFLOW_ROUTE: Final = "_other"
"""The label of the routes beyond metrics.max_routes."""

PROBE_ROUTE: Final = "_probe"
"""The label of probe streams."""

IDENTITY: Final = "identity"
SPACE_BEFORE_COLON: Final = "space_before_colon"
SPACE_AFTER_CHUNK_SIZE: Final = "space_after_chunk_size"
ODDITIES = (IDENTITY, SPACE_BEFORE_COLON, SPACE_AFTER_CHUNK_SIZE)
"""What is tolerated of responses: Transfer-Encoding: identity, `Name : value`, and `28 ` or `28 ; a=b` for a size."""

KINDS = ("sse", "ndjson", "stream", "plain", "upgrade")

CONNECTED: Final = "ok"
CONNECT_REFUSED: Final = "refused"
CONNECT_TIMEOUT: Final = "timeout"
CONNECT_DNS_ERROR: Final = "dns_error"
CONNECT_TLS_ERROR: Final = "tls_error"
CONNECT_OTHER: Final = "other"
CONNECT_RESULTS = (
    CONNECTED, CONNECT_REFUSED, CONNECT_TIMEOUT, CONNECT_DNS_ERROR, CONNECT_TLS_ERROR, CONNECT_OTHER,
)  # fmt: skip
"""What becomes of an attempt to connect to the upstream."""

DECODED: Final = "ok"
DAMAGED: Final = "error"
PASSED_THROUGH: Final = "passed_through"
"""What becomes of a response that comes compressed."""

ONE_STREAM: Final = "stream"
ALL_STREAMS: Final = "upstream"
SILENCE_SCOPES = (ONE_STREAM, ALL_STREAMS)
"""Whose a silence is: that of one stream of the upstream, or of all at once."""

TOO_MANY_CONNECTIONS: Final = "connections"
TOO_MANY_STREAMS: Final = "streams"
BAD_REQUEST: Final = "bad_request"
BODY_TOO_LARGE: Final = "body_too_large"
UNAUTHORIZED: Final = "unauthorized"
BAD_PROXY_HEADER: Final = "proxy_protocol"
NO_OPEN_FILES: Final = "open_files"
HTTP2_FLOOD: Final = "http2_flood"
REJECT_REASONS = (
    TOO_MANY_CONNECTIONS, TOO_MANY_STREAMS, BAD_REQUEST, BODY_TOO_LARGE, UNAUTHORIZED, BAD_PROXY_HEADER, NO_OPEN_FILES,
    HTTP2_FLOOD,
)  # fmt: skip
"""Why a request or connection is refused before the upstream sees it, in the order of the exposition."""


HIT: Final = "hit"
EXPIRED: Final = "expired"
FOREIGN: Final = "foreign"
UNKNOWN_NAME: Final = "unknown"
ATTACH_RESULTS = (HIT, EXPIRED, FOREIGN, UNKNOWN_NAME)
"""What becomes of a request for a resumable stream. The three that fail look alike to whoever asked, and in the log."""

UNREACHABLE: Final = "unreachable"
SLOW: Final = "slow"
FULL: Final = "full"
READ_ONLY: Final = "read_only"
DENIED: Final = "denied"
GONE: Final = "gone"
REFUSED: Final = "refused"
OVERFLOW: Final = "overflow"
FORGOTTEN: Final = "total"
STORE_ERRORS = (UNREACHABLE, SLOW, FULL, READ_ONLY, DENIED, GONE, REFUSED, OVERFLOW, FORGOTTEN)
"""Why a store of resumable streams did not do what it was asked to; overflow: more waits for it than may, total: it has
as much of this process as it may."""


FEW_ENDS: Final = 50
"""Streams that ended well from which on it is known how those of a route and kind end."""

NEARLY_ALL: Final = 0.96
"""Share of them with a last word from which on one without it stands out; it does until HALF of them have none."""

HALF: Final = 0.5

MANY_ENDS: Final = 500
"""Streams after which those before count half: an application may change."""


class Series:
    """The numbers of one (route, kind). A running exchange holds it, so a chunk costs no look-up."""

    __slots__ = (
        "active", "bytes_down", "bytes_read", "chunks", "chunks_by_magnitude", "durations", "ends",
        "expects_last_word", "gaps", "heartbeats", "keepalives", "kind", "last_words", "missing", "outcomes", "relay",
        "route", "stalled", "stalling", "stalls", "ttfb", "ttfc",
    )  # fmt: skip

    def __init__(self, route: str, kind: str, relay: Histogram) -> None:
        self.route = route
        self.kind = kind
        self.active = 0
        self.outcomes: Counter[Outcome] = Counter()
        self.ttfb = Histogram(TTFB_BOUNDS)
        self.ttfc = Histogram(TTFB_BOUNDS)
        self.gaps = Histogram(GAP_BOUNDS)
        self.durations = Histogram(DURATION_BOUNDS)
        self.chunks = Histogram(CHUNK_COUNT_BOUNDS)
        self.chunks_by_magnitude = [0] * 64
        """Chunks of at most 2**n bytes, and more than half of that, by n: found faster than a bucket is."""
        self.relay = relay
        """Shared by all routes of a kind: the delay is unbuffer's own and does not depend on the route."""
        self.bytes_read = 0
        """Of the chunks."""
        self.bytes_down = 0
        self.stalled = 0.0
        """Seconds of the stalls that are over."""
        self.stalling: set[Record] = set()
        """Streams whose client's buffer is full now."""
        self.stalls = 0
        self.heartbeats = 0
        self.keepalives = 0
        self.ends = 0
        """Of late: streams that ended well."""
        self.last_words = 0
        """How many of them had a last word."""
        self.expects_last_word = False
        """Whether a stream here ends with a last word, as a rule."""
        self.missing = 0
        """Streams that ended well without the last word that is the rule here."""

    def count_end(self, record: Record) -> None:
        """One that ended well. Without a last word where that is the rule, it is MISSING."""
        said = record.last_word == SAID
        if self.expects_last_word and not said:
            record.last_word = MISSING
            self.missing += 1
        self.ends += 1
        self.last_words += said
        if self.ends >= FEW_ENDS and self.last_words >= NEARLY_ALL * self.ends:
            self.expects_last_word = True
        elif self.last_words < HALF * self.ends:
            self.expects_last_word = False
        if self.ends == MANY_ENDS:
            self.ends >>= 1
            self.last_words >>= 1

    @property
    def chunk_sizes(self) -> Histogram:
        """Bytes of the chunks; a copy."""
        histogram = Histogram(CHUNK_SIZE_BOUNDS)
        histogram.sum = float(self.bytes_read)
        for magnitude, count in enumerate(self.chunks_by_magnitude):
            histogram.counts[bucket(CHUNK_SIZE_BOUNDS, 1 << magnitude)] += count
        return histogram

    def stalled_by(self, now: float) -> float:
        """Seconds of all stalls, those that last included."""
        return self.stalled + sum(now - record.paused_at for record in self.stalling)


class Totals:
    """All numbers of the process. One instance lives as long as the process, across reloads."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, str], Series] = {}
        self.routes: dict[str, None] = {}
        """Their labels, also before a first stream: of what is counted from 0 on, increase() misses nothing."""
        self.relay = {kind: Histogram(RELAY_BOUNDS) for kind in KINDS}
        self.requests: Counter[tuple[str, str, int]] = Counter()
        """By route, method and status of the head that was sent."""
        self.request_bytes: Counter[str] = Counter()
        """Request body bytes by route."""
        self.rejected = dict.fromkeys(REJECT_REASONS, 0)
        """Requests and connections refused, by reason."""
        self.decoded: Counter[tuple[str, str, str]] = Counter()
        """Responses that came compressed, by route, coding and result."""
        self.oddities = dict.fromkeys(ODDITIES, 0)
        """Responses that were read although they are not quite HTTP/1.1, by what is odd."""
        self.connects = dict.fromkeys(CONNECT_RESULTS, 0)
        self.connect_times = Histogram(CONNECT_BOUNDS)
        self.loop_lag = Histogram(LAG_BOUNDS)
        self.on_time_at = 0.0
        """When the event loop was last seen to keep its time (`observe.loop_lag`); 0.0 = nobody looks."""
        self.upstream_silences = dict.fromkeys(SILENCE_SCOPES, 0)
        """Silences of the upstream, by scope."""
        self.stood_still_at = 0.0
        """When the latest silence of all ended."""
        self.latest: dict[tuple[str, str], str] = {}
        """By route and kind, the verdict on the latest stream."""
        self.verdicts: Counter[tuple[str, str]] = Counter()
        """How streams arrived from the upstream, by route and verdict (`observe.verdict`)."""
        self.withheld: dict[tuple[str, str], bool] = {}
        """By route and kind, whether the latest stream that tells it had its head withheld (`observe.causes`)."""
        self.collected: dict[tuple[str, str], bool] = {}
        """By route and kind, whether the latest stream that tells it came collected."""
        self.resume_attaches = dict.fromkeys(ATTACH_RESULTS, 0)
        """Requests for a resumable stream, by result."""
        self.resume_replayed = 0
        """Events that were sent again, or late, to clients that came back."""
        self.resume_streams = 0
        """Streams that can be come back to now."""
        self.resume_held = 0
        """Bytes that they take."""
        self.resume_store_errors = dict.fromkeys(STORE_ERRORS, 0)
        """What a store of resumable streams could not do, by reason."""
        self.resume_store_delay = Histogram(STORE_BOUNDS)
        """Seconds from when the first event of a batch may have come until the store had it."""
        self.reuses = 0
        """Requests sent on a connection that had served one before."""
        self.client_connections = 0
        self.http2_connections = 0
        """Those of them that speak HTTP/2."""
        self.upstream_active = 0
        self.upstream_idle = 0
        self.streams = 0
        """Exchanges running now."""

    def name_routes(self, labels: Iterable[str]) -> None:
        """These are the routes from now on, and those that have numbers."""
        self.routes = dict.fromkeys((*labels, *(route for route, _ in self.series)))

    def of(self, route: str, kind: str) -> Series:
        """The numbers of this route and kind, made on first use."""
        series = self.series.get((route, kind))
        if series is None:
            series = self.series[route, kind] = Series(route, kind, self.relay[kind])
            self.routes[route] = None
        return series

    def fold(self, record: Record, series: Series) -> None:
        """Add a stream that has ended."""
        assert record.outcome is not None
        outcomes = series.outcomes
        outcomes[record.outcome] = outcomes.get(record.outcome, 0) + 1
        series.durations.observe(record.ended - record.started)
        if record.chunks:
            series.chunks.observe(record.chunks)
        if record.last_word != UNKNOWN:
            series.count_end(record)
        if record.bytes_up:
            self.request_bytes[record.route] += record.bytes_up
        if record.trace:
            self._exemplify(record, series)

    @staticmethod
    def _exemplify(record: Record, series: Series) -> None:
        now, started = time.time(), record.started
        series.durations.exemplify(Exemplar(record.trace, record.ended - started, now))
        if record.head_at:
            series.ttfb.exemplify(Exemplar(record.trace, record.head_at - started, now))
        if record.first_at:
            series.ttfc.exemplify(Exemplar(record.trace, record.first_at - started, now))
