"""An application server with unbuffer in front of it, as real processes, and the test's hand on the application."""

import signal
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from tests import local
from tests.e2e.processes import STARTED, Program, running

APP = "tests.e2e.app:app"
SERVERS = ("uvicorn", "uvicorn-h11", "hypercorn", "granian")

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class App:
    """The application of app.py, reached directly. url: as unbuffer's --upstream takes it."""

    url: str
    client: httpx.Client
    process: Program

    def gate(self) -> "Gate":
        """A gate of its own for one stream."""
        return Gate(uuid.uuid4().hex, self.client)


@dataclass(frozen=True, slots=True)
class Gate:
    """The test's side of a gate of app.py."""

    name: str
    app: httpx.Client

    def path(self, kind: str) -> str:
        """Where the stream is asked for."""
        return f"/stream/{self.name}/{kind}"

    def next(self) -> None:
        """Let the stream give its next event."""
        self.app.post(f"/gate/{self.name}/next").raise_for_status()

    def end(self) -> None:
        """Let the stream end well."""
        self.app.post(f"/gate/{self.name}/end").raise_for_status()

    def fail(self) -> None:
        """Let the stream raise."""
        self.app.post(f"/gate/{self.name}/fail").raise_for_status()

    def taken(self, count: int) -> None:
        """Wait until the server has taken so many events."""
        self.app.get(f"/gate/{self.name}/taken/{count}").raise_for_status()

    def over(self) -> str:
        """Wait until the stream has ended, and how it did."""
        ending: str = self.app.get(f"/gate/{self.name}/over").raise_for_status().json()
        return ending


@dataclass(frozen=True, slots=True)
class Unbuffer:
    """`unbuffer serve`. url and admin have no slash at their end."""

    url: str
    admin: str
    process: Program

    @property
    def port(self) -> int:
        """Where clients connect."""
        return int(self.url.rpartition(":")[2])

    def samples(self) -> dict[tuple[str, Labels], float]:
        """What /metrics says now, by name and labels."""
        text = local.get(f"{self.admin}/metrics").raise_for_status().text
        families = text_string_to_metric_families(text)
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    def lines(self, path: str, count: int = 1) -> list[dict[str, Any]]:
        """The access log's lines for a path, as soon as there are so many."""

        def found(lines: list[str]) -> list[dict[str, Any]] | None:
            parsed = [msgspec.json.decode(line, type=dict[str, Any]) for line in lines]
            matching = [line for line in parsed if line.get("url.path") == path]
            return matching if len(matching) >= count else None

        return self.process.out.wait(found)

    def line(self, path: str) -> dict[str, Any]:
        """The one line for a path."""
        (line,) = self.lines(path)
        return line


@dataclass(frozen=True, slots=True)
class Stack:
    """Both together."""

    app: App
    unbuffer: Unbuffer

    @property
    def url(self) -> str:
        """Of unbuffer."""
        return self.unbuffer.url

    def gate(self) -> Gate:
        """A gate of its own for one stream."""
        return self.app.gate()


@contextmanager
def _reached(url: str, process: Program, socket: str | None = None) -> Iterator[App]:
    # Both httpx and uvicorn keep a connection at rest for 5 s: one of them has to be the first to give it up.
    limits = httpx.Limits(keepalive_expiry=1)
    with local.client("http://localhost" if socket else url, socket, limits=limits) as client:
        yield App(url, client, process)


@contextmanager
def uvicorn(*options: str, port: int = 0, application: str = APP, python: str = sys.executable) -> Iterator[App]:
    """The application under uvicorn, on httptools unless the options say otherwise. python: of which environment."""
    command = (python, "-m", "uvicorn", application, "--port", str(port), "--no-access-log", *options)
    # It raises the signal that ended it once more.
    with running(*command, "--timeout-graceful-shutdown", "1", code=-signal.SIGTERM) as process:
        url = process.err.match(r"running on (http://\S+)", STARTED)[1]
        with _reached(url, process) as app:
            yield app


@contextmanager
def uvicorn_h11() -> Iterator[App]:
    """The application under uvicorn on h11, which is what it has without its extra `standard`."""
    with uvicorn("--http", "h11") as app:
        yield app


@contextmanager
def hypercorn(application: str = APP) -> Iterator[App]:
    """The application under hypercorn."""
    # Without workers it serves in the process that was started.
    command = (sys.executable, "-m", "hypercorn", application, "--bind", "127.0.0.1:0", "--workers", "0")
    with running(*command, "--graceful-timeout", "1") as process:
        url = process.err.match(r"Running on (http://\S+)")[1]
        with _reached(url, process) as app:
            yield app


@contextmanager
def granian(directory: Path, application: str = APP) -> Iterator[App]:
    """The application under granian, on a Unix socket: it does not tell which port the kernel chose for it."""
    socket = str(directory / "granian.sock")
    command = (sys.executable, "-m", "granian", "--interface", "asgi", "--uds", socket, application)
    with running(*command, "--workers-kill-timeout", "2") as process:
        process.out.match("Started worker-1")
        with _reached(f"unix:{socket}", process, socket) as app:
            yield app


@contextmanager
def gunicorn(worker: str, application: str = APP) -> Iterator[App]:
    """The application under gunicorn, with a worker of this sort."""
    command = (sys.executable, "-m", "gunicorn", "-k", worker, "--bind", "127.0.0.1:0", application)
    with running(*command, "--graceful-timeout", "1") as process:
        url = process.err.match(r"Listening at: (http://\S+)")[1]
        process.err.match("Booting worker")
        with _reached(url, process) as app:
            yield app


@contextmanager
def unbuffer(upstream: str, *options: str) -> Iterator[Unbuffer]:
    """unbuffer in front of `upstream`; it must end with exit code 0."""
    command = (sys.executable, "-m", "unbuffer", "serve", "--upstream", upstream)
    addresses = ("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--set", "drain.timeout=2s")
    with running(*command, *addresses, *options) as process:
        admin = process.err.match(r"admin on (http://\S+)")[1]
        url = process.err.match(r"listening on (https?://\S+)")[1]
        process.err.match("upstream ")
        yield Unbuffer(url, admin, process)


def starters(directory: Path) -> dict[str, Callable[[], Any]]:
    """How each of SERVERS is started. Their files go to `directory`."""
    return {
        "uvicorn": uvicorn,
        "uvicorn-h11": uvicorn_h11,
        "hypercorn": hypercorn,
        "granian": lambda: granian(directory),
    }
