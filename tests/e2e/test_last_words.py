"""FastAPI's own EventSourceResponse ends a stream cleanly when the path operation raises: what is seen of it."""

import signal
import sys

import httpx
import pytest

from tests.e2e.browser import chromium
from tests.e2e.processes import running
from tests.e2e.stack import unbuffer
from tests.peers import PATIENCE
from unbuffer.totals import FEW_ENDS

pytestmark = pytest.mark.process


def test_the_one_that_raised_among_those_that_did_not(tmp_path_factory: pytest.TempPathFactory) -> None:
    command = (sys.executable, "-m", "uvicorn", "tests.observe.app:app", "--port", "0", "--no-access-log")
    with (
        running(*command, "--timeout-graceful-shutdown", "1", code=-signal.SIGTERM) as process,
        unbuffer(process.err.match(r"running on (http://\S+)")[1]) as proxy,
        httpx.Client(base_url=proxy.url, trust_env=False, timeout=PATIENCE) as client,
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
