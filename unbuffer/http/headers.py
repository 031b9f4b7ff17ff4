"""The heads that unbuffer sends: hop-by-hop fields are stripped first, then its own are added.

Framing is rebuilt, never copied. Everything else keeps its order, case, repetitions and bytes.
"""

from dataclasses import dataclass, field
from typing import Final

from unbuffer.http.coded import OF_CODED_BYTES, announced, weak
from unbuffer.http.date import date_line
from unbuffer.http.framing import CHUNKED
from unbuffer.http.memory import lower_name
from unbuffer.http.request import Fields, RequestHead, named_fields
from unbuffer.http.response import ResponseHead
from unbuffer.managed import HOP_BY_HOP

_REPLACED_DOWN: Final = HOP_BY_HOP | {b"x-content-type-options", b"x-accel-buffering"}
# What a final head is looked through for: found among the others that are not copied, Date costs none of the rest.
_NOT_COPIED: Final = _REPLACED_DOWN | {b"date"}
# Fields of a trailer section that could change how the message is framed, routed or read (RFC 9110, section 6.5.1).
_NOT_IN_TRAILERS = HOP_BY_HOP | {
    b"age",
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"date",
    b"expires",
    b"host",
    b"location",
    b"retry-after",
    b"set-cookie",
    b"vary",
    b"www-authenticate",
    b"x-accel-buffering",
    b"x-content-type-options",
}

_FORCED: Final = b"X-Content-Type-Options: nosniff\r\nX-Accel-Buffering: no\r\n"


@dataclass(frozen=True, slots=True)
class Peer:
    """Who sends the requests of a connection. address is empty for Unix sockets; trusted: its forwarding fields are
    believed; lines: what every request of an untrusted peer gets, ready to send, unless Forwarded is asked for too.
    """

    address: str
    secure: bool
    trusted: bool
    rfc7239: bool
    lines: bytes = field(init=False)

    def __post_init__(self) -> None:
        lines = b""
        if not self.trusted and not self.rfc7239:
            lines = b"X-Forwarded-Proto: %b\r\n" % (b"https" if self.secure else b"http")
            if self.address:
                lines = b"X-Forwarded-For: %b\r\n%b" % (self.address.encode("ascii"), lines)
        object.__setattr__(self, "lines", lines)


def request_to_upstream(head: RequestHead, peer: Peer, authority: bytes = b"") -> bytes:
    """The request head for the upstream, up to and with the empty line.

    authority: the upstream's own, which stands for the Host that a request of HTTP/1.0 need not have: an empty one says
    that there is none (RFC 9110, section 7.2), and many an application answers it with 400.
    """
    host = head.host
    named = host if host or head.http11 else authority
    parts = [b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (head.method, head.target, named), *head.passed]
    if peer.lines:
        parts.append(peer.lines)
        if host:
            parts.append(b"X-Forwarded-Host: %b\r\n" % host)
    else:
        _add_forwarded(parts, head, peer)
    if head.framing == CHUNKED:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    elif head.states_length:
        parts.append(b"Content-Length: %d\r\n" % head.framing)
    if head.upgrade:
        parts += (b"Upgrade: ", head.upgrade, b"\r\nConnection: Upgrade\r\n")
    elif head.wants_trailers:
        parts.append(b"TE: trailers\r\nConnection: TE\r\n")
    parts.append(b"Accept-Encoding: identity\r\nVia: %b unbuffer\r\n\r\n" % head.via)
    return b"".join(parts)


_EXTENDED = frozenset((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"))


def _add_forwarded(parts: list[bytes], head: RequestHead, peer: Peer) -> None:
    """X-Forwarded-For/-Proto/-Host, and Forwarded (RFC 7239) where asked for, after what a trusted proxy sent."""
    kept: dict[bytes, bytes] = {}
    if peer.trusted:
        for key, name, value in head.forwarding:
            if key in _EXTENDED:
                kept[key] = kept[key] + b", " + value if key in kept else value
            else:
                parts += (name, b": ", value, b"\r\n")
    address = peer.address.encode("ascii")
    proto = b"https" if peer.secure else b"http"
    chain = kept.get(b"x-forwarded-for", b"")
    if address:
        chain = chain + b", " + address if chain else address
    if chain:
        parts += (b"X-Forwarded-For: ", chain, b"\r\n")
    parts += (b"X-Forwarded-Proto: ", kept.get(b"x-forwarded-proto", proto), b"\r\n")
    host = kept.get(b"x-forwarded-host", head.host)
    if host:
        parts += (b"X-Forwarded-Host: ", host, b"\r\n")
    element = kept.get(b"forwarded", b"")
    if peer.rfc7239:
        node = b'"[%b]"' % address if b":" in address else address or b"unknown"
        own = b"for=%b;proto=%b" % (node, proto)
        if head.host:
            own += b';host="%b"' % head.host
        element = element + b", " + own if element else own
    if element:
        parts += (b"Forwarded: ", element, b"\r\n")


class Delivery:
    """How a response goes out: its framing towards the client, whether the connection ends after it, and more.

    framing: see `unbuffer.http.framing`. length: the Content-Length to state, -1 for none. changed: the body that this
    head has or stands for goes out with other bytes than the upstream's: without content codings, or with what may be
    added to a stream of events. http11: the client's version. trailers: the client takes trailer fields. waited:
    seconds until the upstream's head was there, to tell the client of; negative = untold.
    """

    # No NamedTuple: compiled, its attributes would cost a look-up each.
    __slots__ = ("changed", "close", "framing", "http11", "length", "trailers", "waited")

    def __init__(
        self, framing: int, length: int, close: bool, changed: bool, http11: bool, trailers: bool, waited: float = -1.0
    ) -> None:
        self.framing = framing
        self.length = length
        self.close = close
        self.changed = changed
        self.http11 = http11
        self.trailers = trailers
        self.waited = waited


def response_to_downstream(head: ResponseHead, delivery: Delivery) -> bytes:
    """The response head for the client, up to and with the empty line."""
    parts = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)]
    replaced = _NOT_COPIED | named_fields(head.connection) if head.connection else _NOT_COPIED
    streams = head.streams
    cache_control = -1
    dated = no_transform = incremental = False
    for name, value in head.fields:
        key = lower_name(name)
        if key in replaced:
            if key == b"date" and key not in head.connection:
                dated = True
                parts.append(b"%b: %b\r\n" % (name, value))
            elif key == b"trailer" and delivery.trailers and delivery.framing == CHUNKED:
                names = announced(value) if delivery.changed else value
                if names:
                    parts.append(b"%b: %b\r\n" % (name, names))
            continue
        if streams:
            if key == b"cache-control":
                cache_control = len(parts)  # where its line will be
                no_transform = no_transform or value.lower().find(b"no-transform") >= 0
            elif key == b"incremental":
                incremental = True
        if delivery.changed:
            if key in OF_CODED_BYTES:
                continue
            if key == b"etag":
                value = weak(value)
            elif key == b"accept-ranges":
                value = b"none"
        parts.append(b"%b: %b\r\n" % (name, value))
    if streams:
        if not no_transform:
            if cache_control < 0:
                parts.append(b"Cache-Control: no-transform\r\n")
            else:
                parts[cache_control] = parts[cache_control][:-2] + b", no-transform\r\n"
        if not incremental:
            parts.append(b"Incremental: ?1\r\n")  # RFC 10036
    if delivery.waited >= 0.0:
        # After the metrics of the upstream: several fields are one list.
        parts.append(b"Server-Timing: upstream;dur=%.1f\r\n" % (delivery.waited * 1000))
    if not dated:
        parts.append(date_line())
    parts.append(_FORCED)
    if delivery.length >= 0:
        parts.append(b"Content-Length: %d\r\n" % delivery.length)
    elif delivery.framing == CHUNKED:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    if head.status == 426:
        # The upgrade that is asked for is one that the tunnel carries (RFC 9110, section 15.5.22).
        parts += _upgrade_fields(head.fields)
    if delivery.close:
        parts.append(b"Connection: close\r\n")
    elif not delivery.http11:
        parts.append(b"Connection: keep-alive\r\n")
    parts.append(b"\r\n")
    return b"".join(parts)


def informational_to_downstream(head: ResponseHead) -> bytes:
    """A 1xx head for the client (RFC 9110, section 15.2). 101 keeps what switches protocols."""
    parts = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)]
    replaced = _REPLACED_DOWN | named_fields(head.connection) if head.connection else _REPLACED_DOWN
    parts += (b"%b: %b\r\n" % (name, value) for name, value in head.fields if name.lower() not in replaced)
    if head.status == 101:
        parts.append(_FORCED)
        parts += _upgrade_fields(head.fields)
    parts.append(b"\r\n")
    return b"".join(parts)


def _upgrade_fields(fields: Fields) -> list[bytes]:
    lines = [b"Upgrade: %b\r\n" % value for name, value in fields if name.lower() == b"upgrade"]
    return [*lines, b"Connection: Upgrade\r\n"]


def trailers_to_downstream(fields: Fields) -> bytes:
    """The end of a chunked body with the trailer fields that may be passed on (RFC 9112, section 7.1.2)."""
    lines = (b"%b: %b\r\n" % (name, value) for name, value in fields if name.lower() not in _NOT_IN_TRAILERS)
    return b"0\r\n%b\r\n" % b"".join(lines)


def own_answer(status: int, error: str, text: str, close: bool, extra: bytes = b"", head_only: bool = False) -> bytes:
    """A whole response that unbuffer itself makes, marked by Proxy-Status (RFC 9209) where `error` names a type."""
    reason = REASONS.get(status, b"Error")
    line = text.encode("ascii", "replace").translate(_ONE_LINE)
    if error:
        details = line.replace(b"\\", b"").replace(b'"', b"'")
        extra += b'Proxy-Status: unbuffer; error=%b; details="%b"\r\n' % (error.encode("ascii"), details)
    return plain_answer(status, b"%d %b: %b\n" % (status, reason, line), close, extra, head_only)


def plain_answer(status: int, body: bytes, close: bool, extra: bytes = b"", head_only: bool = False) -> bytes:
    """A whole response of text that unbuffer itself makes. extra: more fields, as lines."""
    parts = [
        b"HTTP/1.1 %d %b\r\nContent-Type: text/plain; charset=utf-8\r\n" % (status, REASONS.get(status, b"Error")),
        b"Cache-Control: no-store\r\nContent-Length: %d\r\n" % len(body),
        date_line(),
        _FORCED,
        extra,
    ]
    if close:
        parts.append(b"Connection: close\r\n")
    parts += (b"\r\n", b"" if head_only else body)
    return b"".join(parts)


# A control character would be a line of its own, or worse.
_ONE_LINE = bytes(code if 32 <= code < 127 else ord("?") for code in range(256))

REASONS: Final = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    414: b"URI Too Long",
    421: b"Misdirected Request",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    501: b"Not Implemented",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}
