"""The command as a process of its own: its lines, its exit, and nothing left behind.

Whoever asks for a `Sidecar` waits for lines, bytes and exits, never for time to pass.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.e2e.processes import environment
from tests.peers import LAST, PATIENCE, STREAM, Peer, ScriptedUpstream, chunk, connect, soon

ROOT = str(Path(__file__).parents[2])

GET = b"GET /stream?key=secret HTTP/1.1\r\nHost: app\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """asyncio's own loop, or those of LOOP_FACTORIES where a module tests what depends on the loop."""
    loops: Mapping[str, Callable[[], asyncio.AbstractEventLoop]]
    loops = getattr(item.getparent(pytest.Module).obj, "LOOP_FACTORIES", {"asyncio": asyncio.new_event_loop})  # type: ignore[union-attr]
    return loops


class Sidecar:
    """One process of the command."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.errors = ""
        """What was read of its standard error."""
        self._untaken: list[str] = []
        self._clients: list[Peer] = []

    async def says(self, pattern: str) -> str:
        """Wait for a line on standard error that has `pattern`, and take it: its first group, or what matched."""
        stream = self.process.stderr
        assert stream is not None
        for line in self._untaken:
            if found := re.search(pattern, line):
                self._untaken.remove(line)
                return found[1] if found.groups() else found[0]
        while line := (await soon(stream.readline())).decode():
            self.errors += line
            if found := re.search(pattern, line):
                return found[1] if found.groups() else found[0]
            self._untaken.append(line)
        pytest.fail(f"{pattern!r} was not said, but:\n{self.errors}")

    async def record(self) -> dict[str, Any]:
        """The next line of the access log."""
        assert self.process.stdout is not None
        line: dict[str, Any] = json.loads(await soon(self.process.stdout.readline()))
        return line

    async def port(self, host: str = r"127\.0\.0\.1", scheme: str = "http") -> int:
        """The port of the next address that is listened on; the host as a pattern."""
        return int(await self.says(rf"listening on {scheme}://{host}:(\d+)$"))

    async def client(self, host: str, port: int, context: ssl.SSLContext | None = None) -> Peer:
        """A connection over TCP, over TLS with a context."""
        return self._opened(*await soon(asyncio.open_connection(host, port, ssl=context)))

    async def client_on(self, path: Path) -> Peer:
        """A connection to a Unix socket."""
        return self._opened(*await soon(asyncio.open_unix_connection(path)))

    def _opened(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Peer:
        peer = Peer(reader, writer)
        self._clients.append(peer)
        return peer

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def exit(self) -> int:
        """Wait for the end; the exit code, negative for a signal that killed it."""
        _, errors = await soon(self.process.communicate())
        self.errors += (errors or b"").decode()
        assert self.process.returncode is not None
        return self.process.returncode

    async def end(self) -> None:
        """Drain and see that this was a clean end."""
        await self.close_clients()
        self.signal(signal.SIGTERM)
        assert await self.exit() == 0, self.errors

    async def close_clients(self) -> None:
        """Close what was opened here."""
        while self._clients:
            await self._clients.pop().close()

    def kill(self) -> None:
        """End it at once, unless it has ended."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    async def clean_up(self) -> None:
        """Read what is left of a process that has ended; no test may have provoked a traceback."""
        await self.close_clients()
        await self.exit()
        assert "Traceback" not in self.errors, self.errors
        assert "Assertion" not in self.errors, self.errors


Start = Callable[..., Awaitable[Sidecar]]


@pytest.fixture
async def command(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts the command with these arguments, in an empty folder and without settings from outside."""
    started: list[Sidecar] = []

    async def start(
        *arguments: str,
        env: dict[str, str] | None = None,
        python: tuple[str, ...] = ("-m", "unbuffer"),
        stdout: int = asyncio.subprocess.PIPE,
        pass_fds: Sequence[int] = (),
    ) -> Sidecar:
        outside = {name: value for name, value in environment().items() if not name.startswith("PYTHON")}
        if arguments[:1] == ("config",):
            del outside["UNBUFFER_METRICS__OPENAPI"]
        environ = outside | (env or {})
        # The package that stands beside these tests, wherever another one is installed.
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, (environ.get("PYTHONPATH"), ROOT)))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *python,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
            env=environ,
            pass_fds=pass_fds,
        )
        started.append(Sidecar(process))
        return started[-1]

    yield start
    for sidecar in started:
        sidecar.kill()  # all of them, before one of them fails the test
    for sidecar in started:
        await sidecar.clean_up()


@pytest.fixture(params=["uvloop", "asyncio"])
def serve(request: pytest.FixtureRequest, command: Start) -> Start:
    """Starts `unbuffer serve` with these arguments, on each event loop."""
    env = request.getfixturevalue("without_uvloop") if request.param == "asyncio" else {}

    async def start(*arguments: str) -> Sidecar:
        return await command("serve", *arguments, env=env)

    return start


class _Reader(asyncio.StreamReader):
    """Tells when anything has come, if only the end."""

    def __init__(self) -> None:
        super().__init__(limit=1 << 22)
        self.began = asyncio.Event()

    def feed_data(self, data: Any) -> None:
        super().feed_data(data)
        self.began.set()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.began.set()


class Upstream(ScriptedUpstream):
    """A scripted upstream that also listens on Unix sockets and speaks TLS.

    A connection that brings no byte is no request: whoever looks whether somebody listens opens one.
    """

    async def start(self) -> None:
        """Listen on an ephemeral port."""
        self._server = await asyncio.get_running_loop().create_server(self._protocol, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(_Reader(), self._connected)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, _Reader)
        await reader.began.wait()
        if reader.at_eof():
            writer.close()
        else:
            await super()._connected(reader, writer)

    async def start_on(self, path: Path) -> None:
        """Listen on a Unix socket."""
        self._server = await asyncio.get_running_loop().create_unix_server(self._protocol, path)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Listen on an ephemeral port, with TLS."""
        self._server = await asyncio.get_running_loop().create_server(self._protocol, "127.0.0.1", 0, ssl=context)
        self.port = self._server.sockets[0].getsockname()[1]


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """An upstream that does not listen yet."""
    upstream = Upstream()
    yield upstream
    await upstream.stop()


async def stream(client: Peer, upstream: Upstream, head: bytes = STREAM) -> Peer:
    """Begin a stream and see its first chunk through; the upstream's side of it."""
    await client.send(GET)
    peer = await upstream.accept()
    await peer.head()
    await peer.send(head)
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    await relays(peer, client, b"data: first\n\n", chunked=head == STREAM)
    return peer


async def relays(upstream: Peer, client: Peer, data: bytes, *, chunked: bool = True) -> None:
    """The upstream sends this, and goes on only when the client has it."""
    await upstream.send(chunk(data) if chunked else data)
    assert await (client.chunk() if chunked else client.read(len(data))) == data


async def finish(upstream: Peer, client: Peer) -> None:
    """End a chunked stream."""
    await upstream.send(LAST)
    assert await client.chunk() == b""


async def fetch(port: int, path: bytes, method: bytes = b"GET") -> bytes:
    """A whole answer of the admin port."""
    peer = await connect(port)
    await peer.send(b"%b %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % (method, path))
    answer = await peer.rest()
    await peer.close()
    return answer


class Ports:
    """A running sidecar with its ports."""

    def __init__(self, sidecar: Sidecar, admin: int, data: int) -> None:
        self.sidecar = sidecar
        self.admin = admin
        self.data = data

    async def client(self) -> Peer:
        """A client of the data port."""
        return await self.sidecar.client("127.0.0.1", self.data)

    async def until_metric(self, sample: bytes) -> None:
        """Scrape until this sample is above zero."""
        above_zero = re.compile(rb"^%b [1-9]" % re.escape(sample), re.MULTILINE)
        async with asyncio.timeout(PATIENCE):
            while not above_zero.search(await fetch(self.admin, b"/metrics")):
                pass


async def start_ports(serve: Start, upstream_port: int, *settings: str) -> Ports:
    """Serve on ephemeral ports in front of the upstream with this one, with these settings, until all is up."""
    sidecar = await serve(
        *("--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
        *("--upstream", f"http://127.0.0.1:{upstream_port}"),
        *(part for setting in settings for part in ("--set", setting)),
    )
    admin = int(await sidecar.says(r"admin on http://127\.0\.0\.1:(\d+)"))
    data = await sidecar.port()
    # The last line of the start: from here on a signal meets a process that is ready.
    await sidecar.says("upstream http")
    return Ports(sidecar, admin, data)


class Files:
    """Certificates below one authority, as files."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self._folder = folder
        self._authority = authority
        self.ca = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca)

    def issue(self, name: str) -> str:
        """A certificate for this name with its chain and key, in one file."""
        path = str(self._folder / f"{name}.pem")
        self._authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def server(self, name: str) -> ssl.SSLContext:
        """For a server of this name."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.issue(name))
        return context

    def client(self) -> ssl.SSLContext:
        """For a client that trusts the authority."""
        return ssl.create_default_context(cafile=self.ca)


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    """The certificates of a test."""
    return Files(tmp_path, authority)
