"""Every metric of unbuffer, once: what it is called, what it says, and where in the totals its values are."""

import asyncio
import sys
import time
from collections.abc import Iterable
from operator import attrgetter

from unbuffer.judgement import Verdict
from unbuffer.observe.family import Family, Value, alone, by_label, by_series
from unbuffer.observe.resume_metrics import RESUME_FAMILIES
from unbuffer.outcome import FINE
from unbuffer.totals import KINDS, OVERFLOW_ROUTE, Totals


def _verdicts(totals: Totals) -> Iterable[Value]:
    """Every verdict of every route: a series that begins with 1 hides its first event from rate()."""
    for route in list(totals.routes):
        for verdict in Verdict:
            yield (route, verdict), totals.verdicts[route, verdict]


def _results(totals: Totals) -> Iterable[Value]:
    """Both results of every route, for the same reason."""
    for route in list(totals.routes):
        results = {"ok": 0, "error": 0}
        for kind in KINDS:
            series = totals.series.get((route, kind))
            for outcome, count in series.outcomes.items() if series else ():
                results["ok" if outcome in FINE else "error"] += count
        for result, count in results.items():
            yield (route, result), count


def _overflow(totals: Totals) -> int:
    return sum(sum(one.outcomes.values()) for one in list(totals.series.values()) if one.route == OVERFLOW_ROUTE)


FAMILIES = (
    Family(
        "unbuffer_requests_total",
        "counter",
        ("route", "method", "code"),
        "Response heads sent to clients, unbuffer's own answers included.",
        "at the write of the head",
        lambda now: (
            ((route, method, str(code)), count) for (route, method, code), count in list(now.totals.requests.items())
        ),
    ),
    Family(
        "unbuffer_streams_total",
        "counter",
        ("route", "kind", "outcome"),
        "Streams that have ended, by how they ended.",
        "at the end of the stream",
        lambda now: (
            ((one.route, one.kind, outcome.label), count)
            for one in list(now.totals.series.values())
            for outcome, count in list(one.outcomes.items())
        ),
    ),
    Family(
        "unbuffer_stream_results_total",
        "counter",
        ("route", "result"),
        "Streams that have ended: error = by neither their own end nor the client's doing, ok = all others. Each route "
        "of the settings begins at 0, so an alert sees its first error.",
        "at the end of the stream",
        lambda now: _results(now.totals),
    ),
    Family(
        "unbuffer_active_streams",
        "gauge",
        ("route", "kind"),
        "Streams that have their response head from the upstream and have not ended.",
        "at the scrape",
        by_series(attrgetter("active")),
    ),
    Family(
        "unbuffer_upstream_ttfb_seconds",
        "histogram",
        ("route", "kind"),
        "Time to the response head.",
        "from the whole request head to the whole response head from the upstream",
        by_series(attrgetter("ttfb")),
    ),
    Family(
        "unbuffer_time_to_first_chunk_seconds",
        "histogram",
        ("route", "kind"),
        "Time to the first chunk of the response body. Keep-alives are no chunks.",
        "from the whole request head to the first chunk read from the upstream",
        by_series(attrgetter("ttfc")),
    ),
    Family(
        "unbuffer_inter_chunk_gap_seconds",
        "histogram",
        ("route", "kind"),
        "Time between two chunks of one stream, as they came from the upstream, whatever keep-alives came between.",
        "from one chunk read from the upstream to the next one of the same stream",
        by_series(attrgetter("gaps")),
    ),
    Family(
        "unbuffer_relay_delay_seconds",
        "histogram",
        ("kind",),
        "Time that unbuffer itself adds to a chunk.",
        "from the read of a chunk to the accepted write of the same bytes; keep-alives, and a head or an end "
        "that comes alone, count like chunks; bytes that wait after it for a client that is slow count as backpressure",
        by_label(lambda totals: totals.relay),
    ),
    Family(
        "unbuffer_stream_duration_seconds",
        "histogram",
        ("route", "kind"),
        "How long streams lasted.",
        "from the whole request head to the end of the stream",
        by_series(attrgetter("durations")),
    ),
    Family(
        "unbuffer_stream_chunks",
        "histogram",
        ("route", "kind"),
        "Chunks of a stream: reads that brought response body bytes, keep-alives aside. Streams without are left out.",
        "at the end of the stream",
        by_series(attrgetter("chunks")),
    ),
    Family(
        "unbuffer_chunk_size_bytes",
        "histogram",
        ("route", "kind"),
        "Bytes of a chunk, as the upstream coded them, without framing.",
        "at each chunk read from the upstream",
        by_series(attrgetter("chunk_sizes")),
    ),
    Family(
        "unbuffer_request_body_bytes_total",
        "counter",
        ("route",),
        "Request body bytes relayed to the upstream.",
        "at the end of the stream",
        by_label(lambda totals: totals.request_bytes),
    ),
    Family(
        "unbuffer_response_body_bytes_total",
        "counter",
        ("route", "kind"),
        "Response body bytes given to clients, decoded, without framing and heartbeats.",
        "at each write",
        by_series(attrgetter("bytes_down")),
    ),
    Family(
        "unbuffer_client_backpressure_seconds_total",
        "counter",
        ("route", "kind"),
        "Time in which the upstream was not read because the client's buffer was full.",
        "from the pause to the resumption of reading, or to the scrape while it lasts",
        by_series(lambda one: one.stalled_by(time.monotonic())),
    ),
    Family(
        "unbuffer_client_backpressure_events_total",
        "counter",
        ("route", "kind"),
        "How often the upstream was not read because the client's buffer was full.",
        "at the pause of reading",
        by_series(attrgetter("stalls")),
    ),
    Family(
        "unbuffer_backpressured_streams",
        "gauge",
        ("route", "kind"),
        "Streams whose upstream is not read because the client's buffer is full.",
        "at the scrape",
        by_series(lambda one: len(one.stalling)),
    ),
    Family(
        "unbuffer_heartbeats_total",
        "counter",
        ("route", "kind"),
        "Heartbeats sent into event-streams that were silent for sse.heartbeat, or to open them.",
        "at the write",
        by_series(attrgetter("heartbeats")),
    ),
    Family(
        "unbuffer_upstream_keepalives_total",
        "counter",
        ("route", "kind"),
        "Keep-alives of the application: reads of an event-stream that brought nothing but comments, empty lines, "
        "events without data and those of sse.keepalive_events; of NDJSON, nothing but empty lines.",
        "at each such read from the upstream",
        by_series(attrgetter("keepalives")),
    ),
    Family(
        "unbuffer_stream_verdicts_total",
        "counter",
        ("route", "verdict"),
        "Streams by how they came from the upstream: streamed = as they were made, lump = all at once after a wait, "
        "bursts = in clumps of one size or on one beat, headers_withheld = the head waited for the first chunk, "
        "first_bytes_held = the beginning waited for more bytes, blocked_loop = streams waited for one another, "
        "whole = text of a known length, after a wait: a slow answer or a held one, short = too little to judge.",
        "at the end of the stream",
        lambda now: _verdicts(now.totals),
    ),
    Family(
        "unbuffer_missing_last_words_total",
        "counter",
        ("route", "kind"),
        "Streams that ended cleanly, but without the last word (such as data: [DONE]) of nearly all others of their "
        "route and kind: most likely cut by the application.",
        "at the end of the stream",
        by_series(attrgetter("missing")),
    ),
    Family(
        "unbuffer_upstream_stalls_total",
        "counter",
        ("scope",),
        "Silences of at least 1 s inside response bodies: stream = of one, upstream = of those that were speaking, "
        "together, as a blocked event loop makes them.",
        "at the chunk, or the end, that breaks the silence",
        # The name is public; a stall in all else here waits for a reader.
        by_label(lambda totals: totals.upstream_silences),
    ),
    Family(
        "unbuffer_decoded_responses_total",
        "counter",
        ("route", "encoding", "result"),
        "Responses that came compressed although identity was asked for: "
        "ok = decoded, error = damaged, passed_through = left as they came, as complete files are.",
        "at the end of the body; what is passed through, at its response head",
        lambda now: iter(list(now.totals.decoded.items())),
    ),
    Family(
        "unbuffer_upstream_connects_total",
        "counter",
        ("result",),
        "Attempts to open a connection to the upstream for a request, by result.",
        "at the end of the attempt",
        by_label(lambda totals: totals.connects),
    ),
    Family(
        "unbuffer_upstream_connect_seconds",
        "histogram",
        (),
        "Time to open a connection to the upstream, TLS included.",
        "from the start of an attempt that succeeds to the open connection",
        alone(attrgetter("totals.connect_times")),
    ),
    Family(
        "unbuffer_upstream_connections",
        "gauge",
        ("state",),
        "Open connections to the upstream: active = in use by a stream, idle = at rest.",
        "at the scrape",
        by_label(lambda totals: {"active": totals.upstream_active, "idle": totals.upstream_idle}),
    ),
    Family(
        "unbuffer_upstream_connection_reuse_total",
        "counter",
        (),
        "Requests sent on an upstream connection that had served one before.",
        "at the write of the request head",
        alone(attrgetter("totals.reuses")),
    ),
    Family(
        "unbuffer_upstream_up",
        "gauge",
        (),
        "Whether a connection to the upstream could be opened: 1 = yes.",
        "at the scrape, or up to a second before",
        alone(attrgetter("upstream_up")),
    ),
    Family(
        "unbuffer_client_connections",
        "gauge",
        (),
        "Open connections from clients.",
        "at the scrape",
        alone(attrgetter("totals.client_connections")),
    ),
    Family(
        "unbuffer_http2_connections",
        "gauge",
        (),
        "Those of them that speak HTTP/2.",
        "at the scrape",
        alone(attrgetter("totals.http2_connections")),
    ),
    Family(
        "unbuffer_rejected_requests_total",
        "counter",
        ("reason",),
        "Requests and connections that unbuffer refused before the upstream saw them, by reason.",
        "at the refusal",
        by_label(lambda totals: totals.rejected),
    ),
    Family(
        "unbuffer_upstream_oddities_total",
        "counter",
        ("oddity",),
        "Responses that are not quite HTTP/1.1 and were relayed: identity = Transfer-Encoding: identity, "
        "space_before_colon = `Name : value`, of a trailer as well, space_after_chunk_size = `28 ` or `28 ; a=b`.",
        "at the response head, the chunk, or the trailers",
        by_label(lambda totals: totals.oddities),
    ),
    Family(
        "unbuffer_route_overflow_total",
        "counter",
        (),
        "Streams counted under the route _other because metrics.max_routes leaves their own no label.",
        "at the end of the stream",
        lambda now: (((), _overflow(now.totals)),),
    ),
    *RESUME_FAMILIES,
    Family(
        "unbuffer_event_loop_lag_seconds",
        "histogram",
        (),
        "How late a timer fires that is set ten times a second: what everything else waits, too.",
        "from the time it was set for to its call",
        alone(attrgetter("totals.loop_lag")),
    ),
    Family(
        "unbuffer_event_loop_tasks",
        "gauge",
        (),
        "Tasks of the event loop: a few, and one for each connection to the upstream that is being opened.",
        "at the scrape",
        lambda now: (((), len(asyncio.all_tasks())),),
    ),
    Family(
        "unbuffer_write_buffer_bytes",
        "gauge",
        (),
        "Bytes written for clients that the system, or a window of HTTP/2, has not taken yet.",
        "at the scrape",
        alone(attrgetter("buffered")),
    ),
    Family(
        "unbuffer_draining",
        "gauge",
        (),
        "Whether the graceful end has begun: 1 = yes.",
        "at the scrape",
        alone(attrgetter("draining")),
    ),
    Family(
        "unbuffer_config_last_reload_successful",
        "gauge",
        (),
        "Whether the latest attempt to load the settings succeeded: 1 = yes, 0 = those from before stay in force.",
        "at the latest attempt",
        alone(attrgetter("reloads.successful")),
    ),
    Family(
        "unbuffer_config_last_reload_success_timestamp_seconds",
        "gauge",
        (),
        "Time of the latest successful load of the settings, in seconds of the Unix epoch.",
        "at the latest attempt that succeeded",
        alone(attrgetter("reloads.at")),
    ),
    Family(
        "unbuffer_build_info",
        "gauge",
        ("version", "python", "uvloop", "compiled"),
        "Always 1; the labels hold the versions, uvloop=none where another event loop runs, compiled=yes or no.",
        "at the start",
        lambda now: ((now.build, 1),),
    ),
)
"""Every metric of unbuffer, in the order of the exposition; those of the process and of Python follow."""


def table() -> str:
    """The families as a table in Markdown, for docs/metrics.md."""
    lines = ["| metric | type | labels | what it says | measured or counted |", "|---|---|---|---|---|"]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels) or "-"
        lines.append(f"| `{family.name}` | {family.type} | {labels} | {family.help} | {family.span} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
