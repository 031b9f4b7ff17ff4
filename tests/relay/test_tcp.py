"""The options that make the kernel notice a host that has vanished; what they do is shown by tests/faults."""

import errno
import socket
import sys

import pytest

from tests.peers import stop_reading
from tests.relay.conftest import Relay, endless_upload, finished
from unbuffer.outcome import Outcome
from unbuffer.relay.tcp import OFF, client_options, kernel_timeout, peer_options
from unbuffer.settings.model import Settings, Timeouts
from unbuffer.settings.route import Route, RouteTimeouts

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the options have other names, or none")


def said(sock: socket.socket) -> tuple[int, ...]:
    """SO_KEEPALIVE, idle time, interval, number of probes, user timeout."""
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    tcp = (sock.getsockopt(socket.IPPROTO_TCP, name) for name in names)
    return (sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *tcp)


@linux
@pytest.mark.parametrize(
    ("seconds", "user_timeout", "expected"),
    [
        (75, 75, (1, 25, 25, 2, 75_000)),
        (75, 0, (1, 25, 25, 2, 0)),
        (0.5, 0.5, (1, 1, 1, 2, 500)),
        (1e9, 1e9, (1, 32767, 32767, 2, 2**31 - 1)),
    ],
)
def test_the_kernel_takes_them(seconds: float, user_timeout: float, expected: tuple[int, ...]) -> None:
    with socket.socket() as sock:
        for option in peer_options(seconds, user_timeout):
            sock.setsockopt(*option)
        assert said(sock) == expected


def test_zero_leaves_the_system_alone() -> None:
    assert peer_options(0.0, 5.0) == ()


@linux
async def test_every_connection_to_the_upstream_has_them(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(tcp_user=30.0))
    connection = await relay.plane.pool.connect(False, relay.plane.clients.is_closing)
    assert said(connection.transport.get_extra_info("socket")) == (1, 10, 10, 2, 30_000)
    connection.close()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ETIMEDOUT, "timed out"), True),
        (OSError(errno.EHOSTUNREACH, "no route"), True),
        (ConnectionResetError(errno.ECONNRESET, "reset"), False),
        (RuntimeError(), False),
        (None, False),
    ],
)
async def test_what_tells_of_a_vanished_host(relay: Relay, error: Exception | None, expected: bool) -> None:
    await relay.start()
    connection = await relay.plane.pool.connect(False, relay.plane.clients.is_closing)
    text = kernel_timeout(error, connection.transport, "upstream")
    assert text == ("timeouts.tcp_user: the upstream's host answers no more" if expected else "")
    connection.close()


@linux
async def test_a_host_that_answers_is_not_said_to_be_gone(relay: Relay) -> None:
    """An application that lives and takes nothing of an upload: the kernel ends that with the same error."""
    await relay.start(timeouts=Timeouts(tcp_user=1.0))
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n"
    client, upstream, _ = await relay.exchange(head)
    stop_reading(upstream)
    async with endless_upload(relay, client):
        text = "timeouts.tcp_user: the upstream took nothing of what was sent, before"
        await finished(relay, Outcome.UPSTREAM_DISCONNECT, 502, text)


@pytest.mark.parametrize(
    ("stall", "of_routes", "running", "user_timeout"),
    [
        (60.0, (), (), 75.0),
        (60.0, (None, 80.0), (), 100.0),
        (60.0, (), (80.0,), 100.0),
        (0.0, (), (), 0.0),
        (60.0, (0.0,), (), 0.0),
        (60.0, (), (0.0,), 0.0),
    ],
)
def test_the_kernel_never_comes_before_a_client_stall(
    stall: float, of_routes: tuple[float | None, ...], running: tuple[float, ...], user_timeout: float
) -> None:
    routes = tuple(
        Route(name=f"r{index}", prefix="/", timeouts=RouteTimeouts(client_stall=seconds))
        for index, seconds in enumerate(of_routes)
    )
    settings = Settings(timeouts=Timeouts(client_stall=stall, tcp_user=75.0), routes=routes)
    assert client_options(settings, *running) == peer_options(75.0, user_timeout)


@linux
def test_off_is_what_a_socket_begins_with() -> None:
    with socket.socket() as new, socket.socket() as used:
        for option in (*peer_options(75.0, 75.0), *OFF):
            used.setsockopt(*option)
        assert (said(used)[0], said(used)[-1]) == (said(new)[0], said(new)[-1]) == (0, 0)
