"""httpx for servers on this machine: without the environment's proxies, with generous waits.

And without certificate authorities: httpx reads them for each client, and for each `httpx.get`, which takes a twentieth
of a second of a processor.
"""

import socket as sockets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.peers import PATIENCE


def client(base_url: str = "http://localhost", socket: str | Path | None = None, **options: Any) -> httpx.Client:
    """A client, of a Unix socket if there is one. options: those of `httpx.HTTPTransport`."""
    transport = httpx.HTTPTransport(uds=None if socket is None else str(socket), verify=False, **options)
    return httpx.Client(base_url=base_url, transport=transport, trust_env=False, timeout=PATIENCE)


def get(url: str, **options: Any) -> httpx.Response:
    """One request on a connection of its own."""
    return httpx.get(url, **_with_defaults(options))


def post(url: str, **options: Any) -> httpx.Response:
    """One request on a connection of its own."""
    return httpx.post(url, **_with_defaults(options))


def stream(method: str, url: str, **options: Any) -> AbstractContextManager[httpx.Response]:
    """One request on a connection of its own, its response to be read as it comes."""
    return httpx.stream(method, url, **_with_defaults(options))


def _with_defaults(options: dict[str, Any]) -> dict[str, Any]:
    return {"trust_env": False, "timeout": PATIENCE, "verify": False} | options


@contextmanager
def closed_port() -> Iterator[int]:
    """A port that refuses on every address, and that nobody else is given on any.

    A server may bind it, to all addresses or to one: they use SO_REUSEADDR.
    """
    both = sockets.has_dualstack_ipv6()
    with sockets.socket(sockets.AF_INET6 if both else sockets.AF_INET) as taken:
        taken.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        if both:
            taken.setsockopt(sockets.IPPROTO_IPV6, sockets.IPV6_V6ONLY, 0)
        taken.bind(("", 0))
        yield taken.getsockname()[1]


def until_it_listens(address: str | tuple[str, int], why_not: Callable[[], str] = lambda: "") -> None:
    """Wait until somebody takes connections there. why_not: tells that nobody will."""
    deadline = time.monotonic() + 3 * PATIENCE  # of a program that imports much
    while True:
        with sockets.socket(sockets.AF_UNIX if isinstance(address, str) else sockets.AF_INET) as client:
            if client.connect_ex(address) == 0:
                return
        assert time.monotonic() < deadline, f"nobody listens on {address}"
        assert not (told := why_not()), told
        time.sleep(0.01)
