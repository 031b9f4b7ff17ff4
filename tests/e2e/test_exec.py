"""`unbuffer exec` with the servers that people run: each on the socket it is given, ended after its streams."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests import local
from tests.e2e.processes import Program, running
from tests.e2e.stack import APP

pytestmark = pytest.mark.process

SERVERS = {
    "uvicorn": ("-m", "uvicorn", APP, "--uds", "{socket}"),
    "uvicorn-on-a-port": ("-m", "uvicorn", APP, "--port", "{port}"),
    "gunicorn": ("-m", "gunicorn", APP, "-k", "uvicorn_worker.UvicornWorker", "--bind", "unix:{socket}"),
    "granian": ("-m", "granian", "--interface", "asgi", "--uds", "{socket}", APP),
    "hypercorn": ("-m", "hypercorn", APP, "--bind", "unix:{socket}"),
}


@dataclass(frozen=True, slots=True)
class Executed:
    """A process of the command, and its client."""

    process: Program
    client: httpx.Client


@contextlib.contextmanager
def executing(*arguments: str, port: int, own: tuple[str, ...] = ()) -> Iterator[Executed]:
    """`unbuffer exec` in front of the application; a request that comes too early waits for it."""
    command = (sys.executable, "-m", "unbuffer", "exec", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    own += ("--upstream", f"http://127.0.0.1:{port}") if "{port}" in arguments else ()
    with running(*command, *own, "--set", "upstream.wait=20s", "--", sys.executable, *arguments) as process:
        url = process.err.match(r"listening on (http://\S+)")[1]
        with local.client(url) as client:
            yield Executed(process, client)


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_is_run_served_and_ended(server: str, unused_tcp_port: int) -> None:
    with executing(*SERVERS[server], port=unused_tcp_port) as sidecar:
        assert sidecar.client.get("/plain/1").text == "x"
        with sidecar.client.stream("GET", "/stream/only/text") as response:
            parts = response.iter_raw()
            assert next(parts) == b"event 0\n"
            # Past unbuffer nobody reaches the application, so its gate is opened while unbuffer still takes requests.
            sidecar.client.post("/gate/only/next")
            assert next(parts) == b"event 1\n"
            sidecar.client.post("/gate/only/end")
            assert next(parts, None) is None
        assert sidecar.process.end(signal.SIGTERM) == 0
        assert "INFO stopped" in "\n".join(sidecar.process.err.all())


CLIENT = "tests.e2e.client_app"

TELLING = {
    "uvicorn": ("-m", "uvicorn", f"{CLIENT}:app", "--uds", "{socket}"),
    "gunicorn": ("-m", "gunicorn", f"{CLIENT}:app", "-k", "uvicorn_worker.UvicornWorker", "--bind", "unix:{socket}"),
    "gunicorn-asgi": ("-m", "gunicorn", f"{CLIENT}:for_gunicorn", "-k", "asgi", "--bind", "unix:{socket}"),
    "granian": ("-m", "granian", "--interface", "asgi", "--uds", "{socket}", f"{CLIENT}:for_granian"),
    "hypercorn": ("-m", "hypercorn", f"{CLIENT}:for_hypercorn", "--bind", "unix:{socket}"),
}
"""As docs/life.md says it for each server."""

WRAPPED = ("gunicorn-asgi", "granian", "hypercorn")


@pytest.mark.parametrize("server", TELLING)
def test_the_application_sees_the_clients_address(server: str) -> None:
    fields = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    with executing(*TELLING[server], port=0, own=("--set", "forwarded.trusted_proxies=127.0.0.1")) as sidecar:
        assert sidecar.client.get("/client").json() == ["127.0.0.1", "http"]
        # What a proxy in front says that unbuffer trusts.
        address, scheme = sidecar.client.get("/client", headers=fields).json()
        assert scheme == "https"
        assert address in ("203.0.113.9", "127.0.0.1")
        told = "\n".join(sidecar.process.err.all() if sidecar.process.end(signal.SIGTERM) == 0 else ())
        assert ("gives an application on a Unix socket no client address" in told) is (server in WRAPPED)
        assert "WARNING" not in told


@pytest.mark.parametrize("wrong", ["--forwarded-allow-ips=127.0.0.1", "--no-proxy-headers"])
def test_a_server_that_believes_nobody_is_warned_of(wrong: str) -> None:
    with executing(*TELLING["uvicorn"], wrong, port=0) as sidecar:
        sidecar.process.err.match("WARNING uvicorn takes no client address from a Unix socket without")
        assert sidecar.client.get("/client").json()[0] is None
        assert sidecar.process.end(signal.SIGTERM) == 0
