"""What one stream measured: marks, counts and its outcome, in plain numbers.

The relay writes a record, observers read it. No I/O, no clock of its own, no metrics library.
"""

from typing import Final

from unbuffer.judgement import Judgement
from unbuffer.outcome import Outcome
from unbuffer.presence import Presence
from unbuffer.rhythm import Rhythm
from unbuffer.timeline import Timeline

METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"))
"""The registered methods that have a label of their own."""

OTHER_METHOD: Final = "_OTHER"
"""The label of all others, as OpenTelemetry has it, and where no request was read."""

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
        "judgement",
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
        "presence",
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
        "whole",
    )

    def __init__(self, started: float, method: str, path: str, version: str, client: str, route: str) -> None:
        self.started = started
        self.method = method
        self.path = path
        """Without the query: credentials travel there."""
        self.version = version
        """Of the request: "2", "1.1" or "1.0"."""
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
        self.whole = False
        """Whether it is text of a known length, and no stored document, whose head took long: perhaps a stream that
        somebody held until he knew its length."""
        self.last_word = UNKNOWN
        """What the end of a stream that ended well was found to say: one of the constants above."""
        self.judgement: Judgement | None = None
        """How a stream arrived from the upstream; found at its end, None before."""
        self.presence: Presence | None = None
        """Of a resumable stream, or of a request that came back to one."""
        self.trace = ""
        """The trace id of `traceparent`, 32 hex digits."""
        self.parent = ""
        """The id of its span and its flags, such as `b7ad6b7169203331-01`."""

    @property
    def method_label(self) -> str:
        """The method as a label value: the registered ones by name, the rest as OTHER_METHOD."""
        return self.method if self.method in METHODS else OTHER_METHOD
