"""What is told of a stream that has ended, with the names that it has in each set of keys; docs/access-log.md shows it.

The access log writes these fields, a span has most of them as attributes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from unbuffer.outcome import Outcome
from unbuffer.record import MISSING, Record

Value = str | int | float | bool | list[str]


class Ended(NamedTuple):
    """One stream, and what its record alone does not say.

    time: of its end, as ISO 8601. lost: lines before this one that could not be written.
    """

    record: Record
    time: str = ""
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its name in each set of keys, empty where the set has none, and where its value comes from.

    read: gives None for what is left out. span: whether it is an attribute of a span too.
    """

    plain: str
    otel: str
    ecs: str
    help: str
    read: Callable[[Ended], Value | None]
    span: bool = True


def ms(seconds: float) -> float:
    """Milliseconds, to the microsecond. (`round` takes four times as long.)"""
    return int(seconds * 1e6 + 0.5) / 1000


# Looked up once: in Python 3.11 an Enum's member costs more than the rest of a field.
_COMPLETED = Outcome.COMPLETED
# A client that leaves is everyday life; the rest is worth a look.
_SEVERITIES = {_COMPLETED: "INFO", Outcome.CLIENT_DISCONNECT: "INFO", Outcome.INTERNAL_ERROR: "ERROR"}
_SUCCESS = {_COMPLETED: "success", Outcome.CLIENT_DISCONNECT: "unknown"}


def _outcome(record: Record) -> Outcome:
    assert record.outcome is not None
    return record.outcome


def _silence(one: Ended) -> float | None:
    record = one.record
    return (
        ms(record.ended - max(record.head_at, record.last_at)) if record.head_at and record.kind != "upgrade" else None
    )


FIELDS = (
    Field("time", "timestamp", "@timestamp", "The end of the stream, in UTC.", lambda one: one.time, span=False),
    Field(
        "",
        "severity_text",
        "",
        "`INFO`; `WARN` for every outcome but `completed` and `client_disconnect`; `ERROR` for `internal_error`.",
        lambda one: _SEVERITIES.get(_outcome(one.record), "WARN"),
        span=False,
    ),
    Field(
        "level",
        "",
        "log.level",
        "The same as `info`, `warn`, `error`.",
        lambda one: _SEVERITIES.get(_outcome(one.record), "WARN").lower(),
        span=False,
    ),
    Field("", "body", "message", "Always `stream`.", lambda one: "stream", span=False),
    Field("", "", "ecs.version", "Of the schema.", lambda one: "8.11.0", span=False),
    Field("", "", "event.dataset", "Always `unbuffer.access`.", lambda one: "unbuffer.access", span=False),
    Field("", "", "event.kind", "Always `event`.", lambda one: "event", span=False),
    Field("", "", "event.category", "Always `web`.", lambda one: ["web"], span=False),
    Field("", "", "event.type", "Always `access`.", lambda one: ["access"], span=False),
    Field(
        "",
        "",
        "event.outcome",
        "`success` for `completed`, `unknown` for `client_disconnect`, else `failure`.",
        lambda one: _SUCCESS.get(_outcome(one.record), "failure"),
        span=False,
    ),
    Field(
        "",
        "",
        "event.duration",
        "From the whole request head to the end, in nanoseconds.",
        lambda one: round((one.record.ended - one.record.started) * 1e9),
        span=False,
    ),
    Field(
        "method",
        "http.request.method",
        "http.request.method",
        "Of the request; `_OTHER` for what is none of HTTP's own: a client may write anything there.",
        lambda one: one.record.method_label if one.record.method else None,
        span=False,
    ),
    Field(
        "route",
        "http.route",
        "unbuffer.route",
        "The route's name, or the template of the path; `default` where there is neither.",
        lambda one: one.record.route,
        span=False,
    ),
    Field(
        "path",
        "url.path",
        "url.path",
        "Without the query: credentials travel there.",
        lambda one: one.record.path or None,
    ),
    Field(
        "status",
        "http.response.status_code",
        "http.response.status_code",
        "Of the answer that went out.",
        lambda one: one.record.status or None,
    ),
    Field(
        "http",
        "network.protocol.version",
        "http.version",
        "Of the request: `1.1` or `1.0`.",
        lambda one: one.record.version or None,
    ),
    Field(
        "client",
        "client.address",
        "client.address",
        "The peer's address, as listen.proxy_protocol names it where that is on; `unix` on a Unix socket.",
        lambda one: one.record.client,
    ),
    Field(
        "",
        "error.type",
        "error.type",
        "The outcome, unless it is `completed`.",
        lambda one: None if one.record.outcome is _COMPLETED else _outcome(one.record).label,
    ),
    Field(
        "trace_id",
        "trace_id",
        "trace.id",
        "Of a valid `traceparent` that the client sent.",
        lambda one: one.record.trace or None,
        span=False,
    ),
    Field(
        "outcome",
        "unbuffer.outcome",
        "unbuffer.outcome",
        "How the stream ended: [outcomes.md](outcomes.md).",
        lambda one: _outcome(one.record).label,
    ),
    Field(
        "kind",
        "unbuffer.kind",
        "unbuffer.kind",
        "Of the response: `sse`, `ndjson`, `stream` (no length stated), `plain` or `upgrade`.",
        lambda one: one.record.kind,
    ),
    Field(
        "verdict",
        "unbuffer.verdict",
        "unbuffer.verdict",
        "How a stream arrived from the upstream: `streamed`, `lump`, `bursts`, `headers_withheld` or `short`.",
        lambda one: one.record.judgement.verdict.value if one.record.judgement else None,
    ),
    Field(
        "seen",
        "unbuffer.seen",
        "unbuffer.seen",
        "What `bursts` were seen by: a size or a beat.",
        lambda one: (one.record.judgement.seen or None) if one.record.judgement else None,
    ),
    Field(
        "cause",
        "unbuffer.cause",
        "unbuffer.cause",
        "What most likely made a `lump`, `bursts` or `headers_withheld`: [metrics.md](metrics.md#causes).",
        lambda one: one.record.judgement.causes[0] if one.record.judgement and one.record.judgement.causes else None,
    ),
    Field(
        "last_word",
        "unbuffer.last_word",
        "unbuffer.last_word",
        "`missing` where the stream ended cleanly, but without the last word of nearly all others of its route: "
        "[outcomes.md](outcomes.md#last-words).",
        lambda one: "missing" if one.record.last_word == MISSING else None,
    ),
    Field(
        "ttfb_ms",
        "unbuffer.ttfb_ms",
        "unbuffer.ttfb_ms",
        "From the whole request head to the whole response head from the upstream.",
        lambda one: ms(one.record.head_at - one.record.started) if one.record.head_at else None,
    ),
    Field(
        "ttfc_ms",
        "unbuffer.ttfc_ms",
        "unbuffer.ttfc_ms",
        "From the whole request head to the first chunk of the response body read from the upstream.",
        lambda one: ms(one.record.first_at - one.record.started) if one.record.first_at else None,
    ),
    Field(
        "duration_ms",
        "unbuffer.duration_ms",
        "unbuffer.duration_ms",
        "From the whole request head to the end.",
        lambda one: ms(one.record.ended - one.record.started),
        span=False,
    ),
    Field(
        "chunks",
        "unbuffer.chunks",
        "unbuffer.chunks",
        "Reads that brought bytes of the response body, keep-alives aside.",
        lambda one: one.record.chunks,
    ),
    Field(
        "bytes_up",
        "unbuffer.bytes_up",
        "http.request.body.bytes",
        "Of the request body, sent to the upstream; of a tunnel, all in this direction.",
        lambda one: one.record.bytes_up,
    ),
    Field(
        "bytes_read",
        "unbuffer.bytes_read",
        "unbuffer.bytes_read",
        "Of the response body, read from the upstream, as the upstream coded them.",
        lambda one: one.record.bytes_read,
    ),
    Field(
        "bytes_down",
        "unbuffer.bytes_down",
        "http.response.body.bytes",
        "Of the response body, given to the client, decoded, without framing and heartbeats.",
        lambda one: one.record.bytes_down,
    ),
    Field(
        "max_gap_ms",
        "unbuffer.max_gap_ms",
        "unbuffer.max_gap_ms",
        "The longest time between two chunks.",
        lambda one: ms(one.record.max_gap),
    ),
    Field(
        "silence_ms",
        "unbuffer.silence_ms",
        "unbuffer.silence_ms",
        "From the last chunk, or the head, to the end: a round number tells of a timeout on the way.",
        _silence,
    ),
    Field(
        "stall_ms",
        "unbuffer.stall_ms",
        "unbuffer.stall_ms",
        "How long the upstream was not read because the client's buffer was full.",
        lambda one: ms(one.record.stalled),
    ),
    Field(
        "heartbeats",
        "unbuffer.heartbeats",
        "unbuffer.heartbeats",
        "Heartbeats that broke the silence of an event-stream, or opened it.",
        lambda one: one.record.heartbeats or None,
    ),
    Field(
        "keepalives",
        "unbuffer.keepalives",
        "unbuffer.keepalives",
        "Reads that brought nothing but keep-alives of the application.",
        lambda one: one.record.keepalives or None,
    ),
    Field(
        "reused",
        "unbuffer.reused",
        "unbuffer.reused",
        "Whether the upstream's connection had served a request before.",
        lambda one: one.record.reused,
    ),
    Field(
        "decoded",
        "unbuffer.decoded",
        "unbuffer.decoded",
        "The content codings that were removed.",
        lambda one: one.record.decoded or None,
    ),
    Field(
        "detail",
        "unbuffer.detail",
        "event.reason",
        "What exactly happened, where the outcome alone does not say it.",
        # A file name in an error's text may hold bytes that are no characters (surrogateescape).
        lambda one: one.record.detail.encode("utf-8", "backslashreplace").decode("utf-8") or None,
    ),
    Field(
        "lines_lost",
        "unbuffer.lines_lost",
        "unbuffer.lines_lost",
        "Lines before this one that could not be written.",
        lambda one: one.lost or None,
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
