"""A WebSocket during a graceful end: client and application part as if the application itself had gone away."""

from collections.abc import Callable
from signal import SIGTERM

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.e2e.stack import App, Stack, unbuffer
from tests.peers import PATIENCE

pytestmark = pytest.mark.process


@pytest.fixture(params=["uvicorn", "hypercorn", "granian"])
def app(stack_of: Callable[[str], Stack], request: pytest.FixtureRequest) -> App:
    """The servers that differ in WebSockets."""
    return stack_of(request.param).app


def test_a_websocket_ends_with_1001_and_the_process_with_it(app: App) -> None:
    gate = app.gate()
    with (
        unbuffer(app.url, "--set", "drain.timeout=1h") as proxy,
        connect(f"ws://127.0.0.1:{proxy.port}/ws/{gate.name}", proxy=None) as socket,
    ):
        socket.send("hello")
        assert socket.recv(PATIENCE) == "hello"
        proxy.process.signal(SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(PATIENCE)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "the server is restarting")
        assert proxy.process.exit_code() == 0
        assert gate.over().startswith("closed ")
        assert proxy.line(f"/ws/{gate.name}")["unbuffer.outcome"] == "completed"


# Not with hypercorn: it reports 1006 to the application, whatever the client sent.
@pytest.mark.parametrize("app", ["uvicorn", "granian"], indirect=True)
def test_the_application_hears_1001_from_the_client(app: App) -> None:
    gate = app.gate()
    with (
        unbuffer(app.url) as proxy,
        connect(f"ws://127.0.0.1:{proxy.port}/ws/{gate.name}", proxy=None),
    ):
        proxy.process.signal(SIGTERM)
        assert gate.over().split()[:2] == ["closed", "1001"]
        assert proxy.process.exit_code() == 0
