"""`unbuffer demo` as a user runs it: in a process of its own, with the real servers, and nothing left behind."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.peers import PATIENCE
from unbuffer.demo import servers
from unbuffer.demo.command import demo

pytestmark = pytest.mark.process

COMMAND = (sys.executable, "-m", "unbuffer", "demo")


async def start(*options: str, **environment: str) -> asyncio.subprocess.Process:
    # A session of its own: whatever it leaves behind is found by the session's number.
    return await asyncio.create_subprocess_exec(
        *COMMAND,
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"COLUMNS": "100"} | environment,
        start_new_session=True,
    )


async def output_up_to(process: asyncio.subprocess.Process, mark: str) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(4 * PATIENCE):
        return (await process.stdout.readuntil(mark.encode())).decode()


async def finished(process: asyncio.subprocess.Process) -> tuple[str, str]:
    """The rest of its output and its standard error; fails when any process of its session is left."""
    async with asyncio.timeout(4 * PATIENCE):
        out, error = await process.communicate()
    assert members(process.pid) == {}
    return out.decode(), error.decode()


def members(session: int) -> dict[int, str]:
    """The processes of a session: process id and command line."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            # proc(5): the session is the fourth field after the command's name, which stands in parentheses.
            if int((directory / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                found[int(directory.name)] = (directory / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def nginx_version(program: str) -> tuple[int, ...]:
    told = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    return tuple(map(int, told.partition("nginx/")[2].split()[0].split(".")))


def reads(lines: list[str], lane: str) -> int:
    (line,) = (line for line in lines if re.match(rf"{lane} +first token", line))
    found = re.search(r"(\d+) reads?$", line)
    assert found is not None
    return int(found[1])


async def test_once_shows_one_lump_against_tokens_and_leaves_nothing() -> None:
    process = await start("--once")
    out, error = await finished(process)

    lines = out.splitlines()
    assert (process.returncode, error) == (0, "")
    assert reads(lines, "direct") == 1
    assert reads(lines, "through unbuffer") > 1
    if (program := servers.nginx_program()) is not None:
        assert reads(lines, "nginx, unbuffer, app") > 1
        # From 1.29.7 on nginx asks by HTTP/1.1 and passes the chunks on by itself.
        assert reads(lines, "nginx, app") == 1 or nginx_version(program) >= (1, 29, 7)
    assert "Try next" not in out
    assert lines[-1].endswith(" check http://127.0.0.1:8080/PATH --direct http://127.0.0.1:8000/PATH")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_without_once_it_says_what_to_try_and_stays_until_a_signal(number: signal.Signals) -> None:
    process = await start()
    out = await output_up_to(process, "/upload\n")
    assert re.search(r"curl -N --compressed http://127\.0\.0\.1:\d+/gzip/text\n", out)
    assert len(set(re.findall(r"http://127\.0\.0\.1:\d+/text\?delay=0\.3", out))) == 2
    # The streams of the show are on the page that it names.
    (page,) = re.findall(r"http://127\.0\.0\.1:\d+/streams", out)
    async with aiohttp.ClientSession() as session, session.get(f"{page}/updates") as response:
        told = [await response.content.readuntil(b"\n\n") for _ in range(2)]
    assert b'"path":"/gzip/v1/chat/completions"' in told[1]

    process.send_signal(number)
    _, error = await finished(process)

    assert (process.returncode, error) == (0, "")


async def test_a_signal_during_the_show_ends_it_as_incomplete() -> None:
    process = await start("--once")
    await output_up_to(process, "through unbuffer\n")

    process.send_signal(signal.SIGINT)
    _, error = await finished(process)

    assert (process.returncode, error) == (1, "")


async def test_a_server_that_dies_ends_the_show_with_its_name() -> None:
    process = await start()
    await output_up_to(process, "/upload\n")
    (victim,) = (pid for pid, command in members(process.pid).items() if " unbuffer serve " in command)

    os.kill(victim, signal.SIGKILL)
    _, error = await finished(process)

    assert process.returncode == 1
    assert error.startswith("unbuffer demo: unbuffer has ended. Its last lines:")


def test_without_its_packages_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # An entry of None is how the import system marks a module as missing.
    for name in ("fastapi", "sse_starlette"):
        monkeypatch.setitem(sys.modules, name, None)

    assert demo(once=True) == 69
    assert capsys.readouterr().err == (
        "unbuffer demo needs more packages (fastapi, sse-starlette): "
        "in a clone, pip install '.[demo]', or uvx --from '.[demo]' unbuffer demo\n"
    )
