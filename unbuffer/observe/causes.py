"""Why a stream came collected: the likeliest causes first, by what its head says and by what other streams do."""

from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Final

from unbuffer.judgement import Judgement, Verdict
from unbuffer.observe.verdict import NOTICED
from unbuffer.record import Record
from unbuffer.totals import Totals

MOST_CAUSES: Final = 3
"""Causes that are named: whoever has tried three looks for himself."""


class Cause(StrEnum):
    """What collects a stream before unbuffer, as the log says it."""

    APPLICATION_SERVER = "application_server"
    PROXY = "proxy"
    COMPRESSION = "compression"
    FIRST_ITEM = "first_item"
    BLOCKING_CALL = "blocking_call"
    HOP_OR_APPLICATION = "hop_or_application"
    MIDDLEWARE = "middleware"
    MADE_AT_ONCE = "made_at_once"
    BLOCK_SIZE = "block_size"
    TIMER = "timer"


REMEDIES: Final = {
    Cause.APPLICATION_SERVER: (
        "The application server keeps the head until the first piece of the body: servers of WSGI and gunicorn's own "
        "asgi worker do so for every response, granian for all but event-streams. Serve with uvicorn or hypercorn "
        "(gunicorn: -k uvicorn_worker.UvicornWorker), or send a first piece at once, such as an SSE comment."
    ),
    Cause.PROXY: (
        "A proxy or CDN stands between unbuffer and the application and collects: turn its buffering and compression "
        "off for streams, or put unbuffer in front of it."
    ),
    Cause.COMPRESSION: (
        "A compressing middleware. Starlette's GZipMiddleware keeps the head until the first piece of the body, for "
        "clients that ask for identity too; others keep output until they have a block. Leave streams out of it, or "
        "send them as text/event-stream, which Starlette's lets through."
    ),
    Cause.FIRST_ITEM: (
        "The application waits for the first item before it begins the response. Return the StreamingResponse at "
        "once, and wait for the first item inside the generator."
    ),
    Cause.BLOCKING_CALL: (
        "A blocking call in asynchronous code, or a server that takes one request at a time: others wait meanwhile. "
        "Await instead, or make it a plain generator, which runs in a thread; more workers or threads for the server."
    ),
    Cause.HOP_OR_APPLICATION: (
        "A hop between unbuffer and the application that leaves no trace (HAProxy, Traefik, lighttpd, Apache), or the "
        "application, its server or a middleware: `unbuffer check` of the upstream's URL, with `--direct` and the "
        "application's own, says which."
    ),
    Cause.MIDDLEWARE: "A middleware around several routes reads the whole response before it sends any of it.",
    Cause.MADE_AT_ONCE: "The application makes all its events in one go, at the end: send each as it is made.",
    Cause.BLOCK_SIZE: (
        "A buffer of this size (4, 8, 16 or 64 KiB are usual) in a compressing middleware or a file-like wrapper: "
        "flush after each event."
    ),
    Cause.TIMER: "A timer sends what has come since it last did: shorten its interval, or flush after each event.",
}
"""What to change, by cause."""

_PROXIES: Final = (
    b"nginx", b"openresty", b"envoy", b"istio-envoy", b"caddy", b"apache", b"traefik", b"varnish", b"haproxy",
    b"cloudflare", b"cloudfront", b"google frontend", b"awselb", b"akamai",
)  # fmt: skip
"""How the Server field of what is no application server begins."""


_PROMPT: Final = b"uvicorn", b"hypercorn"
"""Servers that send a head as soon as they have it."""

_LATE: Final = b"gunicorn", b"waitress"
"""Servers that keep it: by WSGI it goes with the first piece (PEP 3333), and gunicorn's asgi worker does so, too."""


def note(record: Record, verdict: Verdict, totals: Totals) -> None:
    """Remember what this stream tells of those that come after it on the same way."""
    key = record.route, record.kind
    if verdict is Verdict.HEADERS_WITHHELD:
        totals.withheld[key] = True
    elif record.first_at - record.head_at >= NOTICED:
        totals.withheld[key] = False
    if verdict is Verdict.STREAMED:
        totals.collected[key] = False
    elif verdict in (Verdict.LUMP, Verdict.BURSTS, Verdict.FIRST_BYTES_HELD):
        totals.collected[key] = True


def explained(judgement: Judgement | None, record: Record, totals: Totals, sure: bool = False) -> Judgement | None:
    """The judgement with its causes, the likeliest first, and how sure it is; unchanged where nothing was collected."""
    if judgement is None or not judgement.finding:
        return judgement
    match judgement.verdict:
        case Verdict.HEADERS_WITHHELD:
            found = _of_a_withheld_head(record, totals)
        case Verdict.LUMP:
            found = _of_a_lump(record, totals)
        case Verdict.BURSTS:
            found = _of_bursts(record, judgement.seen)
        case Verdict.FIRST_BYTES_HELD | Verdict.WHOLE:
            found = _where_evidence_ends(record)
        case _:  # a blocked loop
            found = iter((Cause.BLOCKING_CALL,))
    # Each at its first place.
    return replace(judgement, causes=tuple(dict.fromkeys(found))[:MOST_CAUSES], sure=sure)


def _others(seen: dict[tuple[str, str], bool], record: Record, events: bool | None = None) -> list[bool]:
    """What was seen last of the other routes and kinds. events: of event-streams alone, or of all else alone."""
    own = record.route, record.kind
    return [
        value for key, value in list(seen.items()) if key != own and (events is None or (key[1] == "sse") is events)
    ]


def _compressed(record: Record) -> bool:
    """Whether a compressor has had it in hand: it says so in Vary even where it leaves the body as it is."""
    return record.varies or bool(record.decoded)


def _of_a_withheld_head(record: Record, totals: Totals) -> Iterator[Cause]:
    events = record.kind == "sse"
    server = record.server.lower()
    alike, all_others = _others(totals.withheld, record, events), _others(totals.withheld, record)
    if server.startswith(_LATE) or (server.startswith(b"granian") and not events):
        yield Cause.APPLICATION_SERVER
    if server.startswith(_PROXIES):
        yield Cause.PROXY
    if not events and _compressed(record):
        yield Cause.COMPRESSION
    if False in alike:
        # The same way let others through: what waits is this route's own.
        yield Cause.FIRST_ITEM
        return
    if not events and False in _others(totals.withheld, record, True):
        # It is event-streams that come through.
        yield Cause.COMPRESSION
    if all_others and False not in all_others:
        yield Cause.APPLICATION_SERVER
    if not server.startswith(_PROMPT) and not (events and server.startswith(b"granian")):
        yield Cause.HOP_OR_APPLICATION
    yield Cause.FIRST_ITEM
    if not events:
        yield Cause.COMPRESSION
    yield Cause.APPLICATION_SERVER
    yield Cause.HOP_OR_APPLICATION


def _of_a_lump(record: Record, totals: Totals) -> Iterator[Cause]:
    alike = _others(totals.collected, record)
    yield from _of_the_head(record)
    if alike and False not in alike:
        yield Cause.HOP_OR_APPLICATION
        yield Cause.MIDDLEWARE
    elif False in alike:
        # The same way lets others through: what holds is this route's own.
        yield Cause.MADE_AT_ONCE
        yield Cause.MIDDLEWARE
    yield Cause.HOP_OR_APPLICATION
    yield Cause.MIDDLEWARE
    yield Cause.COMPRESSION


def _of_bursts(record: Record, seen: str) -> Iterator[Cause]:
    yield from _of_the_head(record)
    yield Cause.BLOCK_SIZE if "bytes" in seen else Cause.TIMER
    yield Cause.HOP_OR_APPLICATION
    yield Cause.COMPRESSION


def _where_evidence_ends(record: Record) -> Iterator[Cause]:
    yield from _of_the_head(record)
    yield Cause.HOP_OR_APPLICATION
    yield Cause.COMPRESSION


def _of_the_head(record: Record) -> Iterator[Cause]:
    """Whoever has left his name there."""
    if record.server.lower().startswith(_PROXIES):
        yield Cause.PROXY
    if _compressed(record):
        yield Cause.COMPRESSION


def table() -> str:
    """The causes for the documentation."""
    rows = (f"| `{cause.value}` | {remedy} |\n" for cause, remedy in REMEDIES.items())
    return "| cause | what to do |\n|---|---|\n" + "".join(rows)


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201
