"""Clients whose network fails, through unbuffer with `resume`: they come back by themselves, or with what
docs/resume.md adds, and have every event once; the application runs once."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.apps.installed import python
from tests.clients.test_browser import EVENT_SOURCE, POST, Page, browser, fetch_event_source
from tests.deploy.balancers import Instances, running_balancer
from tests.e2e.browser import Browser
from tests.e2e.processes import STARTED, running
from tests.e2e.stack import App, unbuffer
from tests.test_docs import ROOT, block

__all__ = ["browser"]

pytestmark = pytest.mark.process

ON = ("--set", "resume.window=2m")
OFFLINE = {"offline": True, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}


class Wire:
    """A way to a port that can be cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._threads: list[threading.Thread] = []
        self._run(self._accept)

    def _run(self, target: Callable[..., None], *arguments: socket.socket) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments, daemon=True))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                there = socket.create_connection(("127.0.0.1", self._port))
                self.connections += 1
                self._sockets += (client, there)
                self._run(self._carry, client, there)
                self._run(self._carry, there, client)

    @staticmethod
    def _carry(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End every connection, in both directions."""
        for sock in tuple(self._sockets):  # without those of a client that comes back meanwhile
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self.cut()
        for thread in self._threads:
            thread.join()
        for sock in (self._listener, *self._sockets):
            sock.close()


@contextlib.contextmanager
def wire(port: int) -> Iterator[Wire]:
    wire = Wire(port)
    try:
        yield wire
    finally:
        wire.close()


READERS: dict[str, tuple[Callable[[], str], str]] = {
    "EventSource": (lambda: EVENT_SOURCE, "sse"),
    "fetch-event-source": (fetch_event_source, "sse"),
    "fetch-event-source, POST": (lambda: fetch_event_source(POST), "v1/chat/completions"),
}


@pytest.mark.parametrize("reader", READERS)
def test_a_page_whose_connection_is_cut_has_every_event_once(browser: Browser, app: App, reader: str) -> None:
    script, kind = READERS[reader]
    gate = app.gate()
    with unbuffer(app.url, *ON) as proxy, wire(proxy.port) as way:
        page = Page(browser, f"http://127.0.0.1:{way.port}")
        page.run(script(), gate.path(kind))
        browser.until(lambda: len(page.heard()) == 1 or None)
        way.cut()
        gate.next()
        browser.until(lambda: len(page.heard()) == 2 or None)
        gate.next()
        browser.until(lambda: len(page.heard()) == 3 or None)
        for number, text in enumerate(page.heard()):
            assert f"event {number}" in text
        gate.end()
        assert gate.over() == "ended"
        browser.open("about:blank")


OPENED = 'source.onopen = () => heard.push("begun");'
FIRST_READ = """fetch: async (...asked) => {
    const response = await fetch(...asked), [one, other] = response.body.tee();
    one.getReader().read().then(() => heard.push("begun"));
    return new Response(other, response);
},"""
"""Tells when the first bytes of a body have come."""


@pytest.mark.parametrize("reader", ["fetch-event-source, POST", "EventSource"])
def test_a_page_whose_connection_is_cut_before_the_first_event(browser: Browser, app: App, reader: str) -> None:
    """The application runs once if the page has an id by then. EventSource takes one at an empty line: none came."""
    gate = app.gate()
    with unbuffer(app.url, *ON) as proxy, wire(proxy.port) as way:
        page = Page(browser, f"http://127.0.0.1:{way.port}")
        runs_again = reader == "EventSource"
        script = EVENT_SOURCE + OPENED if runs_again else fetch_event_source(POST + FIRST_READ)
        page.run(script, f"/thinking/{gate.name}")
        page.hears(["begun"])
        way.cut()
        page.hears(["begun", "begun"])
        gate.next()
        if runs_again:
            gate.next()
        page.hears(["begun", "begun", "run 2" if runs_again else "run 1"])
        browser.open("about:blank")


def test_an_event_source_behind_nginx_that_was_offline_has_every_event_once(
    browser: Browser, authority: trustme.CA, app: App, tmp_path: Path
) -> None:
    """The network is switched off in the developer tools, where a connection that is there goes on; and then its
    connection is cut by nginx."""
    gate = app.gate()
    with (
        unbuffer(app.url, *ON) as proxy,
        wire(proxy.port) as way,
        running_balancer("nginx", authority, Instances(("127.0.0.1", "127.0.0.1"), way.port, 1), tmp_path) as front,
    ):
        page = Page(browser, front.url)
        page.run(EVENT_SOURCE, gate.path("sse"))
        page.hears(["event 0"])
        browser.driver.execute_cdp_cmd("Network.emulateNetworkConditions", OFFLINE)
        try:
            way.cut()
            gate.next()
            gate.taken(2)
        finally:
            browser.driver.execute_cdp_cmd("Network.emulateNetworkConditions", OFFLINE | {"offline": False})
        page.run("fetch(url)", "/plain/1")
        page.hears(["event 0", "event 1"])
        gate.next()
        page.hears(["event 0", "event 1", "event 2"])
        gate.end()
        assert gate.over() == "ended"
        browser.open("about:blank")


def test_the_sdk_of_openai_with_the_helper_of_the_document(app: App, tmp_path: Path) -> None:
    helper = block((ROOT / "docs/resume.md").read_text(), "python", "def resumable")
    assert len(helper.splitlines()) <= 13
    program = tmp_path / "with_openai.py"
    program.write_text(
        "import sys\nimport httpx, openai\nfrom openai.types.chat import ChatCompletionChunk\n\n"
        + helper
        + """
with openai.OpenAI(api_key="me", base_url=sys.argv[1]) as client:
    for chunk in resumable(client, model="m", messages=[{"role": "user", "content": "count"}]):
        print(chunk.choices[0].delta.content, flush=True)
"""
    )
    gate = app.gate()
    with unbuffer(app.url, *ON) as proxy, wire(proxy.port) as way:
        url = f"http://127.0.0.1:{way.port}" + gate.path("v1")
        with running("env", "NO_PROXY=*", python(), str(program), url) as client:
            for number in range(4):
                client.out.match(rf"^event {number}$", 3 * STARTED)
                if number in (1, 2):
                    way.cut()
                gate.next() if number < 3 else gate.end()
            assert client.exit_code() == 0, client.err.all()
            assert client.out.all() == [f"event {number}" for number in range(4)]
        assert way.connections == 3
        assert gate.over() == "ended"
