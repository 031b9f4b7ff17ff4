"""The units: read by systemd's own tools, and sockets passed by its own activator."""

import configparser
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests import local
from tests.deploy.balancers import free_port, hosts, rewritten
from tests.deploy.containers import ROOT
from tests.e2e.processes import running
from tests.e2e.stack import App
from tests.programs import installed
from unbuffer.settings.load import load

FOLDER = ROOT / "deploy" / "systemd"
SERVICES = ("unbuffer.service", "app.service")
UNBUFFER = "/opt/unbuffer/bin/unbuffer"


class Unit(configparser.RawConfigParser):
    """One that keeps the case of its keys, and the last of several values."""

    def __init__(self, name: str) -> None:
        super().__init__(strict=False, interpolation=None)
        self.optionxform = str  # type: ignore[assignment, method-assign]
        self.read_string((FOLDER / name).read_text())


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units in a folder; their programs are ones of this machine."""
    programs = {UNBUFFER: sys.executable, "/srv/app/venv/bin/uvicorn": sys.executable}
    shutil.copy(FOLDER / "unbuffer.socket", tmp_path)
    for name in SERVICES:
        text = (FOLDER / name).read_text()
        (tmp_path / name).write_text(rewritten(text, {old: new for old, new in programs.items() if old in text}))
    return tmp_path


@pytest.mark.process
def test_systemd_reads_the_units_without_a_word(units: Path) -> None:
    names = [f"./{name}" for name in (*SERVICES, "unbuffer.socket")]
    command = [installed("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=units)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    file = units / "unbuffer.service"
    file.write_text(file.read_text().replace("ProtectHome=", "ProtectHouse="))
    done = subprocess.run(command, capture_output=True, text=True, cwd=units)
    assert "'ProtectHouse'" in done.stderr


@pytest.mark.process
def test_the_service_is_exposed_as_little_as_the_readme_says(units: Path) -> None:
    command = [installed("systemd-analyze"), "security", "--offline=yes", "--no-pager", "./unbuffer.service"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=units)
    found = re.search(r"Overall exposure level for unbuffer.service: ([0-9.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= 1.5
    said = re.search(r"unbuffer\.service: exposure ([0-9.]+)", (FOLDER / "README.md").read_text())
    assert said
    assert abs(float(found[1]) - float(said[1])) <= 0.3, "versions of systemd differ by a little"


def test_systemd_waits_longer_than_the_drain() -> None:
    settings = load(str(FOLDER / "unbuffer.yaml"), {}, {})
    assert settings.listen.address == ("systemd",)
    stop = Unit("unbuffer.service")["Service"]["TimeoutStopSec"]
    assert int(stop.removesuffix("s")) > settings.drain.delay + settings.drain.timeout

    defaults = load(None, {}, {})
    unit = Unit("app.service")["Service"]
    longest = defaults.drain.delay + defaults.drain.timeout + defaults.exec.grace
    assert int(unit["TimeoutStopSec"].removesuffix("s")) > longest
    assert unit["KillMode"] == "mixed", "the application would end before its streams"


def test_the_service_comes_with_its_socket_and_stays_away_with_bad_settings() -> None:
    unit = Unit("unbuffer.service")
    assert unit["Unit"]["Requires"] == unit["Install"]["Also"] == "unbuffer.socket"
    assert unit["Service"]["RestartPreventExitStatus"].split() == ["2", "78"]
    assert "Accept" not in Unit("unbuffer.socket")["Socket"], "one process serves every connection"


@pytest.mark.process
def test_the_activator_of_systemd_passes_a_socket(app: App, tmp_path: Path) -> None:
    """It waits for the first connection and becomes unbuffer, which serves it with a stream in lock-step."""
    (host,) = hosts(1)
    port = free_port(host)
    settings = tmp_path / "unbuffer.yaml"
    settings.write_text(
        rewritten((FOLDER / "unbuffer.yaml").read_text(), {"http://127.0.0.1:8000": app.url}) + "admin: off\n"
    )
    serve = (sys.executable, "-m", "unbuffer", "serve", "-c", str(settings))
    with (
        running(installed("systemd-socket-activate"), "-l", f"{host}:{port}", *serve) as process,
        local.client(f"http://{host}:{port}") as client,
    ):
        process.err.match("Listening on")
        gate = app.gate()
        with client.stream("GET", gate.path("sse")) as response:
            parts = response.iter_raw()
            assert next(parts) == b"data: event 0\n\n"
            gate.next()
            assert next(parts) == b"data: event 1\n\n"
            process.err.match(rf"listening on http://{re.escape(host)}:{port}$")
            process.signal(signal.SIGTERM)
            process.err.match("draining")
            gate.next()
            assert next(parts) == b"data: event 2\n\n"
            gate.end()
            assert list(parts) == []
        assert process.exit_code() == 0
