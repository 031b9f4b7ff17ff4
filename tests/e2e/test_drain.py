"""The graceful end under load: no stream is cut that has time left, and whoever had connected is answered."""

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import Gate, Stack, Unbuffer, unbuffer
from tests.peers import PATIENCE, eventually

pytestmark = pytest.mark.process

STREAMS = 200
CLIENTS = 100


class Stream:
    """A client's stream, each at a gate of its own, read as it comes."""

    def __init__(self, port: int, gate: Gate) -> None:
        self.gate = gate
        self._sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self._file = self._sock.makefile("rb")
        self._sock.sendall(f"GET {gate.path('text')} HTTP/1.1\r\nHost: app\r\n\r\n".encode("ascii"))

    def first(self) -> bytes:
        """The first event, after the head."""
        while self._file.readline().strip():
            pass
        return self.chunk()

    def chunk(self) -> bytes:
        """The next chunk; b"" where the body ends well. Raises EOFError where it is cut."""
        line = self._file.readline()
        if not line:
            raise EOFError
        return self._file.read(int(line, 16) + 2)[:-2]

    def close(self) -> None:
        self._file.close()
        self._sock.close()


@contextlib.contextmanager
def running(stack: Stack, proxy: Unbuffer) -> Iterator[list[Stream]]:
    """Many streams, each with its first event."""
    with contextlib.ExitStack() as clients:
        streams = [Stream(proxy.port, stack.gate()) for _ in range(STREAMS)]
        for stream in streams:
            clients.callback(stream.close)
        for stream in streams:
            assert stream.first() == b"event 0\n"
        yield streams


def outcomes(proxy: Unbuffer) -> dict[str, float]:
    """How the streams of this process have ended, by the access log."""
    lines = [line for line in proxy.process.out.all() if "/stream/" in line]
    found = [line.partition('"unbuffer.outcome":"')[2].partition('"')[0] for line in lines]
    return {outcome: found.count(outcome) for outcome in set(found)}


def test_every_stream_goes_on_to_its_end(stack: Stack) -> None:
    with (
        unbuffer(stack.app.url, "--set", "drain.timeout=1h") as proxy,
        running(stack, proxy) as streams,
    ):
        proxy.process.signal(signal.SIGTERM)
        proxy.process.err.match("draining: running streams")
        for stream in streams:
            stream.gate.next()
            assert stream.chunk() == b"event 1\n"
        # The listeners closed before anything else could be read.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", proxy.port), PATIENCE)
        for stream in streams:
            stream.gate.end()
            assert stream.chunk() == b""

        assert proxy.process.exit_code() == 0
        assert outcomes(proxy) == {"completed": STREAMS}


def test_every_stream_that_outlasts_the_drain_is_cut_so_that_it_shows(stack: Stack) -> None:
    with (
        unbuffer(stack.app.url, "--set", "drain.timeout=100ms") as proxy,
        running(stack, proxy) as streams,
    ):
        proxy.process.signal(signal.SIGTERM)
        for stream in streams:
            with pytest.raises(EOFError):
                stream.chunk()

        assert proxy.process.exit_code() == 0
        assert outcomes(proxy) == {"draining": STREAMS}
        assert stream.gate.over() == "cancelled"


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_who_connected_before_the_listeners_close_is_answered(
    stack: Stack, loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process stands still while clients connect: the kernel completes their connections, and nobody accepts them.
    When it goes on, the first thing that it finds is the signal."""
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError('not built for this system')\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with unbuffer(stack.app.url) as proxy, contextlib.ExitStack() as clients:
        status = Path(f"/proc/{proxy.process.pid}/status")
        proxy.process.signal(signal.SIGSTOP)
        await eventually(lambda: "State:\tT" in status.read_text())
        socks = [
            clients.enter_context(socket.create_connection(("127.0.0.1", proxy.port), PATIENCE)) for _ in range(CLIENTS)
        ]
        for sock in socks:
            sock.sendall(b"GET /plain/1 HTTP/1.1\r\nHost: app\r\n\r\n")
        proxy.process.signal(signal.SIGTERM)
        proxy.process.signal(signal.SIGCONT)

        for sock in socks:
            with sock.makefile("rb") as file:
                answer = file.read()
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            assert b"\r\nconnection: close\r\n" in answer.lower()
            assert answer.endswith(b"\r\n\r\nx")
        assert proxy.process.exit_code() == 0
