"""Silent streams, told from dead ones by everybody who counts the silence; no client gets another event for it.

A silence lasts until a stream beside it, of a route without heartbeats, has been cut for the same silence, or until
several heartbeats have gone out. Nobody looks at a clock.
"""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from signal import SIGTERM

import httpx
import httpx_sse
import openai
import pytest
from selenium.common.exceptions import TimeoutException

from tests import local
from tests.e2e.browser import Browser, chromium
from tests.e2e.completions import completion
from tests.e2e.processes import running
from tests.e2e.stack import App, Gate, Stack, Unbuffer, unbuffer
from tests.e2e.test_behind_proxies import HAPROXY, nginx
from tests.peers import PATIENCE
from tests.programs import installed

pytestmark = pytest.mark.process

SETTINGS = """
sse:
  heartbeat: 100ms
  error_event: true
routes:
  - name: without
    glob: /stream/without-*/**
    sse: {heartbeat: 0}
"""


@pytest.fixture(scope="module")
def app(stack_of: Callable[[str], Stack]) -> App:
    return stack_of("uvicorn").app


@pytest.fixture(scope="module")
def proxy(app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unbuffer]:
    file = tmp_path_factory.mktemp("silence") / "unbuffer.yaml"
    file.write_text(SETTINGS)
    with unbuffer(app.url, "-c", str(file)) as proxy:
        yield proxy


def heartbeats(proxy: Unbuffer) -> float:
    """How many there have been."""
    return sum(value for (name, _), value in proxy.samples().items() if name == "unbuffer_heartbeats_total")


def silence(proxy: Unbuffer, count: int = 3) -> None:
    """Wait while so many heartbeats go out."""
    end = heartbeats(proxy) + count
    give_up = time.monotonic() + PATIENCE
    while heartbeats(proxy) < end:
        assert time.monotonic() < give_up, "no heartbeat comes"
        time.sleep(0.05)


# -- EventSource

SCRIPT = """
window.seen = [];
window.source = new EventSource(arguments[0]);
const note = (line) => {
    window.seen.push(line);
    document.body.append(line, document.createElement("br"));
};
window.source.onopen = () => note("open");
window.source.onmessage = (event) => note(`${event.data} (id ${event.lastEventId})`);
window.source.onerror = (event) => note(event.data ? `error ${JSON.parse(event.data).error.type}` : "error");
"""


class Listener:
    """An EventSource in a page, and everything that it was told."""

    def __init__(self, browser: Browser, url: str, path: str) -> None:
        self._browser = browser
        browser.open(f"{url}/plain/1")
        browser.driver.execute_script(SCRIPT, path)

    def seen(self, count: int) -> list[str]:
        """The lines, as soon as there are so many; those that came in time if there never are."""
        with suppress(TimeoutException):
            self._browser.until(lambda: len(self._lines()) >= count or None)
        return self._lines()

    def _lines(self) -> list[str]:
        lines: list[str] = self._browser.driver.execute_script("return window.seen")
        return lines

    def close(self) -> None:
        self._browser.driver.execute_script("window.source.close()")


def test_an_event_source_hears_the_events_and_nothing_else(proxy: Unbuffer, app: App, tmp_path: Path) -> None:
    gate = app.gate()
    with chromium(tmp_path) as browser:
        listener = Listener(browser, proxy.url, gate.path("identified"))
        expected = ["open", "event 0, none before (id 0)"]
        assert listener.seen(len(expected)) == expected
        for number in (1, 2):
            silence(proxy)
            gate.next()
            expected.append(f"event {number}, none before (id {number})")
            assert listener.seen(len(expected)) == expected
        silence(proxy)
        # After each cut the browser comes back by itself, and tells which event it had last. Twelve of them, because
        # a browser that is cut too soon after the error event loses it only now and then.
        for last in (2, *[0] * 11):
            gate.fail()
            expected += ["error upstream_disconnect", "error", "open", f"event 0, {last} before (id 0)"]
            assert listener.seen(len(expected)) == expected
        silence(proxy)
        assert listener.seen(len(expected)) == expected
        listener.close()
        lines = proxy.lines(gate.path("identified"), 13)
    outcomes = [line["unbuffer.outcome"] for line in lines]
    assert outcomes == ["upstream_disconnect"] * 12 + ["client_disconnect"]


# -- libraries


def test_httpx_sse(proxy: Unbuffer, app: App) -> None:
    gate = app.gate()
    with (
        local.client(proxy.url) as client,
        httpx_sse.connect_sse(client, "GET", gate.path("identified")) as source,
    ):
        events = source.iter_sse()
        assert next(events).retry == 1
        for number in range(4):
            event = next(events)
            assert (event.event, event.data, event.id) == ("message", f"event {number}, none before", str(number))
            silence(proxy, 2)
            gate.next() if number < 3 else gate.end()
        assert list(events) == []


def test_openai(proxy: Unbuffer, app: App) -> None:
    gate = app.gate()
    with completion(proxy.url + gate.path("v1")) as words:
        for number in range(3):
            assert next(words) == f"event {number}"
            silence(proxy, 2)
            gate.next() if number < 2 else gate.end()
        assert list(words) == []


def test_openai_raises_what_the_error_event_says(proxy: Unbuffer, app: App) -> None:
    gate = app.gate()
    with completion(proxy.url + gate.path("v1")) as words:
        assert next(words) == "event 0"
        silence(proxy, 2)
        gate.fail()
        with pytest.raises(
            openai.APIError, match="The upstream closed the connection before the response was complete"
        ) as raised:
            next(words)
    assert not isinstance(raised.value, openai.APIConnectionError)
    assert raised.value.type == "upstream_disconnect"


# -- balancers with a patience of two seconds


@contextmanager
def haproxy(directory: Path, upstream: str) -> Iterator[str]:
    """The Unix socket of an HAProxy in front of a URL."""
    path, file = directory / "haproxy.sock", directory / "haproxy.cfg"
    file.write_text(HAPROXY.format(socket=path, upstream=upstream.removeprefix("http://")).replace("60s", "2s"))
    with running(installed("haproxy"), "-db", "-f", str(file), code=-SIGTERM):
        give_up = time.monotonic() + PATIENCE
        while not path.exists():
            assert time.monotonic() < give_up
            time.sleep(0.01)
        yield str(path)


@contextmanager
def nginx_10(directory: Path, upstream: str) -> Iterator[str]:
    """nginx as it is by default before 1.29.7, where the body ends with the connection."""
    with nginx(directory, upstream, "proxy_read_timeout 2s;") as front:
        yield front


@contextmanager
def nginx_11(directory: Path, upstream: str) -> Iterator[str]:
    with nginx(directory, upstream, "proxy_http_version 1.1; proxy_read_timeout 2s;") as front:
        yield front


@contextmanager
def listening(front: str, gate: Gate) -> Iterator[Iterator[str]]:
    """The lines of a stream of events through a balancer, asked for as EventSource does: heartbeats are comments."""
    accept = {"Accept": "text/event-stream"}
    with (
        local.client(socket=front) as client,
        client.stream("GET", gate.path("sse"), headers=accept) as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == "data: event 0"
        yield lines


@pytest.mark.parametrize("balancer", [nginx_10, nginx_11, haproxy])
def test_a_balancer_cuts_a_silent_stream_unless_there_are_heartbeats(
    proxy: Unbuffer, app: App, tmp_path: Path, balancer: Callable[[Path, str], AbstractContextManager[str]]
) -> None:
    gate, without = app.gate(), Gate(f"without-{uuid.uuid4().hex}", app.client)
    with (
        balancer(tmp_path, proxy.url) as front,
        listening(front, gate) as lines,
        listening(front, without) as silent,
    ):
        # This stream began later, and has been silent for less time, than the other one.
        with pytest.raises(httpx.RemoteProtocolError):
            list(silent)
        assert without.over() == "cancelled"
        gate.next()
        heard = [line for line in iter(lambda: next(lines), "data: event 1") if line]
        assert heard
        assert set(heard) == {":"}
        gate.end()
        assert set(lines) <= {"", ":"}
    line = proxy.line(gate.path("sse"))
    assert line["unbuffer.outcome"] == "completed"
    assert proxy.line(without.path("sse"))["unbuffer.outcome"] == "client_disconnect"
