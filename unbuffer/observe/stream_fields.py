"""What is told of a stream that has ended, with the names that it has in each set of keys; docs/access-log.md shows it.

The access log writes these fields, a span has most of them as attributes. `observe.stream_line` makes the values.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name in each set of keys, empty where the set has none.

    value: what `StreamLine` calls it. span: whether it is an attribute of a span too.
    """

    value: str
    plain: str
    otel: str
    ecs: str
    help: str
    span: bool = True


FIELDS = (
    Field(
        "ended",
        "time",
        "timestamp",
        "@timestamp",
        "The end of the stream, in UTC.",
        span=False,
    ),
    Field(
        "severity",
        "",
        "severity_text",
        "",
        "`INFO`; `WARN` for all outcomes but `completed`, `client_disconnect`, `abandoned` and `cancelled`; `ERROR` "
        "for `internal_error`.",
        span=False,
    ),
    Field(
        "level",
        "level",
        "",
        "log.level",
        "The same as `info`, `warn`, `error`.",
        span=False,
    ),
    Field(
        "message",
        "",
        "body",
        "message",
        "Always `stream`.",
        span=False,
    ),
    Field(
        "ecs_version",
        "",
        "",
        "ecs.version",
        "Of the schema.",
        span=False,
    ),
    Field(
        "dataset",
        "",
        "",
        "event.dataset",
        "Always `unbuffer.access`.",
        span=False,
    ),
    Field(
        "event_kind",
        "",
        "",
        "event.kind",
        "Always `event`.",
        span=False,
    ),
    Field(
        "category",
        "",
        "",
        "event.category",
        "Always `web`.",
        span=False,
    ),
    Field(
        "event_type",
        "",
        "",
        "event.type",
        "Always `access`.",
        span=False,
    ),
    Field(
        "success",
        "",
        "",
        "event.outcome",
        "`success` for `completed`, `unknown` for `client_disconnect`, `abandoned` and `cancelled`, else `failure`.",
        span=False,
    ),
    Field(
        "duration_ns",
        "",
        "",
        "event.duration",
        "From the whole request head to the end, in nanoseconds.",
        span=False,
    ),
    Field(
        "method",
        "method",
        "http.request.method",
        "http.request.method",
        "Of the request; `_OTHER` for what is none of HTTP's own: a client may write anything there.",
        span=False,
    ),
    Field(
        "route",
        "route",
        "http.route",
        "unbuffer.route",
        "The route's name, or the template of the path; `default` where there is neither.",
        span=False,
    ),
    Field(
        "path",
        "path",
        "url.path",
        "url.path",
        "Without the query: credentials travel there.",
    ),
    Field(
        "status",
        "status",
        "http.response.status_code",
        "http.response.status_code",
        "Of the answer that went out.",
    ),
    Field(
        "version",
        "http",
        "network.protocol.version",
        "http.version",
        "Of the request: `2`, `1.1` or `1.0`.",
    ),
    Field(
        "client",
        "client",
        "client.address",
        "client.address",
        "The peer's address, as listen.proxy_protocol names it where that is on; `unix` on a Unix socket.",
    ),
    Field(
        "error",
        "",
        "error.type",
        "error.type",
        "The outcome, unless it is `completed`.",
    ),
    Field(
        "trace",
        "trace_id",
        "trace_id",
        "trace.id",
        "Of a valid `traceparent` that the client sent.",
        span=False,
    ),
    Field(
        "outcome",
        "outcome",
        "unbuffer.outcome",
        "unbuffer.outcome",
        "How the stream ended: [outcomes.md](outcomes.md).",
    ),
    Field(
        "kind",
        "kind",
        "unbuffer.kind",
        "unbuffer.kind",
        "Of the response: `sse`, `ndjson`, `stream` (no length stated), `plain` or `upgrade`.",
    ),
    Field(
        "verdict",
        "verdict",
        "unbuffer.verdict",
        "unbuffer.verdict",
        "How a stream arrived from the upstream: `streamed`, `lump`, `bursts`, `headers_withheld`, `first_bytes_held`, "
        "`blocked_loop`, `whole` or `short`.",
    ),
    Field(
        "seen",
        "seen",
        "unbuffer.seen",
        "unbuffer.seen",
        "What the verdict was seen by: a size, a beat, or how long something was held.",
    ),
    Field(
        "cause",
        "cause",
        "unbuffer.cause",
        "unbuffer.cause",
        "What most likely made it so: [metrics.md](metrics.md#causes).",
    ),
    Field(
        "finding",
        "finding",
        "unbuffer.finding",
        "unbuffer.finding",
        "What `unbuffer check` and [lump.md](lump.md) call what the verdict says.",
    ),
    Field(
        "sure",
        "sure",
        "unbuffer.sure",
        "unbuffer.sure",
        "`true` where the stream before it, of the same route and kind, came the same way; else the verdict is likely.",
    ),
    Field(
        "last_word",
        "last_word",
        "unbuffer.last_word",
        "unbuffer.last_word",
        "`missing` where the stream ended cleanly, but without the last word of nearly all others of its route: "
        "[outcomes.md](outcomes.md#last-words).",
    ),
    Field(
        "ttfb",
        "ttfb_ms",
        "unbuffer.ttfb_ms",
        "unbuffer.ttfb_ms",
        "From the whole request head to the whole response head from the upstream.",
    ),
    Field(
        "ttfc",
        "ttfc_ms",
        "unbuffer.ttfc_ms",
        "unbuffer.ttfc_ms",
        "From the whole request head to the first chunk of the response body read from the upstream.",
    ),
    Field(
        "duration",
        "duration_ms",
        "unbuffer.duration_ms",
        "unbuffer.duration_ms",
        "From the whole request head to the end.",
        span=False,
    ),
    Field(
        "chunks",
        "chunks",
        "unbuffer.chunks",
        "unbuffer.chunks",
        "Reads that brought bytes of the response body, keep-alives aside.",
    ),
    Field(
        "bytes_up",
        "bytes_up",
        "unbuffer.bytes_up",
        "http.request.body.bytes",
        "Of the request body, sent to the upstream; of a tunnel, all in this direction.",
    ),
    Field(
        "bytes_read",
        "bytes_read",
        "unbuffer.bytes_read",
        "unbuffer.bytes_read",
        "Of the response body, read from the upstream, as the upstream coded them.",
    ),
    Field(
        "bytes_down",
        "bytes_down",
        "unbuffer.bytes_down",
        "http.response.body.bytes",
        "Of the response body, given to the client, decoded, without framing and heartbeats.",
    ),
    Field(
        "max_gap",
        "max_gap_ms",
        "unbuffer.max_gap_ms",
        "unbuffer.max_gap_ms",
        "The longest time between two chunks.",
    ),
    Field(
        "silence",
        "silence_ms",
        "unbuffer.silence_ms",
        "unbuffer.silence_ms",
        "From the last chunk, or the head, to the end: a round number tells of a timeout on the way.",
    ),
    Field(
        "stall",
        "stall_ms",
        "unbuffer.stall_ms",
        "unbuffer.stall_ms",
        "How long the upstream was not read because the client's buffer was full.",
    ),
    Field(
        "heartbeats",
        "heartbeats",
        "unbuffer.heartbeats",
        "unbuffer.heartbeats",
        "Heartbeats that broke the silence of an event-stream, or opened it.",
    ),
    Field(
        "keepalives",
        "keepalives",
        "unbuffer.keepalives",
        "unbuffer.keepalives",
        "Reads that brought nothing but keep-alives of the application.",
    ),
    Field(
        "resumes",
        "resumes",
        "unbuffer.resumes",
        "unbuffer.resumes",
        "Of a resumable stream: requests that came back to it; there is a line for each of them, too.",
    ),
    Field(
        "replayed",
        "replayed",
        "unbuffer.replayed",
        "unbuffer.replayed",
        "Events that they had missed; on the line of such a request those that it got again.",
    ),
    Field(
        "absent",
        "absent_ms",
        "unbuffer.absent_ms",
        "unbuffer.absent_ms",
        "How long a resumable stream ran without a reader.",
    ),
    Field(
        "reused",
        "reused",
        "unbuffer.reused",
        "unbuffer.reused",
        "Whether the upstream's connection had served a request before.",
    ),
    Field(
        "decoded",
        "decoded",
        "unbuffer.decoded",
        "unbuffer.decoded",
        "The content codings that were removed.",
    ),
    Field(
        "detail",
        "detail",
        "unbuffer.detail",
        "event.reason",
        "What exactly happened, where the outcome alone does not say it.",
    ),
    Field(
        "lines_lost",
        "lines_lost",
        "unbuffer.lines_lost",
        "unbuffer.lines_lost",
        "Lines before this one that could not be written.",
        span=False,
    ),
)
"""Every field, in the order of a line."""


def table() -> str:
    """The fields for the documentation."""
    head = "| plain | otel | ecs | meaning |\n|---|---|---|---|\n"
    names = ((_code(field.plain), _code(field.otel), _code(field.ecs), field.help) for field in FIELDS)
    return head + "".join(f"| {' | '.join(row)} |\n" for row in names)


def _code(name: str) -> str:
    return f"`{name}`" if name else "-"


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201
