"""One span of OpenTelemetry for each stream, made from its record at its end and exported in the background.

Imported only where tracing.otlp asks for it: whoever has no use for it needs no OpenTelemetry and pays nothing.
"""

import logging
import threading
import time

from msgspec import UNSET
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from unbuffer import __version__
from unbuffer.observe.complaints import Complaints
from unbuffer.observe.request_durations import error_type
from unbuffer.observe.resource import endpoint, resource
from unbuffer.observe.stream_fields import FIELDS
from unbuffer.observe.stream_line import StreamLine
from unbuffer.outcome import LEFT, Outcome
from unbuffer.record import OTHER_METHOD, Record

log = logging.getLogger("unbuffer")

CLOSE_PATIENCE = 2.0
"""Seconds for the spans that are left when the process ends."""

_ATTRIBUTES = [(field.otel, field.value) for field in FIELDS if field.span]
_VALUES = StreamLine("otel")
_READS_VARIABLES = ("opentelemetry.sdk.trace.export", "opentelemetry.sdk.resources")
"""Loggers that tell of a variable with a wrong value, for which a default is taken."""
_STREAMED = ("sse", "ndjson", "stream")
_EVERYDAY = (Outcome.COMPLETED, *LEFT)


class Spans:
    """The spans of all streams, on their way to one collector."""

    def __init__(self, exporter: SpanExporter, scheme: str = "http") -> None:
        """scheme: of the listener, `http` or `https`."""
        self._scheme = scheme
        self._complaints = Complaints(trace_exporter.__name__, "tracing.otlp: the collector did not take the spans")
        self._provider = TracerProvider(resource=resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("unbuffer", __version__)

    @classmethod
    def to(cls, where: str, scheme: str = "http") -> "Spans":
        """Spans for the collector at this URL, or for the one that the variables OTEL_... name (`env`); they say the
        rest."""
        for name in _READS_VARIABLES:
            logging.getLogger(name).addFilter(_without_traceback)
        return cls(trace_exporter.OTLPSpanExporter(endpoint=endpoint(where, "/v1/traces")), scheme)

    def add(self, record: Record) -> None:
        """Take a stream that has ended. On the event loop."""
        if not record.version:
            return  # never became a stream: a connection that was refused, or a head that nobody could read
        # The spans of one trace come from many machines: what counts is the clock on the wall.
        offset = time.time() - time.monotonic()
        template = record.route.startswith("/")
        method = record.method_label
        shown = "HTTP" if method == OTHER_METHOD else method
        span = self._tracer.start_span(
            f"{shown} {record.route}" if template else shown,
            _parent(record),
            SpanKind.SERVER,
            {"http.request.method": method, "url.path": record.path, "url.scheme": self._scheme},
            start_time=int((record.started + offset) * 1e9),
        )
        if span.is_recording():
            line = _VALUES.of(record, "", 0)
            span.set_attributes(
                {name: got for name, value in _ATTRIBUTES if (got := getattr(line, value)) is not UNSET}
            )
            span.set_attribute("unbuffer.route", record.route)
            if template:
                span.set_attribute("http.route", record.route)
            if record.first_at and record.kind in _STREAMED:
                span.set_attribute("gen_ai.response.time_to_first_chunk", record.first_at - record.started)
            if error := error_type(record):
                span.set_attribute("error.type", error)
            if record.outcome not in _EVERYDAY or record.status >= 500:
                span.set_status(StatusCode.ERROR)
        span.end(int((record.ended + offset) * 1e9))

    def close(self) -> None:
        """Export what is left, for `CLOSE_PATIENCE` seconds at the most."""
        self._complaints.begin()
        # A thread of its own: the collector may be there and say nothing.
        closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        closing.start()
        closing.join(CLOSE_PATIENCE)
        if closing.is_alive():
            why = f": {self._complaints.reason}" if self._complaints.reason else ""
            log.warning("tracing.otlp: the last spans could not be exported in time%s", why)


def _without_traceback(record: logging.LogRecord) -> bool:
    """The line says what is wrong; where OpenTelemetry found out helps nobody."""
    record.exc_info = None
    return True


def _parent(record: Record) -> Context:
    """The caller's span, for what `traceparent` says of it; nothing of ours where there is none."""
    if not record.parent:
        return Context()
    span, flags = record.parent.split("-")
    context = SpanContext(int(record.trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(context), Context())
