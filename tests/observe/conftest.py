"""What observe reads, made by a relay without a network, and a collector that it tells."""

from collections.abc import Iterator

import pytest

from benchmarks.unwired import Unwired
from tests.observe.collector import Collector, collecting

OF_OPENTELEMETRY = (
    *("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED"),
    *("OTEL_TRACES_SAMPLER", "OTEL_METRIC_EXPORT_INTERVAL"),
)


@pytest.fixture
def relay() -> Iterator[Unwired]:
    with Unwired() as relay:
        yield relay


@pytest.fixture
def no_foreign_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of what the environment may say to OpenTelemetry."""
    for name in OF_OPENTELEMETRY:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def collector(no_foreign_settings: None) -> Iterator[Collector]:
    with collecting() as collector:
        yield collector
