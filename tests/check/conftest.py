"""One server for all: streams of an application's own, and probes. The command runs in this process."""

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.stack import uvicorn
from unbuffer.check import run as run_of_a_check
from unbuffer.check import variants
from unbuffer.check.variants import Variant
from unbuffer.cli import main


@dataclass(frozen=True, slots=True)
class Told:
    """What a check printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def brief(self) -> str:
        """What to look at where a test fails."""
        return json.dumps(self.report["findings"], indent=1) if self.out.startswith("{") else f"{self.out}{self.err}"

    @property
    def report(self) -> dict[str, Any]:
        """The only URL's part of `--json`."""
        (url,) = json.loads(self.out)["urls"]
        report: dict[str, Any] = url
        return report

    @property
    def found(self) -> list[str]:
        """The names of its findings that are no notes."""
        return [finding["name"] for finding in self.report["findings"] if finding["level"] != "note"]

    @property
    def cure(self) -> str:
        """What the gravest finding advises first."""
        return str(self.report["findings"][0]["cures"][0])

    @property
    def notes(self) -> list[str]:
        """The names of its notes."""
        return [finding["name"] for finding in self.report["findings"] if finding["level"] == "note"]


Run = Callable[..., Told]


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `unbuffer check` with these arguments."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Told:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = main(["check", *arguments])
            except SystemExit as end:
                code = int(end.code or 0)
        return Told(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Beside the first request only these variants are asked, all at once: a whole check takes eight seconds."""

    def choose(*names: str) -> None:
        def others(probe: bool, http2: bool, several: int) -> Iterator[tuple[Variant, ...]]:
            every = [variant for group in variants.others(probe, http2, several) for variant in group]
            yield tuple(variant for variant in every if variant.name in names)

        monkeypatch.setattr(run_of_a_check, "others", others)

    return choose


@pytest.fixture(scope="session")
def app() -> Iterator[str]:
    """The URL of app.py under uvicorn, without a slash at its end."""
    with uvicorn(application="tests.check.app:app") as server:
        yield server.url
