"""Routes without a word in the settings: FastAPI describes its paths, and streams count under their templates."""

import sys
from pathlib import Path
from signal import SIGTERM

import pytest

from tests import local
from tests.e2e.processes import running
from tests.e2e.stack import APP, Stack, Unbuffer, unbuffer, uvicorn
from tests.faults.story import until

pytestmark = pytest.mark.process

READ = ("--set", "metrics.openapi=/openapi.json")


def until_known(proxy: Unbuffer, path: str, route: str) -> None:
    """Ask for this path until it counts under the route: the first requests come before the document."""

    def known() -> bool:
        local.get(proxy.url + path)
        return any(("route", route) in labels for (_, labels), count in proxy.samples().items() if count)

    until(known)


def test_streams_count_under_the_template_of_their_path(stack: Stack) -> None:
    with unbuffer(stack.app.url, *READ) as proxy:
        until_known(proxy, "/plain/3", "/plain/{size}")
        gate = stack.gate()
        with local.stream("GET", proxy.url + gate.path("sse")) as response:
            gate.end()
            response.read()
        assert proxy.line(gate.path("sse"))["http.route"] == "/stream/{name}/{kind}"
        counted = (labels for (_, labels), count in proxy.samples().items() if count)
        routes = {value for labels in counted for name, value in labels if name == "route"}
        assert routes == {"default", "/plain/{size}", "/stream/{name}/{kind}"}


def test_a_route_of_the_settings_comes_first(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "unbuffer.yaml"
    file.write_text("routes: [{name: streams, prefix: /stream}]\nmetrics: {max_routes: 2}\n")
    with unbuffer(stack.app.url, *READ, "-c", str(file)) as proxy:
        until_known(proxy, "/plain/3", "/plain/{size}")
        local.post(f"{proxy.url}/upload", content=b"x")
        gate = stack.gate()
        with local.stream("GET", proxy.url + gate.path("sse")) as response:
            gate.end()
            response.read()
        assert proxy.line(gate.path("sse"))["http.route"] == "streams"
        assert proxy.line("/upload")["http.route"] == "_other"
        assert proxy.samples()["unbuffer_route_overflow_total", frozenset()] == 1


@pytest.mark.parametrize("path", ["/plain/3", "/api/plain/3"])
def test_the_prefix_that_the_application_is_told_of_may_be_there_or_not(path: str) -> None:
    with uvicorn("--root-path", "/api") as app, unbuffer(app.url, *READ) as proxy:
        until_known(proxy, path, "/plain/{size}")


def test_over_a_unix_socket_too(tmp_path: Path) -> None:
    socket = tmp_path / "app.sock"
    command = (sys.executable, "-m", "uvicorn", APP, "--uds", str(socket), "--no-access-log")
    with running(*command, code=-SIGTERM) as process:
        process.err.match("running on unix socket")
        with unbuffer(f"unix:{socket}", *READ) as proxy:
            until_known(proxy, "/plain/3", "/plain/{size}")
