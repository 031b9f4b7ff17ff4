"""The image: made of what is pinned, built for real, and run as a strict cluster runs it."""

import re
import signal
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.containers import ROOT, Container, Images, container, images
from tests.peers import PATIENCE
from tests.programs import installed

FOLDER = ROOT / "deploy" / "container"
DOCKERFILES = sorted((ROOT / "deploy").glob("*/*Dockerfile"))
MIB = 1 << 20
VERSION = "0.1.0"  # of a release; without the argument it is 0.0.0


# -- what is written


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_a_dockerfile_passes_its_linter(dockerfile: Path) -> None:
    assert len(DOCKERFILES) == 3
    done = subprocess.run([installed("hadolint"), dockerfile], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_who_installs_this_project_copies_all_that_it_is_built_from() -> None:
    """The image of unbuffer is built below. The demo application of Compose is not, so it has to copy the same."""

    def copied(dockerfile: Path) -> set[str]:
        lines = re.findall(r"^COPY (?!deploy/|--)(.*) \S+$", dockerfile.read_text(), re.MULTILINE)
        return {source for line in lines for source in line.split()}

    built = copied(FOLDER / "Dockerfile")
    assert built >= {"pyproject.toml", "setup.py", "unbuffer"}
    assert copied(ROOT / "deploy" / "compose" / "app.Dockerfile") == built


def pins(file: str) -> dict[str, Requirement]:
    """What a file of requirements installs; every one has a hash."""
    lines = (FOLDER / file).read_text().replace("\\\n", " ").splitlines()
    found: dict[str, Requirement] = {}
    for line in lines:
        if line and not line.startswith("#"):
            text, *hashes = line.split("--hash=")
            assert hashes, f"{text} has no hash"
            assert all(re.fullmatch(r"sha256:[0-9a-f]{64}\s*", one) for one in hashes)
            requirement = Requirement(text.strip())
            assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), f"{text} is not pinned"
            found[canonicalize_name(requirement.name)] = requirement
    return found


@pytest.mark.parametrize("extras", [("resume",), ("resume", "otel")], ids=" ".join)
def test_what_is_pinned_is_what_the_project_asks_for(extras: tuple[str, ...]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pinned = pins("requirements-otel.txt" if "otel" in extras else "requirements.txt")
    assert pinned.items() >= pins("requirements.txt").items()
    asked = project["project"]
    for text in (*asked["dependencies"], *(text for extra in extras for text in asked["optional-dependencies"][extra])):
        wanted = Requirement(text)
        pin = pinned[canonicalize_name(wanted.name)]
        (version,) = pin.specifier
        assert version.version in wanted.specifier, f"{pin} is not {wanted}"
        for python in ("3.11", "3.13", "3.14"):
            environment = {"python_version": python, "python_full_version": f"{python}.0"}
            if wanted.marker is None or wanted.marker.evaluate(environment):
                assert pin.marker is None or pin.marker.evaluate(environment), f"{pin} is not for {python}"
    builders = pins("build-requirements.txt")
    for text in project["build-system"]["requires"]:
        (version,) = builders[Requirement(text).name].specifier
        assert version.version in Requirement(text).specifier


# -- what is built


@pytest.fixture(scope="module")
def store() -> Iterator[Images]:
    with images() as store:
        yield store


Unpacked = tuple[Path, dict[str, Any]]


def build(store: Images) -> str:
    """The name of the image."""
    bases = {"BASE": store.base(), "BUILD_BASE": store.base_with_compiler()}
    return store.build("unbuffer", FOLDER / "Dockerfile", ROOT, **bases, VERSION=VERSION)


@pytest.fixture(scope="module")
def image(store: Images) -> Iterator[Unpacked]:
    """The image, built."""
    with store.unpacked(build(store)) as unpacked:
        yield unpacked


def size(folder: Path) -> int:
    """The bytes of all files."""
    return sum(path.lstat().st_size for path in folder.rglob("*"))


@pytest.mark.process
def test_the_image_has_what_runs_and_nothing_that_built_it(image: Unpacked) -> None:
    root, config = image
    own = root / "opt" / "unbuffer"
    print(f"the image: {size(root) / MIB:.0f} MiB, of which unbuffer has {size(own) / MIB:.0f} MiB")
    assert size(own) < 60 * MIB
    names = {path.name for path in own.rglob("*")}
    assert not names & {"pip", "setuptools", "wheel", "mypy", "mypyc", "requirements.txt", "tests"}
    assert list(own.rglob("unbuffer/relay/exchange.cpython-*.so")), "the relay is not compiled"
    assert not [name for tool in ("gcc", "cc", "ld", "make", "uv") for name in root.glob(f"usr/bin/{tool}")]
    assert not (root / "build").exists()
    assert not list(root.glob("root/.cache")) + list(root.glob("tmp/*"))

    sources = [path for path in own.rglob("*.py") if "site-packages" in path.parts]
    assert len(sources) > 100
    for source in sources:
        (bytecode,) = source.parent.glob(f"__pycache__/{source.stem}.cpython-*.opt-2.pyc")
        # PEP 552: found by its hash, which is not checked.
        assert bytecode.read_bytes()[4:8] == b"\x01\x00\x00\x00", bytecode
    assert (own / "bin" / "unbuffer").stat().st_mode & 0o005 == 0o005

    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert (labels["title"], labels["version"], labels["licenses"]) == ("unbuffer", VERSION, "MIT")
    assert labels["base.name"] == "localhost/base"
    assert config["User"] == "65532:65532"
    assert config["StopSignal"] == "SIGTERM"
    assert set(config["ExposedPorts"]) == {"8080/tcp", "4198/tcp"}
    assert config["Healthcheck"]["Test"] == ["CMD", "unbuffer", "healthcheck"]


# -- what is run


@pytest.fixture(scope="module")
def calls() -> set[str]:
    """The system calls that deploy/systemd/unbuffer.service allows: what runs here runs there."""
    unit = (ROOT / "deploy" / "systemd" / "unbuffer.service").read_text()
    allowed: set[str] = set()
    for sign, names in re.findall(r"^SystemCallFilter=(~?)(.*)$", unit, re.MULTILINE):
        named = set().union(*map(members, names.split()))
        allowed = allowed - named if sign else allowed | named
    assert "mount" not in allowed
    return allowed


def members(group: str) -> set[str]:
    """The system calls of a group of systemd's, such as @system-service, which may be made of groups."""
    command = [installed("systemd-analyze"), "syscall-filter", "--no-pager", group]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    names = [line.strip() for line in output.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return set().union(*(members(name) if name.startswith("@") else {name} for name in names))


def until(sock: socket.socket, mark: bytes) -> bytes:
    """What comes, up to and with `mark`."""
    data = b""
    while not data.endswith(mark):
        part = sock.recv(65536)
        assert part, f"closed after {data!r}"
        data += part
    return data


def streams(running: Container, upstream: socket.socket) -> None:
    """A stream in lock-step, and the drain in its midst."""
    with running.connect(8080) as client:
        client.sendall(b"GET /stream HTTP/1.1\r\nHost: app\r\n\r\n")
        app, _ = upstream.accept()
        with app:
            app.settimeout(PATIENCE)
            assert until(app, b"\r\n\r\n").startswith(b"GET /stream HTTP/1.1\r\n")
            app.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
            for event in (b"data: 1\n\n", b"data: 2\n\n"):
                app.sendall(b"9\r\n%b\r\n" % event)
                until(client, event + b"\r\n")
            running.process.signal(signal.SIGTERM)
            running.process.err.match("draining: running streams")
            app.sendall(b"9\r\ndata: 3\n\n\r\n0\r\n\r\n")
            until(client, b"data: 3\n\n\r\n0\r\n\r\n")


@pytest.mark.process
def test_it_serves_as_nobody_on_a_read_only_root_and_drains(image: Unpacked, calls: set[str], tmp_path: Path) -> None:
    root, config = image
    with container(root, config, tmp_path, calls) as running:
        running.process.err.match(r"listening on http://0\.0\.0\.0:8080$")
        running.process.err.match("upstream http://127.0.0.1:8000")
        health = running.execute("unbuffer", "healthcheck")
        assert (health.returncode, health.stdout) == (0, "ok\n")
        ready = running.execute("unbuffer", "healthcheck", "--ready")
        assert ready.returncode == 1
        assert "upstream failed" in ready.stdout
        assert "Read-only file system" in running.execute("touch", "/opt/unbuffer/x").stderr

        status = dict(line.split(":\t", 1) for line in running.execute("cat", "/proc/1/status").stdout.splitlines())
        assert status["Uid"].split() == ["65532"] * 4
        assert int(status["CapBnd"], 16) == 0
        resident = int(status["VmRSS"].split()[0]) * 1024
        print(f"at rest: {resident / 1e6:.1f} MB")
        assert resident < 38e6

        with running.listen(8000) as upstream:
            streams(running, upstream)
        assert running.process.exit_code() == 0
    assert "INFO stopped" in "\n".join(running.process.err.all())
    assert '"unbuffer.outcome":"completed"' in "\n".join(running.process.out.all())


def answer(running: Container, path: bytes) -> bytes:
    """A whole answer of the data port."""
    with running.connect(8080) as client:
        client.sendall(b"GET %b HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n" % path)
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.process
def test_with_the_application_in_it_as_app_engine_flexible_runs_it(
    store: Images, calls: set[str], tmp_path: Path
) -> None:
    folder = ROOT / "deploy" / "app-engine-flex"
    name = store.build("app", folder / "Dockerfile", folder, BASE=build(store))
    variables = yaml.safe_load((folder / "app.yaml").read_text())["env_variables"]
    variables |= {"PORT": "8080", "UNBUFFER_UPSTREAM__WAIT": "20s"}
    env = [f"{key}={value}" for key, value in variables.items()]
    with store.unpacked(name) as (root, config), container(root, config, tmp_path, calls, env) as running:
        running.process.err.match("started /opt/app/bin/uvicorn")
        with running.connect(8080) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: app\r\n\r\n")
            assert b"\r\nX-Accel-Buffering: no\r\n" in until(client, b"\r\n0\n\r\n")
            for path in (b"/livez", b"/readyz"):
                assert answer(running, path).startswith(b"HTTP/1.1 200 OK\r\n")
            running.process.signal(signal.SIGTERM)
            until(client, b"\r\n9\n\r\n0\r\n\r\n")
        assert running.process.exit_code() == 0
