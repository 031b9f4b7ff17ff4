"""Clients that are killed, read nothing, close halfway, reset, or send and read by drops."""

import contextlib
import re
import socket
import struct
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.e2e.processes import running
from tests.faults.conftest import Start
from tests.faults.story import App, application, read_all, read_until, until
from tests.peers import PATIENCE

pytestmark = pytest.mark.process


def test_killed_in_the_middle_of_a_stream(start: Start, lasting: App) -> None:
    story = start(lasting.url)
    assert not isinstance(story.listen, str)
    url = "http://{}:{}/stream/killed".format(*story.listen)
    with running("curl", "-sSN", "--noproxy", "*", url, code=-SIGKILL) as curl:
        curl.out.match("^event 0$")
        curl.end(SIGKILL)

    story.ended("/stream/killed", "client_disconnect", 200)
    story.works()


def test_gone_before_the_head(start: Start, lasting: App) -> None:
    story = start(lasting.url)
    client = story.ask("/never/gone")
    lasting.reached("/never/gone")
    client.close()

    story.ended("/never/gone", "client_disconnect", 0)
    story.works()


def test_gone_inside_a_head(start: Start, lasting: App) -> None:
    story = start(lasting.url)
    client = story.client()
    client.sendall(b"GET /half/1 HTTP/1.1\r\nHo")
    client.close()

    story.ended("/half/1", "client_disconnect", 0, "inside a request head")
    story.works()


def test_gone_inside_a_body(start: Start, lasting: App) -> None:
    story = start(lasting.url)
    client = story.ask("/upload/half", "POST", "Content-Length: 100\r\n")
    client.sendall(b"half")
    lasting.reached("/upload/half")
    client.close()

    story.ended("/upload/half", "client_disconnect", 0)
    story.works()


def test_reset_in_the_middle_of_a_stream(start: Start, lasting: App) -> None:
    story = start(lasting.url)
    client = story.stream("/stream/reset")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()

    story.ended("/stream/reset", "client_disconnect", 200, "reset")
    story.works()


@pytest.mark.parametrize("stays", [False, True])
def test_half_closed(start: Start, lasting: App, stays: bool) -> None:
    story = start(lasting.url, f"listen.half_close={str(stays).lower()}")
    name = f"half-{stays}"
    client = story.stream(f"/stream/{name}")
    client.shutdown(socket.SHUT_WR)

    if stays:
        lasting.next(name)
        assert read_until(client, b"event 1\n\r\n") == b"8\r\nevent 1\n\r\n"
        # A second end cannot be told: it shows when the next bytes are refused.
        client.close()
        lasting.next(name)
        lasting.next(name)
    story.ended(f"/stream/{name}", "client_disconnect", 200)
    story.works()


def test_reads_nothing(start: Start, lasting: App) -> None:
    story = start(lasting.url, "timeouts.client_stall=300ms")
    story.ask("/endless/1")

    story.ended("/endless/1", "client_stall_timeout", 200)
    story.works()


def test_sends_a_head_by_drops(start: Start, lasting: App) -> None:
    story = start(lasting.url, "timeouts.request_head=300ms")
    client = story.client()
    for drop in b"GET /drops/1 HTTP/1.1\r\n":
        client.send(bytes([drop]))

    assert read_all(client).startswith(b"HTTP/1.1 408 ")
    story.ended("/drops/1", "request_head_timeout", 408)
    story.works()


PAUSE = 0.05
"""Seconds between two drops."""


def test_sends_a_body_by_drops(start: Start, lasting: App) -> None:
    story = start(lasting.url, "timeouts.request_body=1s", "limits.body_rate=1KiB")
    client = story.ask("/upload/drops", "POST", "Content-Length: 100000\r\n")
    client.settimeout(PAUSE)
    answer = b""
    for _ in range(int(PATIENCE / PAUSE)):
        client.send(b".")
        with contextlib.suppress(TimeoutError):
            answer = client.recv(65536)
            break

    assert answer.startswith(b"HTTP/1.1 408 ")
    story.ended("/upload/drops", "request_body_timeout", 408, "limits.body_rate")
    story.works()


CLIENTS = 200
EACH = 1 << 20
"""Twice a read of uvloop (256 KiB) that waits with its framing, and as much for the allocator. Without an end to it, a
stream brings this many bytes in milliseconds."""


def test_many_that_read_nothing_take_little_memory(start: Start, tmp_path: Path) -> None:
    """Over Unix sockets, whose buffers are small: the kernel is not what is looked at."""
    with application(socket=tmp_path / "app.sock") as app:
        story = start(app.url, "timeouts.client_stall=1500ms", listen=f"unix:{tmp_path / 'clients.sock'}")
        story.works()
        before = peak(story.process.pid)
        for number in range(CLIENTS):
            story.ask(f"/endless/{number}")

        stalls = {"kind": "stream", "outcome": "client_stall_timeout"}
        until(lambda: story.count("unbuffer_streams_total", **stalls) == CLIENTS)
        assert peak(story.process.pid) - before < CLIENTS * EACH
        story.works()


def peak(pid: int) -> int:
    """Bytes that the process has held at the most."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
