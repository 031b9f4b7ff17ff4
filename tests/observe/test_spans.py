"""One span for each stream: its times, its place in the trace, what it tells, and that its end never waits."""

import asyncio
import json
import logging
import threading
import time
import uuid

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.observe.collector import Collector
from tests.peers import eventually
from unbuffer.judgement import Judgement, Verdict
from unbuffer.observe import spans as module
from unbuffer.observe.spans import Spans
from unbuffer.observe.stream_line import StreamLine
from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.totals import KINDS

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

pytestmark = pytest.mark.usefixtures("no_foreign_settings")


def a_record(outcome: Outcome = Outcome.COMPLETED, route: str = "/chat/{id}") -> Record:
    """A stream that took two and a half seconds and has just ended."""
    record = Record(time.monotonic() - 2.5, "POST", "/chat/7", "1.1", "192.0.2.1", route)
    record.outcome = outcome
    record.kind = "sse"
    record.status = 200
    record.head_at = record.started + 0.125
    record.first_at = record.started + 0.25
    record.last_at = record.ended = record.started + 2.5
    record.chunks = 7
    record.bytes_up, record.bytes_read, record.bytes_down = 11, 22, 33
    return record


def exported(*records: Record, judgement: Judgement | None = None) -> list[ReadableSpan]:
    """The spans of these streams, as an exporter gets them."""
    exporter = InMemorySpanExporter()
    spans = Spans(exporter)
    for record in records:
        record.judgement = judgement
        spans.add(record)
    spans.close()
    return list(exporter.get_finished_spans())


def test_a_span_lasts_as_long_as_its_stream_on_the_clock_of_the_wall() -> None:
    before = time.time_ns()
    (span,) = exported(a_record())
    assert span.start_time is not None
    assert span.end_time is not None
    assert abs(span.end_time - span.start_time - 2_500_000_000) < 1000
    assert before - 2_600_000_000 < span.start_time < time.time_ns() - 2_400_000_000
    assert span.kind is SpanKind.SERVER


def test_it_is_a_child_of_the_span_that_traceparent_names() -> None:
    record = a_record()
    record.trace, record.parent = TRACE, f"{SPAN}-01"
    (span,) = exported(record)
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == SPAN
    assert span.parent.is_remote
    assert f"{span.context.span_id:016x}" != SPAN


def test_without_one_it_begins_a_trace() -> None:
    spans = exported(a_record(), a_record())
    assert [span.parent for span in spans] == [None, None]
    assert len({span.context.trace_id for span in spans if span.context}) == 2


def test_what_the_caller_does_not_sample_is_not_exported() -> None:
    record = a_record()
    record.trace, record.parent = TRACE, f"{SPAN}-00"
    assert exported(record) == []


def test_the_usual_variables_choose_the_sample_and_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "chat")
    (span,) = exported(a_record())
    assert span.resource.attributes["service.name"] == "chat"
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    assert exported(a_record()) == []


def test_it_is_unbuffer_unless_somebody_says_otherwise() -> None:
    (span,) = exported(a_record())
    assert span.resource.attributes["service.name"] == "unbuffer"
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "unbuffer"


def test_its_attributes_are_what_the_log_says() -> None:
    record = a_record()
    judgement = Judgement(Verdict.BURSTS, "every 200 ms")
    (span,) = exported(record, judgement=judgement)
    line = bytearray()
    StreamLine("otel").json(line, record, "now", 0)
    logged = json.loads(line)
    for name in ("timestamp", "severity_text", "body", "unbuffer.duration_ms"):
        del logged[name]
    of_the_span = {
        "unbuffer.route": "/chat/{id}",
        "url.scheme": "http",
        "gen_ai.response.time_to_first_chunk": record.first_at - record.started,
    }
    assert dict(span.attributes or {}) == logged | of_the_span
    assert logged["unbuffer.verdict"] == "bursts"
    assert logged["http.route"] == "/chat/{id}"


@pytest.mark.parametrize(("route", "name"), [("/chat/{id}", "POST /chat/{id}"), ("chat", "POST"), ("_other", "POST")])
def test_only_a_template_is_a_route_for_opentelemetry(route: str, name: str) -> None:
    (span,) = exported(a_record(route=route))
    assert span.name == name
    assert span.attributes is not None
    assert span.attributes.get("http.route") == (route if route.startswith("/") else None)
    assert span.attributes["unbuffer.route"] == route


def test_a_method_that_somebody_made_up_makes_no_name() -> None:
    record = a_record(route="chat")
    record.method = "BREW"
    (span,) = exported(record)
    assert span.name == "HTTP"
    assert span.attributes is not None
    assert span.attributes["http.request.method"] == "_OTHER"
    assert "BREW" not in str(span.attributes)


@pytest.mark.parametrize(
    ("outcome", "status", "failed"),
    [
        (Outcome.COMPLETED, 200, False),
        (Outcome.COMPLETED, 404, False),
        (Outcome.COMPLETED, 500, True),
        (Outcome.CLIENT_DISCONNECT, 200, False),
        (Outcome.UPSTREAM_DISCONNECT, 200, True),
        (Outcome.UNTERMINATED, 200, True),
        (Outcome.UPSTREAM_REFUSED, 503, True),
    ],
)
def test_what_failed_is_an_error(outcome: Outcome, status: int, failed: bool) -> None:
    record = a_record(outcome)
    record.status = status
    (span,) = exported(record)
    assert (span.status.status_code is StatusCode.ERROR) is failed
    assert span.attributes is not None
    if outcome is Outcome.COMPLETED:
        assert span.attributes.get("error.type") == (str(status) if failed else None)
    else:
        assert span.attributes.get("error.type") == outcome.label


@pytest.mark.parametrize("kind", KINDS)
def test_streams_have_the_time_to_the_first_chunk_under_its_conventional_name(kind: str) -> None:
    record = a_record()
    record.kind = kind
    (span,) = exported(record)
    streamed = kind in ("sse", "ndjson", "stream")
    assert ("gen_ai.response.time_to_first_chunk" in (span.attributes or {})) is streamed


def test_two_instances_are_told_apart_unless_somebody_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    (span,) = exported(a_record())
    assert uuid.UUID(str(span.resource.attributes["service.instance.id"])).version == 4
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=a")
    (span,) = exported(a_record())
    assert span.resource.attributes["service.instance.id"] == "a"


def test_what_never_became_a_stream_has_no_span() -> None:
    record = a_record(Outcome.REQUEST_MALFORMED)
    record.version = ""
    assert exported(record) == []


# -- to a collector


@pytest.mark.parametrize(("suffix", "path"), [("", "/v1/traces"), ("/", "/v1/traces"), ("/own/path", "/own/path")])
def test_spans_reach_a_collector_before_the_end(collector: Collector, suffix: str, path: str) -> None:
    spans = Spans.to(collector.url + suffix)
    record = a_record()
    record.detail = "cannot connect to unix:/run/\udcff.sock"
    for _ in range(3):
        spans.add(record)
    spans.close()
    ((asked, body),) = collector.requests
    assert asked == path
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    (scope,) = resource.scope_spans
    assert [span.name for span in scope.spans] == ["POST /chat/{id}"] * 3


def test_a_collector_that_never_answers_holds_up_nobody(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CLOSE_PATIENCE", 0.01)
    collector.answer.clear()
    spans = Spans.to(collector.url)
    spans.add(a_record())
    spans.close()
    assert [record.getMessage() for record in caplog.records if record.name == "unbuffer"] == [
        "tracing.otlp: the last spans could not be exported in time"
    ]
    collector.answer.set()
    for thread in threading.enumerate():
        if thread.name == "spans":
            thread.join()


def test_a_collector_that_is_not_there_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, closed_port: int
) -> None:
    # More than the first pause between two tries, which is 1.2 s at the most, and less than the second.
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "2")
    where = f"127.0.0.1:{closed_port}"
    spans = Spans.to(f"http://{where}")
    spans.add(a_record())
    spans.close()
    (line,) = [line for line in caplog.records if "did not take" in line.getMessage()]
    assert (line.name, line.levelno) == ("unbuffer", logging.WARNING)
    assert line.getMessage() == (
        f"tracing.otlp: the collector did not take the spans: cannot connect to {where}: Connection refused"
    )


async def test_nothing_of_it_waits_on_the_event_loop(collector: Collector) -> None:
    collector.answer.clear()
    spans = Spans.to(collector.url)
    for _ in range(1000):  # more than a batch, so that the exporter is at work
        spans.add(a_record())
    await eventually(lambda: collector.requests)
    spans.add(a_record())
    collector.answer.set()
    await asyncio.to_thread(spans.close)
    sent = [ExportTraceServiceRequest.FromString(body) for _, body in collector.requests]
    assert sum(len(one.resource_spans[0].scope_spans[0].spans) for one in sent) == 1001
