"""What every story has: the application, unbuffer in front of it, raw clients, and books that are closed at its end.

The books: access log and metrics agree, no stream, connection or descriptor is left, and nothing was a surprise to
unbuffer (no traceback).
"""

import contextlib
import os
import re
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from tests import local
from tests.e2e.processes import Program, running
from tests.peers import PATIENCE

Prefix = tuple[str, ...]
"""Words in front of a command line: `ip netns exec NAME`, say."""


def until(condition: Callable[[], object]) -> None:
    """Wait for a state that nobody tells of."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "it did not come about"
        time.sleep(0.005)


@dataclass(frozen=True, slots=True)
class App:
    """The application of app.py. url: as unbuffer's --upstream takes it."""

    url: str
    process: Program

    def reached(self, path: str) -> None:
        """Wait until a request for this path has come."""
        self.process.out.match(f"^{re.escape(path)}$")

    def next(self, name: str) -> None:
        """Let a stream give one event more; told past unbuffer."""
        _, unix, path = self.url.partition("unix:")
        with local.client("http://localhost", path) if unix else local.client(self.url) as client:
            client.post(f"/next/{name}").raise_for_status()


@contextmanager
def application(*options: str, prefix: Prefix = (), socket: Path | None = None) -> Iterator[App]:
    """The application under uvicorn, on a port of its own choice or on a Unix socket."""
    where = ("--uds", str(socket)) if socket else () if "--port" in options else ("--port", "0")
    command = (*prefix, sys.executable, "-m", "uvicorn", "tests.faults.app:app", *where, *options)
    quiet = ("--no-access-log", "--lifespan", "off", "--timeout-graceful-shutdown", "1")
    # uvicorn raises the signal that ended it once more.
    with running(*command, *quiet, code=-signal.SIGTERM) as process:
        url = process.err.match(r"running on (?:unix socket )?(\S+)")[1]
        yield App(f"unix:{socket}" if socket else url, process)


@dataclass(slots=True)
class Story:
    """`unbuffer serve`, watched. listen: an address of a socket, or a path."""

    process: Program
    listen: tuple[str, int] | str
    admin: Path
    files: int = 0
    """Descriptors that were open before the first client came."""
    clients: list[socket.socket] = field(default_factory=list)
    once: list[str] = field(default_factory=list)
    """Words of which the process log must have exactly one line each when all is over."""

    def client(self) -> socket.socket:
        """A client connection; it is closed at the end of the story."""
        sock = socket.socket(socket.AF_UNIX if isinstance(self.listen, str) else socket.AF_INET)
        self.clients.append(sock)
        sock.settimeout(PATIENCE)
        sock.connect(self.listen)
        return sock

    def ask(self, path: str, method: str = "GET", more: str = "Connection: close\r\n") -> socket.socket:
        """A client that has sent a request."""
        client = self.client()
        client.sendall(f"{method} {path} HTTP/1.1\r\nHost: app\r\n{more}\r\n".encode())
        return client

    def stream(self, path: str) -> socket.socket:
        """A client that has event 0 of a stream."""
        client = self.ask(path)
        assert read_until(client, b"event 0\n\r\n").startswith(b"HTTP/1.1 200 ")
        return client

    def works(self) -> None:
        """A request that can only succeed does."""
        answer = read_all(self.ask("/ok/1"))
        assert answer.startswith(b"HTTP/1.1 200 "), answer

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """What /metrics says now, by name and labels."""
        with local.client(socket=self.admin) as client:
            text = client.get("/metrics").raise_for_status().text
        families = text_string_to_metric_families(text)
        return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}

    def count(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        wanted = set(labels.items())
        return sum(v for (found, has), v in self.samples().items() if found == name and wanted <= has)

    def line(self, path: str) -> dict[str, Any]:
        """The access log's line for a path, as soon as it is there."""

        def find(lines: list[str]) -> dict[str, Any] | None:
            return next((line for line in map(_parsed, lines) if line.get("url.path") == path), None)

        return self.process.out.wait(find)

    def ended(self, path: str, outcome: str, status: int, detail: str = "") -> None:
        """The stream of this path has ended so."""
        line = self.line(path)
        found = (line["unbuffer.outcome"], line.get("http.response.status_code", 0))
        assert found == (outcome, status), line
        assert detail in line.get("unbuffer.detail", ""), line

    def open_files(self) -> int:
        """How many descriptors the process has now."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def _at_rest(self) -> bool:
        now = self.samples()
        gauges = [
            v for (name, _), v in now.items() if name in ("unbuffer_active_streams", "unbuffer_client_connections")
        ]
        states = {
            dict(labels)["state"]: v for (name, labels), v in now.items() if name == "unbuffer_upstream_connections"
        }
        return not any(gauges) and not states["active"] and self.open_files() <= self.files + states["idle"]

    def close_the_books(self) -> None:
        """See that nothing is left and that all numbers are of one mind."""
        for client in self.clients:
            client.close()
        until(self._at_rest)
        counted = self.samples()
        self.process.signal(signal.SIGTERM)
        assert self.process.exit_code() == 0
        lines = [_parsed(line) for line in self.process.out.all()]
        _agree("outcome", "unbuffer_streams_total", counted, Counter(line["unbuffer.outcome"] for line in lines))
        statuses = Counter(
            str(line["http.response.status_code"]) for line in lines if "http.response.status_code" in line
        )
        _agree("code", "unbuffer_requests_total", counted, statuses)
        said = self.process.err.all()
        assert not any("Traceback" in line for line in said), "\n".join(said)
        for words in self.once:
            assert sum(words in line for line in said) == 1, "\n".join(said)


def _parsed(line: str) -> dict[str, Any]:
    return msgspec.json.decode(line, type=dict[str, Any])


def _agree(
    label: str, name: str, counted: dict[tuple[str, frozenset[tuple[str, str]]], float], logged: Counter[str]
) -> None:
    metered: Counter[str] = Counter()
    for (found, labels), value in counted.items():
        if found == name:
            metered[dict(labels)[label]] += int(value)
    assert metered == logged, f"{name} says {metered}, the log {logged}"


@contextmanager
def sidecar(
    upstream: str, directory: Path, *settings: str, listen: str = "127.0.0.1:0", prefix: Prefix = ()
) -> Iterator[Story]:
    """unbuffer in front of `upstream`; the books are closed after the block. settings: as --set takes them."""
    admin = directory / "admin.sock"
    command = (*prefix, sys.executable, "-m", "unbuffer", "serve", "--upstream", upstream, "--listen", listen)
    quick = ("drain.timeout=2s", *settings)
    options = [word for setting in quick for word in ("--set", setting)]
    with running(*command, "--admin", f"unix:{admin}", *options) as process:
        where = process.err.match(r"listening on (?:http://([\d.]+):(\d+)|unix:(\S+))")
        process.err.match("upstream ")
        story = Story(process, where[3] or (where[1], int(where[2])), admin)
        until(lambda: story.samples() and _settled(story))
        yield story
        story.close_the_books()


def _settled(story: Story) -> bool:
    """Whether the scrape's own connection is gone; what is open then belongs to nobody's request."""
    before, story.files = story.files, story.open_files()
    return before == story.files


def read_until(client: socket.socket, mark: bytes) -> bytes:
    """Bytes up to and with `mark`."""
    data = b""
    while not data.endswith(mark):
        part = client.recv(1)
        assert part, f"the end came after {data!r}"
        data += part
    return data


def read_all(client: socket.socket) -> bytes:
    """Everything up to a clean end; a reset raises ConnectionError."""
    data = b""
    while part := client.recv(65536):
        data += part
    return data


def cut(client: socket.socket) -> bytes:
    """What comes up to the end of a stream that was cut: it lacks its last chunk."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while part := client.recv(65536):
            data += part
    assert not data.endswith(b"0\r\n\r\n"), "it looks complete"
    return data
