"""The application dies, is away, comes back or closes idle connections; unbuffer drains."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import local
from tests.e2e.browser import chromium
from tests.e2e.stack import App, Stack, Unbuffer, unbuffer, uvicorn
from tests.peers import eventually

pytestmark = pytest.mark.process


@pytest.fixture
def app() -> Iterator[App]:
    """An application that only this test uses, and may kill."""
    with uvicorn() as app:
        yield app


def port_of(app: App) -> int:
    return int(app.url.rpartition(":")[2])


def test_the_application_is_killed_in_the_middle_of_a_stream(client: httpx.Client, app: App, proxy: Unbuffer) -> None:
    gate = app.gate()
    with client.stream("GET", proxy.url + gate.path("sse")) as response:
        parts = response.iter_raw()
        assert next(parts) == b"data: event 0\n\n"
        app.process.end(signal.SIGKILL)
        with pytest.raises(httpx.RemoteProtocolError):
            next(parts)

    assert proxy.line(gate.path("sse"))["unbuffer.outcome"] == "upstream_disconnect"


def test_an_application_that_is_away_is_503_and_comes_back(client: httpx.Client, app: App, proxy: Unbuffer) -> None:
    assert client.get(f"{proxy.url}/plain/1").status_code == 200
    app.process.end(signal.SIGKILL)

    for method in ("GET", "POST"):
        answer = client.request(method, f"{proxy.url}/upload")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "error=connection_refused" in answer.headers["proxy-status"]

    with uvicorn(port=port_of(app)):
        for _ in range(3):
            assert client.get(f"{proxy.url}/plain/1").status_code == 200
            assert client.post(f"{proxy.url}/upload", content=b"body").json()["size"] == 4


async def test_readiness_follows_the_application(client: httpx.Client, app: App, proxy: Unbuffer) -> None:
    def ready() -> int:
        return client.get(f"{proxy.admin}/readyz").status_code

    assert ready() == 200
    app.process.end(signal.SIGKILL)
    await eventually(lambda: ready() == 503)
    with uvicorn(port=port_of(app)):
        await eventually(lambda: ready() == 200)


def idle_connections(proxy: Unbuffer) -> float:
    return proxy.samples()["unbuffer_upstream_connections", frozenset({("state", "idle")})]


def ask(client: httpx.Client, proxy: Unbuffer) -> None:
    assert client.post(f"{proxy.url}/upload", content=b"body").json()["size"] == 4
    assert client.get(f"{proxy.url}/plain/1").status_code == 200


async def test_no_request_fails_when_the_application_closes_idle_connections(client: httpx.Client) -> None:
    """uvicorn closes them after its time, here sooner than unbuffer does. Nothing can repeat a POST that got lost."""
    # unbuffer itself would keep them longer than the test lasts.
    patient = ("--set", "upstream.keep_alive=10m")
    with uvicorn("--timeout-keep-alive", "1") as app, unbuffer(app.url, *patient) as proxy:
        for _ in range(2):
            ask(client, proxy)
            assert idle_connections(proxy) == 1
            await eventually(lambda: idle_connections(proxy) == 0)
        ask(client, proxy)

        outcomes = [dict(labels)["outcome"] for name, labels in proxy.samples() if name == "unbuffer_streams_total"]
        assert outcomes == ["completed"]


def test_a_running_stream_may_finish_when_unbuffer_is_asked_to_end(client: httpx.Client, stack: Stack) -> None:
    gate = stack.gate()
    with (
        unbuffer(stack.app.url, "--set", "drain.timeout=20s") as proxy,
        client.stream("GET", proxy.url + gate.path("text")) as response,
    ):
        parts = response.iter_raw()
        assert next(parts) == b"event 0\n"
        proxy.process.signal(signal.SIGTERM)
        proxy.process.err.match("draining")
        gate.next()
        assert next(parts) == b"event 1\n"
        with pytest.raises(httpx.ConnectError):
            local.get(f"{proxy.url}/plain/1")
        gate.end()
        assert next(parts, None) is None

        assert proxy.process.exit_code() == 0


def test_a_stream_that_outlasts_the_drain_is_cut(client: httpx.Client, stack: Stack) -> None:
    gate = stack.gate()
    with (
        unbuffer(stack.app.url, "--set", "drain.timeout=100ms") as proxy,
        client.stream("GET", proxy.url + gate.path("text")) as response,
    ):
        parts = response.iter_raw()
        assert next(parts) == b"event 0\n"
        proxy.process.signal(signal.SIGTERM)
        with pytest.raises(httpx.RemoteProtocolError):
            next(parts)

        assert proxy.process.exit_code() == 0
        assert proxy.line(gate.path("text"))["unbuffer.outcome"] == "draining"

    assert gate.over() == "cancelled"


def test_an_event_source_survives_a_restart_of_the_application(
    app: App, proxy: Unbuffer, client: httpx.Client, tmp_path: Path
) -> None:
    """The connection at rest is gone, the next one is refused and held; without unbuffer Chromium tries again, too."""
    gate = app.gate()
    with chromium(tmp_path / "profile") as browser:
        browser.open(proxy.url + "/plain/1")
        browser.driver.execute_script(
            "window.heard = []; window.source = new EventSource(arguments[0]);"
            "source.onmessage = (event) => heard.push(event.data);",
            gate.path("sse"),
        )
        browser.until(lambda: browser.driver.execute_script("return heard.length === 1") or None)
        app.process.end(signal.SIGKILL)
        assert proxy.line(gate.path("sse"))["unbuffer.outcome"] == "upstream_disconnect"
        # It has come back and is held; others are told at once.
        browser.until(lambda: _refused(proxy) or None)
        assert client.get(f"{proxy.url}/plain/1").status_code == 503
        assert browser.driver.execute_script("return source.readyState") == 0
        with uvicorn(port=port_of(app)):
            browser.until(lambda: browser.driver.execute_script("return heard.length === 2") or None)
            assert browser.driver.execute_script("return source.readyState") == 1
            browser.driver.execute_script("source.close()")


def test_an_event_source_comes_back_when_it_was_held_in_vain(app: App, tmp_path: Path) -> None:
    with unbuffer(app.url, "--set", "upstream.wait_streams=10ms") as proxy, chromium(tmp_path / "profile") as browser:
        browser.open(proxy.url + "/plain/1")
        gate = app.gate()
        app.process.end(signal.SIGKILL)
        browser.driver.execute_script(
            "window.heard = []; window.source = new EventSource(arguments[0]);"
            "source.onmessage = (event) => heard.push(event.data);",
            gate.path("sse"),
        )
        line = proxy.lines(gate.path("sse"))[0]
        assert (line["unbuffer.outcome"], line.get("http.response.status_code", 0)) == ("upstream_refused", 0)
        with uvicorn(port=port_of(app)):
            browser.until(lambda: browser.driver.execute_script("return heard.length === 1") or None)
            browser.driver.execute_script("source.close()")


def _refused(proxy: Unbuffer) -> bool:
    text = local.get(f"{proxy.admin}/metrics").text
    found = re.search(r'^unbuffer_upstream_connects_total\{result="refused"\} ([0-9.]+)$', text, re.MULTILINE)
    return found is not None and float(found[1]) > 1
