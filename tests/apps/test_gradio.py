"""A chat of Gradio through unbuffer, word by word: in a browser, and with its own client."""

from collections.abc import Callable
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.apps.installed import python
from tests.e2e.browser import Browser, chromium
from tests.e2e.processes import STARTED, running
from tests.e2e.stack import Stack

pytestmark = pytest.mark.process

PROGRAM = str(Path(__file__).parent / "programs" / "with_gradio_client.py")


@pytest.fixture
def stack(stack_of: Callable[[str], Stack]) -> Stack:
    return stack_of("counting_gradio")


def words(count: int) -> str:
    return ", ".join(f"event {number}" for number in range(count))


def shows(browser: Browser, answer: str) -> None:
    browser.until(lambda: browser.text(".bot.message") == answer or None)


def test_an_answer_grows_in_the_browser_as_it_is_made(stack: Stack, tmp_path: Path) -> None:
    gate = stack.gate()
    with chromium(tmp_path) as browser:
        browser.open(f"{stack.url}/chat/")
        browser.find("textarea").send_keys(gate.name, Keys.ENTER)
        for count in range(1, 4):
            shows(browser, words(count))
            gate.next() if count < 3 else gate.end()
        assert gate.over() == "ended"

    assert stack.unbuffer.line("/chat/gradio_api/queue/data")["unbuffer.kind"] == "sse"


def test_its_client_hears_an_answer_as_it_is_made(stack: Stack) -> None:
    gate = stack.gate()
    with running("env", "NO_PROXY=*", python(), PROGRAM, f"{stack.url}/chat/", gate.name) as client:
        for count in range(1, 4):
            client.out.match(f"^{words(count)}$", STARTED)
            gate.next() if count < 3 else gate.end()
        assert client.exit_code() == 0
    assert gate.over() == "ended"
