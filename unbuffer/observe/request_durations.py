"""How long requests took, told apart as OpenTelemetry's `http.server.request.duration` wants it.

Kept only where metrics are pushed: `/metrics` has durations by route and kind, which needs far fewer time series.
"""

from typing import NamedTuple

from unbuffer.histogram import Histogram
from unbuffer.outcome import Outcome
from unbuffer.record import Record

# The conventions' boundaries, which end at 10 s, and on from there those of unbuffer_stream_duration_seconds.
BOUNDS = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    15.0, 30.0, 60.0, 120.0, 240.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
)  # fmt: skip


class Request(NamedTuple):
    """What requests are told apart by. error: as `error.type` has it; "" = none."""

    method: str
    route: str
    status: int
    error: str
    version: str


class RequestDurations:
    """Seconds from the whole request head to the end of the stream."""

    def __init__(self) -> None:
        self.histograms: dict[Request, Histogram] = {}

    def add(self, record: Record) -> None:
        """Count a stream that has ended. On the event loop."""
        if not record.version:
            return  # never became a stream: a connection that was refused, or a head that nobody could read
        request = Request(record.method_label, record.route, record.status, error_type(record), record.version)
        histogram = self.histograms.get(request)
        if histogram is None:
            histogram = self.histograms[request] = Histogram(BOUNDS)
        histogram.observe(record.ended - record.started)


def error_type(record: Record) -> str:
    """How a stream failed: its outcome, or the status where that alone tells of an error; "" = it did not."""
    if record.outcome is not None and record.outcome is not Outcome.COMPLETED:
        return record.outcome.label
    return str(record.status) if record.status >= 500 else ""
