"""The check of the upstream, against real sockets, under both event loops: whether one can connect, why not, and how
often it tries."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
import uvloop

from tests.peers import soon
from unbuffer.relay.dial import Dialer
from unbuffer.server import upstream_check as module
from unbuffer.server.upstream_check import UpstreamCheck
from unbuffer.settings.model import Settings, Timeouts, Upstream

Run = Callable[[Coroutine[None, None, None]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a test under one of the event loops; nothing may be left behind."""

    async def main(test: Coroutine[None, None, None]) -> None:
        failures: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        await soon(test)
        assert not failures

    def run(test: Coroutine[None, None, None]) -> None:
        with asyncio.Runner(loop_factory=request.param, debug=True) as runner:
            runner.run(main(test))

    return run


class Application:
    """A server that waits for its clients to close."""

    def __init__(self) -> None:
        self.opened = 0
        self.server: asyncio.Server
        self._received: asyncio.Queue[bytes] = asyncio.Queue()

    async def start(self, path: str = "") -> str:
        """Listen, on a Unix socket if there is a path; the URL for it."""
        if path:
            self.server = await asyncio.start_unix_server(self._serve, path)
            return f"unix:{path}"
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self._received.put_nowait(await reader.read())
        writer.close()

    async def received(self) -> bytes:
        """What came on the next connection that the client closed."""
        return await soon(self._received.get())


def check_of(url: str, timeout: float = 5.0) -> UpstreamCheck:
    return UpstreamCheck(Dialer(Settings(upstream=Upstream(url=url), timeouts=Timeouts(connect=timeout))))


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_an_upstream_that_listens_is_up_and_hears_no_request(run: Run, tmp_path: Path, unix: bool) -> None:
    async def test() -> None:
        application = Application()
        url = await application.start(str(tmp_path / "app.sock") if unix else "")
        assert await check_of(url).check() == (True, "")
        assert await application.received() == b""
        application.server.close()

    run(test())


def test_a_closed_port_is_refused(run: Run, closed_port: int) -> None:
    async def test() -> None:
        assert await check_of(f"http://127.0.0.1:{closed_port}").check() == (
            False,
            f"cannot connect to 127.0.0.1:{closed_port}: Connection refused",
        )

    run(test())


def test_a_missing_unix_socket_is_named(run: Run, tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "app.sock"
        assert await check_of(f"unix:{path}").check() == (
            False,
            f"cannot connect to unix:{path}: No such file or directory",
        )

    run(test())


def test_a_unix_socket_that_its_server_left_behind_is_refused(run: Run, tmp_path: Path) -> None:
    async def test() -> None:
        path = tmp_path / "app.sock"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
        assert await check_of(f"unix:{path}").check() == (
            False,
            f"cannot connect to unix:{path}: Connection refused",
        )

    run(test())


def test_a_name_that_does_not_exist_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*args: object, **options: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def test() -> None:
        # Some networks answer for every name, so that of a resolver is played.
        monkeypatch.setattr(Dialer, "_open", unknown)
        assert await check_of("http://app.invalid:8000").check() == (
            False,
            "cannot resolve app.invalid:8000: Name or service not known",
        )

    run(test())


def test_an_upstream_that_does_not_answer_is_given_up(run: Run) -> None:
    async def test() -> None:
        with socket.socket() as deaf, socket.socket() as waiting:
            deaf.bind(("127.0.0.1", 0))
            # A queue for one connection that nobody accepts: Linux leaves the next one without an answer.
            deaf.listen(0)
            waiting.connect(deaf.getsockname())
            port = deaf.getsockname()[1]
            assert await check_of(f"http://127.0.0.1:{port}", timeout=0.05).check() == (
                False,
                f"no connection to 127.0.0.1:{port} within timeouts.connect (0.05s)",
            )

    run(test())


def test_who_asks_at_the_same_time_shares_one_attempt(run: Run) -> None:
    async def test() -> None:
        application = Application()
        check = check_of(await application.start())
        assert await asyncio.gather(*(check.check() for _ in range(20))) == [(True, "")] * 20
        await application.received()
        assert application.opened == 1
        application.server.close()

    run(test())


def test_who_leaves_during_an_attempt_leaves_the_others_their_answer(run: Run) -> None:
    async def test() -> None:
        application = Application()
        check = check_of(await application.start())
        first, second = asyncio.create_task(check.check()), asyncio.create_task(check.check())
        await asyncio.sleep(0)
        first.cancel()
        assert await second == (True, "")
        assert first.cancelled()
        application.server.close()

    run(test())


@pytest.mark.parametrize("answer", ["up", "down"])
def test_a_fresh_answer_is_given_again(
    run: Run, closed_port: int, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    async def test() -> None:
        monkeypatch.setattr(module, "FRESH", 3600.0)
        application = Application()
        up = await application.start()
        check = check_of(up if answer == "up" else f"http://127.0.0.1:{closed_port}")
        first = await check.check()
        assert first[0] is (answer == "up")
        application.server.close()
        assert await check.check() == first

    run(test())


def test_an_old_answer_is_checked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        monkeypatch.setattr(module, "FRESH", -1.0)
        application = Application()
        check = check_of(await application.start())
        assert (await check.check())[0]
        await application.received()
        application.server.close()
        assert not (await check.check())[0]

    run(test())
