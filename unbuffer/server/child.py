"""The application as a child process (`unbuffer exec`): started with its address, signalled, waited for, reaped.

It has a session of its own: Ctrl-C in a terminal reaches unbuffer, which drains first, and not the application; and all
that the application started can be ended with it.
"""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

from unbuffer.server import client_address
from unbuffer.server.errors import EX_NOT_EXECUTABLE, EX_NOT_FOUND, EX_USAGE, StartError
from unbuffer.server.open_files import as_found
from unbuffer.settings.addresses import UpstreamTarget

log = logging.getLogger("unbuffer")

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)

LOOK = 0.02
"""Seconds between two looks at a group that has to end: nobody is told of the end of a grandchild."""


class Child:
    """One application, from its start to the end of all its processes. ended: set when the first of them has ended."""

    def __init__(self, command: Sequence[str], on_end: Callable[[], None]) -> None:
        """on_end is called once, when the process that was started has ended, whatever the reason."""
        self.ended = asyncio.Event()
        self.code = 0
        """As a shell tells it: 128 + n for signal n."""
        self._command = command
        self._on_end = on_end
        self._process: subprocess.Popen[bytes] | None = None
        self._told_to_end = False

    def start(self, target: UpstreamTarget, environ: Mapping[str, str]) -> None:
        """Run the command, told where to listen. Raises StartError."""
        command = [_filled(argument, target) for argument in self._command]
        environment = _environment(target, environ)
        client_address.tell(self._command, environment)
        if not any(place in argument for argument in self._command for place in _names(target)):
            log.warning(
                "the command says nothing of where to listen: give it %s, unless the application reads %s by itself",
                *(("{socket}", "UNBUFFER_UPSTREAM_SOCKET") if target.path else ("{port}", "PORT")),
            )
        _adopt_orphans()
        try:
            with as_found():
                self._process = subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603
        except OSError as error:
            code = EX_NOT_FOUND if isinstance(error, FileNotFoundError) else EX_NOT_EXECUTABLE
            raise StartError(f"cannot run {command[0]}: {error.strerror}", code) from None
        loop = asyncio.get_running_loop()
        # A thread, as asyncio's own watcher of child processes: uvloop keeps SIGCHLD for itself.
        threading.Thread(target=self._reap, args=(loop,), name="reaper", daemon=True).start()
        log.info("started %s as process %d", command[0], self._process.pid)
        # On to the application, which may have a use for them; SIGHUP is our own, and would end most servers.
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            loop.add_signal_handler(number, self._forward, number)

    async def stop(self, grace: float, hurry: asyncio.Event) -> None:
        """SIGTERM for every process of the group, as systemd and dumb-init do it: a shell would not pass it on. SIGKILL
        for those that are left after `grace` seconds, or when it is to hurry."""
        if self._process is None:
            return
        self._told_to_end = not self.ended.is_set()
        if not hurry.is_set():
            self._signal_group(signal.SIGTERM)
        loop = asyncio.get_running_loop()
        give_up = loop.time() + grace
        while self._signal_group(0) and not hurry.is_set() and loop.time() < give_up:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(hurry.wait(), LOOK)
        self.kill()
        await self.ended.wait()

    @property
    def ended_as_told(self) -> bool:
        """Whether it ended because it was stopped: well, or by the very signal."""
        return self._told_to_end and self.code in (0, 128 + signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL for what is left of the group."""
        if self._signal_group(signal.SIGKILL):
            log.warning("killed what was left of the application")

    def _signal_group(self, number: int) -> bool:
        """Signal every process of the group; whether there is one."""
        if self._process is None:
            return False
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # some run as another user
        return True

    def _forward(self, number: int) -> None:
        if self._process is not None and not self.ended.is_set():
            os.kill(self._process.pid, number)  # Popen's own would reap it

    def _reap(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait for every process that ends, orphans too. In a thread."""
        assert self._process is not None
        with contextlib.suppress(ChildProcessError):  # none is left
            while True:
                pid, status = os.waitpid(-1, 0)
                if pid == self._process.pid:
                    with contextlib.suppress(RuntimeError):  # the loop is closed
                        loop.call_soon_threadsafe(self._note_end, os.waitstatus_to_exitcode(status))

    def _note_end(self, code: int) -> None:
        assert self._process is not None
        if not self._told_to_end:
            log.error("the application has ended by itself: %s", _shown(code))
        self._process.returncode = code  # what Popen would have found out, had it waited
        self.code = code if code >= 0 else 128 - code
        self.ended.set()
        self._on_end()


def _adopt_orphans() -> None:
    """Inherit what the application leaves behind, as process 1 of a container does anyway: who does not wait for it
    cannot tell whether all of it has ended. (Linux; elsewhere init takes it.)"""
    import ctypes  # `unbuffer serve` has no use for it

    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _shown(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _filled(argument: str, target: UpstreamTarget) -> str:
    """The argument with the address in the place of `{socket}` or `{port}`."""
    if "{port}" in argument and target.path:
        raise StartError("the command has {port}: give --upstream http://127.0.0.1:PORT, or use {socket}", 2)
    if "{socket}" in argument and not target.path:
        raise StartError(f"the command has {{socket}}, but the upstream is {target.authority}: use {{port}}", EX_USAGE)
    return argument.replace("{socket}", target.path).replace("{port}", str(target.port))


def _names(target: UpstreamTarget) -> tuple[str, str]:
    """What a command has that says where to listen."""
    return ("{socket}", target.path) if target.path else ("{port}", str(target.port))


def _environment(target: UpstreamTarget, environ: Mapping[str, str]) -> dict[str, str]:
    """Where to listen. The platform's PORT is unbuffer's own: gunicorn, for one, would take it. So are unbuffer's
    settings, tokens among them. On a socket the application may believe what unbuffer says of the client."""
    own = {name: value for name, value in environ.items() if name != "PORT" and not name.startswith("UNBUFFER_")}
    if target.path:
        return client_address.TRUST | own | {"UNBUFFER_UPSTREAM_SOCKET": target.path}
    return own | {"UNBUFFER_UPSTREAM_PORT": str(target.port), "PORT": str(target.port)}
