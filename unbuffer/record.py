"""What one stream measured: marks, counts and its outcome, in plain numbers.

The relay writes a record, observers read it. No I/O, no clock of its own, no metrics library.
"""

from bisect import bisect_left

from unbuffer.outcome import Outcome

_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"))


class Histogram:
    """Counts of observations in buckets, as plain integers.

    A bound is inclusive (`le`), as Prometheus defines it; the last count is the overflow bucket (`+Inf`).
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Record:
    """One stream's life in numbers. Times are seconds of `time.monotonic`; 0.0 = has not happened.

    started        request head complete
    head_at        final response head read from the upstream
    first_at       first bytes of the response body read from the upstream
    last_at        latest bytes of the response body read from the upstream
    ended          the outcome is known
    chunks         reads that brought response body bytes
    bytes_up       request body bytes sent to the upstream
    bytes_read     response body bytes read from the upstream, as the upstream coded them
    bytes_down     response body bytes given to the client, without framing
    max_gap        the longest time between two chunks
    stalled        total time the upstream was not read because the client's buffer was full
    stalls         how often that happened
    """

    __slots__ = (
        "bytes_down",
        "bytes_read",
        "bytes_up",
        "chunks",
        "client",
        "decoded",
        "detail",
        "ended",
        "first_at",
        "head_at",
        "kind",
        "last_at",
        "max_gap",
        "method",
        "outcome",
        "path",
        "reused",
        "route",
        "stalled",
        "stalls",
        "started",
        "status",
        "trace",
        "version",
    )

    def __init__(self, started: float, method: str, path: str, version: str, client: str, route: str) -> None:
        self.started = started
        self.method = method
        self.path = path
        """Without the query: credentials travel there."""
        self.version = version
        """Of the request: "1.1" or "1.0"."""
        self.client = client
        self.route = route
        self.kind = "plain"
        self.status = 0
        """Of the answer that went out; 0 = none did."""
        self.outcome: Outcome | None = None
        self.detail = ""
        """What exactly happened, where the outcome alone does not say it."""
        self.head_at = 0.0
        self.first_at = 0.0
        self.last_at = 0.0
        self.ended = 0.0
        self.chunks = 0
        self.bytes_up = 0
        self.bytes_read = 0
        self.bytes_down = 0
        self.max_gap = 0.0
        self.stalled = 0.0
        self.stalls = 0
        self.reused = False
        """Whether the upstream connection had served a request before."""
        self.decoded = ""
        """The content codings that were removed."""
        self.trace = ""
        """The trace id of `traceparent`, 32 hex digits."""

    @property
    def method_label(self) -> str:
        """The method as a label value: the registered ones by name, the rest as `_OTHER`, as OpenTelemetry has it."""
        return self.method if self.method in _METHODS else "_OTHER"
