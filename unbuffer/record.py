"""What one stream measured: marks, counts and its outcome, in plain numbers.

The relay writes a record, observers read it. No I/O, no clock of its own, no metrics library.
"""

from bisect import bisect_left
from collections import deque
from typing import Final, NamedTuple

from unbuffer.outcome import Outcome

_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"))


class Exemplar(NamedTuple):
    """One observation that a trace tells more about. time: seconds of the Unix epoch."""

    trace: str
    value: float
    time: float


class Histogram:
    """Counts of observations in buckets, as plain integers.

    A bound is inclusive (`le`), as Prometheus defines it; the last count is the overflow bucket (`+Inf`).
    exemplars: the latest of each bucket that has one, by the bucket's index; None as long as there is none.
    """

    __slots__ = ("_first", "bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self._first = bounds[0]
        """Where most observations are: found faster than a bucket is."""
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0
        self.exemplars: dict[int, Exemplar] | None = None

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value) if value > self._first else 0] += 1
        self.sum += value

    def exemplify(self, exemplar: Exemplar) -> None:
        """Keep one of the observations that were counted."""
        if self.exemplars is None:
            self.exemplars = {}
        self.exemplars[bisect_left(self.bounds, exemplar.value)] = exemplar


PAUSE: Final = 0.005
"""Seconds between two chunks that part two clumps. What was written at once arrives within a millisecond or two."""

SAMPLE: Final = 8
"""Reads whose events are counted: enough to tell how large an event is."""


class Rhythm:
    """How the chunks of a stream come: in clumps, with pauses between them. Constant in size.

    clumps         runs of chunks without a pause of PAUSE
    pauses         sum of the pauses, seconds; squares: sum of their squares
    alike          clumps that were as big as the one before, within 2 %
    clump          bytes of the latest clump that is complete
    offset         where in the body the current clump began
    aside          bytes of keep-alives, as they were read, which are no part of a clump; given: the same, decoded
    begun          when it began; 0.0 = with the body
    ends           events that ended in the first reads, decoded; 0 where they cannot be told (kind "stream")
    sampled        bytes in which they were counted
    """

    __slots__ = (
        "_kind", "alike", "aside", "begun", "clump", "clumps", "ends", "given", "offset", "pauses", "sampled",
        "squares",
    )  # fmt: skip

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.clumps = 1
        self.pauses = 0.0
        self.squares = 0.0
        self.alike = 0
        self.clump = 0
        self.ends = 0
        self.sampled = 0
        self.offset = 0
        self.begun = 0.0
        self.aside = 0
        self.given = 0

    def pause(self, gap: float, offset: int, now: float) -> None:
        """A clump begins now, behind a pause of `gap` seconds, at this offset in the body."""
        offset -= self.aside
        size = offset - self.offset
        self.offset = offset
        self.begun = now
        self.alike += abs(size - self.clump) <= self.clump >> 6
        self.clump = size
        self.clumps += 1
        self.pauses += gap
        self.squares += gap * gap

    def sample(self, data: bytes) -> None:
        """One of the first reads. An empty line ends an event of an event-stream, every line one of NDJSON."""
        self.sampled += len(data)
        if self._kind == "sse":
            self.ends += data.count(b"\n\n") + data.count(b"\n\r\n")
        elif self._kind == "ndjson":
            self.ends += data.count(b"\n")


class Timeline:
    """The latest chunks of one stream, and what came between them. Constant in size.

    chunks      when each was read from the upstream, when its bytes were accepted for the client, and how many those
                were; of a body that is decoded, what each step of the decoder gave
    count       how many there have been since the beginning, those that are no longer kept as well
    pauses      from when to when the upstream was not read because the client's buffer was full
    heartbeats  when each was sent
    keepalives  when each of the application's own was read
    """

    __slots__ = ("_bytes_down", "chunks", "count", "heartbeats", "keepalives", "pauses")

    def __init__(self, length: int, bytes_down: int) -> None:
        """length: how many chunks are kept, and a tenth of that of the rest. bytes_down: what the client had before."""
        self.chunks: deque[tuple[float, float, int]] = deque(maxlen=length)
        self.count = 0
        self.pauses: deque[tuple[float, float]] = deque(maxlen=length // 10)
        self.heartbeats: deque[float] = deque(maxlen=length // 10)
        self.keepalives: deque[float] = deque(maxlen=length // 10)
        self._bytes_down = bytes_down

    def wrote(self, read_at: float, accepted_at: float, bytes_down: int) -> None:
        """Something was written; `bytes_down` of the body by now. A head and the end of a body are no chunks."""
        size = bytes_down - self._bytes_down
        if size:
            self.chunks.append((read_at, accepted_at, size))
            self.count += 1
            self._bytes_down = bytes_down

    def kept_alive(self, read_at: float, size: int) -> None:
        """A keep-alive of so many bytes was read, and is written next: it is no chunk."""
        self.keepalives.append(read_at)
        self._bytes_down += size


UNKNOWN: Final = 0
"""Nobody looked: no event-stream and no lines of JSON, or one that did not end well."""

SAID: Final = 1
"""A last word of those that `http.last_word` knows."""

UNSAID: Final = 2
"""None, as nearly always on this route, or nothing is known of it yet."""

MISSING: Final = 3
"""None, where nearly all other streams of the route and kind have one."""


class Record:
    """One stream's life in numbers. Times are seconds of `time.monotonic`; 0.0 = has not happened.

    started        request head complete
    sent_at        request sent to the upstream, body and all
    head_at        final response head read from the upstream
    first_at       first chunk read from the upstream
    last_at        latest chunk read from the upstream
    ended          the outcome is known
    chunks         reads that brought response body bytes, keep-alives aside
    keepalives     reads of an event-stream or of NDJSON that brought nothing but keep-alives (`unbuffer.http.content`)
    bytes_up       request body bytes sent to the upstream
    bytes_read     response body bytes read from the upstream, as the upstream coded them
    bytes_down     response body bytes given to the client, without framing
    max_gap        the longest time between two chunks
    stalled        total time the upstream was not read because the client's buffer was full
    stalls         how often that happened
    paused_at      since when it is so now
    heartbeats     what was sent to break the silence of an event-stream, or to open it
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
        "heartbeats",
        "keepalives",
        "kind",
        "last_at",
        "last_word",
        "max_gap",
        "method",
        "outcome",
        "parent",
        "path",
        "paused_at",
        "reused",
        "rhythm",
        "route",
        "sent_at",
        "server",
        "stalled",
        "stalls",
        "started",
        "status",
        "timeline",
        "trace",
        "varies",
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
        self.sent_at = 0.0
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
        self.paused_at = 0.0
        self.heartbeats = 0
        self.keepalives = 0
        self.rhythm: Rhythm | None = None
        """Of streams only; None in what has a known length, and in tunnels."""
        self.timeline: Timeline | None = None
        """Kept while somebody looks at this stream."""
        self.reused = False
        """Whether the upstream connection had served a request before."""
        self.decoded = ""
        """The content codings that were removed."""
        self.server = b""
        """Who says he has made the answer to a stream: its Server field, 64 bytes at most."""
        self.varies = False
        """Whether it says that it depends on Accept-Encoding, as compressors do that have left it alone."""
        self.last_word = UNKNOWN
        """What the end of a stream that ended well was found to say: one of the constants above."""
        self.trace = ""
        """The trace id of `traceparent`, 32 hex digits."""
        self.parent = ""
        """The id of its span and its flags, such as `b7ad6b7169203331-01`."""

    @property
    def method_label(self) -> str:
        """The method as a label value: the registered ones by name, the rest as `_OTHER`, as OpenTelemetry has it."""
        return self.method if self.method in _METHODS else "_OTHER"
