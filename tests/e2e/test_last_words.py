"""FastAPI's own EventSourceResponse ends a stream cleanly when the path operation raises: what is seen of it."""

from pathlib import Path

import pytest

from tests import local
from tests.e2e.browser import chromium
from tests.e2e.stack import Gate, Stack, unbuffer, uvicorn
from unbuffer.totals import FEW_ENDS

pytestmark = pytest.mark.process


def test_the_one_that_raised_among_those_that_did_not(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (
        uvicorn(application="tests.observe.app:app") as app,
        unbuffer(app.url) as proxy,
        local.client(proxy.url) as client,
        chromium(tmp_path_factory.mktemp("chromium")) as browser,
    ):
        for _ in range(FEW_ENDS):
            assert client.get("/parting").text.endswith("data: [DONE]\n\n")
        # As whole as the others, for whoever looks at the framing.
        assert client.get("/parting?fails=true").text == "data: 0\n\n"
        assert [line.get("unbuffer.last_word") for line in proxy.lines("/parting", FEW_ENDS + 1)] == [
            *[None] * FEW_ENDS,
            "missing",
        ]
        assert {line["unbuffer.outcome"] for line in proxy.lines("/parting")} == {"completed"}
        counted = {value for (name, _), value in proxy.samples().items() if name == "unbuffer_missing_last_words_total"}
        assert counted >= {1.0}
        browser.open(f"{proxy.admin}/streams")
        browser.until(lambda: len(browser.all("#ended tr")) == FEW_ENDS + 1)
        states = [cell.text for cell in browser.all('#ended [data-label="State"]')]
        assert states == ["no last word", *["completed"] * FEW_ENDS]
        browser.find("#ended tr").click()
        browser.until(lambda: browser.text("#verdict").startswith("no last word"))


def read(url: str, gate: Gate, *, fails: bool) -> str:
    """The whole stream, which ends or fails after its first event; raises if it is cut."""
    with local.stream("GET", url + gate.path("fastapi")) as response:
        parts = response.iter_text()
        first = next(parts)
        gate.fail() if fails else gate.end()
        return first + "".join(parts)


def test_with_a_terminal_marker_the_clean_end_of_one_that_raised_is_unterminated(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "unbuffer.yaml"
    file.write_text("routes: [{name: marked, prefix: /stream, terminal_marker: 'data: [DONE]'}]\n")
    with unbuffer(stack.app.url, "-c", str(file)) as proxy:
        for url in (stack.app.url, proxy.url):
            raising = stack.gate()
            assert read(url, raising, fails=True) == "data: event 0\n\n"
            assert raising.over() == "failed"
        line = proxy.line(raising.path("fastapi"))
        assert (line["unbuffer.outcome"], line["http.response.status_code"]) == ("unterminated", 200)

        whole = stack.gate()
        assert read(proxy.url, whole, fails=False).endswith("data: [DONE]\n\n")
        assert proxy.line(whole.path("fastapi"))["unbuffer.outcome"] == "completed"
