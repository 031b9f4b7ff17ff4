"""The metrics that are pushed: their names, their numbers, and that a collector holds up nobody."""

import logging
import re
import socket
import time
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from tests.observe.collector import Collector
from tests.observe.test_spans import a_record
from tests.peers import eventually
from unbuffer.observe import complaints
from unbuffer.observe import push as module
from unbuffer.observe.family import Snapshot
from unbuffer.observe.metrics import FAMILIES
from unbuffer.observe.push import Push
from unbuffer.observe.request_durations import RequestDurations
from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.totals import Totals

SUFFIXES = {"s": "_seconds", "By": "_bytes", "": ""}
CUMULATIVE, DELTA = 2, 1

pytestmark = pytest.mark.usefixtures("no_foreign_settings")


class Pushing:
    """The numbers of a process, and what pushes them. settings: as `Push.to` takes them."""

    def __init__(self, where: str, interval: float = 60.0, temporality: str = "env", scheme: str = "http") -> None:
        self.totals = Totals()
        self.durations = RequestDurations()
        push = Push.to(where, self._snapshot, self.durations, scheme, interval, temporality)
        assert push is not None
        self.push = push

    async def _snapshot(self) -> Snapshot:
        reloads = SimpleNamespace(successful=True, at=1.0)
        return Snapshot(self.totals, False, True, 0, reloads, ("1", "3.11", "none", "no"))

    def end(self, record: Record) -> None:
        """A stream ends."""
        series = self.totals.of(record.route, record.kind)
        series.ttfc.observe(record.first_at - record.started)
        self.totals.fold(record, series)
        self.durations.add(record)


def received(collector: Collector, export: int = -1) -> dict[str, Metric]:
    """The metrics of one export, by name."""
    _, body = collector.requests[export]
    (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    (scope,) = resource.scope_metrics
    assert scope.scope.name == "unbuffer"
    return {metric.name: metric for metric in scope.metrics}


def attributes(point: Any) -> dict[str, str | int]:
    return {one.key: one.value.int_value or one.value.string_value for one in point.attributes}


async def test_prometheus_makes_the_names_and_labels_of_a_scrape_of_them(collector: Collector) -> None:
    pushing = Pushing(collector.url)
    pushing.end(a_record())
    await pushing.push.close()
    names = set()
    for name, metric in received(collector).items():
        total = "_total" if metric.HasField("sum") and metric.sum.is_monotonic else ""
        names.add(re.sub(r"\W", "_", name) + SUFFIXES.get(metric.unit, "") + total)
    empty = {"unbuffer_requests_total", "unbuffer_decoded_responses_total"}  # nothing of it has happened yet
    assert {family.name for family in FAMILIES} - names == empty
    (point,) = received(collector)["unbuffer.time_to_first_chunk"].histogram.data_points
    assert attributes(point) == {"route": "/chat/{id}", "kind": "sse"}


async def test_a_histogram_has_the_numbers_that_were_counted(collector: Collector) -> None:
    pushing = Pushing(collector.url)
    for _ in range(3):
        pushing.end(a_record())
    await pushing.push.close()
    metric = received(collector)["unbuffer.time_to_first_chunk"]
    assert (metric.unit, metric.histogram.aggregation_temporality) == ("s", CUMULATIVE)
    (point,) = metric.histogram.data_points
    series = pushing.totals.of("/chat/{id}", "sse")
    assert (point.count, list(point.bucket_counts), point.sum) == (3, series.ttfc.counts, series.ttfc.sum)
    assert tuple(point.explicit_bounds) == series.ttfc.bounds
    assert not point.HasField("min")


async def test_requests_are_told_apart_as_the_conventions_want_it(collector: Collector) -> None:
    pushing = Pushing(collector.url, scheme="https")
    pushing.end(a_record())
    failed = a_record(Outcome.UPSTREAM_REFUSED, route="chat")
    failed.status, failed.version = 503, "2"
    pushing.end(failed)
    said = a_record()
    said.status = 500
    pushing.end(said)
    never = a_record(Outcome.REQUEST_MALFORMED)
    never.version = ""
    pushing.end(never)
    await pushing.push.close()
    metric = received(collector)["http.server.request.duration"]
    assert metric.unit == "s"
    always = {"http.request.method": "POST", "url.scheme": "https"}
    template = {"http.route": "/chat/{id}", "network.protocol.version": "1.1"}
    route = {"unbuffer.route": "chat", "network.protocol.version": "2"}
    assert [attributes(point) for point in metric.histogram.data_points] == [
        always | template | {"http.response.status_code": 200},
        always | route | {"http.response.status_code": 503, "error.type": "upstream_refused"},
        always | template | {"http.response.status_code": 500, "error.type": "500"},
    ]


async def test_the_process_tells_what_it_uses(collector: Collector) -> None:
    pushing = Pushing(collector.url)
    await pushing.push.close()
    metrics = received(collector)
    cpu = metrics["process.cpu.time"].sum
    assert [attributes(point) for point in cpu.data_points] == [{"cpu.mode": "user"}, {"cpu.mode": "system"}]
    assert metrics["process.memory.usage"].sum.data_points[0].as_int > 2**20
    assert not metrics["process.memory.usage"].sum.is_monotonic
    assert metrics["process.unix.file_descriptor.count"].sum.data_points[0].as_int > 2


async def test_delta_is_what_came_since_the_last_export_that_arrived(collector: Collector) -> None:
    pushing = Pushing(collector.url, temporality="delta")
    counted = []
    for status in (200, 400, 200):
        collector.status = status
        pushing.end(a_record())
        await pushing.push.export()
        metrics = received(collector)
        histogram = metrics["unbuffer.time_to_first_chunk"].histogram
        assert histogram.aggregation_temporality == DELTA
        (point,) = histogram.data_points
        (streams,) = metrics["unbuffer.streams"].sum.data_points
        assert (sum(point.bucket_counts), streams.as_int) == (point.count, point.count)
        counted.append((point.count, point.start_time_unix_nano))
        assert metrics["unbuffer.upstream_up"].gauge.data_points[0].as_double == 1.0
    (first, began), (lost, since), (both, the_same) = counted
    assert (first, lost, both) == (1, 1, 2)
    assert began < since == the_same
    await pushing.push.close()


async def test_it_exports_again_and_again(collector: Collector) -> None:
    pushing = Pushing(collector.url, interval=0.01)
    pushing.push.start()
    await eventually(lambda: len(collector.requests) >= 3)
    await pushing.push.close()


@pytest.mark.parametrize(("suffix", "path"), [("", "/v1/metrics"), ("/", "/v1/metrics"), ("/own/path", "/own/path")])
async def test_a_url_without_a_path_gets_that_of_the_standard(collector: Collector, suffix: str, path: str) -> None:
    await Pushing(collector.url + suffix).push.close()
    assert [asked for asked, _ in collector.requests] == [path]


async def test_the_usual_variables_say_the_rest(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta")
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "10")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "chat")
    pushing = Pushing("env", interval=0.0)
    pushing.end(a_record())
    pushing.push.start()
    await eventually(lambda: collector.requests)
    await pushing.push.close()
    path, body = collector.requests[0]
    assert (path, collector.fields["authorization"]) == ("/v1/metrics", "Bearer x")
    assert received(collector, 0)["unbuffer.streams"].sum.aggregation_temporality == DELTA
    (resource,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    assert attributes(resource.resource)["service.name"] == "chat"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_METRIC_EXPORT_INTERVAL", "a minute"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "sometimes"),
    ],
)
def test_a_variable_that_makes_no_sense_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"{name}: want .*, got '{value}'"):
        Pushing("http://127.0.0.1:1", interval=0.0)


def test_opentelemetry_can_be_switched_off_as_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

    async def nothing() -> Snapshot:
        raise AssertionError

    assert Push.to("env", nothing, RequestDurations(), "http", 0.0, "env") is None


async def test_a_collector_that_is_not_there_is_told_of_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, closed_port: int
) -> None:
    # Before the tries are over, which takes longer than anybody waits at the end of the process.
    monkeypatch.setattr(module, "CLOSE_PATIENCE", 0.5)
    where = f"127.0.0.1:{closed_port}"
    pushing = Pushing(f"http://{where}", interval=0.01)
    pushing.push.start()
    await eventually(lambda: caplog.records)
    await pushing.push.close()
    assert [(line.name, line.levelno, line.getMessage()) for line in caplog.records] == [
        ("unbuffer", logging.WARNING, f"metrics.otlp: {text}: cannot connect to {where}: Connection refused")
        for text in ("the collector did not take the metrics", "the last numbers could not be exported in time")
    ]


class Failed(OSError):
    """As that of requests, which knows what was asked for."""

    request = SimpleNamespace(url="http://user:secret@collector:4318/v1/metrics")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            socket.gaierror(-2, "Name or service not known"),
            "cannot connect to collector:4318: Name or service not known",
        ),
        (OSError(113, "No route to host"), "cannot connect to collector:4318: No route to host"),
        (TimeoutError("timed out"), "no answer from collector:4318 in time"),
        (ConnectionResetError(104, "Connection reset by peer"), "collector:4318 broke off the connection: Connection"),
        (ValueError("what the library says"), "Failed: what the library says"),
    ],
)
def test_a_collector_that_cannot_be_reached_is_told_of_as_the_upstream_is(error: Exception, reason: str) -> None:
    complaint = complaints.Complaints("some.exporter", "it failed")
    logging.getLogger("some.exporter").error("Failed: %s", Failed(error))
    assert complaint.reason.startswith(reason)


def test_what_a_proxy_has_to_do_with_it_only_the_library_says() -> None:
    complaint = complaints.Complaints("some.exporter", "it failed")
    error = Failed("Unable to connect to proxy", ConnectionRefusedError(111, "Connection refused"))
    logging.getLogger("some.exporter").error("Failed: %s", error)
    assert complaint.reason.startswith("Failed: ")
    assert "Unable to connect to proxy" in complaint.reason


async def test_a_failure_that_the_exporter_does_not_call_an_error_is_told_of(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    pushing = Pushing(collector.url)
    pushing.push._exporter.shutdown()  # it says so as a warning, as it does of a push of more than 64 MiB
    await pushing.push.export()
    (line,) = caplog.records
    assert "metrics.otlp: the collector did not take the metrics: Exporter already shutdown" in line.getMessage()


async def test_a_collector_that_refuses_is_told_of_once_a_minute(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 401
    pushing = Pushing(collector.url)
    await pushing.push.export()
    await pushing.push.export()
    assert len(caplog.records) == 1
    monkeypatch.setattr(complaints, "COMPLAINT_EVERY", 0.0)
    await pushing.push.close()
    first, second = caplog.records
    assert first.getMessage() == second.getMessage()
    assert first.getMessage().startswith("metrics.otlp: the collector did not take the metrics: ")
    assert "401" in first.getMessage()


async def test_a_collector_that_never_answers_holds_up_nobody(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "CLOSE_PATIENCE", 0.05)
    collector.answer.clear()
    pushing = Pushing(collector.url, interval=0.01)
    pushing.push.start()
    await eventually(lambda: collector.requests)
    began = time.monotonic()
    await pushing.push.close()
    assert time.monotonic() - began < 10  # the exporter's own patience
    messages = [record.getMessage() for record in caplog.records if record.name == "unbuffer"]
    assert messages == ["metrics.otlp: the last numbers could not be exported in time"]
