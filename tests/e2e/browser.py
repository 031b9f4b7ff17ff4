"""Chromium for tests: it reaches this machine only, and says what it asked for and what it complained about."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.peers import PATIENCE

T = TypeVar("T")

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # it does not start for root with one
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1280,1000",
)


class Browser:
    """One window of Chromium."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Go there, and forget what was logged before."""
        self.driver.get("about:blank")
        self._log("browser")
        self._log("performance")
        self.driver.get(url)

    def width(self, pixels: int) -> None:
        """The window of a device this wide; 0 = as it was."""
        if not pixels:
            self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            return
        metrics = {"width": pixels, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def theme(self, name: str) -> None:
        """What the person's system is set to: light or dark."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def find(self, selector: str) -> WebElement:
        """The first element, as soon as there is one."""
        return self.until(lambda: next(iter(self.all(selector)), None))

    def all(self, selector: str) -> list[WebElement]:
        """The elements there are."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """The text of the first element."""
        return self.find(selector).text

    def press(self, *keys: str) -> None:
        """Keys, to whatever has the focus."""
        for key in keys:
            self.focused.send_keys(key)

    @property
    def focused(self) -> WebElement:
        """The element that has the focus."""
        return self.driver.switch_to.active_element

    def until(self, condition: Callable[[], T | None]) -> T:
        """Wait until the page is so; the result."""
        wait = WebDriverWait(self.driver, PATIENCE, 0.05, [StaleElementReferenceException])
        # What the method says of None it does not say in its types.
        return wait.until(lambda _: condition())  # type: ignore[return-value]

    def _log(self, kind: str) -> list[dict[str, Any]]:
        log: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return log

    def complaints(self) -> list[str]:
        """The lines of the console since `open`."""
        return [line["message"] for line in self._log("browser")]

    def messages(self) -> list[str]:
        """The data of the server-sent events that have come since this or `requests` was last asked for."""
        return [params["data"] for params in self._network("eventSourceMessageReceived")]

    def requests(self) -> list[str]:
        """The URLs that were asked for since `open`."""
        return [params["request"]["url"] for params in self._network("requestWillBeSent")]

    def _network(self, method: str) -> list[dict[str, Any]]:
        events = [json.loads(line["message"])["message"] for line in self._log("performance")]
        return [event["params"] for event in events if event["method"] == f"Network.{method}"]


@contextmanager
def chromium(profile: Path, *more: str) -> Iterator[Browser]:
    """Chromium inside the block, with a profile of its own; skips where it is not installed. more: of its options."""
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, path in programs.items() if path is None]:
        assert os.environ.get("CI") != "true", f"{missing} must be installed where CI=true"
        pytest.skip(f"{' and '.join(missing)} not installed")
    options = ChromeOptions()
    options.binary_location = str(programs["chromium"])
    for option in (*_OPTIONS, f"--user-data-dir={profile}", *more):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options, ChromeService(str(programs["chromedriver"])))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
