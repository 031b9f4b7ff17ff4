"""A page of NiceGUI through unbuffer: what the server changes, its WebSocket brings to the browser at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.browser import Browser, chromium
from tests.e2e.stack import Stack

pytestmark = pytest.mark.process


def shows(browser: Browser, said: str) -> None:
    browser.until(lambda: browser.text(".said") == said or None)


def test_a_label_changes_in_the_browser_as_the_server_changes_it(
    stack_of: Callable[[str], Stack], tmp_path: Path
) -> None:
    stack = stack_of("counting_nicegui")
    gate = stack.gate()
    with chromium(tmp_path) as browser:
        browser.open(f"{stack.url}/counter/{gate.name}")
        shows(browser, "nothing")
        browser.find("button").click()
        for number in range(4):
            shows(browser, f"event {number}")
            gate.next() if number < 3 else gate.end()
        assert gate.over() == "ended"

    line = stack.unbuffer.process.out.match(r'.*"unbuffer.kind":"upgrade".*')[0]
    assert '"unbuffer.outcome":"completed"' in line
    assert '"http.response.status_code":101' in line
