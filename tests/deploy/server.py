"""Prometheus as a real process, with short intervals."""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from tests import local
from tests.e2e.processes import running

T = TypeVar("T")

INTERVAL = "500ms"

PATIENCE = 120.0
"""Seconds: a rate needs some scrapes, and an alert some evaluations of rates."""

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None and not os.environ.get("CI"), reason="prometheus (Debian: prometheus) is missing"
)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A server that scrapes."""

    url: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of one answer of its API."""
        answer = local.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=PATIENCE)
        return answer.raise_for_status().json()["data"]

    def series(self, query: str) -> list[dict[str, str]]:
        """The labels of what a query finds now, as far as it is a number."""
        result = self.ask("query", query=query)["result"]
        return [one["metric"] for one in result if one["value"][1] != "NaN"]

    def traces(self, query: str) -> set[str]:
        """The trace ids of the exemplars that a query finds."""
        found = self.ask("query_exemplars", query=query, start="0", end=str(time.time()))
        return {exemplar["labels"]["trace_id"] for series in found for exemplar in series["exemplars"]}

    def firing(self) -> set[tuple[str, str]]:
        """The alerts that fire, by name and job."""
        alerts = self.ask("alerts")["alerts"]
        return {(a["labels"]["alertname"], a["labels"]["job"]) for a in alerts if a["state"] == "firing"}


def until(look: Callable[[], T], good: Callable[[T], object]) -> T:
    """What `look` sees as soon as it is good; the last that it saw when it does not become so."""
    deadline = time.monotonic() + PATIENCE
    while not good(seen := look()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return seen


@contextmanager
def prometheus(directory: Path, jobs: Mapping[str, str], rules: str = "") -> Iterator[Prometheus]:
    """Prometheus inside the block. jobs: the admin URL of each, by its name. rules: the text of a rules file."""
    scraped = [
        {"job_name": job, "static_configs": [{"targets": [url.removeprefix("http://")]}]} for job, url in jobs.items()
    ]
    config = {
        "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
        "scrape_configs": scraped,
        "rule_files": ["rules.yml"],
    }
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    (directory / "rules.yml").write_text(rules)
    command = ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
    command += ["--web.listen-address=127.0.0.1:0", "--enable-feature=exemplar-storage"]
    with running(*command) as process:
        process.err.match("Server is ready to receive web requests")
        yield Prometheus(f"http://127.0.0.1:{_port_of(process.pid)}")


def _port_of(pid: int) -> int:
    """Where a process listens: it prints the address that it was given, not the port that it got (proc(5))."""
    inodes = {os.stat(f"/proc/{pid}/fd/{fd}").st_ino for fd in os.listdir(f"/proc/{pid}/fd")}
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    (port,) = [int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A" and int(row[9]) in inodes]
    return port
