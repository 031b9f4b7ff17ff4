"""The three servers of the show, each with the command that starts it: the app, unbuffer, and a stock nginx.

Addresses are on the loopback interface, ports are chosen by the kernel.
"""

import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from unbuffer.demo.processes import Server, running


def the_app() -> AbstractAsyncContextManager[Server]:
    """The demo's FastAPI app under uvicorn. `ready[1]` is its port."""
    # h11 is what uvicorn has without its extra `standard`; here it would find the httptools of unbuffer. It matters to
    # nginx before 1.29.7, which asks by HTTP/1.0: h11 ends the answer by closing, as RFC 9112, section 6.1, wants, and
    # nginx holds that; httptools sends chunks even so, and nginx passes them on (both seen with nginx 1.22).
    options = ("--host", "127.0.0.1", "--port", "0", "--workers", "1", "--http", "h11", "--no-access-log")
    # A stream that is still open when the show ends is not waited for.
    command = (sys.executable, "-m", "uvicorn", "unbuffer.demo.app:app", *options, "--timeout-graceful-shutdown", "1")
    return running("the app", r"running on http://127\.0\.0\.1:(\d+)", *command)


@asynccontextmanager
async def unbuffer(upstream: str) -> AsyncIterator[tuple[Server, str]]:
    """unbuffer in front of the URL `upstream`: `ready[1]` is its port. With it the URL of its admin port."""
    options = ("--upstream", upstream, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--set", "probe=true")
    command = (sys.executable, "-m", "unbuffer", "serve", *options)
    async with running("unbuffer", r"admin on (http://127\.0\.0\.1:\d+)", *command) as server:
        admin = server.ready[1]
        # It listens for requests after that.
        await server.start(r"listening on http://127\.0\.0\.1:(\d+)")
        yield server, admin


def nginx_program() -> str | None:
    """The path of nginx, if it is installed. Debian keeps it where only root's PATH leads."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@asynccontextmanager
async def nginx(program: str, upstreams: tuple[str, str]) -> AsyncIterator[tuple[str, str]]:
    """A stock nginx in front of two URLs. Gives the URLs under which it serves them.

    It is unprivileged and keeps all its files in a directory of its own, which goes with it.
    """
    with TemporaryDirectory(prefix="unbuffer-demo-") as directory:
        urls = _configure_nginx(Path(directory, "nginx.conf"), upstreams)
        command = (program, "-p", directory, "-e", "stderr", "-c", "nginx.conf")
        # Written when the sockets listen: from here on the kernel queues connections.
        async with running("nginx", r"using the .* event method", *command):
            yield urls


# One process, so that its id is the one to end. The temporary paths would lie in directories of the system's own.
_NGINX = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
events {}
http {
    access_log off;
    client_body_temp_path client_body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
%s
}
"""


def _configure_nginx(file: Path, upstreams: tuple[str, str]) -> tuple[str, str]:
    ports = _free_ports()
    server = "    server {{ listen 127.0.0.1:{}; location / {{ proxy_pass {}; }} }}"
    file.write_text(_NGINX % "\n".join(map(server.format, ports, upstreams)))
    return f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}"


def _free_ports() -> tuple[int, int]:
    # nginx cannot be told to take any free port. Both are held at once, so they differ; then nginx takes them over.
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]
