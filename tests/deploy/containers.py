"""Images and containers without a Docker engine: buildah builds in a chroot, runc runs as containerd and Docker do.

The base is a Debian made on the spot. Everything is in one folder, which the last worker of a test run deletes.
"""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import Program, running
from tests.faults.network import socket_in
from tests.peers import PATIENCE
from tests.programs import installed

ROOT = Path(__file__).parents[2]

# The oldest Python that unbuffer runs on.
SUITE = "bookworm"
PACKAGES = "python3-venv,ca-certificates"

COMPILER = """
ARG BASE
FROM ${BASE}
RUN apt-get -qq update && apt-get -qq -y --no-install-recommends install gcc libc6-dev python3-dev
RUN printf '#!/bin/sh\\nexec gcc "$@" -O0\\n' > /usr/local/bin/gcc-in-a-hurry && chmod 755 /usr/local/bin/gcc-in-a-hurry
ENV CC=gcc-in-a-hurry
"""
"""What compiles for that Debian. It does not optimise, which would take minutes: no test asks how fast the image is."""

# How this machine reaches package indexes; what is not there is not mounted.
INDEX_FILES = ("/etc/pip.conf", "/etc/ssl/certs")


class Images:
    """A store of images, shared by the workers of one test run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def base(self) -> str:
        """The name of a Debian with Python, made when it is first asked for."""
        name = "localhost/base"
        with self._once(name) as missing:
            if missing:
                container = self._buildah("from", "scratch")
                root = self._buildah("mount", container)
                _run(installed("mmdebstrap"), "--quiet", "--variant=minbase", f"--include={PACKAGES}", SUITE, root)
                self._buildah("commit", "--quiet", *self._policy(), "--rm", container, name)
        return name

    def base_with_compiler(self) -> str:
        """The name of the same with what compiles for it."""
        folder = self._folder / "compiler"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(COMPILER)
        return self.build("base-with-compiler", folder / "Dockerfile", folder, BASE=self.base())

    def build(self, name: str, dockerfile: Path, context: Path, **arguments: str) -> str:
        """The name of what a Dockerfile makes with these build arguments; built once."""
        name = f"localhost/{name}"
        mounts = [part for path in INDEX_FILES if Path(path).exists() for part in ("-v", f"{path}:{path}:ro")]
        with self._once(name) as missing:
            if missing:
                self._buildah(
                    *("bud", "--quiet", "--pull-never", "--isolation", "chroot", "--format", "docker", *self._policy()),
                    *(part for key, value in arguments.items() for part in ("--build-arg", f"{key}={value}")),
                    *(*mounts, "-f", str(dockerfile), "-t", name, str(context)),
                )
        return name

    @contextmanager
    def unpacked(self, image: str) -> Iterator[tuple[Path, dict[str, Any]]]:
        """The files of an image and its configuration."""
        container = self._buildah("from", "--pull-never", image)
        try:
            config = json.loads(self._buildah("inspect", "--type", "image", image))["Docker"]["config"]
            yield Path(self._buildah("mount", container)), config
        finally:
            self._buildah("rm", container)

    @contextmanager
    def _once(self, name: str) -> Iterator[bool]:
        """Whether this image is missing; the other workers wait here until it is made."""
        with open(self._folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield name not in self._buildah("images", "--noheading", "--format", "{{.Name}}").split()

    def _policy(self) -> tuple[str, str]:
        policy = self._folder / "policy.json"
        policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        return "--signature-policy", str(policy)

    def _buildah(self, *arguments: str) -> str:
        return _run(
            installed("buildah"), "--root", f"{self._folder}/root", "--runroot", f"{self._folder}/run", *arguments
        )


def _run(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


@contextmanager
def images() -> Iterator[Images]:
    """The store, and no trace of it when the last worker leaves."""
    for program in ("buildah", "mmdebstrap", "runc", "ip"):
        installed(program)
    if os.geteuid():
        pytest.skip("building an image without a Docker engine needs root")
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)
    folder = Path(tempfile.gettempdir(), f"unbuffer-images-{run}")
    with open(f"{folder}.users", "w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        folder.mkdir(exist_ok=True)
        yield Images(folder)
        with suppress(BlockingIOError):  # another worker is still at it
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
            os.unlink(users.name)


@dataclass(frozen=True, slots=True)
class Container:
    """A container that runs, in a network of its own."""

    name: str
    network: str
    runc: tuple[str, ...]
    process: Program

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside."""
        return subprocess.run([*self.runc, "exec", self.name, *command], capture_output=True, text=True)

    def connect(self, port: int) -> socket.socket:
        """A connection to this port inside."""
        sock = socket_in(self.network)
        sock.settimeout(PATIENCE)
        sock.connect(("127.0.0.1", port))
        return sock

    def listen(self, port: int) -> socket.socket:
        """A server at this port inside."""
        sock = socket_in(self.network)
        sock.settimeout(PATIENCE)
        sock.bind(("127.0.0.1", port))
        sock.listen()
        return sock


@contextmanager
def container(
    root: Path, config: dict[str, Any], folder: Path, calls: Iterable[str], env: Sequence[str] = ()
) -> Iterator[Container]:
    """An image as a strict cluster runs it: its user, no capability, no new privileges, a root that is read-only.

    calls: the system calls that are allowed; the others fail with EPERM.
    """
    name = f"ub-{uuid.uuid4().hex[:8]}"
    user, group = map(int, config["User"].split(":"))
    spec = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": user, "gid": group},
            "args": [*config["Entrypoint"], *config["Cmd"]],
            "env": [*config["Env"], *env],
            "cwd": config["WorkingDir"] or "/",
            "noNewPrivileges": True,
            "capabilities": {},
        },
        "root": {"path": str(root), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "size=1m"]},
        ],
        "linux": {
            "namespaces": [
                *({"type": kind} for kind in ("pid", "mount", "ipc", "uts")),
                {"type": "network", "path": f"/run/netns/{name}"},
            ],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO",
                "syscalls": [{"names": sorted(calls), "action": "SCMP_ACT_ALLOW"}],
            },
        },
    }
    bundle = folder / name
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(spec))
    runc = (installed("runc"), "--root", str(folder / "runc"))
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "-n", name, "link", "set", "lo", "up")
        with running(*runc, "run", "-b", str(bundle), name) as process:
            yield Container(name, name, runc, process)
    finally:
        _run("ip", "netns", "del", name)
