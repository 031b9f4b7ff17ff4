"""The one way to open a connection, and the one wording of why there is none to the upstream."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from unbuffer.outcome import Outcome
from unbuffer.settings.addresses import parse_upstream
from unbuffer.settings.model import Settings

P = TypeVar("P", bound=asyncio.Protocol)

OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)
"""No descriptor is left: in the process, in the system."""


class ConnectError(Exception):
    """No connection to the upstream: the outcome that the stream gets, and what exactly happened.

    out_of_files: the system's error where no descriptor was left; the upstream is not to blame for it.
    """

    def __init__(self, outcome: Outcome, detail: str, out_of_files: OSError | None = None) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail
        self.out_of_files = out_of_files


class Dialer:
    """Opens connections to the upstream of these settings. tls: of an https upstream, whose name is
    server_name; None in clear text."""

    def __init__(self, settings: Settings) -> None:
        """Raises ssl.SSLError or OSError for files of upstream.tls that cannot be used."""
        self.target = parse_upstream(settings.upstream.url)
        self.tls = _tls_context(settings) if self.target.tls else None
        self.server_name = settings.upstream.tls.server_name or self.target.host
        self._timeout = settings.timeouts.connect

    async def open(self, factory: Callable[[], P], *, handshake: bool = True) -> P:
        """The protocol of a new connection, within timeouts.connect. handshake: that of TLS, where the upstream has it.

        Raises ConnectError.
        """
        where = self.target.authority
        try:
            async with asyncio.timeout(self._timeout or None):
                return await self._open(factory, self.tls if handshake else None)
        except TimeoutError as late:
            # Ours has no number; the system's own limit has.
            limit = "the system's limit" if late.errno else f"timeouts.connect ({self._timeout:g}s)"
            raise ConnectError(Outcome.CONNECT_TIMEOUT, f"no connection to {where} within {limit}") from None
        except ssl.SSLError as broken:
            why: str = getattr(broken, "verify_message", "")
            text = f"TLS with {where} failed: {broken.reason or broken}{f' ({why})' if why else ''}"
            raise ConnectError(Outcome.UPSTREAM_TLS_ERROR, text) from None
        except (socket.gaierror, UnicodeError) as unknown:  # the latter for what cannot be a name at all
            reason = getattr(unknown, "strerror", None) or unknown
            raise ConnectError(Outcome.UPSTREAM_DNS_ERROR, f"cannot resolve {where}: {reason}") from None
        except OSError as error:
            raise self._failure(error) from None

    def _failure(self, error: OSError) -> ConnectError:
        where = self.target.authority
        if self.tls and isinstance(error, ConnectionError) and not error.errno:
            return ConnectError(Outcome.UPSTREAM_TLS_ERROR, f"{where} closed the connection during the TLS handshake")
        # The event loops word an error differently; its number is the same.
        text = f"cannot connect to {where}: {os.strerror(error.errno) if error.errno else error}"
        if error.errno in OUT_OF_FILES:
            return ConnectError(Outcome.REJECTED, text, error)
        refused = error.errno in (errno.ECONNREFUSED, errno.ENOENT)
        return ConnectError(Outcome.UPSTREAM_REFUSED if refused else Outcome.UPSTREAM_UNREACHABLE, text)

    async def _open(self, factory: Callable[[], P], tls: ssl.SSLContext | None) -> P:
        if self.target.path:
            return (await asyncio.get_running_loop().create_unix_connection(factory, self.target.path))[1]
        return await connect(factory, self.target.host, self.target.port, tls, self.server_name)


async def connect(factory: Callable[[], P], host: str, port: int, tls: ssl.SSLContext | None, name: str) -> P:
    """The protocol of a connection to the first address of a host that takes one. name: that TLS asks for and checks.

    Raises OSError: that of the last address, where none takes it.
    """
    loop = asyncio.get_running_loop()
    # Resolved here: the event loop's own text for several addresses has no number.
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    for *_, address in found:
        try:
            made = await loop.create_connection(
                factory, str(address[0]), port, ssl=tls, server_hostname=name if tls else None
            )
        except ssl.SSLError:
            raise
        except OSError as error:
            failure = error
        else:
            return made[1]
    raise failure or OSError(errno.EADDRNOTAVAIL, "the name has no address")


class InProcess(Dialer):
    """Opens a pair of sockets: the other end is served here."""

    def __init__(self, settings: Settings, served: Callable[[], asyncio.Protocol]) -> None:
        super().__init__(settings)
        self._served = served

    async def _open(self, factory: Callable[[], P], tls: ssl.SSLContext | None) -> P:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        await loop.create_unix_connection(self._served, sock=theirs)
        return (await loop.create_unix_connection(factory, sock=ours))[1]


def _tls_context(settings: Settings) -> ssl.SSLContext:
    tls = settings.upstream.tls
    context = ssl.create_default_context(cafile=tls.ca or None)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.certificate:
        # Without a password an encrypted key would make OpenSSL ask for one at the terminal.
        context.load_cert_chain(tls.certificate, tls.key or None, password="")
    context.set_alpn_protocols(["http/1.1"])
    return context
