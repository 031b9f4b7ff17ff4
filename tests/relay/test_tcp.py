"""The options that make the kernel notice a host that has vanished; what they do is shown by tests/faults."""

import errno
import socket
import sys

import pytest

from tests.relay.conftest import Relay
from unbuffer.relay.tcp import peer_options, vanished
from unbuffer.settings.model import Timeouts

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
    connection = await relay.plane.pool.connect()
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
def test_what_tells_of_a_vanished_host(error: Exception | None, expected: bool) -> None:
    assert vanished(error) is expected
