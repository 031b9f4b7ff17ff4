"""What frameworks send by themselves to keep a stream alive keeps no application alive that hangs."""

from collections.abc import Iterator

import httpx
import pytest

from tests import local
from tests.e2e.stack import Unbuffer, unbuffer, uvicorn

pytestmark = pytest.mark.process

MANY = 1000
"""Lines that come of pings in many times the silence that is allowed."""

frameworks = pytest.mark.parametrize("framework", ["fastapi", "starlette"])


@pytest.fixture(scope="module")
def proxy() -> Iterator[Unbuffer]:
    with (
        uvicorn(application="tests.e2e.hanging:app") as app,
        unbuffer(app.url, "--set", "timeouts.silence=2s", "--set", "sse.heartbeat=1500ms") as proxy,
    ):
        yield proxy


def told(proxy: Unbuffer, path: str) -> list[str]:
    """Every line of a stream until it is broken off, empty ones aside."""
    lines: list[str] = []
    with local.stream("GET", f"{proxy.url}{path}") as response:
        try:
            for line in response.iter_lines():
                lines += [line] if line else []
                assert len(lines) < MANY, "it is never ended"
        except httpx.RemoteProtocolError:
            return lines
    raise AssertionError("it ended as if it were whole")


@frameworks
def test_an_application_that_hangs_after_its_first_events_is_ended(proxy: Unbuffer, framework: str) -> None:
    path = f"/{framework}/2"
    lines = told(proxy, path)
    data = [line for line in lines if line.startswith("data:")]
    pings = [line for line in lines if line.startswith(": ping")]
    assert len(data) == 2
    assert len(pings) == len(lines) - 2 > 0
    line = proxy.line(path)
    assert line["unbuffer.outcome"] == "silence_timeout"
    assert line["unbuffer.chunks"] == 2
    assert line["unbuffer.keepalives"] > 0
    assert line["unbuffer.silence_ms"] >= 2000
    assert line["unbuffer.max_gap_ms"] < line["unbuffer.silence_ms"]
    assert "unbuffer.heartbeats" not in line


@frameworks
def test_one_that_never_says_anything_has_no_first_chunk_and_no_verdict(proxy: Unbuffer, framework: str) -> None:
    path = f"/{framework}/0"
    lines = told(proxy, path)
    assert lines
    assert all(line.startswith(": ping") for line in lines)
    line = proxy.line(path)
    assert line["unbuffer.outcome"] == "silence_timeout"
    assert line["unbuffer.chunks"] == 0
    assert line["unbuffer.keepalives"] > 0
    assert line.keys().isdisjoint({"unbuffer.ttfc_ms", "unbuffer.verdict", "unbuffer.heartbeats"})
    samples = proxy.samples()
    assert sum(value for (name, _), value in samples.items() if name == "unbuffer_upstream_keepalives_total") > 0
    assert sum(value for (name, _), value in samples.items() if name == "unbuffer_heartbeats_total") == 0
