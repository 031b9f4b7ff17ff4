"""Sockets that a service manager has opened and passes on: `listen: systemd` (sd_listen_fds(3)).

They stay the manager's. It goes on listening while no process is there, and the file of a Unix socket is its to delete.
"""

import os
import re
import socket

from unbuffer.server.errors import StartError
from unbuffer.settings.problems import Problem, SettingsError, quote

FIRST = 3
"""The first descriptor that is passed (SD_LISTEN_FDS_START)."""


def take_passed() -> list[socket.socket]:
    """The listening sockets that were passed to this process.

    They are taken out of the environment: the application of `unbuffer exec` is not meant. Raises StartError, and
    SettingsError for variables that are wrong.
    """
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not count:
        raise StartError("cannot listen on systemd: no socket was passed (LISTEN_FDS); is there a .socket unit?")
    for name, text, wanted in (("LISTEN_FDS", count, "a number of sockets"), ("LISTEN_PID", pid, "a process id")):
        if not re.fullmatch("[1-9][0-9]{0,9}", text):
            raise SettingsError([Problem(name, f"want {wanted}, got {quote(text)}")])
    if pid != str(os.getpid()):
        # A shell or a launcher between the two has a process of its own, unless it ends in exec.
        raise StartError(f"cannot listen on systemd: the sockets are for process {pid} and this is {os.getpid()}")
    return [_listener(fd) for fd in range(FIRST, FIRST + int(count))]


def _listener(fd: int) -> socket.socket:
    try:
        os.set_inheritable(fd, False)
        sock = socket.socket(fileno=fd)
        if sock.type == socket.SOCK_STREAM and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return sock
    except OSError:
        pass  # a FIFO, a file, or nothing at all
    raise StartError(
        f"cannot listen on systemd: descriptor {fd} is no listening socket; want ListenStream= and Accept=no"
    )
