"""The listening sockets of the process, from the first bind to the last client that had connected.

They are held by aiohttp's sites and runners. What aiohttp has no public way to, their sockets and the path of a Unix
socket, is reached for in this file alone.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
from collections.abc import Iterator

from unbuffer import __version__
from unbuffer.relay.plane import Plane
from unbuffer.relay.preface import client_connection
from unbuffer.relay.tcp import OFF, client_options, set_options
from unbuffer.server.aiohttp_server import web
from unbuffer.server.errors import StartError
from unbuffer.server.passed_sockets import take_passed
from unbuffer.server.tls import listen_context, use
from unbuffer.settings.addresses import SYSTEMD, TCPAddress, UnixAddress, parse_address
from unbuffer.settings.model import Settings

log = logging.getLogger("unbuffer")

ADMIN_LAST_WORDS = 1.0
"""Seconds for an answer of the admin port that is being written when all else has ended."""

ADMIN_BACKLOG = 128
"""Connections to the admin port that the kernel queues: a scraper and a few people."""

HANDSHAKE = 5.0
"""Seconds for the TLS handshake of a connection that was accepted after its listener had closed."""

TURNS = 3
"""Turns of the loop in which asyncio makes a transport of what it has accepted. Once its server is closed that fails,
and the connection is dropped. (uvloop makes it at once.)"""


class Listeners:
    """Where clients connect: opened once, told of a reload, closed without losing anybody who has connected.

    context: the certificate of the listeners; None where they speak clear text.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self._runner = web.ServerRunner(_DataServer(plane))
        self.context: ssl.SSLContext | None = None

    async def open(self, settings: Settings) -> None:
        """Listen on every address. Raises StartError."""
        runner, listen = self._runner, settings.listen
        await runner.setup()
        context = self.context = listen_context(listen)
        for text in listen.address:
            if text == SYSTEMD:
                # For Unix sockets as well: a UnixSite would delete the file, which is the service manager's.
                for sock in take_passed():
                    await web.SockSite(runner, sock, ssl_context=context, backlog=listen.backlog).start()
            else:
                await _listen(runner, text, listen.backlog, context, "give another one with --listen")
        self._set_options(settings)
        _tell(runner, "listening", "https" if context else "http")

    def check(self, settings: Settings) -> None:
        """Raises StartError for a certificate that cannot be used: `apply` would spoil the old one with it."""
        if self.context is not None:
            listen_context(settings.listen)

    def apply(self, settings: Settings) -> None:
        """Use what a reload may change, for the handshakes and the connections to come. `check` has passed them."""
        if self.context is not None:
            use(self.context, settings.listen)
        self._set_options(settings)

    async def drain(self) -> None:
        """Stop listening, serve whoever has connected, and wait for the streams as long as drain.timeout says."""
        accepted = await self.stop()
        # After the listeners: whoever then connects anew is refused, and knows.
        self._plane.clients.drain()
        await self.serve(accepted)
        await self._runner.cleanup()

    async def close(self) -> None:
        """Leave nothing behind, whatever had been opened."""
        await _close(self._runner)

    async def stop(self) -> list[socket.socket]:
        """Stop listening. Returns the connections that nobody had accepted.

        Closing a listening socket resets the connections that the kernel has completed and nobody has accepted. So each
        one is held open by a duplicate, its event loop stops accepting, and what still waits is accepted here, to the
        last one.
        """
        loop = asyncio.get_running_loop()
        _remove_files(self._runner)
        queues: list[socket.socket] = []
        for listener in listening_sockets(self._runner):
            # uvloop has no reader here: it accepts inside libuv, until the server is closed.
            loop.remove_reader(listener.fileno())
            with contextlib.suppress(OSError):  # no descriptor is left, so nothing can be accepted either
                queues.append(listener.dup())
        for _ in range(TURNS):
            await asyncio.sleep(0)
        for site in self._runner.sites:
            await site.stop()
        return [sock for queue in queues for sock in _accept_all(queue)]

    async def serve(self, accepted: list[socket.socket]) -> None:
        """Serve these connections as if a listener had accepted them."""
        loop = asyncio.get_running_loop()
        server, context = self._runner.server, self.context
        assert server is not None
        limit = HANDSHAKE if context else None
        # One that fails is the client's affair: it has left, or speaks no TLS.
        await asyncio.gather(
            *(loop.connect_accepted_socket(server, s, ssl=context, ssl_handshake_timeout=limit) for s in accepted),
            return_exceptions=True,
        )

    def _set_options(self, settings: Settings) -> None:
        """Against clients whose host has vanished: a listener hands its options on to what it accepts."""
        options = client_options(settings) or OFF
        for sock in listening_sockets(self._runner):
            set_options(sock, options)


class AdminListener:
    """Where the admin port's pages are served."""

    def __init__(self, pages: web.Application) -> None:
        self._runner = web.AppRunner(pages, access_log=None, shutdown_timeout=ADMIN_LAST_WORDS)

    async def open(self, address: str) -> None:
        """Listen, unless the address is `off`. Raises StartError."""
        if address == "off":
            return
        await self._runner.setup()
        todo = "this is the admin port (admin.address): give another one with --admin, or off"
        await _listen(self._runner, address, ADMIN_BACKLOG, None, todo)
        _tell(self._runner, "admin", "http")

    async def close(self) -> None:
        """Leave nothing behind."""
        await _close(self._runner)


class _DataServer(web.Server):
    """aiohttp's low-level server with our protocol: it owns the listeners and calls the hooks of the drain."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(_unused_handler)
        self._plane = plane

    def __call__(self) -> asyncio.Protocol:  # type: ignore[override]
        return client_connection(self._plane)

    def pre_shutdown(self) -> None:
        self._plane.clients.drain()

    async def shutdown(self, timeout: float | None = None) -> None:
        # As long as the settings say now, not those of the start, which aiohttp was given.
        await self._plane.clients.shutdown(self._plane.settings.drain.timeout)


async def _unused_handler(request: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError("_DataServer makes its own protocol; aiohttp's request handler never runs")


async def _listen(runner: web.BaseRunner, text: str, backlog: int, context: ssl.SSLContext | None, todo: str) -> None:
    """todo: what to do about an address that cannot be had."""
    address = parse_address(text)
    site: web.BaseSite
    try:
        if isinstance(address, UnixAddress):
            _refuse_to_steal(address.path)
            site = web.UnixSite(runner, address.path, ssl_context=context, backlog=backlog)
        else:
            site = web.TCPSite(runner, address.host or None, address.port, ssl_context=context, backlog=backlog)
        await site.start()
    except OSError as error:
        # The event loops put the address into their text once more; a failed look-up has no number of the system.
        system = error.errno if not isinstance(error, socket.gaierror) else None
        why = os.strerror(system) if system else error.strerror or error
        if system == errno.EADDRINUSE and isinstance(address, TCPAddress):
            todo += f"; ss -ltnp 'sport = :{address.port}' says who has it"
        raise StartError(f"cannot listen on {text}: {why}; {todo}") from None


def _refuse_to_steal(path: str) -> None:
    """Raises OSError if somebody listens on this Unix socket: an event loop deletes the file without asking."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return
        except BlockingIOError:
            pass  # its queue is full
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _tell(runner: web.BaseRunner, what: str, scheme: str) -> None:
    for address in runner.addresses:
        log.info("unbuffer %s: %s on %s", __version__, what, _shown(address, scheme))


def _shown(address: object, scheme: str) -> str:
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    return f"unix:{address}"


def listening_sockets(runner: web.BaseRunner) -> Iterator[socket.socket]:
    """The sockets on which a runner listens."""
    for site in runner.sites:
        yield from getattr(site._server, "sockets", ())  # none before the start; asyncio's and uvloop's servers have it


async def _close(runner: web.BaseRunner) -> None:
    """Stop listening and wait for what runs."""
    _remove_files(runner)
    await runner.cleanup()


def _remove_files(runner: web.BaseRunner) -> None:
    """Delete the files of Unix sockets, before they close: later another process may have its own there."""
    for site in runner.sites:
        # Not that of a site that failed to start, which is somebody else's, nor that of a socket that was passed.
        if isinstance(site, web.UnixSite) and site._server is not None:
            with contextlib.suppress(OSError):
                os.unlink(site._path)


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
