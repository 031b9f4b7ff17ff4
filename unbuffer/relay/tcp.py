"""TCP's own means against hosts that vanish: a limit for what nobody acknowledges, and probes while nothing is sent.

The kernel then ends the connection with ETIMEDOUT. Linux and the BSDs hand the options of a listener on to what it
accepts, so a client connection costs nothing.
"""

import errno
import socket

SocketOptions = tuple[tuple[int, int, int], ...]
"""Level, name and value, as `setsockopt` takes them."""

VANISHED = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)
"""What a connection ends with whose other side answers no more; the last two where a router told why."""


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


def vanished(error: Exception | None) -> bool:
    """Whether a connection was lost because the other side's host answers no more."""
    return isinstance(error, OSError) and error.errno in VANISHED
