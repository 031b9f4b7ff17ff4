"""Programs as child processes: what they print can be awaited, and each ends by its process id."""

import contextlib
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from signal import SIGTERM
from typing import IO, TypeVar

from tests.peers import PATIENCE

T = TypeVar("T")

STARTED = 60.0
"""Seconds within which a program that imports much says its first word, also on a busy machine."""

_FOREIGN = re.compile("PORT$|UNBUFFER_|UVICORN_|GRANIAN_|WEB_CONCURRENCY|HYPERCORN_")


def environment() -> dict[str, str]:
    """That of this process, without settings that the machine's user may have for servers of their own.

    unbuffer asks for no description of the API: a test counts the requests that its application gets.
    """
    kept = {name: value for name, value in os.environ.items() if not _FOREIGN.match(name)}
    return kept | {"UNBUFFER_METRICS__OPENAPI": "off"}


class Lines:
    """What a program prints, line by line, read in a thread so that it never waits for room in the pipe."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            with self._changed:
                self._lines.append(line.decode(errors="replace").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def wait(self, find: Callable[[list[str]], T | None], patience: float = PATIENCE) -> T:
        """The first result of `find` on all lines so far that is not None; fails when it does not come."""
        with self._changed:
            result: T | None = None

            def found() -> bool:
                nonlocal result
                result = find(self._lines)
                return result is not None or self._over

            self._changed.wait_for(found, patience)
            assert result is not None, "not printed; the last lines are:\n" + "\n".join(self._lines[-10:])
            return result

    def match(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """The first line that matches."""
        return self.wait(lambda lines: next(filter(None, (re.search(pattern, line) for line in lines)), None), patience)

    def all(self) -> list[str]:
        """Every line, once the program has ended."""
        self._thread.join(PATIENCE)
        assert self._over, "somebody still holds the pipe of a program that has ended"
        self._stream.close()
        return self._lines


class Program:
    """A child process that runs."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment() | {"PYTHONUNBUFFERED": "1"},
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.pid = self._process.pid
        self.out = Lines(self._process.stdout)
        self.err = Lines(self._process.stderr)

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def end(self, number: int = SIGTERM) -> int:
        """Send a signal and wait for the end. Returns the exit code as Popen has it: -n for signal n."""
        self.signal(number)
        return self.exit_code()

    def exit_code(self) -> int:
        """Wait for the end; fails, and kills, when it does not come."""
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self.out.all()
            self.err.all()
        return code

    @property
    def ended(self) -> bool:
        """Whether the process is gone and its exit code known."""
        return self._process.returncode is not None


@contextmanager
def running(*command: str, code: int = 0) -> Iterator[Program]:
    """A program inside the block. On the way out SIGTERM ends it, unless it has ended, and it must exit with `code`."""
    program = Program(*command)
    try:
        yield program
    finally:
        if not program.ended:
            assert program.end() == code, "\n".join(program.err.all())
