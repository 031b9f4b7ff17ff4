"""Chromium through a load balancer and unbuffer, over HTTP/2, in lock-step with the application.

A page of the same origin runs the client's code; what that has heard is a list in the page.
"""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.apps.installed import package
from tests.deploy.balancers import Front, Instances, running_balancer
from tests.e2e.browser import Browser, chromium
from tests.e2e.stack import App, Gate, unbuffer, uvicorn

pytestmark = pytest.mark.process

EVENTS = 5

# What a script has as `url` and `heard` stands at Page.run.

EVENT_SOURCE = """
const source = new EventSource(url);
source.onmessage = (event) => heard.push(event.data);
window.sources = [...window.sources ?? [], source];
"""

FETCH = """
fetch(url).then(async (response) => {
    let text = "";
    for await (const part of response.body.pipeThrough(new TextDecoderStream())) {
        const lines = (text + part).split("\\n");
        text = lines.pop();
        heard.push(...lines);
    }
});
"""

XML_HTTP_REQUEST = """
const request = new XMLHttpRequest();
request.open("GET", url);
request.onprogress = () => heard.splice(0, heard.length, ...request.responseText.split("\\n").slice(0, -1));
request.send();
"""

# Nothing tells a script what a person can see in another window by now, so it looks again and again.
TEXT_PAGE = """
const opened = window.opened = window.open(url);
setInterval(() => {
    const text = opened.document.body?.innerText ?? "";
    heard.splice(0, heard.length, ...text.split("\\n").filter(Boolean));
}, 20);
"""

WEB_SOCKET = """
const socket = new WebSocket(url.replace(/^http/, "ws"));
socket.onopen = () => socket.send("one");
socket.onmessage = (event) => {
    heard.push(event.data);
    if (heard.length == 1) socket.send("two");
    else socket.close(4001, "enough said");
};
"""

READERS = {
    "EventSource": (EVENT_SOURCE, "sse"),
    "fetch": (FETCH, "text"),
    "XMLHttpRequest": (XML_HTTP_REQUEST, "text"),
}
"""How a page may read a stream, and of which kind that is."""


def fetch_event_source(options: str = "") -> str:
    """The script for @microsoft/fetch-event-source. Its files ask each other for what they need as Node.js has it.

    options: what else it is given, each followed by a comma.
    """
    folder = package("@microsoft/fetch-event-source") / "lib" / "cjs"
    files = {f"./{name}": (folder / f"{name}.js").read_text() for name in ("fetch", "parse")}
    return f"""
const files = {json.dumps(files)};
const require = (name) => {{
    const exports = {{}};
    new Function("exports", "require", files[name])(exports, require);
    return exports;
}};
// It tells of an event without data as well, such as one that only sets the time until the next try.
require("./fetch").fetchEventSource(url, {{ {options} onmessage: (event) => event.data && heard.push(event.data) }});
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    # The balancers have addresses of 127.0.0.0/8 and a certificate from an authority of the session.
    options = ("--ignore-certificate-errors", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.*")
    with chromium(tmp_path_factory.mktemp("chromium"), *options) as browser:
        yield browser


class Page:
    """An empty page of an origin, with what each of its scripts has heard."""

    def __init__(self, browser: Browser, origin: str) -> None:
        self._browser = browser
        self._origin = origin
        browser.open(f"{origin}/plain/0")
        browser.driver.execute_script("window.heard = []")

    def run(self, script: str, path: str) -> int:
        """Run a client's code, in which `url` is a path of the origin and `heard` a list of its own; its number."""
        begin = "const url = arguments[0], heard = []; window.heard.push(heard);"
        end = "return window.heard.length - 1;"
        number: int = self._browser.driver.execute_script(f"{begin}\n{script}\n{end}", self._origin + path)
        return number

    def heard(self, number: int = 0) -> list[str]:
        """What that code has heard so far."""
        lines: list[str] = self._browser.driver.execute_script("return window.heard[arguments[0]]", number)
        return lines

    def hears(self, expected: list[str], number: int = 0) -> None:
        """Wait until it has heard so much; it must be just this."""
        self._browser.until(lambda: len(self.heard(number)) >= len(expected) or None)
        assert self.heard(number) == expected

    @property
    def protocol(self) -> str:
        """What is spoken with the origin, as ALPN calls it."""
        script = "return performance.getEntriesByType('navigation')[0].nextHopProtocol"
        spoken: str = self._browser.driver.execute_script(script)
        return spoken


def in_lockstep(page: Page, gate: Gate) -> None:
    expected: list[str] = []
    for number in range(EVENTS):
        expected.append(f"event {number}")
        page.hears(expected)
        gate.next() if number < EVENTS - 1 else gate.end()
    assert gate.over() == "ended"


@pytest.mark.parametrize("reader", READERS)
def test_each_event_is_heard_before_the_next_one_exists(browser: Browser, front: Front, app: App, reader: str) -> None:
    script, kind = READERS[reader]
    gate = app.gate()
    page = Page(browser, front.url)
    page.run(script, gate.path(kind))
    in_lockstep(page, gate)
    assert page.protocol == "h2"


def test_a_page_of_text_shows_its_first_words_before_its_end(browser: Browser, front: Front, app: App) -> None:
    gate = app.gate()
    page = Page(browser, front.url)
    page.run(TEXT_PAGE, gate.path("text"))
    # From the fourth on, Chromium keeps a piece so small to itself until there are more.
    for count in (1, 2):
        page.hears([f"event {number}" for number in range(count)])
        gate.next()
    gate.end()
    page.hears([f"event {number}" for number in range(3)])
    browser.driver.execute_script("window.opened.close()")


@pytest.mark.parametrize("reader", ["EventSource", "fetch"])
def test_a_slow_network_holds_nothing_back(browser: Browser, front: Front, app: App, reader: str) -> None:
    script, kind = READERS[reader]
    gate = app.gate()
    page = Page(browser, front.url)
    slow = {"offline": False, "latency": 200, "downloadThroughput": 2048, "uploadThroughput": 2048}
    try:
        browser.driver.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
        page.run(script, gate.path(kind))
        in_lockstep(page, gate)
    finally:
        fast = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        browser.driver.execute_cdp_cmd("Network.emulateNetworkConditions", fast)


def comes_back(browser: Browser, front: Front, app: App, script: str) -> None:
    gate = app.gate()
    page = Page(browser, front.url)
    page.run(script, gate.path("identified"))
    expected = ["event 0, none before", "event 1, none before"]
    page.hears(expected[:1])
    gate.next()
    page.hears(expected)
    gate.fail()
    if front.name == "nginx":
        # Over HTTP/2 it tells the client of a cut only together with the next thing that it sends there.
        page.run(FETCH, "/plain/1")
    page.hears([*expected, "event 0, 1 before"])


def test_an_event_source_that_was_cut_comes_back_with_its_last_id(browser: Browser, front: Front, app: App) -> None:
    comes_back(browser, front, app, EVENT_SOURCE)


def test_fetch_event_source_that_was_cut_comes_back_with_its_last_id(browser: Browser, front: Front, app: App) -> None:
    comes_back(browser, front, app, fetch_event_source())


def test_a_page_that_is_left_ends_the_work_of_the_application(browser: Browser, front: Front, app: App) -> None:
    gate = app.gate()
    page = Page(browser, front.url)
    # Without this line the page goes on in the cache behind the buttons "back" and "forward", and its stream with it.
    leave = "addEventListener('pagehide', () => source.close());"
    page.run(EVENT_SOURCE + leave, gate.path("sse"))
    page.hears(["event 0"])
    browser.open(f"{front.url}/plain/0")
    assert gate.over() == "cancelled"


def test_seven_event_sources_at_once(browser: Browser, front: Front, app: App) -> None:
    gates = [app.gate() for _ in range(7)]
    page = Page(browser, front.url)
    numbers = [page.run(EVENT_SOURCE, gate.path("sse")) for gate in gates]
    for count in range(1, 4):
        for gate, number in zip(gates, numbers, strict=True):
            page.hears([f"event {n}" for n in range(count)], number)
            gate.next()
    assert page.protocol == "h2"


def test_with_http_11_the_seventh_event_source_waits_until_another_one_ends(
    browser: Browser, authority: trustme.CA, behind: Instances, app: App, tmp_path: Path
) -> None:
    gates = [app.gate() for _ in range(7)]
    with running_balancer("nginx-1.31", authority, behind, tmp_path, {"        http2 on;\n": ""}) as front:
        page = Page(browser, front.url)
        assert page.protocol == "http/1.1"
        numbers = [page.run(EVENT_SOURCE, gate.path("sse")) for gate in gates]
        for number in numbers[:6]:
            page.hears(["event 0"], number)
        assert page.heard(numbers[6]) == []
        browser.driver.execute_script("window.sources[0].close()")
        page.hears(["event 0"], numbers[6])
        assert gates[0].over() == "cancelled"
        browser.open("about:blank")


def test_without_unbuffer_a_script_hears_nothing_of_a_short_text(
    browser: Browser, authority: trustme.CA, app: App, tmp_path: Path
) -> None:
    """What the tests above would find if it were not for X-Content-Type-Options."""
    held, passed = app.gate(), app.gate()
    with running_balancer("nginx", authority, Instances.of(app), tmp_path) as front:
        page = Page(browser, front.url)
        page.run(XML_HTTP_REQUEST, held.path("text"))
        held.taken(1)
        # On the same connection, and later.
        page.hears(["event 0"], page.run(FETCH, passed.path("text")))
        assert page.heard() == []
        held.end()
        page.hears(["event 0"])


def test_a_web_socket(browser: Browser, front: Front, app: App) -> None:
    gate = app.gate()
    page = Page(browser, front.url)
    page.run(WEB_SOCKET, f"/ws/{gate.name}")
    page.hears(["one", "two"])
    assert gate.over() == "closed 4001 enough said"


# -- a restart of the application, without a load balancer: that would make a 502 of it, with unbuffer and without

POST = """method: "POST", headers: {"Content-Type": "application/json"}, body: '{"model": "m"}',"""

RECONNECTING: dict[str, tuple[Callable[[], str], str]] = {
    "EventSource": (lambda: EVENT_SOURCE, "sse"),
    "fetch-event-source": (fetch_event_source, "sse"),
    "fetch-event-source, POST": (lambda: fetch_event_source(POST), "v1/chat/completions"),
}
"""The scripts that come back by themselves, and of which kind the stream is."""


@pytest.mark.parametrize("held", [True, False], ids=["within the wait", "longer than the wait"])
@pytest.mark.parametrize("reader", RECONNECTING)
def test_who_comes_back_by_itself_survives_a_restart_of_the_application(
    browser: Browser, reader: str, held: bool
) -> None:
    script, kind = RECONNECTING[reader]
    wait = "10m" if held else "10ms"
    with uvicorn() as app, unbuffer(app.url, "--set", f"upstream.wait_streams={wait}") as proxy:
        path = app.gate().path(kind)
        page = Page(browser, proxy.url)
        page.run(script(), path)
        browser.until(lambda: len(page.heard()) == 1 or None)
        app.process.end(signal.SIGKILL)
        refused = ("unbuffer_upstream_connects_total", frozenset({("result", "refused")}))
        if held:
            browser.until(lambda: proxy.samples().get(refused))
        else:
            assert proxy.lines(path, 2)[1]["unbuffer.outcome"] == "upstream_refused"
        with uvicorn(port=int(app.url.rpartition(":")[2])):
            browser.until(lambda: len(page.heard()) == 2 or None)
            browser.open("about:blank")
