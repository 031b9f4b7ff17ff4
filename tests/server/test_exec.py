"""`unbuffer exec`: the application as its child, told where to listen, ended after the streams, never left behind."""

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import LAST, Peer, eventually
from tests.server.conftest import GET, Sidecar, Start

pytestmark = pytest.mark.process

HERE = ("--listen", "127.0.0.1:0", "--admin", "off")

APP = """
import asyncio, os, signal, sys

def say(*words):
    print(*words, file=sys.stderr, flush=True)

async def main(where, *manners):
    loop, over, streams = asyncio.get_running_loop(), asyncio.Event(), []

    def ended(number):
        say("app got", number.name)
        if "deaf" not in manners:
            over.set()

    def go_on():
        for stream in streams:
            stream.write(b"a\\r\\ndata: on\\n\\n\\r\\n")

    def finish():
        for stream in streams:
            stream.write(b"0\\r\\n\\r\\n")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended, number)
    loop.add_signal_handler(signal.SIGUSR1, go_on)
    loop.add_signal_handler(signal.SIGUSR2, finish)

    async def serve(reader, writer):
        await reader.readuntil(b"\\r\\n\\r\\n")
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n")
        writer.write(b"Transfer-Encoding: chunked\\r\\n\\r\\n")
        streams.append(writer)
        go_on()

    if where.isdigit():
        await asyncio.start_server(serve, "127.0.0.1", int(where))
    else:
        await asyncio.start_unix_server(serve, where)
    say("app", os.getpid(), "listens, session", os.getsid(0), "PORT", os.environ.get("PORT"))
    await over.wait()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def app(tmp_path: Path) -> tuple[str, ...]:
    """The command of an application whose streams go on at SIGUSR1 and end well at SIGUSR2."""
    script = tmp_path / "app.py"
    script.write_text(APP)
    return (sys.executable, str(script))


@pytest.fixture(params=["uvloop", "asyncio"])
def execute(request: pytest.FixtureRequest, command: Start) -> Start:
    """Starts `unbuffer exec` with these arguments, on each event loop."""
    loop = request.getfixturevalue("without_uvloop") if request.param == "asyncio" else {}

    async def start(*arguments: str, env: dict[str, str] | None = None) -> Sidecar:
        return await command("exec", *HERE, *arguments, env=loop | (env or {}))

    return start


async def running(execute: Start, *arguments: str) -> tuple[Sidecar, Peer, int]:
    """The sidecar with an application that listens, a stream that has begun, and the application's process id."""
    sidecar = await execute(*arguments)
    port = await sidecar.port()
    pid = int(await sidecar.says(r"app (\d+) listens"))
    client = await sidecar.client("127.0.0.1", port)
    await client.send(GET)
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    assert await client.chunk() == b"data: on\n\n"
    return sidecar, client, pid


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder for temporary files with a path that leaves room for that of a socket."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def environment(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/environ").read_text().split("\0")


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


async def test_the_application_is_told_its_socket_in_a_private_folder(
    execute: Start, app: tuple[str, ...], temporary: Path
) -> None:
    env = {"TMPDIR": str(temporary), "PORT": "1"}

    sidecar = await execute("--", *app, "{socket}", env=env)

    pid = int(await sidecar.says(r"app (\d+) listens, session \d+ PORT None$"))
    (folder,) = map(temporary.joinpath, os.listdir(temporary))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "app.sock").is_socket()
    assert f"UNBUFFER_UPSTREAM_SOCKET={folder}/app.sock" in environment(pid)
    # Ctrl-C in a terminal is not for the application.
    assert os.getsid(pid) == pid != os.getsid(sidecar.process.pid)
    await sidecar.end()
    assert not os.listdir(temporary)


async def test_the_application_is_told_its_port(execute: Start, app: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    sidecar = await execute("--upstream", f"http://127.0.0.1:{port}", "--", *app, "{port}")

    pid = int(await sidecar.says(rf"app (\d+) listens, session \d+ PORT {port}$"))
    assert f"UNBUFFER_UPSTREAM_PORT={port}" in environment(pid)
    await sidecar.end()


async def test_what_stands_after_the_first_dashes_is_the_applications(execute: Start) -> None:
    sidecar = await execute("--", "sh", "-c", 'echo "$@" >&2', "sh", "--", "--listen", "{}", "{socket}")
    assert await sidecar.says(r"^-- --listen \{\} (/.+/app\.sock)$")
    assert await sidecar.exit() == 0


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("exit 0", 0, "exit code 0"),
        ("exit 7", 7, "exit code 7"),
        ("kill -9 $$", 137, "SIGKILL"),
        ("kill -15 $$", 143, "SIGTERM"),
    ],
)
async def test_an_application_that_ends_by_itself_gives_its_code(
    execute: Start, script: str, code: int, said: str
) -> None:
    sidecar = await execute("--", "sh", "-c", script)
    assert await sidecar.exit() == code
    assert f"ERROR the application has ended by itself: {said}\n" in sidecar.errors


async def test_a_stream_of_an_application_that_dies_is_broken(execute: Start, app: tuple[str, ...]) -> None:
    sidecar, client, pid = await running(execute, "--set", "drain.delay=1h", "--", *app, "{socket}")

    os.kill(pid, signal.SIGKILL)

    with pytest.raises(asyncio.IncompleteReadError):
        await client.chunk()
    assert (await sidecar.record())["unbuffer.outcome"] == "upstream_disconnect"
    assert await sidecar.exit() == 137


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (("--", "no-such-command"), 127, "cannot run no-such-command: No such file or directory"),
        (("--", "/etc/passwd"), 126, "cannot run /etc/passwd: Permission denied"),
        (("--", "true", "{port}"), 2, "the command has {port}: give --upstream http://127.0.0.1:PORT, or use {socket}"),
        (
            ("--upstream", "http://127.0.0.1:9", "--", "true", "{socket}"),
            2,
            "the command has {socket}, but the upstream is 127.0.0.1:9: use {port}",
        ),
        (("--",), 2, "the application's command stands after --"),
        (("true",), 2, "as in: unbuffer exec --listen 127.0.0.1:0 --admin off -- true"),
    ],
)
async def test_a_command_that_cannot_be_run(
    execute: Start, arguments: tuple[str, ...], code: int, complaint: str
) -> None:
    sidecar = await execute(*arguments)
    assert await sidecar.exit() == code
    assert complaint in sidecar.errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_application_ends_after_the_streams(execute: Start, app: tuple[str, ...], number: int) -> None:
    sidecar, client, pid = await running(execute, "--", *app, "{socket}")

    sidecar.signal(number)
    await sidecar.says("draining")
    for _ in range(3):
        sidecar.signal(signal.SIGUSR1)  # passed on
        assert await client.chunk() == b"data: on\n\n"
    assert "app got" not in sidecar.errors
    sidecar.signal(signal.SIGUSR2)
    assert await client.rest() == LAST

    await sidecar.says("app got SIGTERM")
    assert await sidecar.exit() == 0
    assert gone(pid)


async def test_ended_by_the_signal_it_was_sent_is_no_failure(execute: Start) -> None:
    sidecar = await execute("--", "sleep", "1000")
    await sidecar.says("upstream unix:")
    await sidecar.end()


async def test_an_application_that_does_not_end_is_killed(execute: Start, app: tuple[str, ...]) -> None:
    sidecar, client, pid = await running(execute, "--set", "exec.grace=100ms", "--", *app, "{socket}", "deaf")
    await client.close()

    sidecar.signal(signal.SIGTERM)

    await sidecar.says("app got SIGTERM")
    await sidecar.says("killed what was left of the application")
    assert await sidecar.exit() == 137
    assert gone(pid)


async def test_a_second_signal_ends_the_application_at_once(execute: Start, app: tuple[str, ...]) -> None:
    sidecar, client, pid = await running(execute, "--set", "exec.grace=1h", "--", *app, "{socket}", "deaf")
    sidecar.signal(signal.SIGTERM)
    await sidecar.says("draining")
    sidecar.signal(signal.SIGTERM)

    with pytest.raises(asyncio.IncompleteReadError):
        await client.chunk()
    assert await sidecar.exit() == 143
    assert gone(pid)


async def test_what_the_application_started_ends_with_it(execute: Start, app: tuple[str, ...]) -> None:
    """A shell that passes no signal on, and a helper that nobody waits for."""
    script = 'sleep 1000 & echo helper $! >&2; "$@"; echo over >&2'
    sidecar, client, pid = await running(execute, "--", "sh", "-c", script, "sh", *app, "{socket}")
    helper = int(await sidecar.says(r"helper (\d+)"))
    await client.close()

    sidecar.signal(signal.SIGTERM)

    await sidecar.says("app got SIGTERM")
    assert await sidecar.exit() == 0
    assert gone(pid)
    assert gone(helper)


async def test_orphans_leave_no_zombie(execute: Start) -> None:
    sidecar = await execute("--", "sh", "-c", "(sh -c 'echo orphan $$ >&2; exit 3' &); exec sleep 1000")
    orphan = int(await sidecar.says(r"orphan (\d+)"))
    await eventually(lambda: gone(orphan))
    await sidecar.end()


async def test_a_hangup_reloads_and_is_not_passed_on(execute: Start, app: tuple[str, ...]) -> None:
    sidecar, client, pid = await running(execute, "--", *app, "{socket}")

    sidecar.signal(signal.SIGHUP)
    await sidecar.says("reloaded: upstream unix:")

    assert not gone(pid)
    sidecar.signal(signal.SIGUSR1)
    assert await client.chunk() == b"data: on\n\n"
    await sidecar.end()


async def test_the_application_has_the_limit_of_open_files_that_unbuffer_found(command: Start) -> None:
    """unbuffer lifts its own. select() in an application relies on a low one."""
    limited = "import resource, sys; from unbuffer.cli import main; "
    limited += "resource.setrlimit(resource.RLIMIT_NOFILE, (500, resource.getrlimit(resource.RLIMIT_NOFILE)[1])); "
    limited += "sys.exit(main())"

    sidecar = await command("exec", *HERE, "--", "sh", "-c", "ulimit -Sn >&2", python=("-c", limited))

    await sidecar.says("^500$")
    assert await sidecar.exit() == 0
