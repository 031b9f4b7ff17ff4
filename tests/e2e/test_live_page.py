"""The live page in Chromium, in front of real streams: what a person sees equals what ran."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from tests.e2e.browser import Browser, chromium
from tests.e2e.stack import Gate, Stack, Unbuffer, unbuffer, uvicorn
from unbuffer.rhythm import PAUSE

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


class Running:
    """A stream that runs: each event comes to the client before the next one is sent."""

    def __init__(self, gate: Gate, parts: Iterator[bytes]) -> None:
        self.gate = gate
        self.path = gate.path("sse")
        self._parts = parts
        next(parts)
        self.chunks = 1

    def go_on(self, count: int, pause: float = 0.0) -> None:
        """pause: seconds that the application takes for each event."""
        for _ in range(count):
            time.sleep(pause)
            self.gate.next()
            next(self._parts)
            self.chunks += 1

    def end(self) -> None:
        self.gate.end()
        assert list(self._parts) == []

    def read_to_the_end(self) -> None:
        list(self._parts)


@contextmanager
def running(client: httpx.Client, proxy: Unbuffer, gate: Gate) -> Iterator[Running]:
    with client.stream("GET", f"{proxy.url}{gate.path('sse')}?secret=1") as response:
        yield Running(gate, response.iter_raw())


def open_page(browser: Browser, proxy: Unbuffer) -> None:
    """Open the page and wait until it is told of all that happens."""
    browser.open(f"{proxy.admin}/streams")
    browser.until(lambda: browser.text("#state") == "live, upstream up")


def row(browser: Browser, body: str, path: str) -> WebElement:
    """The row of a stream in this part of the list, as soon as it is there."""

    def found() -> WebElement | None:
        return next((tr for tr in browser.all(f"#{body} tr") if path in tr.text), None)

    return browser.until(found)


def cell(browser: Browser, body: str, path: str, column: str) -> str:
    selector = f'td[data-label="{column}"]'
    return row(browser, body, path).find_element("css selector", selector).text


def marks(browser: Browser, kind: str) -> int:
    """How many chunks the picture has: each is one line of the path."""
    # In one step: the page draws it anew every second.
    d = browser.driver.execute_script(f"return document.querySelector('#picture path.{kind}')?.getAttribute('d')")
    return str(d).count("M")


def test_a_stream_appears_grows_and_ends(browser: Browser, proxy: Unbuffer, stack: Stack, client: httpx.Client) -> None:
    open_page(browser, proxy)
    assert browser.text("#list-text") == "No stream yet."
    assert [name.text for name in browser.all("#picture text")] == ["upstream", "client"]
    with running(client, proxy, stack.gate()) as stream:
        browser.until(lambda: cell(browser, "running", stream.path, "State") == "running")
        stream.go_on(4)
        browser.until(lambda: cell(browser, "running", stream.path, "Chunks") == "5")
        assert browser.text("#sum-streams") == "1"
        # The page was open before it began: its picture has every chunk, above and below.
        assert browser.text("#stream-heading") == f"GET {stream.path}"
        assert (marks(browser, "ups"), marks(browser, "downs")) == (5, 5)
        stream.go_on(3)
        browser.until(lambda: marks(browser, "ups") == marks(browser, "downs") == 8)
        stream.end()

    browser.until(lambda: cell(browser, "ended", stream.path, "State") == "completed")
    assert browser.all("#running tr") == []
    assert cell(browser, "ended", stream.path, "Bytes") == f"{len('data: event 0') * 8 + 16} B"
    assert marks(browser, "ups") == 8
    assert re.match(r"8 chunks, 120 B in ", browser.text("#picture-text"))
    assert "secret" not in browser.driver.page_source


def dot(browser: Browser, selector: str) -> str:
    """The colour of the dot before this element."""
    color = browser.driver.execute_script(
        "return getComputedStyle(document.querySelector(arguments[0]), '::before').backgroundColor", selector
    )
    return str(color)


def theme_color(browser: Browser, name: str) -> str:
    """What the page calls good, bad or soft, as it is used now."""
    return str(
        browser.driver.execute_script(
            """
            const probe = document.body.appendChild(document.createElement("i"));
            probe.style.color = `var(--${arguments[0]})`;
            const color = getComputedStyle(probe).color;
            probe.remove();
            return color;
            """,
            name,
        )
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_silence_that_ended_a_stream_is_seen_and_no_such_stream_is_green(
    browser: Browser, stack: Stack, client: httpx.Client, theme: str
) -> None:
    browser.theme(theme)
    with unbuffer(stack.app.url, "--set", "timeouts.silence=2s") as proxy:
        open_page(browser, proxy)
        with running(client, proxy, stack.gate()) as stream:
            stream.go_on(4, pause=4 * PAUSE)
            with pytest.raises(httpx.RemoteProtocolError):
                stream.read_to_the_end()
        browser.until(lambda: cell(browser, "ended", stream.path, "State") == "silence timeout")
        assert marks(browser, "ups") == 5
        assert len(browser.all("#picture .silence")) == 1
        assert re.fullmatch(r"\d+\.\d s", browser.text("#picture .silent"))
        assert re.search(r"Then nothing came for \d+\.\d s, until the end\.", browser.text("#picture-text"))
        assert cell(browser, "ended", stream.path, "Last gap") == browser.text("#picture .silent")
        words = browser.text("#verdict")
        assert 0 == words.index("silence timeout") < words.index("streamed")
        assert dot(browser, "#verdict") == dot(browser, '#ended [data-label="State"]') == theme_color(browser, "bad")
        assert dot(browser, '#ended [data-label="Verdict"]') == theme_color(browser, "soft")


def test_a_silence_in_which_the_page_was_opened_is_seen_and_stays_when_the_stream_ends(
    browser: Browser, proxy: Unbuffer, stack: Stack, client: httpx.Client
) -> None:
    with running(client, proxy, stack.gate()) as stream:
        stream.go_on(4, pause=4 * PAUSE)
        open_page(browser, proxy)
        browser.until(lambda: browser.all("#picture .silence"))
        assert cell(browser, "running", stream.path, "Verdict") == "streamed"
        assert (
            dot(browser, "#verdict") == dot(browser, '#running [data-label="Verdict"]') == theme_color(browser, "good")
        )
        stream.end()
    browser.until(lambda: cell(browser, "ended", stream.path, "State") == "completed")
    # No chunk came while anybody looked: an outline, of the first one and the last.
    assert marks(browser, "ups") == 2
    assert len(browser.all("#picture .silence")) == 1
    assert "until the end." in browser.text("#picture-text")
    # Of an end as it should be the page says nothing.
    assert browser.text("#verdict").startswith("streamed")
    assert dot(browser, "#verdict") == dot(browser, '#ended [data-label="Verdict"]') == theme_color(browser, "good")


def test_keep_alives_of_the_application_are_neither_chunks_nor_heartbeats_and_hide_no_silence(
    browser: Browser, client: httpx.Client
) -> None:
    with uvicorn(application="tests.e2e.hanging:app") as app, unbuffer(app.url) as proxy:
        open_page(browser, proxy)
        with client.stream("GET", f"{proxy.url}/starlette/2"):
            browser.until(lambda: marks(browser, "alives") > 2 and browser.all("#picture .silent"))
            assert marks(browser, "ups") == marks(browser, "downs") == 2
            assert marks(browser, "beats") == 0
            assert cell(browser, "running", "/starlette/2", "Chunks") == "2"
            assert re.search(r"Keep-alives of the application: \d+\.$", browser.text("#picture-text"))
            script = "return document.querySelector(arguments[0]).getBoundingClientRect()[arguments[1]]"
            read = browser.driver.execute_script
            assert read(script, "#picture .silent", "bottom") <= read(script, "#picture .alives", "top")


def test_what_nobody_reads_is_drawn_as_kept_and_a_replay_as_what_it_was_given(
    browser: Browser, stack: Stack, client: httpx.Client
) -> None:
    with unbuffer(stack.app.url, "--set", "resume.window=1m", "--set", "resume.linger=1m") as proxy:
        open_page(browser, proxy)
        gate = stack.gate()
        with client.stream("GET", f"{proxy.url}{gate.path('sse')}") as response:
            name = response.headers["unbuffer-stream"]
            stream = Running(gate, (part for part in response.iter_raw() if b"event" in part))  # not the first id
            stream.go_on(2)
        browser.until(lambda: "Nobody read it" in browser.text("#picture-text"))
        for _ in range(2):
            gate.next()
        browser.until(lambda: (marks(browser, "ups"), marks(browser, "downs"), marks(browser, "kept")) == (5, 3, 2))
        assert len(browser.all("#picture .absent")) == 1
        with client.stream("GET", f"{proxy.url}{gate.path('sse')}?unbuffer-stream={name}&after=3") as back:
            parts = back.iter_raw()
            while b"event 4" not in next(parts):
                pass
            browser.until(lambda: len(browser.all("#running tr")) == 2)
            replay = next(tr for tr in browser.all("#running tr") if "replay of 2 events" in tr.text)
            assert replay.find_element("css selector", 'td[data-label="Chunks"]').text == "1"
            replay.click()
            browser.until(lambda: "it had missed 2 events, and was given" in browser.text("#picture-text"))
            assert (marks(browser, "ups"), browser.all("#picture .silence")) == (0, [])
            assert browser.text("#picture .up") == "kept by unbuffer"
            gate.next()
            browser.until(lambda: marks(browser, "downs") >= 1 and "2 pieces" in browser.text("#picture-text"))
            for theme in ("light", "dark"):
                browser.theme(theme)
                assert_accessible(browser)
            gate.end()


def test_a_stream_that_ended_before_anybody_looked_has_an_outline(
    browser: Browser, proxy: Unbuffer, stack: Stack, client: httpx.Client
) -> None:
    with running(client, proxy, stack.gate()) as stream:
        stream.go_on(1)
        stream.end()
    open_page(browser, proxy)
    assert cell(browser, "ended", stream.path, "Chunks") == "2"
    # Nobody has chosen anything: what is known of it stands there all the same, and what is not is not drawn.
    browser.until(lambda: re.search(r"^An outline: .* 2 chunks, .*, the first", browser.text("#picture-text")))
    assert (marks(browser, "ups"), marks(browser, "downs")) == (2, 0)
    assert len(browser.all("#picture .unknown")) == 1
    # And so it is with one that only ended while the page was open.
    browser.open("about:blank")
    with running(client, proxy, stack.gate()) as stream:
        stream.go_on(2)
        open_page(browser, proxy)
        browser.until(lambda: browser.text("#stream-heading") == f"GET {stream.path}")
        stream.end()
    browser.until(lambda: re.search(r"^An outline: .* 3 chunks", browser.text("#picture-text")))
    assert (marks(browser, "ups"), marks(browser, "downs")) == (2, 0)


def test_the_keyboard_chooses_and_focus_stays(
    browser: Browser, proxy: Unbuffer, stack: Stack, client: httpx.Client
) -> None:
    open_page(browser, proxy)
    with running(client, proxy, stack.gate()) as older:
        browser.until(lambda: browser.text("#stream-heading") == f"GET {older.path}")
        with running(client, proxy, stack.gate()) as newer:
            row(browser, "running", newer.path)
            browser.press(Keys.TAB)
            assert browser.focused.text == "To the list of streams"
            browser.press(Keys.ENTER, Keys.TAB)
            # The list is one stop: the keys move inside it, and choose nothing.
            browser.press(Keys.HOME)
            assert newer.path in browser.text("#list button:focus")
            browser.press(Keys.ARROW_DOWN)
            assert older.path in browser.text("#list button:focus")
            browser.press(Keys.ARROW_UP)
            assert browser.find("#list button:focus").get_attribute("aria-pressed") == "false"
            assert browser.text("#stream-heading") == f"GET {older.path}"
            browser.press(Keys.ENTER)
            browser.until(lambda: browser.text("#stream-heading") == f"GET {newer.path}")
            browser.until(lambda: browser.find("#list button:focus").get_attribute("aria-pressed") == "true")
            newer.go_on(2)
            browser.until(lambda: marks(browser, "ups") == 3)

            # It moves to the ended ones and takes the focus along; a screen reader is told.
            newer.end()
            row(browser, "ended", newer.path)
            assert newer.path in browser.text("#ended button:focus")
            words = browser.find("#news").get_attribute("textContent")
            assert words is not None
            assert words.startswith(f"GET {newer.path} ended: completed")

            browser.find("#follow").click()
            browser.until(lambda: browser.text("#stream-heading") == f"GET {older.path}")
            older.end()


def test_it_speaks_with_its_own_port_only_and_its_policy_forbids_nothing_it_does(
    browser: Browser, proxy: Unbuffer, stack: Stack, client: httpx.Client
) -> None:
    open_page(browser, proxy)
    with running(client, proxy, stack.gate()) as stream:
        stream.go_on(2)
        browser.until(lambda: marks(browser, "ups") == 3)
        browser.find("#pause").click()
        browser.find("#pause").click()
        for choice in browser.all("#window label"):
            choice.click()
        row(browser, "running", stream.path).click()
        browser.until(lambda: browser.text("#follow"))
        stream.end()
        row(browser, "ended", stream.path)
    asked = browser.requests()
    assert f"{proxy.admin}/streams/updates" in asked
    assert [url for url in asked if not url.startswith(f"{proxy.admin}/streams")] == []
    assert browser.complaints() == []


def test_the_policy_is_in_force(browser: Browser, proxy: Unbuffer) -> None:
    open_page(browser, proxy)
    result = browser.driver.execute_async_script(
        """
        const done = arguments[0];
        document.addEventListener("securitypolicyviolation", (event) => done(event.violatedDirective));
        const style = document.createElement("style");
        style.textContent = "body { color: red }";
        document.body.append(style);
        """
    )
    assert result.startswith("style-src")


def test_paused_it_stands_still_and_then_shows_what_came(
    browser: Browser, proxy: Unbuffer, stack: Stack, client: httpx.Client
) -> None:
    open_page(browser, proxy)
    with running(client, proxy, stack.gate()) as stream:
        browser.until(lambda: marks(browser, "ups") == 1)
        browser.find("#pause").click()
        assert browser.text("#state") == "paused"
        stream.go_on(3)
        stream.end()
    browser.until(lambda: any('"outcome":"completed"' in data for data in browser.messages()))
    assert marks(browser, "ups") == 1
    browser.find("#pause").click()
    browser.until(lambda: marks(browser, "ups") == 4)
    browser.until(lambda: cell(browser, "ended", stream.path, "State") == "completed")


def test_on_a_phone_nothing_is_wider_than_the_screen(
    browser: Browser, proxy: Unbuffer, stack: Stack, client: httpx.Client
) -> None:
    browser.width(360)
    try:
        open_page(browser, proxy)
        with running(client, proxy, stack.gate()) as stream:
            browser.until(lambda: marks(browser, "ups") == 1)
            assert browser.driver.execute_script("return document.documentElement.scrollWidth") == 360
            # What the columns are called stands beside the values there.
            before = "return getComputedStyle(document.querySelector('td[data-label=Age]'), '::before').content"
            assert browser.driver.execute_script(before) == '"Age"'
            stream.end()
    finally:
        browser.width(0)


def test_a_screen_reader_gets_a_table_and_words_for_the_pictures(
    browser: Browser, proxy: Unbuffer, stack: Stack, client: httpx.Client
) -> None:
    open_page(browser, proxy)
    with running(client, proxy, stack.gate()) as stream:
        browser.until(lambda: marks(browser, "ups") == 1)
        assert [browser.find(s).aria_role for s in ("table", "#running tr", "#running th", "#running td")] == [
            "table",
            "row",
            "rowheader",
            "cell",
        ]
        assert browser.find("#running th button").accessible_name == f"GET {stream.path}"
        for image in browser.all("figure svg"):
            assert image.aria_role == "image"
            assert image.accessible_name
            described_by = image.get_attribute("aria-describedby")
            assert browser.text(f"#{described_by}")
        assert browser.find("#state").aria_role == "status"
        stream.end()


def test_it_says_when_the_process_has_ended(browser: Browser, stack: Stack) -> None:
    with unbuffer(stack.app.url) as proxy:
        open_page(browser, proxy)
        assert re.fullmatch(r"\S+ · \S+ · up \d+ s", browser.text("#process"))
    browser.until(lambda: browser.text("#state") == "no connection")
    assert browser.find("#state").get_attribute("data-state") == "lost"
    assert browser.find("#gone").aria_role == "alert"
    assert "has not answered since" in browser.text("#gone")
    assert "grayscale" in browser.find("main").value_of_css_property("filter")


AXE = Path(__file__).parents[1] / "clients/node_modules/axe-core/axe.min.js"


def test_of_an_application_that_is_dead_the_page_says_so_and_can_be_sent_on(
    browser: Browser, client: httpx.Client
) -> None:
    """And axe-core finds nothing, in both themes and on a phone, with a filter, a chosen stream and its picture."""
    if not AXE.exists():
        assert os.environ.get("CI") != "true"
        pytest.skip("needs axe-core: make apps")
    application = ExitStack()
    app = application.enter_context(uvicorn())
    with application, unbuffer(app.url) as proxy:
        assert client.get(f"{proxy.url}/fine").status_code == 404
        application.close()
        for _ in range(2):
            assert client.get(f"{proxy.url}/dead").status_code == 503
        browser.open(f"{proxy.admin}/streams?problems=1")
        browser.until(lambda: browser.text("#state").startswith("upstream down: "))
        assert browser.text("#sum-failed") == "2"
        assert [tr.text.split()[1] for tr in browser.all("#ended tr")] == ["/dead", "/dead"]
        assert browser.all("#running tr") == []
        browser.find("#problems").click()
        browser.until(lambda: len(browser.all("#ended tr")) == 3)
        assert browser.driver.current_url == f"{proxy.admin}/streams"
        Select(browser.find("#route")).select_by_value("default")
        assert browser.driver.current_url == f"{proxy.admin}/streams?route=default"
        row(browser, "ended", "/dead").click()
        browser.until(lambda: browser.text("#stream-heading") == "GET /dead")
        for theme in ("light", "dark"):
            browser.theme(theme)
            for width in (390, 0):
                browser.width(width)
                assert_accessible(browser)
        browser.width(390)
        # On a phone the picture stands under its row.
        browser.until(lambda: browser.all("#ended tr[data-chosen] + .under #stream"))
        browser.width(0)
        browser.until(lambda: browser.all("#main > #stream"))


def assert_accessible(browser: Browser) -> None:
    browser.driver.execute_script(AXE.read_text())
    found = browser.driver.execute_async_script(
        "const done = arguments[0]; axe.run().then(({ violations }) => done(violations), (error) => done([`${error}`]))"
    )
    assert found == []
