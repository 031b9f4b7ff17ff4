"""Child processes of the demo: ready, failing, and gone afterwards."""

import os
import sys

import pytest

from unbuffer.demo import processes
from unbuffer.demo.processes import ServerFailed, running

pytestmark = pytest.mark.process

READY = "import os, signal, sys; print('port', os.getpid(), file=sys.stderr, flush=True); "
PATTERN = r"port (\d+)"


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_server_runs_inside_the_block_and_is_gone_after_it() -> None:
    async with running("echo", PATTERN, *python(READY + "signal.pause()")) as server:
        pid = int(server.ready[1])
        assert exists(pid)

    assert not exists(pid)


async def test_a_server_that_ignores_the_request_to_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "END_LIMIT", 0.0)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "

    async with running("deaf", PATTERN, *python(deaf + READY + "\nwhile True: signal.pause()")) as server:
        pid = int(server.ready[1])

    assert not exists(pid)


async def test_a_server_that_fills_its_standard_error_can_still_end() -> None:
    chatty = "signal.signal(signal.SIGTERM, lambda *_: (sys.stderr.write('x' * 1000000), sys.exit())); "

    async with running("chatty", PATTERN, *python(READY + chatty + "signal.pause()")) as server:
        pid = int(server.ready[1])

    assert not exists(pid)


async def test_a_server_that_does_not_start_is_named_with_its_last_lines() -> None:
    with pytest.raises(ServerFailed) as caught:
        async with running("the app", PATTERN, *python("import no_such_module")):
            pytest.fail("it was never ready")

    first, *last = str(caught.value).splitlines()
    assert first == "the app did not start. Its last lines:"
    assert last[-1] == "    ModuleNotFoundError: No module named 'no_such_module'"


async def test_a_server_that_is_never_ready_is_named_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "START_LIMIT", 0.0)

    with pytest.raises(ServerFailed, match=r"^mute was not ready within 0 s\. Its last lines: it printed nothing\.$"):
        async with running("mute", PATTERN, *python("import signal; signal.pause()")):
            pytest.fail("it was never ready")


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(ServerFailed, match=r"^nginx cannot be executed: .*No such file"):
        async with running("nginx", PATTERN, "/no/such/nginx"):
            pytest.fail("it was never ready")


async def test_a_server_that_ends_later_is_reported() -> None:
    last_words = "print('out of memory', file=sys.stderr)"

    async with running("unbuffer", PATTERN, *python(READY + last_words)) as server:
        failure = await server.failure()

    assert str(failure).startswith("unbuffer has ended. Its last lines:")
    assert str(failure).endswith("    out of memory")


async def test_settings_for_the_users_own_servers_do_not_reach_the_demos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNBUFFER_LISTEN", "0.0.0.0:80")
    monkeypatch.setenv("UVICORN_PORT", "80")
    monkeypatch.setenv("DEMO_TEST", "kept")
    names = "import os, sys; print('names', *os.environ, file=sys.stderr)"

    async with running("environment", "names (.*)", *python(names)) as server:
        seen = server.ready[1].split()

    assert "DEMO_TEST" in seen
    assert not {"UNBUFFER_LISTEN", "UVICORN_PORT"} & set(seen)
