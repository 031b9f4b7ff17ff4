"""Real applications with real mistakes behind a real sidecar: each mistake is called by its name."""

import signal
import sys
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.processes import running
from tests.e2e.stack import Unbuffer, unbuffer
from tests.peers import PATIENCE

pytestmark = pytest.mark.process

TRIES = 5
"""A stream that is honest, or has a mistake, may look otherwise on a machine that has no time for it."""


@pytest.fixture
def proxy() -> Iterator[Unbuffer]:
    """unbuffer in front of the applications of tests/observe/app.py."""
    command = (sys.executable, "-m", "uvicorn", "tests.observe.app:app", "--port", "0", "--no-access-log")
    with (
        running(*command, "--timeout-graceful-shutdown", "1", code=-signal.SIGTERM) as process,
        unbuffer(process.err.match(r"running on (http://\S+)")[1]) as proxy,
    ):
        yield proxy


def verdicts(proxy: Unbuffer) -> dict[str, float]:
    name = "unbuffer_stream_verdicts_total"
    return {dict(labels)["verdict"]: value for (n, labels), value in proxy.samples().items() if n == name and value}


def stalls(proxy: Unbuffer) -> dict[str, float]:
    name = "unbuffer_upstream_stalls_total"
    return {dict(labels)["scope"]: value for (n, labels), value in proxy.samples().items() if n == name}


@pytest.mark.parametrize(
    ("path", "verdict"),
    [
        ("/sse?delay=0.03", "streamed"),
        ("/async?delay=0.03", "streamed"),
        ("/text?delay=0.03", "streamed"),  # a blocking generator, in a thread
        ("/coded/sse?delay=0.03", "streamed"),  # compressed, and flushed
        ("/held/sse?delay=0.03", "lump"),
        ("/withheld", "headers_withheld"),
        ("/sse?delay=0", "short"),
    ],
)
def test_the_verdict_names_what_the_application_does(proxy: Unbuffer, path: str, verdict: str) -> None:
    for _ in range(TRIES):
        httpx.get(f"{proxy.url}{path}", trust_env=False, timeout=PATIENCE).raise_for_status()
        if verdict in verdicts(proxy):
            return
    raise AssertionError(verdicts(proxy))


def test_a_blocked_event_loop_is_the_upstreams_silence(proxy: Unbuffer) -> None:
    """Three streams of events go on; one that blocks the event loop stops them all."""
    for _ in range(TRIES):
        begun = threading.Barrier(4)

        def read(begun: threading.Barrier = begun) -> None:
            with httpx.stream("GET", f"{proxy.url}/sse?delay=0.05", trust_env=False, timeout=PATIENCE) as response:
                parts = response.iter_raw()
                next(parts)
                begun.wait(PATIENCE)
                for _ in parts:
                    pass

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        begun.wait(PATIENCE)
        httpx.get(f"{proxy.url}/blocking?delay=0.05", trust_env=False, timeout=PATIENCE).raise_for_status()
        for thread in threads:
            thread.join(PATIENCE)
        if stalls(proxy)["upstream"]:
            return
    raise AssertionError(stalls(proxy))


def test_one_slow_stream_is_its_own_silence(proxy: Unbuffer) -> None:
    httpx.get(f"{proxy.url}/slow", trust_env=False, timeout=PATIENCE).raise_for_status()
    assert stalls(proxy) == {"stream": 1, "upstream": 0}
