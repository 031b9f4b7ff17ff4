"""What is refused, before it is a stream or before the upstream sees it, and how that is answered, counted and logged;
and the answer of a stream that failed before its head."""

import time
from dataclasses import dataclass
from typing import Final

from unbuffer.http.cors import answer_fields, is_preflight, preflight_fields
from unbuffer.http.credentials import challenge
from unbuffer.http.headers import Peer, own_answer
from unbuffer.http.request import BadRequest, RequestHead, accepts_events, shown_path
from unbuffer.outcome import Outcome
from unbuffer.record import OTHER_METHOD, Record
from unbuffer.relay.exchange import Exchange
from unbuffer.relay.plane import Plane
from unbuffer.relay.policy import Policy
from unbuffer.relay.request_reader import RequestReader
from unbuffer.totals import BAD_REQUEST, BODY_TOO_LARGE, DEFAULT_ROUTE, TOO_MANY_STREAMS, UNAUTHORIZED

REFUSALS = 64
"""Connections beyond limits.connections at a time up to which one more gets an answer. Each holds a descriptor until
its client has read: in a flood the rest is reset, or the streams would have none left."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """reason: as `unbuffer_rejected_requests_total` has it. status: of the answer; 0 = as the outcome has it."""

    reason: str
    outcome: Outcome
    detail: str
    status: int = 0


LARGE_BODY: Final = Refusal(BODY_TOO_LARGE, Outcome.REQUEST_TOO_LARGE, "the request body exceeds limits.body")
_STREAMS: Final = Refusal(TOO_MANY_STREAMS, Outcome.REJECTED, "the limit limits.streams is reached")

_HEALTH_PATHS: Final[tuple[bytes, ...]] = (b"/livez", b"/readyz")

_RESTARTING: Final[tuple[Outcome, ...]] = (
    Outcome.UPSTREAM_REFUSED,
    Outcome.UPSTREAM_UNREACHABLE,
    Outcome.UPSTREAM_DNS_ERROR,
    Outcome.CONNECT_TIMEOUT,
    Outcome.UPSTREAM_DISCONNECT,
    Outcome.DRAINING,
)
"""What a restart of the application, of its container or of unbuffer looks like from here. Without unbuffer the client
would see a connection that is refused or breaks."""

_OUTCOMES = {
    401: Outcome.UNAUTHORIZED,
    414: Outcome.REQUEST_TOO_LARGE,
    431: Outcome.REQUEST_TOO_LARGE,
}


def admission(plane: Plane, policy: Policy, request: RequestHead) -> Refusal | None:
    """Why a request may not go up; None = it may. Its stream is counted already."""
    if policy.guard is not None:
        try:
            policy.guard.admit(request, is_preflight(request, plane.origins))
        except BadRequest as error:
            return of_bad_request(error)
    if policy.body_limit and request.framing > policy.body_limit:
        return LARGE_BODY
    limit = plane.settings.limits.streams
    if limit and plane.totals.streams > limit:
        return _STREAMS
    return None


def asks_for_health(request: RequestHead) -> bool:
    """Whether the request is a health check, which is no stream: it is answered, neither counted nor logged."""
    target = request.target
    if not any(target.startswith(path) for path in _HEALTH_PATHS):
        return False  # as nearly all
    return target.partition(b"?")[0] in _HEALTH_PATHS and request.method in (b"GET", b"HEAD") and request.framing == 0


def of_bad_request(error: BadRequest) -> Refusal:
    """What cannot be read, or may not be answered."""
    outcome = _OUTCOMES.get(error.status, Outcome.REQUEST_MALFORMED)
    reason = UNAUTHORIZED if outcome is Outcome.UNAUTHORIZED else BAD_REQUEST
    return Refusal(reason, outcome, str(error), error.status)


def answer(plane: Plane, status: int, outcome: Outcome, detail: str, head_only: bool) -> bytes:
    """The answer where no exchange exists; the connection ends after it."""
    text = plane.told(outcome, detail)
    return own_answer(status, outcome.value.error, text, True, _fields_of(status, detail), head_only)


def failure(plane: Plane, exchange: Exchange, outcome: Outcome, status: int, close: bool) -> bytes:
    """The answer to a request whose exchange failed before a head went out, which is counted with it."""
    record, request = exchange.record, exchange.request
    extra = _fields_of(status, record.detail) + answer_fields(request, plane.origins)
    if status >= 500 and is_preflight(request, plane.origins):
        # It lets the request itself come, which gets this status then.
        status = 200
        extra += preflight_fields(request)
    record.status = status
    plane.totals.requests[record.route, record.method_label, record.status] += 1
    text = plane.told(outcome, record.detail)
    return own_answer(status, outcome.value.error, text, close, extra, record.method == "HEAD")


def breaks(exchange: Exchange, outcome: Outcome) -> bool:
    """Whether the connection breaks in place of a failure's answer, as it would without unbuffer while an application
    restarts: EventSource, and what is like it, comes back then, and sometimes never after an answer such as 503."""
    request = exchange.request
    return (
        outcome in _RESTARTING
        and bool(exchange.plane.settings.upstream.wait_streams)
        and request.method == b"GET"
        and accepts_events(request.fields)
    )


def _fields_of(status: int, detail: str) -> bytes:
    """Fields that an own answer has beside the usual ones."""
    if status == 401:
        return challenge(invalid=bool(detail))
    return b"Retry-After: 1\r\n" if status == 503 else b""


def note(
    plane: Plane,
    peer: Peer,
    since: float,
    outcome: Outcome,
    status: int,
    detail: str,
    reader: RequestReader | None = None,
) -> None:
    """Count and log what never became an exchange.

    since: when it began; 0.0 = just now. status: of the answer; 0 = none. reader: what has come of a request's head.
    """
    now = time.monotonic()
    method, path = (reader.method, shown_path(reader.target)) if reader else (b"", "")
    record = Record(since or now, method.decode("ascii"), path, "", peer.address or "unix", DEFAULT_ROUTE)
    record.outcome, record.status, record.detail, record.ended = outcome, status, detail, now
    totals = plane.totals
    if status:
        totals.requests[DEFAULT_ROUTE, OTHER_METHOD, status] += 1
    totals.fold(record, totals.of(DEFAULT_ROUTE, "plain"))
    plane.on_record(record)
