"""The socket: how it is opened, and when its bytes came, before any library has had them in hand."""

import asyncio
import contextlib
import os
import socket
import ssl
from collections import deque
from dataclasses import dataclass, field

from unbuffer.check.observation import Failure, printable
from unbuffer.check.target import Target
from unbuffer.relay import dial

CONNECT = 10.0
"""Seconds to reach a server, TLS included."""


class UnreachableError(Exception):
    """There is no way to the server; the text says why, and `failure` in a word."""

    def __init__(self, text: str, failure: Failure) -> None:
        super().__init__(text)
        self.failure = failure


class TlsError(UnreachableError):
    """There is a server, and no TLS with it. refused: by an alert, which is TLS after all."""

    def __init__(self, text: str, failure: Failure = "tls", refused: bool = False) -> None:
        super().__init__(text, failure)
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Way:
    """How a server is reached. resolve: address by host and port. proxy: of an HTTP proxy, host and port."""

    insecure: bool = False
    resolve: dict[tuple[str, int], str] = field(default_factory=dict)
    unix_socket: str = ""
    proxy: Target | None = None


class Wire(asyncio.Protocol):
    """A connection whose reads are kept with the time at which they came."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._reads: deque[tuple[float, bytes]] = deque()
        self._news = asyncio.Event()
        self._over = False
        self.error: Exception | None = None
        """Why the connection was lost; None = it was closed, or is open."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._reads.append((self._loop.time(), data))
        self._news.set()

    def eof_received(self) -> bool:
        self._over = True
        self._news.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = self.error or exc
        self._over = True
        self._news.set()

    async def read(self) -> tuple[float, bytes] | None:
        """The next read and its time, on the loop's clock; None = nothing more comes."""
        while not self._reads:
            if self._over:
                return None
            self._news.clear()
            await self._news.wait()
        return self._reads.popleft()

    @property
    def protocol(self) -> str:
        """What ALPN agreed upon; empty = nothing."""
        tls = self.transport.get_extra_info("ssl_object")
        return (tls.selected_alpn_protocol() or "") if tls is not None else ""

    async def close(self) -> None:
        """End it at once: what still comes is of no interest."""
        self.transport.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                while await self.read() is not None:
                    pass


async def connect(target: Target, way: Way, protocols: tuple[str, ...]) -> Wire:
    """A connection to this server, over TLS where its URL has https. protocols: for ALPN. Raises UnreachableError."""
    role = "the proxy " if way.proxy is not None and not way.unix_socket else ""
    where = way.unix_socket or f"{role}{(way.proxy or target).authority}"
    try:
        async with asyncio.timeout(CONNECT):
            return await _connect(target, way, _tls(way, protocols) if target.tls else None)
    except TimeoutError:
        # Whoever takes the first record of TLS for the beginning of a line waits for its end.
        kind = TlsError if target.tls else UnreachableError
        raise kind(f"{where} does not answer: no connection within {CONNECT:g} s", _kind(way, "timeout")) from None
    except ssl.SSLCertVerificationError as error:
        why = f"the certificate of {target.authority} is not valid: {error.verify_message}"
        raise UnreachableError(f"{why} (--insecure goes on all the same)", "certificate") from None
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        refused = "ALERT" in reason or reason == "TLSV1_UNRECOGNIZED_NAME"
        raise TlsError(f"TLS with {target.authority} failed: {reason}", refused=refused) from None
    except (ConnectionResetError, BrokenPipeError):
        if not target.tls:
            raise UnreachableError(f"{where} closed the connection at once", _kind(way, "closed")) from None
        raise TlsError(f"TLS with {target.authority} failed: the connection was closed") from None
    except (socket.gaierror, UnicodeError) as error:
        name = f"of {role}{way.proxy.host}" if way.proxy is not None else target.host
        why = f"the name {name} does not resolve: {getattr(error, 'strerror', error)}"
        raise UnreachableError(why, _kind(way, "name")) from None
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        failure: Failure = "refused" if isinstance(error, ConnectionRefusedError) else "network"
        raise UnreachableError(f"cannot connect to {where}: {why}", _kind(way, failure)) from None


def _kind(way: Way, failure: Failure) -> Failure:
    """What it is if the server is reached so."""
    return "socket" if way.unix_socket else "proxy" if way.proxy is not None else failure


async def _connect(target: Target, way: Way, tls: ssl.SSLContext | None) -> Wire:
    loop = asyncio.get_running_loop()
    if way.unix_socket:
        name = target.host if tls else None
        return (await loop.create_unix_connection(Wire, way.unix_socket, ssl=tls, server_hostname=name))[1]
    if way.proxy is not None:
        wire = await dial.connect(Wire, way.proxy.host, way.proxy.port, None, "")
        if tls is not None:
            await _tunnel(wire, target, way.proxy)
            transport = await loop.start_tls(wire.transport, wire, tls, server_hostname=target.host)
            assert isinstance(transport, asyncio.Transport)
            wire.transport = transport
        return wire
    host = way.resolve.get((target.host, target.port), target.host)
    return await dial.connect(Wire, host, target.port, tls, target.host)


async def _tunnel(wire: Wire, target: Target, proxy: Target) -> None:
    """Ask an HTTP proxy for the way to an https server (RFC 9110, section 9.3.6)."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    where = f"{host}:{target.port}"
    basic = f"Proxy-Authorization: Basic {proxy.credentials}\r\n" if proxy.credentials else ""
    wire.transport.write(f"CONNECT {where} HTTP/1.1\r\nHost: {where}\r\n{basic}\r\n".encode("ascii"))
    answer = b""
    while b"\r\n\r\n" not in answer:
        read = await wire.read()
        if read is None:
            why = f"the proxy {proxy.authority} closed the connection instead of a way to {where}"
            raise UnreachableError(why, "proxy")
        answer += read[1]
    status = printable(answer.partition(b"\r\n")[0].decode("latin-1"))
    if not status.partition(" ")[2].startswith("2"):
        raise UnreachableError(f"the proxy {proxy.authority} gives no way to {where}: {status}", "proxy")


def _tls(way: Way, protocols: tuple[str, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if way.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols))
    return context
