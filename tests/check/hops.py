"""Proxies in front of a URL. Where nothing else is said they listen on a Unix socket, and give its path."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from signal import SIGTERM

from tests import local
from tests.deploy.balancers import free_port, hosts
from tests.e2e.processes import running
from tests.e2e.test_behind_proxies import nginx as nginx_with
from tests.programs import installed

HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server {server}
frontend front
    bind {listen}
    default_backend app
backend app
    server app {address}
"""

CADDY = """
{{
    admin off
    auto_https off
    persist_config off
    storage file_system {directory}/caddy
}}
http:// {{
    bind unix/{socket}
    reverse_proxy {address} {{
        {directives}
    }}
}}
"""


def nginx(directory: Path, url: str) -> AbstractContextManager[str]:
    """As it came before 1.29.7: it asks by HTTP/1.0, and buffers."""
    return nginx_with(directory, url, "proxy_http_version 1.0; proxy_buffering on;")


@contextmanager
def haproxy(directory: Path, url: str, server: str = "60s") -> Iterator[str]:
    """As it comes: it merges small writes, over TCP. Gives its URL. server: its time-out."""
    (host,) = hosts(1)
    listen = f"{host}:{free_port(host)}"
    file = directory / "haproxy.cfg"
    file.write_text(HAPROXY.format(listen=listen, address=_address(url), server=server))
    with running(installed("haproxy"), "-db", "-f", str(file), code=-SIGTERM):
        local.until_it_listens((host, int(listen.partition(":")[2])))
        yield f"http://{listen}"


@contextmanager
def caddy(directory: Path, url: str, directives: str) -> Iterator[str]:
    """With these directives of its reverse_proxy."""
    path = directory / "caddy.sock"
    file = directory / "Caddyfile"
    file.write_text(CADDY.format(socket=path, address=_address(url), directory=directory, directives=directives))
    command = installed("caddy")
    with running(command, "run", "--config", str(file), "--adapter", "caddyfile"):
        local.until_it_listens(str(path))
        yield str(path)


def _address(url: str) -> str:
    return url.partition("://")[2]
