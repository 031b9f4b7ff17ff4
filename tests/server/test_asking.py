"""`unbuffer healthcheck` and `unbuffer drain`: which admin port they ask, what they print, and what they exit with."""

import socket
from pathlib import Path

import pytest

from tests.server.conftest import Start, Upstream, start_ports

pytestmark = pytest.mark.process


async def output(command: Start, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    process = await command(*arguments, env=env)
    assert process.process.stdout is not None
    printed = (await process.process.stdout.read()).decode()
    return await process.exit(), printed, process.errors


@pytest.fixture
async def admin(command: Start) -> str:
    """The admin address of a process whose upstream is away."""
    sidecar = await command(
        "serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--upstream", "unix:/nonexistent/app.sock"
    )
    return await sidecar.says(r"admin on http://(127\.0\.0\.1:\d+)")


async def test_a_live_process_is_healthy_whatever_becomes_of_its_upstream(command: Start, admin: str) -> None:
    assert await output(command, "healthcheck", "--admin", admin) == (0, "ok\n", "")


async def test_readiness_says_on_one_line_what_is_missing(command: Start, admin: str) -> None:
    code, printed, _ = await output(command, "healthcheck", "--ready", "--admin", admin)
    assert code == 1
    assert printed == (
        "[+]listening ok; [-]upstream failed: cannot connect to unix:/nonexistent/app.sock: "
        "No such file or directory; readyz check failed\n"
    )


async def test_a_ready_process_is_ready(serve: Start, command: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port)
    assert await output(command, "healthcheck", "--ready", "--admin", f"127.0.0.1:{ports.admin}") == (0, "ok\n", "")


async def test_the_address_comes_from_the_flag_the_environment_or_the_file(
    command: Start, admin: str, tmp_path: Path
) -> None:
    file = tmp_path / "unbuffer.yaml"
    file.write_text(f"admin: {admin}\n")
    wrong = {"UNBUFFER_ADMIN": "unix:/nonexistent/admin.sock"}
    for arguments, env in (
        (("--admin", admin), wrong),
        ((), {"UNBUFFER_ADMIN": admin, "UNBUFFER_CONFIG": "/nonexistent.yaml"}),
        ((), {"UNBUFFER_ADMIN__ADDRESS": admin}),
        (("-c", str(file)), {}),
        ((), {"UNBUFFER_CONFIG": str(file)}),
    ):
        assert await output(command, "healthcheck", *arguments, env=env) == (0, "ok\n", "")


async def test_an_address_for_all_interfaces_is_asked_on_this_machine(command: Start, admin: str) -> None:
    _, port = admin.split(":")
    for host in ("", "0.0.0.0"):
        assert (await output(command, "healthcheck", "--admin", f"{host}:{port}"))[0] == 0


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("off", "the admin port is off (admin.address)"),
        (":0", "the admin port of :0 is a different one at each start: give its number"),
        ("4198", 'want an address such as 127.0.0.1:8080, got "4198"; write ":4198"'),
        ("unix:/nonexistent/admin.sock", "no answer from the admin port unix:/nonexistent/admin.sock: No such file"),
    ],
)
@pytest.mark.parametrize("name", ["healthcheck", "drain", "reload"])
async def test_nobody_to_ask_is_a_failure(command: Start, name: str, address: str, complaint: str) -> None:
    code, printed, errors = await output(command, name, "--admin", address)
    assert (code, printed) == (1, "")
    assert errors.startswith(f"unbuffer: {complaint}")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(("text", "where"), [("nowhere", " admin:"), ("{adress: ':1'}", " admin:"), ("]", "")])
async def test_a_file_that_does_not_say_where_the_admin_port_is_is_a_failure(
    command: Start, tmp_path: Path, text: str, where: str
) -> None:
    file = tmp_path / "unbuffer.yaml"
    file.write_text(f"admin: {text}")
    code, _, errors = await output(command, "healthcheck", "-c", str(file))
    assert code == 1
    assert errors.startswith(f"unbuffer: {file}:1{where}")


async def test_a_mistake_elsewhere_in_the_file_locks_out_nobody(command: Start, admin: str, tmp_path: Path) -> None:
    file = tmp_path / "unbuffer.yaml"
    file.write_text(f"admin: {admin}\nrouts: []\nlisten: {{tls: {{certificate: /nonexistent}}}}\nupstream: ftp://x\n")
    assert await output(command, "healthcheck", "-c", str(file)) == (0, "ok\n", "")
    assert await output(command, "drain", "-c", str(file)) == (0, "draining\n", "")


@pytest.mark.parametrize("name", ["healthcheck", "drain", "reload"])
async def test_who_named_no_address_is_told_how_to(command: Start, name: str) -> None:
    # The address of the default may be somebody's on this machine.
    script = (
        "import sys, types; from unbuffer.settings import model; from unbuffer.cli import main;"
        "model.Admin = lambda: types.SimpleNamespace(address='unix:/nonexistent/admin.sock');"
        f"sys.exit(main([{name!r}]))"
    )
    process = await command(python=("-c", script))
    assert await process.exit() == 1
    assert process.errors == (
        "unbuffer: no answer from the admin port unix:/nonexistent/admin.sock: No such file or directory; "
        "name it with --admin ADDRESS or -c FILE\n"
    )


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1\r\n\r\n", b""])
async def test_a_port_of_somebody_else_is_a_failure(command: Start, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        address = f"127.0.0.1:{somebody.getsockname()[1]}"
        process = await command("healthcheck", "--admin", address)
        connection, _ = somebody.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)
        assert await process.exit() == 1
    assert process.errors == f"unbuffer: the admin port {address} does not answer in HTTP\n"


async def test_waiting_goes_on_as_long_as_somebody_answers(command: Start, upstream: Upstream) -> None:
    """The admin port closes a connection that is idle for long; that is not yet the end."""
    await upstream.start()
    process = await command("drain", "--wait", "--admin", f"127.0.0.1:{upstream.port}")
    asked = await upstream.accept()
    assert (await asked.head()).startswith(b"POST /drain HTTP/1.1\r\n")
    await asked.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\ndraining\n")
    await asked.close()

    for _ in range(2):
        waiting = await upstream.accept()
        assert (await waiting.head()).startswith(b"GET /livez HTTP/1.1\r\n")
        await waiting.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n")
        await waiting.close()
    last = await upstream.accept()
    await last.head()
    await upstream.stop()

    assert await process.exit() == 0


async def test_a_refusal_is_not_waited_for(command: Start, upstream: Upstream) -> None:
    await upstream.start()
    process = await command("drain", "--wait", "--admin", f"127.0.0.1:{upstream.port}")
    asked = await upstream.accept()
    await asked.head()
    await asked.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\nConnection: close\r\n\r\n403\n")
    await asked.close()
    assert await process.exit() == 1
    assert not upstream.untaken


async def test_a_health_check_loads_nothing_that_is_slow(command: Start) -> None:
    """It runs every few seconds in every container. The libraries of the server take ten times its time to load."""
    heavy = ("aiohttp", "asyncio", "yaml", "msgspec", "prometheus_client", "uvloop", "httptools", "ssl")
    script = (
        "import sys; from unbuffer.cli import main;"
        "main(['healthcheck', '--admin', 'unix:/nonexistent/admin.sock']);"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    process = await command(python=("-c", script))
    assert process.process.stdout is not None
    assert await process.process.stdout.read() == b"[]\n"
