"""The Model Context Protocol over Streamable HTTP: progress arrives as it is made, and a cut stream is taken up again.

The protocol of 2026 gives each request a stream of its own; the one before it has sessions, whose events a server may
keep for clients that come back.
"""

from collections.abc import Callable
from pathlib import Path
from signal import SIGTERM

import pytest
import trustme

from tests.apps.installed import python
from tests.deploy.balancers import Instances, running_balancer
from tests.e2e.processes import STARTED, running
from tests.e2e.stack import App, Gate, unbuffer

pytestmark = pytest.mark.process

PROTOCOLS = ["2026-07-28", "legacy"]

PROGRAM = str(Path(__file__).parent / "programs" / "with_mcp.py")


@pytest.fixture
def app(app_of: Callable[[str], App]) -> App:
    return app_of("counting_mcp")


def command(url: str, gate: Gate, protocol: str, *variables: str) -> list[str]:
    return ["env", "NO_PROXY=*", *variables, python(), PROGRAM, f"{url}/mcp", gate.name, protocol]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_progress_is_heard_before_there_is_more(app: App, protocol: str, tmp_path: Path) -> None:
    authority, gate = trustme.CA(), app.gate()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    with (
        unbuffer(app.url) as proxy,
        running_balancer("nginx", authority, Instances.of(proxy), tmp_path) as front,
        running(*command(front.url, gate, protocol, f"SSL_CERT_FILE={tmp_path}/authority.pem")) as client,
    ):
        for number in range(4):
            client.out.match(rf"^event {number}$", STARTED)
            gate.next() if number < 3 else gate.end()
        assert client.exit_code() == 0
        assert client.out.all()[-1] == "counted to 3"


def test_a_call_whose_stream_was_cut_is_taken_up_where_it_was(app: App) -> None:
    gate = app.gate()
    with (
        unbuffer(app.url, "--set", "timeouts.silence=2s") as proxy,
        running(*command(proxy.url, gate, "legacy")) as client,
    ):
        client.out.match("^event 0$", STARTED)
        # Nobody lets the server go on before its silence has been cut.
        proxy.process.out.match('"POST".*"unbuffer.outcome":"silence_timeout"')
        gate.next()
        client.out.match("^event 1$")
        gate.end()
        assert client.exit_code() == 0
        assert client.out.all() == ["event 0", "event 1", "counted to 1"]


def test_a_client_that_goes_away_cancels_its_call(app: App) -> None:
    """In the protocol of 2026 nothing else does: whoever closes the stream of a request has cancelled it."""
    gate = app.gate()
    with (
        unbuffer(app.url) as proxy,
        running(*command(proxy.url, gate, "2026-07-28"), code=-SIGTERM) as client,
    ):
        client.out.match("^event 0$", STARTED)
        client.end()
        assert gate.over() == "cancelled"


def test_a_call_whose_stream_was_cut_has_failed(app: App) -> None:
    gate = app.gate()
    with (
        unbuffer(app.url, "--set", "timeouts.silence=2s") as proxy,
        running(*command(proxy.url, gate, "2026-07-28"), code=1) as client,
    ):
        client.out.match("^event 0$", STARTED)
        assert client.exit_code() == 1
        assert "MCPError: SSE stream ended without a response" in "\n".join(client.err.all())
        assert gate.over() == "cancelled"
        # It does not ask for the rest of it, as one of the older protocol does.
        (line,) = proxy.lines("/mcp")
        assert line["unbuffer.outcome"] == "silence_timeout"
