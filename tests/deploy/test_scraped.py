"""Prometheus scrapes real sidecars: every panel of the dashboard has something to show, every alert its fault."""

import contextlib
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from tests import local
from tests.deploy.server import PATIENCE, Prometheus, needs_prometheus, prometheus, until
from tests.deploy.test_grafana import PANELS
from tests.deploy.test_prometheus import ALERTS, DIRECTORY
from tests.e2e.processes import running
from tests.e2e.stack import Unbuffer, unbuffer
from tests.resume.servers import KeyServer
from unbuffer.totals import FEW_ENDS

pytestmark = [pytest.mark.process, needs_prometheus]

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

FIRING = {
    ("UnbufferDown", "unbuffer-gone"),
    ("UnbufferUpstreamDown", "unbuffer-alone"),
    ("UnbufferUpstreamConnectErrors", "unbuffer-alone"),
    ("UnbufferStreamErrors", "unbuffer-alone"),
    ("UnbufferMissingLastWords", "unbuffer-cut"),
    ("UnbufferUpstreamBuffering", "unbuffer-collected"),
    ("UnbufferUpstreamBlocked", "unbuffer-blocked"),
    ("UnbufferTimeoutCliff", "unbuffer-left"),
    ("UnbufferRejecting", "unbuffer-limited"),
    ("UnbufferStreamErrors", "unbuffer-limited"),  # those that are refused
    ("UnbufferEventLoopLag", "unbuffer-paused"),
    ("UnbufferRelaySlow", "unbuffer-throttled"),
    ("UnbufferReloadFailed", "unbuffer-reloaded"),
    ("UnbufferRouteOverflow", "unbuffer-reloaded"),
    ("UnbufferResumeMisses", "unbuffer-forgetful"),
    ("UnbufferResumeStoreErrors", "unbuffer-storeless"),
}
"""Which alert fires for whom."""

# On a crowded machine everybody may be late, and take longer for a scrape than these short intervals allow.
OF_THE_MACHINE = {"UnbufferRelaySlow", "UnbufferEventLoopLag", "UnbufferDown"}
# What a blocked event loop sends may come in clumps, and so it may be said.
ALSO = {("UnbufferUpstreamBuffering", "unbuffer-blocked")}


@contextmanager
def _application() -> Iterator[str]:
    command = (sys.executable, "-m", "uvicorn", "tests.observe.app:app", "--port", "0", "--no-access-log")
    with running(*command, "--timeout-graceful-shutdown", "1", code=-signal.SIGTERM) as process:
        yield process.err.match(r"running on (http://\S+)")[1]


@contextmanager
def _again_and_again(*actions: Callable[[], object]) -> Iterator[None]:
    """Each action in a thread of its own, until the block is left. What fails is none of its business."""
    over = threading.Event()

    def repeat(action: Callable[[], object]) -> None:
        while not over.wait(0.1):
            with contextlib.suppress(httpx.HTTPError, OSError):
                action()

    threads = [threading.Thread(target=repeat, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def _get(url: str) -> Callable[[], object]:
    return lambda: local.get(url)


def _leave(url: str) -> Callable[[], object]:
    """Read a part of a stream, and hang up."""

    def leave() -> None:
        with local.stream("GET", url) as response:
            next(response.iter_raw())

    return leave


def _loiter(port: int, over: threading.Event) -> Callable[[], object]:
    """Ask for something large and read nothing of it."""

    def loiter() -> None:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
            client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
            over.wait(2.0)

    return loiter


def test_every_panel_shows_something(tmp_path: Path) -> None:
    over = threading.Event()
    file = tmp_path / "unbuffer.yaml"
    store = KeyServer("redis", tmp_path)
    routes = "routes: [{name: kept, prefix: /sse, resume: {window: 5s, linger: 200ms}}]\n"
    file.write_text(f"resume: {{store: '{store.url}'}}\n{routes}")
    with (
        store.running(),
        _application() as app,
        unbuffer(app, "-c", str(file), "--set", "sse.heartbeat=250ms", "--set", "probe.enabled=true") as proxy,
        _again_and_again(
            _get(f"{proxy.url}/sse?delay=0.01"),
            _get(f"{proxy.url}/slow"),
            lambda: local.get(f"{proxy.url}/plain", headers={"traceparent": TRACEPARENT}),
            _get(f"{proxy.url}/held/sse?delay=0.02"),
            _get(f"{proxy.url}/cut"),
            _get(f"{proxy.url}/_unbuffer/probe"),
            _leave(f"{proxy.url}/sse?delay=0.01"),  # nobody comes back for it
            _leave(f"{proxy.url}/text?delay=0.01"),
            _loiter(proxy.port, over),
            lambda: local.post(f"{proxy.url}/upload", content=b"x" * 100),
        ),
        prometheus(tmp_path, {"unbuffer": proxy.admin}) as server,
    ):
        empty = until(lambda: list(_empty(server)), lambda empty: not empty)
        traces = until(lambda: server.traces("unbuffer_stream_duration_seconds_bucket"), bool)
        over.set()
    assert empty == []
    assert traces == {TRACEPARENT.split("-")[1]}


def _empty(server: Prometheus) -> Iterator[str]:
    """The panels whose queries find nothing, with the variables as they are when the dashboard is opened."""
    for panel in PANELS:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "4s")
            query = re.sub(r"\$(job|instance|route|kind)\b", ".+", query)
            if not server.series(query):
                yield f"{panel['title']}: {query}"


def _hurried(rules: str) -> str:
    """The rules with windows and waits of seconds."""
    hurried = re.sub(r"\[(5|10|15|30)m\]|\[1h\]", "[8s]", rules)
    return re.sub(r"for: \d+m", "for: 1s", hurried)


@contextmanager
def _paused(proxy: Unbuffer, runs: float, stands: float) -> Iterator[None]:
    """The process runs for so many seconds, stands still for so many, and so on: as a limit on its CPU has it."""
    over = threading.Event()

    def pause() -> None:
        while not over.wait(runs):
            proxy.process.signal(signal.SIGSTOP)
            over.wait(stands)
            proxy.process.signal(signal.SIGCONT)

    thread = threading.Thread(target=pause)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        proxy.process.signal(signal.SIGCONT)


def test_every_alert_has_its_fault_here() -> None:
    assert {alert for alert, _ in FIRING} == {rule["alert"] for rule in ALERTS}


def test_every_alert_fires_on_its_fault_and_on_no_other(tmp_path: Path) -> None:
    file = tmp_path / "unbuffer.yaml"
    two_routes = "metrics: {max_routes: 1}\nroutes: [{name: a, prefix: /sse}, {name: b, prefix: /text}]\n"
    file.write_text(two_routes)
    resuming = tmp_path / "resuming.yaml"
    resuming.write_text("routes: [{name: kept, prefix: /text, resume: {window: 2m}}]\n")
    unknown = {"Last-Event-ID": f"ub.{'A' * 22}.1"}
    admins: dict[str, str] = {}
    with ExitStack() as everything:
        enter = everything.enter_context

        def sidecar(job: str, upstream: str, *options: str) -> Unbuffer:
            proxy = enter(unbuffer(upstream, *options))
            admins[job] = proxy.admin
            return proxy

        app, another, nobody = enter(_application()), enter(_application()), enter(local.closed_port())
        healthy = sidecar("unbuffer-healthy", app)
        gone = sidecar("unbuffer-gone", app)
        alone = sidecar("unbuffer-alone", f"http://127.0.0.1:{nobody}")
        collected = sidecar("unbuffer-collected", app)
        cut = sidecar("unbuffer-cut", app)
        blocked = sidecar("unbuffer-blocked", another)
        left = sidecar("unbuffer-left", app)
        limited = sidecar("unbuffer-limited", app, "--set", "limits.streams=1")
        paused = sidecar("unbuffer-paused", app)
        throttled = sidecar("unbuffer-throttled", app)
        reloaded = sidecar("unbuffer-reloaded", app, "-c", str(file))
        forgetful = sidecar("unbuffer-forgetful", app, "-c", str(resuming))
        sidecar("unbuffer-storeless", app, "-c", str(resuming), "--set", f"resume.store.url=redis://127.0.0.1:{nobody}")
        for _ in range(FEW_ENDS):
            _get(f"{cut.url}/parting")()
        enter(
            _again_and_again(
                *[_get(f"{cut.url}/parting")] * 3,
                _get(f"{cut.url}/parting?fails=true"),
                _get(f"{healthy.url}/sse?delay=0.02"),
                _get(f"{alone.url}/sse"),
                _get(f"{collected.url}/held/sse?delay=0.02"),
                _get(f"{collected.url}/withheld"),
                *[_get(f"{blocked.url}/sse?delay=0.05")] * 4,
                _get(f"{blocked.url}/blocking?delay=0.04"),
                _leave(f"{left.url}/sse?delay=0.02"),
                *[_get(f"{limited.url}/sse?delay=0.02")] * 2,
                _get(f"{reloaded.url}/text?delay=0.02"),
                _get(f"{throttled.url}/packed"),
                lambda: local.get(f"{forgetful.url}/text?delay=0.005", headers=unknown),
            )
        )
        enter(_paused(paused, 0.6, 0.3))
        enter(_paused(throttled, 0.004, 0.04))
        file.write_text("metrics: {max_routes: one}\n")
        reloaded.process.signal(signal.SIGHUP)
        assert gone.process.end() == 0
        rules = _hurried((DIRECTORY / "rules.yml").read_text())
        server = enter(prometheus(tmp_path, admins, rules))
        firing = _fired(server)
    assert FIRING - firing == set()
    assert {(alert, job) for alert, job in firing - FIRING - ALSO if alert not in OF_THE_MACHINE} == set()


def _fired(server: Prometheus) -> set[tuple[str, str]]:
    """What has fired by the time that all has which is to: not all of it need fire at the same moment."""
    fired: set[tuple[str, str]] = set()
    until(lambda: fired.update(server.firing()), lambda _: fired >= FIRING)
    return fired
