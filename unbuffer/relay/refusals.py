"""What is noted of a client where no exchange exists."""

import time
from typing import TYPE_CHECKING

from unbuffer.http.headers import Peer
from unbuffer.http.request import shown_path
from unbuffer.outcome import Outcome
from unbuffer.record import Record

if TYPE_CHECKING:
    from unbuffer.relay.plane import Plane
    from unbuffer.relay.request_reader import RequestReader


def note(
    plane: "Plane",
    peer: Peer,
    since: float,
    outcome: Outcome,
    status: int,
    detail: str,
    reader: "RequestReader | None" = None,
) -> None:
    """Count and log what never became an exchange.

    since: when it began; 0.0 = just now. status: of the answer; 0 = none. reader: what has come of a request's head.
    """
    now = time.monotonic()
    method, path = (reader.method, shown_path(reader.target)) if reader else (b"", "")
    record = Record(since or now, method.decode("ascii"), path, "", peer.address or "unix", "default")
    record.outcome, record.status, record.detail, record.ended = outcome, status, detail, now
    totals = plane.totals
    if status:
        totals.requests["default", "_OTHER", status] += 1
    totals.fold(record, totals.of("default", "plain"))
    plane.on_record(record)
