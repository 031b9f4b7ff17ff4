"""Closing the listeners without losing a client.

Closing a listening socket resets the connections that the kernel has completed and nobody has accepted. So each one is
held open by a duplicate, its event loop stops accepting, and what still waits is accepted here, to the last one.
"""

import asyncio
import contextlib
import os
import socket
import ssl

from unbuffer.server.lean import web

HANDSHAKE = 5.0
"""Seconds for the TLS handshake of a connection that came so late."""

TURNS = 3
"""Turns of the loop in which asyncio makes a transport of what it has accepted. Once its server is closed that fails,
and the connection is dropped. (uvloop makes it at once.)"""


def remove_files(runner: web.BaseRunner) -> None:
    """Delete the files of Unix sockets, before they close: later another process may have its own there."""
    for site in runner.sites:
        # Not that of a site that failed to start, which is somebody else's, nor that of a socket that was passed.
        if isinstance(site, web.UnixSite) and site._server is not None:
            with contextlib.suppress(OSError):
                os.unlink(site._path)


async def close_listeners(runner: web.BaseRunner) -> list[socket.socket]:
    """Stop listening on every site. Returns the connections that nobody had accepted."""
    loop = asyncio.get_running_loop()
    remove_files(runner)
    queues: list[socket.socket] = []
    for site in runner.sites:
        server = site._server
        assert server is not None
        for listener in server.sockets:  # type: ignore[attr-defined]  # asyncio's and uvloop's have it
            # uvloop has no reader here: it accepts inside libuv, until the server is closed.
            loop.remove_reader(listener.fileno())
            with contextlib.suppress(OSError):  # no descriptor is left, so nothing can be accepted either
                queues.append(listener.dup())
    for _ in range(TURNS):
        await asyncio.sleep(0)
    for site in runner.sites:
        await site.stop()
    return [sock for queue in queues for sock in _accept_all(queue)]


async def serve_accepted(server: web.Server, accepted: list[socket.socket], context: ssl.SSLContext | None) -> None:
    """Serve these connections as if a listener had accepted them. context: if it had TLS."""
    loop = asyncio.get_running_loop()
    limit = HANDSHAKE if context else None
    # One that fails is the client's affair: it has left, or speaks no TLS.
    await asyncio.gather(
        *(loop.connect_accepted_socket(server, sock, ssl=context, ssl_handshake_timeout=limit) for sock in accepted),
        return_exceptions=True,
    )


def _accept_all(queue: socket.socket) -> list[socket.socket]:
    """Every connection that waits; then the queue is closed for good."""
    accepted: list[socket.socket] = []
    queue.setblocking(False)
    with queue:
        while True:
            try:
                sock, _ = queue.accept()
            except ConnectionAbortedError:
                continue
            except OSError:  # nobody waits any more, or no descriptor is left
                return accepted
            sock.setblocking(False)
            accepted.append(sock)
