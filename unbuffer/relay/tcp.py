"""TCP's own means against hosts that vanish: a limit for what nobody acknowledges, and probes while nothing is sent.

The kernel then ends the connection with ETIMEDOUT. Linux and the BSDs hand the options of a listener on to what it
accepts, so a client connection costs nothing.
"""

import asyncio
import contextlib
import errno
import socket
import struct
import sys
from functools import cache
from typing import Final

from unbuffer.settings.model import Settings

SocketOptions = tuple[tuple[int, int, int], ...]
"""Level, name and value, as `setsockopt` takes them."""

OFF: Final[SocketOptions] = tuple(
    (level, option, 0)
    for level, option in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        (socket.IPPROTO_TCP, getattr(socket, "TCP_USER_TIMEOUT", 0)),
    )
    if option
)
"""What a socket begins with, for one that had other options before a reload."""

WRITE_BUFFER: Final = 65536
"""Bytes that a peer may leave untaken before whoever writes to it is told to wait; asyncio's own default, said."""

VANISHED = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)
"""What a connection ends with whose other side answers no more; the last two where a router told why."""


@cache
def peer_options(seconds: float, user_timeout: float) -> SocketOptions:
    """Against a peer that has been away for `seconds`; none for 0. user_timeout: the limit for data, 0 = the system's.

    Probes begin after a third, with a third between them: where nothing but SO_KEEPALIVE is known, or the user timeout
    is off, two that stay unanswered come to the same time. On Linux the user timeout takes the place of their number.
    """
    if not seconds:
        return ()
    third = min(max(round(seconds / 3), 1), 32767)  # whole seconds; Linux takes no more
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (
        ("TCP_KEEPIDLE", third),
        ("TCP_KEEPALIVE", third),  # macOS' word for it
        ("TCP_KEEPINTVL", third),
        ("TCP_KEEPCNT", 2),
        ("TCP_USER_TIMEOUT", min(round(user_timeout * 1000), 2**31 - 1)),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            options.append((socket.IPPROTO_TCP, option, value))
    return tuple(options)


def client_options(settings: Settings, *running: float) -> SocketOptions:
    """Against clients whose host has vanished. One that is there and reads nothing is for client_stall to end: the
    kernel, which counts the same, comes later, and not at all where such a client may stay.

    running: the client_stall of a stream that keeps the one it began with, beside those of the settings.
    """
    stalls = [settings.timeouts.client_stall, *(r.timeouts.client_stall for r in settings.routes), *running]
    longest = max(stall or 0.0 for stall in stalls)
    gone = settings.timeouts.tcp_user
    return peer_options(gone, 0.0 if 0.0 in stalls else max(gone, 1.25 * longest))


def set_options(sock: socket.socket, options: SocketOptions) -> None:
    """Set these options; a Unix socket has none of them."""
    if sock.family != socket.AF_UNIX:
        for option in options:
            sock.setsockopt(*option)


def reset(transport: asyncio.Transport) -> None:
    """End a connection at once, by a reset (RST); a Unix socket has none, and closes."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def half_close(transport: asyncio.Transport) -> bool:
    """End the direction of what is written, alone. False where that cannot be: with TLS, or when all is ending."""
    if transport.is_closing() or not transport.can_write_eof():
        return False
    with contextlib.suppress(OSError):  # of asyncio's own transport, where the other side has reset the connection
        transport.write_eof()
    return True


def kernel_timeout(error: Exception | None, transport: asyncio.Transport, peer: str) -> str:
    """What the kernel gave a connection up for; empty if it was lost otherwise. peer: who the other side is."""
    if not isinstance(error, OSError) or error.errno not in VANISHED:
        return ""
    window = _window(transport.get_extra_info("socket")) if error.errno == errno.ETIMEDOUT else None
    if window == 0:
        return f"timeouts.tcp_user: the {peer} took nothing of what was sent"
    return f"timeouts.tcp_user: the {peer}'s host answers no more"


_SND_WND: Final = 228
"""Offset of tcpi_snd_wnd in Linux' struct tcp_info (linux/tcp.h), since 5.4: the bytes that the other side had room for
when it was last heard of."""


def _window(sock: socket.socket) -> int | None:
    """What the other side had room for; None where the system does not tell."""
    if sys.platform != "linux":
        return None  # only Linux counts a peer that is there and takes nothing
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SND_WND + 4)
    except OSError:
        return None
    return int.from_bytes(info[_SND_WND:], sys.byteorder) if len(info) == _SND_WND + 4 else None
