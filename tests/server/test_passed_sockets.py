"""Sockets that a service manager passes: taken, served and left to it."""

import os
import socket
import sys
from pathlib import Path

import pytest

from tests.server.conftest import Sidecar, Start, Upstream
from tests.server.test_listeners import streams_through

pytestmark = pytest.mark.process

# What a service manager does: descriptors from 3 on, and whose they are. exec keeps the process id.
MANAGER = """\
import fcntl, os, sys
fds, pid, *command = sys.argv[1:]
kept = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in fds.split(",")]
os.closerange(3, 100)
for number, fd in enumerate(kept, 3):
    os.dup2(fd, number, inheritable=True)
    os.close(fd)
os.environ.update(LISTEN_FDS=str(len(kept)), LISTEN_PID=pid or str(os.getpid()), LISTEN_FDNAMES="web")
os.execv(command[0], command)
"""


async def activate(
    command: Start, *passed: socket.socket, listen: str = "systemd", pid: str = "", sub: tuple[str, ...] = ("serve",)
) -> Sidecar:
    """Start the command with these sockets."""
    fds = [sock.fileno() for sock in passed]
    for fd in fds:
        os.set_inheritable(fd, True)
    return await command(
        *(",".join(map(str, fds)), pid, sys.executable, "-m", "unbuffer", *sub),
        python=("-c", MANAGER),
        env={"UNBUFFER_LISTEN": listen, "UNBUFFER_ADMIN": "off"},
        pass_fds=fds,
    )


async def test_every_socket_that_was_passed_is_served_and_left_to_its_owner(
    command: Start, upstream: Upstream, tmp_path: Path
) -> None:
    await upstream.start()
    path = tmp_path / "data.sock"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        port = tcp.getsockname()[1]
        unix.bind(str(path))
        unix.listen()
        serving = ("serve", "--upstream", f"http://127.0.0.1:{upstream.port}")
        sidecar = await activate(command, tcp, unix, sub=serving)
        assert await sidecar.port() == port
        await sidecar.says(f"listening on unix:{path}$")

        for client in (await sidecar.client("127.0.0.1", port), await sidecar.client_on(path)):
            await streams_through(client, upstream)
        await sidecar.end()

        # Its owner goes on listening, on the same file: whoever connects meanwhile is served by the next process.
        waiting = await sidecar.client_on(path)
        following = await activate(command, tcp, unix, sub=serving)
        await streams_through(waiting, upstream)
        await following.end()


async def test_an_address_may_stand_beside_them(command: Start, upstream: Upstream) -> None:
    await upstream.start()
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        serving = ("serve", "--upstream", f"http://127.0.0.1:{upstream.port}")
        sidecar = await activate(command, tcp, listen="systemd,127.0.0.1:0", sub=serving)
        ports = {await sidecar.port(), await sidecar.port()}
        assert tcp.getsockname()[1] in ports
        for port in ports:
            await streams_through(await sidecar.client("127.0.0.1", port), upstream)
        await sidecar.end()


async def test_the_application_of_exec_learns_nothing_of_them(command: Start, tmp_path: Path) -> None:
    seen = "[*os.environ, str(len(os.listdir('/proc/self/fd')))]"
    app = f"import os; seen = {seen}; open('seen', 'w').write(' '.join(seen))"
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        sidecar = await activate(command, tcp, sub=("exec", "--", sys.executable, "-c", app))
        assert await sidecar.exit() == 0
    *names, descriptors = (tmp_path / "seen").read_text().split()
    assert not [name for name in names if name.startswith("LISTEN_")]
    assert descriptors == "4", "the standard files, and the folder while it is listed"


async def test_a_process_without_sockets_says_so(command: Start) -> None:
    sidecar = await command("serve", "--listen", "systemd", "--admin", "off")
    assert await sidecar.exit() == 1
    assert (
        "unbuffer: cannot listen on systemd: no socket was passed (LISTEN_FDS); is there a .socket unit?"
        in sidecar.errors
    )


async def test_sockets_of_another_process_are_not_taken(command: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        sidecar = await activate(command, tcp, pid="1")
        assert await sidecar.exit() == 1
    assert "cannot listen on systemd: the sockets are for process 1 and this is " in sidecar.errors


async def test_what_does_not_listen_is_refused(command: Start) -> None:
    with socket.socket() as sock:
        sidecar = await activate(command, sock)
        assert await sidecar.exit() == 1
    message = "cannot listen on systemd: descriptor 3 is no listening socket; want ListenStream= and Accept=no"
    assert message in sidecar.errors


async def test_what_is_no_socket_is_refused(command: Start, tmp_path: Path) -> None:
    with socket.socket() as sock:
        os.dup2(os.open(tmp_path, os.O_RDONLY), sock.fileno())
        sidecar = await activate(command, sock)
        assert await sidecar.exit() == 1
    assert "descriptor 3 is no listening socket" in sidecar.errors
