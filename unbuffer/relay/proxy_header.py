"""Reads the header of the PROXY protocol, which a proxy puts before everything else on a connection. No I/O.

Versions 1 and 2 of HAProxy's specification (doc/proxy-protocol.txt). What does not match it exactly is refused.
"""

import ipaddress
import re
from dataclasses import dataclass

# Section 2.1: the longest line that a sender may write. An UNKNOWN's rest is ignored, whatever stands there.
_LONGEST_LINE = 107
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*)?"
    rb"|TCP([46]) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))\r\n"
)

# Section 2.2: signature, version and command, family and protocol, length of what follows.
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED = 16
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_HIGHEST_FAMILY, _HIGHEST_PROTOCOL = 3, 2  # AF_UNIX, DGRAM
# By family: the bytes of both ends' addresses and ports. Extensions follow them; of a family that is not specified
# nobody knows where.
_ADDRESSES = {1: 12, 2: 36, 3: 216}

# Section 2.2.6: PP2_TYPE_SSL, whose value begins with a byte of flags and four that say how a certificate was verified.
_SSL, _SSL_LEAST = 0x20, 5
_CLIENT_SSL = 0x01  # PP2_CLIENT_SSL: the client connected over TLS

LONGEST_BINARY = 4096
"""Bytes of a version 2 header with its extensions; its length could say 64 KiB. nginx has this limit, too."""


class ProxyHeaderError(Exception):
    """What came is no PROXY header; the text says why."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a header says.

    size: its bytes. local: the proxy speaks for itself, as in a health check, and is the client. address: of the
    client; empty where the header does not name one that came over TCP. port: the one that the client connected to; 0
    = not said. tls: whether the client spoke TLS with the proxy; None = not said.
    """

    size: int
    local: bool
    address: str
    port: int = 0
    tls: bool | None = None


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """The header at the beginning of all that a connection brought; None while it is not complete.

    Of the extensions (TLVs) the one about TLS is read; the rest, the optional checksum among them, is skipped. Raises
    ProxyHeaderError.
    """
    if _begins(data, _SIGNATURE):
        return _read_binary(data)
    if _begins(data, b"PROXY "):
        return _read_line(data)
    raise ProxyHeaderError("the connection does not begin with a PROXY header")


def _begins(data: bytes, mark: bytes) -> bool:
    return mark.startswith(data[: len(mark)])


def _read_line(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _LONGEST_LINE) + 2
    if end == 1:
        if len(data) >= _LONGEST_LINE:
            raise ProxyHeaderError("a PROXY line without an end")
        return None
    match = _LINE.fullmatch(data, 0, end)
    if match is None:
        raise ProxyHeaderError("a malformed PROXY line")
    family, source, destination, *ports = match.groups()
    if family is None:
        return ProxyHeader(end, False, "")
    read = ipaddress.IPv4Address if family == b"4" else ipaddress.IPv6Address
    try:
        address, _ = str(read(source.decode("ascii"))), read(destination.decode("ascii"))
    except ValueError:
        raise ProxyHeaderError("a PROXY line with a malformed address") from None
    if any(int(port) > 65535 for port in ports):
        raise ProxyHeaderError("a PROXY line with a malformed port")
    return ProxyHeader(end, False, address, int(ports[1]))


def _read_binary(data: bytes) -> ProxyHeader | None:
    if len(data) > len(_SIGNATURE) and data[12] not in (_LOCAL, _PROXY):
        raise ProxyHeaderError("a PROXY header of an unknown version or command")
    if len(data) < _FIXED:
        return None
    size = _FIXED + int.from_bytes(data[14:16], "big")
    if size > LONGEST_BINARY:
        raise ProxyHeaderError(f"a PROXY header of more than {LONGEST_BINARY} bytes")
    if len(data) < size:
        return None
    if data[12] == _LOCAL:
        return ProxyHeader(size, True, "")
    family, block = data[13], data[_FIXED:size]
    address = _binary_address(family, block)
    addresses = _ADDRESSES.get(family >> 4, len(block))
    port = int.from_bytes(block[addresses - 2 : addresses], "big") if address else 0
    return ProxyHeader(size, False, address, port, _tls(block[addresses:]))


def _binary_address(family: int, block: bytes) -> str:
    """The source address of a version 2 header; empty for what is valid and no TCP over IP."""
    if family >> 4 > _HIGHEST_FAMILY or family & 15 > _HIGHEST_PROTOCOL:
        raise ProxyHeaderError("a PROXY header of an unknown address family or protocol")
    # Addresses and ports of both ends; the source's address comes first.
    if family == _TCP4 and len(block) >= 12:
        return str(ipaddress.IPv4Address(block[:4]))
    if family == _TCP6 and len(block) >= 36:
        return str(ipaddress.IPv6Address(block[:16]))
    if family in (_TCP4, _TCP6):
        raise ProxyHeaderError("a PROXY header that is too short for its addresses")
    return ""


def _tls(extensions: bytes) -> bool | None:
    """Whether the client spoke TLS, as the extensions say: each is a type, a length in two bytes, and a value."""
    said: bool | None = None
    at = 0
    while at < len(extensions):
        start = at + 3
        end = start + int.from_bytes(extensions[at + 1 : start], "big")
        if start > len(extensions) or end > len(extensions):
            raise ProxyHeaderError("a PROXY header with an extension that is cut")
        if extensions[at] == _SSL:
            if end - start < _SSL_LEAST or said is not None:
                raise ProxyHeaderError("a PROXY header with a malformed extension about TLS, or with two")
            said = bool(extensions[start] & _CLIENT_SSL)
        at = end
    return said
