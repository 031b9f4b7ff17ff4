"""A page of another origin, in Chromium, while the application is away: it sees why, and not just that it failed."""

import signal
from pathlib import Path

import pytest

from tests.e2e.browser import Browser, chromium
from tests.e2e.stack import Unbuffer, unbuffer, uvicorn

pytestmark = pytest.mark.process

FETCH = """
const [url, options, done] = arguments;
fetch(url, options).then(
    async (response) => done([response.status, response.headers.get("Retry-After"), await response.text()]),
    (error) => done([0, null, error.message]),
);
"""

POST = {
    "method": "POST",
    "body": "{}",
    "credentials": "include",
    "headers": {"Content-Type": "application/json", "Authorization": "Bearer x"},
}


def fetched(browser: Browser, proxy: Unbuffer, options: object) -> tuple[int, str | None, str]:
    """Status, Retry-After and text as a page sees them; 0 and the error's message where fetch fails."""
    status, retry_after, text = browser.driver.execute_async_script(FETCH, proxy.url + "/upload", options)
    return status, retry_after, text


@pytest.mark.parametrize("options", [{}, POST], ids=["simple", "with a preflight"])
def test_a_page_of_a_named_origin_sees_status_and_reason(options: object, tmp_path: Path) -> None:
    with uvicorn() as page, uvicorn() as app, chromium(tmp_path / "profile") as browser:
        browser.open(page.url + "/plain/1")
        with (
            unbuffer(app.url, "--set", f"cors.origins={page.url}") as named,
            unbuffer(app.url, "--set", "cors.origins=https://other.example") as not_named,
        ):
            app.process.end(signal.SIGKILL)

            status, retry_after, text = fetched(browser, named, options)
            assert (status, retry_after) == (503, "1")
            assert "The upstream accepts no connections" in text

            assert fetched(browser, not_named, options) == (0, None, "Failed to fetch")
