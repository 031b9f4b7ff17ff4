"""Who a client is, and whether its forwarding fields are believed."""

import asyncio
import ipaddress
from dataclasses import dataclass, replace
from typing import Any, Final

from unbuffer.http.headers import Peer
from unbuffer.http.memory import keep
from unbuffer.relay.proxy_header import ProxyHeader
from unbuffer.settings.model import Listen, Settings

_origins: Final[dict[tuple[Any, bool], "Origin"]] = {}
"""Those of connections without a PROXY header, one for each address: most sidecars are reached by a few others."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a connection comes from.

    peername: as the transport tells it, while it still can, without a port: uvloop has None after a reset. secure: it
    came over TLS. header: what a trusted proxy has said of the client.
    """

    peername: Any  # mypyc does not find `object` here
    secure: bool
    header: ProxyHeader | None = None

    @classmethod
    def of(cls, transport: asyncio.BaseTransport) -> "Origin":
        """As the transport tells it."""
        peername = transport.get_extra_info("peername")
        place = peername[:1] if isinstance(peername, tuple) else peername
        secure = transport.get_extra_info("sslcontext") is not None
        origin = _origins.get((place, secure))
        return origin if origin is not None else keep(_origins, (place, secure), cls(place, secure))


class Trust:
    """What the settings of one time say of that."""

    def __init__(self, settings: Settings) -> None:
        proxies = settings.forwarded.trusted_proxies
        self.unix = "unix" in proxies
        """Whether whoever comes over a Unix socket is believed."""
        self.networks = [ipaddress.ip_network(text, strict=False) for text in proxies if text != "unix"]
        self._rfc7239 = settings.forwarded.rfc7239
        self._listen = settings.listen
        self._peers: dict[Origin, Peer] = {}
        """Of the origins without a PROXY header, as above."""

    def peer(self, origin: Origin) -> Peer:
        """Who sends the requests of a connection, and whether it is believed."""
        header = origin.header
        if header is None:
            known = self._peers.get(origin)
            if known is None:
                known = keep(self._peers, origin, self._peer(origin.peername, origin.secure))
            return known
        secure = _is_https(header, self._listen, origin.secure)
        peer = self._peer((header.address,) if header.address else origin.peername, secure)
        # A proxy that does not know whose connection it is: nobody's forwarding fields are believed.
        return peer if header.address or header.local else replace(peer, trusted=False)

    def _peer(self, peername: object, secure: bool) -> Peer:
        if not isinstance(peername, tuple):
            # uvloop has None for a TCP connection that was reset before it was accepted; what it sent may still come.
            return Peer("", secure, self.unix and peername is not None, self._rfc7239)
        address = address_of(peername)
        trusted = any(address in network for network in self.networks)
        return Peer(str(address), secure, trusted, self._rfc7239)


def address_of(peername: tuple[object, ...]) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The address of a TCP connection's other side, as `peername` has it first.

    A zone (fe80::1%eth0) is of this host only; a mapped address is the IPv4 client that it stands for.
    """
    address = ipaddress.ip_address(str(peername[0]).partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def _is_https(header: ProxyHeader, listen: Listen, own: bool) -> bool:
    """Whether the client's side is https. own: whether the proxy's connection is, which counts as long as nothing else
    says it."""
    if listen.proxy_scheme != "auto":
        return listen.proxy_scheme == "https"
    if header.tls is not None:
        return header.tls
    return own or header.port in listen.proxy_https_ports
