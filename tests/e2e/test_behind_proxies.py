"""unbuffer behind the proxies that people have in front, and what those do without it.

A proxy that holds a stream back is recognised without a clock: the first event has left the application, two requests
went all the way through the same single-threaded proxies afterwards, and the client has nothing to read.
"""

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM

import httpx
import pytest

from tests import local
from tests.e2e.processes import running
from tests.e2e.stack import Gate, Stack
from tests.peers import PATIENCE
from tests.programs import installed

pytestmark = pytest.mark.process


# One process, unprivileged, with all its files in its own directory. It listens on a Unix socket, because it cannot be
# told to take a free port.
NGINX = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path client_body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen unix:{socket};
        location / {{ proxy_pass {upstream}; {directives} }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    option http-no-delay
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend clients
    bind unix@{socket}
    default_backend unbuffer
backend unbuffer
    server unbuffer {upstream}
"""

HOLD = "proxy_http_version 1.0; proxy_ignore_headers X-Accel-Buffering;"
"""What nginx does to an upstream that does not know of the header. HTTP/1.0 is its default before 1.29.7."""


@contextmanager
def nginx(directory: Path, upstream: str, directives: str = "") -> Iterator[str]:
    """The Unix socket of a stock nginx in front of a URL."""
    path = str(directory / "nginx.sock")
    (directory / "nginx.conf").write_text(NGINX.format(socket=path, upstream=upstream, directives=directives))
    command = (installed("nginx"), "-p", str(directory), "-e", "stderr", "-c", "nginx.conf")
    with running(*command) as process:
        # Written when its sockets listen.
        process.err.match("using the .* event method")
        yield path


class Waiting:
    """A client on a bare socket, which can tell whether anything has come."""

    def __init__(self, front: str, gate: Gate) -> None:
        self._front = front
        self._gate = gate
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(front)
        request = f"GET {gate.path('text')} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        self._socket.sendall(request.encode())

    def has_event(self, number: int) -> bool:
        """Whether the event has come, once it is certain that nothing but a buffer can have kept it."""
        self._gate.taken(number + 1)
        # Every process on the way now has the event before it has these requests. The second one is there because a
        # process may see the event and the first request in the same moment, and take them in any order.
        with local.client(socket=self._front) as other:
            for _ in range(2):
                assert other.get("/plain/1").text == "x"
        readable, _, _ = select.select([self._socket], [], [], 0)
        return bool(readable) and f"event {number}\n".encode() in self._socket.recv(65536)

    def rest(self) -> bytes:
        """Everything up to the end."""
        return b"".join(iter(lambda: self._socket.recv(65536), b""))

    def __enter__(self) -> "Waiting":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def passes_in_lockstep(front: str, gate: Gate, kind: str) -> None:
    with local.client(socket=front) as client, client.stream("GET", gate.path(kind)) as response:
        parts = response.iter_raw()
        body = b""
        for number in range(5):
            while b"%d" % number not in body:
                body += next(parts)
            assert b"%d" % (number + 1) not in body
            gate.next() if number < 4 else gate.end()
        assert b"".join(parts) == b""


@pytest.mark.parametrize("kind", ["sse", "ndjson", "text", "compressed"])
def test_a_stock_nginx_passes_each_event_on(stack: Stack, tmp_path: Path, kind: str) -> None:
    with nginx(tmp_path, stack.url) as front:
        passes_in_lockstep(front, stack.gate(), kind)


def test_an_event_behind_a_stock_nginx_is_there_when_it_should_be(stack: Stack, tmp_path: Path) -> None:
    """The counterpart of the two tests below: what they do would find the event."""
    gate = stack.gate()
    with nginx(tmp_path, stack.url) as front, Waiting(front, gate) as client:
        assert client.has_event(0)
        gate.next()
        assert client.has_event(1)
        gate.end()
        client.rest()


def test_nginx_that_ignores_the_header_holds_the_stream_to_its_end(stack: Stack, tmp_path: Path) -> None:
    gate = stack.gate()
    with nginx(tmp_path, stack.url, HOLD) as front, Waiting(front, gate) as client:
        assert not client.has_event(0)
        gate.next()
        assert not client.has_event(1)
        gate.end()
        assert b"event 0\n" in client.rest()


def test_nginx_without_unbuffer_holds_the_stream_to_its_end(stack_of: Callable[[str], Stack], tmp_path: Path) -> None:
    app = stack_of("uvicorn-h11").app
    gate = app.gate()
    with nginx(tmp_path, app.url, "proxy_http_version 1.0;") as front, Waiting(front, gate) as client:
        assert not client.has_event(0)
        gate.next()
        assert not client.has_event(1)
        gate.end()
        assert b"event 0\n" in client.rest()


def test_a_stream_that_fails_behind_nginx_is_cut_for_its_client(stack: Stack, tmp_path: Path) -> None:
    gate = stack.gate()
    with (
        nginx(tmp_path, stack.url) as front,
        local.client(socket=front) as client,
        client.stream("GET", gate.path("text")) as response,
    ):
        parts = response.iter_raw()
        assert b"event 0\n" in next(parts)
        gate.fail()
        with pytest.raises(httpx.RemoteProtocolError):
            list(parts)


@pytest.mark.parametrize("kind", ["sse", "ndjson", "text", "compressed"])
def test_haproxy_passes_each_event_on(stack: Stack, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "haproxy.sock"
    file = tmp_path / "haproxy.cfg"
    file.write_text(HAPROXY.format(socket=path, upstream=stack.url.removeprefix("http://")))
    with running(installed("haproxy"), "-db", "-f", str(file), code=-SIGTERM):
        # Its file is there before anybody listens (2.6.12).
        local.until_it_listens(str(path))
        passes_in_lockstep(str(path), stack.gate(), kind)
