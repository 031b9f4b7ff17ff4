"""The command line as a user meets it: what it prints, and the exit code that a script or an init system gets."""

import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from tests.server.conftest import Start, Upstream, finish, stream
from unbuffer import __version__
from unbuffer.compiled import YES_OR_NO
from unbuffer.settings.dump import dump
from unbuffer.settings.load import load
from unbuffer.settings.model import Settings

pytestmark = pytest.mark.process

OTEL = "variables OTEL_... (tracing.otlp)"
QUIET = ("--listen", "127.0.0.1:0", "--admin", "off")


async def output(command: Start, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command that ends by itself."""
    process = await command(*arguments, env=env)
    assert process.process.stdout is not None
    printed = (await process.process.stdout.read()).decode()
    return await process.exit(), printed, process.errors


# -- without serving


async def test_version(command: Start) -> None:
    assert await output(command, "--version") == (0, f"unbuffer {__version__} (compiled: {YES_OR_NO})\n", "")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "the following arguments are required: COMMAND"),
        (("fly",), "invalid choice: 'fly'"),
        (("serve", "--fast"), "unrecognized arguments: --fast"),
        (("serve", "--listen"), "argument --listen: expected one argument"),
        (("config", "a.yaml", "b.yaml"), "unrecognized arguments: b.yaml"),
        (("config", "-c", "a.yaml", "b.yaml"), "two settings files, a.yaml and b.yaml: give one"),
        (("drain", "--fast"), "unrecognized arguments: --fast"),
        (("demo", "now"), "unrecognized arguments: now"),
        (("exec",), "the application's command stands after --, as in: unbuffer exec -- COMMAND"),
        (("exec", "--"), "the application's command stands after --, as in: unbuffer exec -- COMMAND"),
        (("exec", "--fast", "--", "app"), "unrecognized arguments: --fast"),
        (
            ("exec", "--admin", "off", "uvicorn", "main:app", "--uds", "{socket}"),
            "the application's command stands after --,"
            " as in: unbuffer exec --admin off -- uvicorn main:app --uds '{socket}'",
        ),
    ],
)
async def test_a_wrong_use_is_2_and_shows_the_usage_of_the_command(
    command: Start, arguments: tuple[str, ...], complaint: str
) -> None:
    code, printed, errors = await output(command, *arguments)

    assert (code, printed) == (2, "")
    known = bool(arguments) and arguments[0] != "fly"
    assert errors.startswith(f"usage: unbuffer {arguments[0]} " if known else "usage: unbuffer [-h]")
    assert errors.endswith(f"{complaint}\n") or not known
    assert complaint in errors


async def test_config_prints_the_effective_settings(command: Start, tmp_path: Path) -> None:
    file = tmp_path / "unbuffer.yaml"
    file.write_text("upstream: http://127.0.0.1:9000\ntimeouts: {silence: 30s}\n")
    environ = {"UNBUFFER_LOG__FORMAT": "text"}

    code, printed, errors = await output(command, "config", str(file), "--set", "drain.timeout=5s", env=environ)

    assert (code, errors) == (0, "")
    assert printed == dump(load(str(file), environ, {"drain.timeout": "5s"}))
    again = tmp_path / "again.yaml"
    again.write_text(printed)
    effective = load(str(again), {}, {})
    assert (effective.upstream.url, effective.timeouts.silence) == ("http://127.0.0.1:9000", 30.0)
    assert (effective.log.format, effective.drain.timeout) == ("text", 5.0)


@pytest.mark.parametrize("name", ["config", "serve"])
@pytest.mark.parametrize("option", [(), ("-c",), ("--config",)])
async def test_a_file_is_named_with_or_without_its_option(
    command: Start, tmp_path: Path, name: str, option: tuple[str, ...]
) -> None:
    (tmp_path / "unbuffer.yaml").write_text("decode: perhaps\n")

    code, _, errors = await output(command, name, *option, "unbuffer.yaml")

    assert (code, errors) == (78, 'unbuffer.yaml:1 decode: want streams, always or never, got "perhaps"\n')


async def test_config_warns_of_what_is_hardly_meant(command: Start, tmp_path: Path) -> None:
    (tmp_path / "unbuffer.yaml").write_text("routes:\n- {name: all, prefix: /}\n- {name: chat, prefix: /chat}\n")

    code, printed, errors = await output(command, "config", "unbuffer.yaml")

    assert (code, printed.count("name: chat")) == (0, 1)
    assert errors.startswith('warning: unbuffer.yaml:3 routes[1]: the route "chat" gets no request: "all" (routes[0])')
    assert errors.count("\n") == 1


async def test_config_without_a_file_prints_the_defaults(command: Start) -> None:
    assert await output(command, "config") == (0, dump(Settings()), "")


async def test_the_file_may_be_named_by_the_environment(command: Start, tmp_path: Path) -> None:
    file = tmp_path / "unbuffer.yaml"
    file.write_text("drain: {timeout: 7s}\n")

    code, printed, _ = await output(command, "config", env={"UNBUFFER_CONFIG": str(file)})

    assert code == 0
    assert printed == dump(load(str(file), {}, {}))


@pytest.mark.parametrize("name", ["config", "serve"])
async def test_bad_settings_are_78_and_every_problem_has_its_line(command: Start, tmp_path: Path, name: str) -> None:
    file = tmp_path / "unbuffer.yaml"
    file.write_text("upstream: ftp://app\ntimeouts:\n  silense: 30s\n")
    environ = {"UNBUFFER_DRAIN__TIMEOUT": "soon"}
    arguments = (name, str(file)) if name == "config" else (name, "-c", str(file))

    code, printed, errors = await output(command, *arguments, "--set", "log.level=loud", env=environ)

    assert (code, printed) == (78, "")
    lines = errors.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f'{file}:1 upstream: want a URL such as http://127.0.0.1:8000, got "ftp://app"')
    assert lines[1] == f'{file}:3 timeouts: unknown key "silense"; did you mean "silence"?'
    assert lines[2] == 'UNBUFFER_DRAIN__TIMEOUT: want a duration such as 30s, got "soon"'
    assert lines[3].startswith("flag log.level: want debug, info, warning or error")


@pytest.mark.parametrize("arguments", [("config", "none.yaml"), ("serve", "-c", "none.yaml")])
async def test_a_file_that_is_missing_is_78(command: Start, arguments: tuple[str, ...]) -> None:
    assert await output(command, *arguments) == (78, "", "none.yaml: cannot be read: No such file or directory\n")


async def test_a_setting_without_a_value_is_78(command: Start) -> None:
    code, _, errors = await output(command, "config", "--set", "drain.timeout")

    assert (code, errors) == (78, "flag --set drain.timeout: want KEY=VALUE, such as timeouts.silence=30s\n")


async def test_a_reader_that_has_enough_is_no_failure(command: Start) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        process = await command("config", stdout=writing)
    finally:
        os.close(writing)

    assert await process.exit() == 0
    assert process.errors == ""


# -- the start


async def test_the_start_tells_version_addresses_and_upstream(command: Start) -> None:
    sidecar = await command("serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    await sidecar.says("upstream http")

    patterns = (
        r"admin on http://127\.0\.0\.1:\d+",
        r"listening on http://127\.0\.0\.1:\d+",
        rf"upstream http://.*:8000 \(compiled: {YES_OR_NO}\)",
    )
    for line, pattern in zip(sidecar.errors.splitlines()[:3], patterns, strict=True):
        assert re.fullmatch(
            rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d,\d{{3}} INFO unbuffer {re.escape(__version__)}: {pattern}", line
        )
    await sidecar.end()


@pytest.mark.parametrize("flag", ["--listen", "--admin"])
async def test_an_address_in_use_is_1_and_named(command: Start, flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        arguments = {"--listen": "127.0.0.1:0", "--admin": "off"} | {flag: address}

        code, printed, errors = await output(command, "serve", *(part for pair in arguments.items() for part in pair))

    assert (code, printed) == (1, "")
    todo = {
        "--listen": "give another one with --listen",
        "--admin": "this is the admin port (admin.address): give another one with --admin, or off",
    }[flag]
    who = f"ss -ltnp 'sport = :{address.rpartition(':')[2]}' says who has it"
    assert errors == f"unbuffer: cannot listen on {address}: Address already in use; {todo}; {who}\n"


@pytest.mark.parametrize(
    ("environ", "report"),
    [
        ({"LISTEN_FDS": "x", "UNBUFFER_LISTEN": "systemd"}, 'LISTEN_FDS: want a number of sockets, got "x"'),
        ({"LISTEN_FDS": "-1", "UNBUFFER_LISTEN": "systemd"}, 'LISTEN_FDS: want a number of sockets, got "-1"'),
        ({"LISTEN_FDS": "0", "UNBUFFER_LISTEN": "systemd"}, 'LISTEN_FDS: want a number of sockets, got "0"'),
        ({"LISTEN_FDS": "9" * 5000, "UNBUFFER_LISTEN": "systemd"}, 'LISTEN_FDS: want a number of sockets, got "999'),
        ({"LISTEN_FDS": "1", "LISTEN_PID": "x\n", "UNBUFFER_LISTEN": "systemd"}, "LISTEN_PID: want a process id, got"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, f"{OTEL}: max_queue_size must be a positive"),
        (
            {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "x"},
            f"{OTEL}: OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT must be",
        ),
        (
            {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "9999"},
            f"{OTEL}: max_export_batch_size must be",
        ),
        ({"PORT": "http"}, 'PORT: want a port number such as 8080, got "http"'),
    ],
)
async def test_a_wrong_variable_is_78_and_named(command: Start, environ: dict[str, str], report: str) -> None:
    otlp = {"UNBUFFER_TRACING__OTLP": "http://127.0.0.1:1"} if any(name.startswith("OTEL") for name in environ) else {}
    listen = {} if "PORT" in environ else {"UNBUFFER_LISTEN": "127.0.0.1:0"}

    code, _, errors = await output(command, "serve", env={"UNBUFFER_ADMIN": "off"} | otlp | listen | environ)

    assert code == 78
    assert errors.splitlines()[-1].startswith(report)


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_BSP_SCHEDULE_DELAY", "OTEL_TRACES_SAMPLER"])
async def test_a_variable_that_opentelemetry_overlooks_does_not_end_it(command: Start, name: str) -> None:
    arguments = ("serve", *QUIET, "--set", "tracing.otlp=http://127.0.0.1:1")
    sidecar = await command(*arguments, env={name: "x"})
    await sidecar.says("upstream http")
    await sidecar.end()


@pytest.mark.parametrize(
    ("address", "why"),
    [
        # A network for documentation (RFC 5737): nobody's own. asyncio's loop has its own words from 3.13 on.
        ("192.0.2.1:0", "Cannot assign requested address|could not bind on any address .+"),
        ("name.invalid:8080", r"[^\n]+"),
        ("unix:/no/such/folder/data.sock", "No such file or directory"),
    ],
    ids=["foreign", "unknown", "no folder"],
)
async def test_an_address_that_is_not_ours_is_1_and_named(
    command: Start, without_uvloop: dict[str, str], address: str, why: str
) -> None:
    for env, first_lines in (({}, ""), (without_uvloop, r".*uvloop is not available.*\n")):
        code, _, errors = await output(command, "serve", "--listen", address, "--admin", "off", env=env)

        assert code == 1
        todo = "give another one with --listen"
        assert re.fullmatch(
            rf"{first_lines}unbuffer: cannot listen on {re.escape(address)}: (?:{why}); {todo}\n", errors
        )


def privileged_port() -> int:
    """A port that only root may have; 0 = this system has none."""
    first_free = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")
    return 1 if not first_free.exists() or int(first_free.read_text()) > 1 else 0


# What is imported later, too, comes first: another user may be unable to read the files.
AS_NOBODY = """\
import encodings.idna, os, shutil, sys, uvloop, unbuffer.server.process
from unbuffer.cli import main
if os.getuid() == 0:
    os.setuid(65534)
sys.exit(main())
"""


@pytest.mark.skipif(not privileged_port(), reason="every port is free to everybody here")
async def test_a_port_of_roots_is_1_and_named(command: Start) -> None:
    process = await command(
        *("serve", "--listen", f"127.0.0.1:{privileged_port()}", "--admin", "off"), python=("-c", AS_NOBODY)
    )

    assert await process.exit() == 1
    assert (
        process.errors == "unbuffer: cannot listen on 127.0.0.1:1: Permission denied; give another one with --listen\n"
    )


async def test_port_of_the_platform_is_listened_on_at_every_interface(
    command: Start, upstream: Upstream, closed_port: int
) -> None:
    await upstream.start()
    env = {"PORT": str(closed_port), "UNBUFFER_UPSTREAM": f"http://127.0.0.1:{upstream.port}", "UNBUFFER_ADMIN": "off"}
    sidecar = await command("serve", env=env)
    assert await sidecar.port(r"0\.0\.0\.0") == await sidecar.port(r"\[::\]") == closed_port

    for host in ("127.0.0.1", "::1"):
        client = await sidecar.client(host, closed_port)
        peer = await stream(client, upstream)
        await finish(peer, client)
        await peer.close()

    await sidecar.end()


async def test_a_flag_wins_over_port_and_the_environment(command: Start, closed_port: int) -> None:
    env = {"PORT": str(closed_port), "UNBUFFER_LISTEN": f"127.0.0.1:{closed_port}", "UNBUFFER_DRAIN__TIMEOUT": "7s"}
    sidecar = await command("serve", *QUIET, env=env)
    assert await sidecar.port() != closed_port
    await sidecar.says("upstream http")

    await sidecar.end()

    assert "listening on" in sidecar.errors
    assert f":{closed_port}" not in sidecar.errors
    assert "up to 7s (drain.timeout)" in sidecar.errors


async def test_without_uvloop_it_runs_and_says_so(
    command: Start, upstream: Upstream, without_uvloop: dict[str, str]
) -> None:
    await upstream.start()
    arguments = ("serve", *QUIET, "--upstream", f"http://127.0.0.1:{upstream.port}")
    sidecar = await command(*arguments, env=without_uvloop)
    await sidecar.says("uvloop is not available here: running on asyncio's own event loop, which is slower")
    client = await sidecar.client("127.0.0.1", await sidecar.port())

    await finish(await stream(client, upstream), client)

    await sidecar.end()


async def test_the_installed_command_is_the_same(command: Start) -> None:
    installed = Path(sys.executable).with_name("unbuffer")

    process = await command("--version", python=(str(installed),))

    assert process.process.stdout is not None
    assert await process.process.stdout.read() == f"unbuffer {__version__} (compiled: {YES_OR_NO})\n".encode()
    assert await process.exit() == 0


# -- standard output


async def test_the_access_log_goes_to_standard_output_without_the_query(command: Start, upstream: Upstream) -> None:
    await upstream.start()
    sidecar = await command("serve", *QUIET, "--upstream", f"http://127.0.0.1:{upstream.port}")
    client = await sidecar.client("127.0.0.1", await sidecar.port())
    await finish(await stream(client, upstream), client)

    record = await sidecar.record()

    assert (record["url.path"], record["unbuffer.outcome"]) == ("/stream", "completed")
    assert (record["http.request.method"], record["http.response.status_code"]) == ("GET", 200)
    await sidecar.end()
    assert "secret" not in sidecar.errors


async def test_a_log_that_nobody_reads_any_more_does_not_end_it(command: Start, upstream: Upstream) -> None:
    await upstream.start()
    reading, writing = os.pipe()
    os.close(reading)
    try:
        arguments = ("serve", *QUIET, "--upstream", f"http://127.0.0.1:{upstream.port}")
        sidecar = await command(*arguments, stdout=writing)
    finally:
        os.close(writing)
    client = await sidecar.client("127.0.0.1", await sidecar.port())

    for complaint in (r"access log: .*Broken pipe", r"INFO stopped"):
        peer = await stream(client, upstream)
        await finish(peer, client)
        await peer.close()
        if "stopped" in complaint:
            sidecar.signal(signal.SIGTERM)
        await sidecar.says(complaint)

    assert await sidecar.exit() == 0


CLOSING = """\
import os, sys
for number in map(int, sys.argv[1]):
    os.close(number)
os.execv(sys.executable, [sys.executable, "-m", "unbuffer", *sys.argv[2:]])
"""


@pytest.mark.parametrize("closed", ["0", "1", "01"])
async def test_standard_files_that_the_caller_closed_do_not_end_it(
    command: Start, upstream: Upstream, closed: str
) -> None:
    """A socket that gets one of their numbers meets an assertion of libuv."""
    await upstream.start()
    arguments = ("serve", *QUIET, "--upstream", f"http://127.0.0.1:{upstream.port}")
    sidecar = await command(closed, *arguments, python=("-c", CLOSING))
    client = await sidecar.client("127.0.0.1", await sidecar.port())

    await finish(await stream(client, upstream), client)

    await sidecar.end()
