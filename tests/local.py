"""httpx for servers on this machine: without the environment's proxies, with generous waits.

And without certificate authorities: httpx reads them for each client, and for each `httpx.get`, which takes a twentieth
of a second of a processor.
"""

import socket as sockets
import time
from contextlib import AbstractContextManager
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


def until_it_listens(address: str | tuple[str, int]) -> None:
    """Wait until somebody takes connections there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with sockets.socket(sockets.AF_UNIX if isinstance(address, str) else sockets.AF_INET) as client:
            if client.connect_ex(address) == 0:
                return
        assert time.monotonic() < deadline, f"nobody listens on {address}"
        time.sleep(0.01)
