"""Real applications with real mistakes behind a real sidecar: each mistake is called by its name."""

import threading
from collections.abc import Iterator

import pytest

from tests import local
from tests.e2e.stack import App, Unbuffer, uvicorn
from tests.peers import PATIENCE

pytestmark = pytest.mark.process

TRIES = 5
"""A stream that is honest, or has a mistake, may look otherwise on a machine that has no time for it."""


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    with uvicorn(application="tests.observe.app:app") as app:
        yield app


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
        local.get(f"{proxy.url}{path}").raise_for_status()
        if verdict in verdicts(proxy):
            return
    raise AssertionError(verdicts(proxy))


def test_a_blocked_event_loop_is_the_upstreams_silence(proxy: Unbuffer) -> None:
    """Three streams of events go on; one that blocks the event loop stops them all."""
    for _ in range(TRIES):
        begun = threading.Barrier(4)

        def read(begun: threading.Barrier = begun) -> None:
            with local.stream("GET", f"{proxy.url}/sse?delay=0.05") as response:
                parts = response.iter_raw()
                next(parts)
                begun.wait(PATIENCE)
                for _ in parts:
                    pass

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        begun.wait(PATIENCE)
        local.get(f"{proxy.url}/blocking?delay=0.05").raise_for_status()
        for thread in threads:
            thread.join(PATIENCE)
        if stalls(proxy)["upstream"]:
            return
    raise AssertionError(stalls(proxy))


def test_one_slow_stream_is_its_own_silence(proxy: Unbuffer) -> None:
    local.get(f"{proxy.url}/slow").raise_for_status()
    assert stalls(proxy) == {"stream": 1, "upstream": 0}
