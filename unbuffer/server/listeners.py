"""The listening sockets of the process, from the first bind to the last client that had connected."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterator

from unbuffer import __version__
from unbuffer.relay.plane import Plane
from unbuffer.relay.preface import client_connection
from unbuffer.relay.tcp import OFF, client_options, set_options
from unbuffer.server.errors import StartError
from unbuffer.server.pages import Pages, PageServer
from unbuffer.server.passed_sockets import take_passed
from unbuffer.server.tls import listen_context, use
from unbuffer.settings.addresses import SYSTEMD, TCPAddress, UnixAddress, parse_address
from unbuffer.settings.model import Settings

log = logging.getLogger("unbuffer")

ADMIN_BACKLOG = 128
"""Connections to the admin port that the kernel queues: a scraper and a few people."""

HANDSHAKE = 5.0
"""Seconds for the TLS handshake of a connection that was accepted after its listener had closed."""

TURNS = 3
"""Turns of the loop in which asyncio makes a transport of what it has accepted. Once its server is closed that fails,
and the connection is dropped. (uvloop makes it at once.)"""


class Sockets:
    """What one of the two ports listens on."""

    def __init__(self, protocol: Callable[[], asyncio.BaseProtocol]) -> None:
        """protocol: made for each connection."""
        self._protocol = protocol
        self._servers: list[asyncio.Server] = []
        self._files: list[str] = []
        """Of Unix sockets."""

    def __iter__(self) -> Iterator[socket.socket]:
        for server in self._servers:
            yield from server.sockets

    async def listen(self, text: str, backlog: int, context: ssl.SSLContext | None, todo: str) -> None:
        """Listen on an address. todo: what to do about one that cannot be had. Raises StartError."""
        address, loop = parse_address(text), asyncio.get_running_loop()
        try:
            if isinstance(address, UnixAddress):
                _refuse_to_steal(address.path)
                server = await loop.create_unix_server(self._protocol, address.path, ssl=context, backlog=backlog)
                self._files.append(address.path)
            else:
                host = address.host or None
                server = await loop.create_server(self._protocol, host, address.port, ssl=context, backlog=backlog)
        except OSError as error:
            # The event loops put the address into their text once more; a failed look-up has no number of the system.
            system = error.errno if not isinstance(error, socket.gaierror) else None
            why = os.strerror(system) if system else error.strerror or error
            if system == errno.EADDRINUSE and isinstance(address, TCPAddress):
                todo += f"; ss -ltnp 'sport = :{address.port}' says who has it"
            raise StartError(f"cannot listen on {text}: {why}; {todo}") from None
        self._servers.append(server)

    async def take(self, sock: socket.socket, backlog: int, context: ssl.SSLContext | None) -> None:
        """Listen on a socket that was passed. The file of a Unix socket stays the service manager's."""
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(self._protocol, sock=sock, ssl=context, backlog=backlog))

    def tell(self, what: str, scheme: str) -> None:
        """Log where it listens."""
        for sock in self:
            log.info("unbuffer %s: %s on %s", __version__, what, _shown(sock.getsockname(), scheme))

    def remove_files(self) -> None:
        """Delete the files of Unix sockets, before they close: later another process may have its own there."""
        while self._files:
            with contextlib.suppress(OSError):
                os.unlink(self._files.pop())

    def close(self) -> None:
        """Stop listening."""
        self.remove_files()
        while self._servers:
            self._servers.pop().close()


class Listeners:
    """Where clients connect: opened once, told of a reload, closed without losing anybody who has connected.

    context: the certificate of the listeners; None where they speak clear text.
    """

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.sockets = Sockets(self._protocol)
        self.context: ssl.SSLContext | None = None

    def _protocol(self) -> asyncio.Protocol:
        return client_connection(self._plane)

    async def open(self, settings: Settings) -> None:
        """Listen on every address. Raises StartError."""
        listen = settings.listen
        context = self.context = listen_context(listen)
        for text in listen.address:
            if text == SYSTEMD:
                for sock in take_passed():
                    await self.sockets.take(sock, listen.backlog, context)
            else:
                await self.sockets.listen(text, listen.backlog, context, "give another one with --listen")
        self._set_options(settings)
        self.sockets.tell("listening", "https" if context else "http")

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
        await self._shut_down()

    async def close(self) -> None:
        """Leave nothing behind, whatever had been opened."""
        self.sockets.close()
        self._plane.clients.drain()
        await self._shut_down()

    async def _shut_down(self) -> None:
        # As long as the settings say now, not those of the start.
        await self._plane.clients.shutdown(self._plane.settings.drain.timeout)

    async def stop(self) -> list[socket.socket]:
        """Stop listening. Returns the connections that nobody had accepted.

        Closing a listening socket resets the connections that the kernel has completed and nobody has accepted. So each
        one is held open by a duplicate, its event loop stops accepting, and what still waits is accepted here, to the
        last one.
        """
        loop = asyncio.get_running_loop()
        self.sockets.remove_files()
        queues: list[socket.socket] = []
        for listener in self.sockets:
            # uvloop has no reader here: it accepts inside libuv, until the server is closed.
            loop.remove_reader(listener.fileno())
            with contextlib.suppress(OSError):  # no descriptor is left, so nothing can be accepted either
                queues.append(listener.dup())
        for _ in range(TURNS):
            await asyncio.sleep(0)
        self.sockets.close()
        return [sock for queue in queues for sock in _accept_all(queue)]

    async def serve(self, accepted: list[socket.socket]) -> None:
        """Serve these connections as if a listener had accepted them."""
        loop, context = asyncio.get_running_loop(), self.context
        limit = HANDSHAKE if context else None
        # One that fails is the client's affair: it has left, or speaks no TLS.
        await asyncio.gather(
            *(
                loop.connect_accepted_socket(self._protocol, s, ssl=context, ssl_handshake_timeout=limit)
                for s in accepted
            ),
            return_exceptions=True,
        )

    def _set_options(self, settings: Settings) -> None:
        """Against clients whose host has vanished: a listener hands its options on to what it accepts."""
        options = client_options(settings) or OFF
        for sock in self.sockets:
            set_options(sock, options)


class AdminListener:
    """Where the admin port's pages are served."""

    def __init__(self, pages: Pages) -> None:
        self._server = PageServer(pages)
        self.sockets = Sockets(self._server.protocol)

    async def open(self, address: str) -> None:
        """Listen, unless the address is `off`. Raises StartError."""
        if address == "off":
            return
        todo = "this is the admin port (admin.address): give another one with --admin, or off"
        await self.sockets.listen(address, ADMIN_BACKLOG, None, todo)
        self._server.start()
        self.sockets.tell("admin", "http")

    async def close(self) -> None:
        """Leave nothing behind."""
        self.sockets.close()
        await self._server.close()


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


def _shown(address: object, scheme: str) -> str:
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    return f"unix:{address}"


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
