"""The messages of HTTP/2 in the terms of the relay (RFC 9113, section 8), and back. Pure functions.

What section 8 calls malformed raises `Malformed`: its stream is reset, and nothing of it reaches the upstream. What is
well-formed but refused raises `BadRequest`, as in HTTP/1.1, and has an answer.
"""

import base64
import os
import re
from typing import Final

from unbuffer.http.framing import CHUNKED
from unbuffer.http.request import BadRequest, Fields, RequestHead
from unbuffer.http.tokens import TCHAR
from unbuffer.http.websocket import accept_of
from unbuffer.settings.model import Limits

# Section 8.2.1 forbids less; a field that HTTP/1.1 could not carry ends here.
_NAME: Final = re.compile(TCHAR.replace(b"A-Z", b"") + b"+")
_VALUE: Final = re.compile(rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")
_METHOD: Final = re.compile(rb"%b{1,64}" % TCHAR)
_SCHEME: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*")
_PATH: Final = re.compile(rb"/[\x21-\x7e]*")

_PSEUDO: Final = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
_CONNECTION_SPECIFIC: Final = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
"""Section 8.2.2: a message with one of them is malformed."""

_NOT_SENT: Final = _CONNECTION_SPECIFIC | {b"sec-websocket-accept"}
_WEBSOCKET: Final = b"websocket"
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
"""16 bytes (RFC 6455, section 4.1)."""


class Malformed(Exception):
    """Section 8.1.1: a stream error of type PROTOCOL_ERROR. The text says why."""


class Http2Head(RequestHead):
    """The head of a request that came by HTTP/2, as the upstream gets it in HTTP/1.1.

    key: it was an extended CONNECT (RFC 8441) and is an upgrade now, with this Sec-WebSocket-Key; empty = it was none.
    keyed: the key is the client's own, which looks for its Sec-WebSocket-Accept then.
    """

    __slots__ = ("key", "keyed")

    def __init__(self, method: bytes, target: bytes, fields: Fields, key: bytes, keyed: bool) -> None:
        super().__init__(method, target, True, fields)
        self.key = key
        self.keyed = keyed

    @property
    def asks_for_tunnel(self) -> bool:
        """Whether it asks for a tunnel."""
        return bool(self.key)

    @property
    def version(self) -> str:
        return "2"

    @property
    def via(self) -> bytes:
        return b"2"

    @property
    def accept(self) -> bytes:
        """Nobody else may be there to check it: RFC 8441 has clients send no key."""
        return accept_of(self.key) if self.key else b""


def read_request(headers: Fields, ended: bool, limits: Limits) -> Http2Head:
    """The head of a request. ended: no body follows. Raises Malformed and BadRequest."""
    pseudo, fields = _split(headers)
    method, path = pseudo.get(b":method", b""), pseudo.get(b":path", b"")
    if not _METHOD.fullmatch(method):
        raise Malformed(":method is missing, or no method" if len(method) <= 64 else "a :method of more than 64 bytes")
    protocol = pseudo.get(b":protocol")
    if method == b"CONNECT" and protocol is None:
        if b":scheme" in pseudo or b":path" in pseudo or b":authority" not in pseudo:
            raise Malformed("CONNECT has :authority, and neither :scheme nor :path")
        raise BadRequest(501, "CONNECT: this is a reverse proxy")
    if protocol is not None and method != b"CONNECT":
        raise Malformed(":protocol without CONNECT")
    if not _SCHEME.fullmatch(pseudo.get(b":scheme", b"")):
        raise Malformed(":scheme is missing, or no scheme")
    if not _PATH.fullmatch(path) and not (path == b"*" and method == b"OPTIONS"):
        raise Malformed(":path is missing, or no path")
    fields = _with_host(fields, pseudo.get(b":authority"))
    key, keyed = b"", False
    if protocol is not None:
        if b":authority" not in pseudo:
            raise Malformed("an extended CONNECT without :authority")
        if protocol != _WEBSOCKET:
            raise BadRequest(501, "of what :protocol may name, only websocket is known here")
        keys = [value for name, value in fields if name == b"sec-websocket-key"]
        keyed = len(keys) == 1 and _KEY.fullmatch(keys[0]) is not None
        key = keys[0] if keyed else base64.b64encode(os.urandom(16))
        fields = _upgraded(fields, key)
    _within(headers, path, limits)
    head = Http2Head(b"GET" if key else method, path, fields, key, keyed)
    if ended and head.framing:
        raise Malformed("content-length, but no body")
    if not ended and not head.states_length and not head.asks_for_tunnel:
        head.framing = CHUNKED
    return head


def _split(headers: Fields) -> tuple[dict[bytes, bytes], Fields]:
    """The pseudo-header fields, and the others with cookies joined (section 8.2.3). Raises Malformed."""
    pseudo: dict[bytes, bytes] = {}
    fields: Fields = []
    cookies: list[bytes] = []
    lengths = 0
    for name, value in headers:
        if not _VALUE.fullmatch(value):
            raise Malformed("a field value with a byte that it may not have")
        if name[:1] == b":":
            if fields or cookies:
                raise Malformed("a pseudo-header field after another field")
            if name not in _PSEUDO or name in pseudo:
                raise Malformed("a pseudo-header field that is unknown, or there twice")
            pseudo[name] = value
            continue
        _check_field(name, value)
        if name == b"cookie":
            cookies.append(value)
            continue
        if name == b"content-length":
            lengths += 1
            if lengths > 1 or not value.isdigit():
                raise Malformed("a content-length that is no number, or more than one")
        fields.append((name, value))
    if cookies:
        fields.append((b"cookie", b"; ".join(cookies)))
    return pseudo, fields


def _check_field(name: bytes, value: bytes) -> None:
    if not _NAME.fullmatch(name):
        raise Malformed("a field name with a byte that it may not have")
    if name in _CONNECTION_SPECIFIC:
        raise Malformed(f"{name.decode('ascii')}: of a connection, which HTTP/2 has no field for")
    if name == b"te" and value.lower() != b"trailers":
        raise Malformed("te has more than trailers")


def check_trailers(headers: Fields) -> None:
    """Trailer fields of a request, which are dropped. Raises Malformed."""
    for name, value in headers:
        if name[:1] == b":":
            raise Malformed("a pseudo-header field in a trailer section")
        _check_field(name, value)
        if not _VALUE.fullmatch(value):
            raise Malformed("a field value with a byte that it may not have")


def _with_host(fields: Fields, authority: bytes | None) -> Fields:
    """The fields with one Host, of :authority where there is one (section 8.3.1). Raises Malformed."""
    if authority is None:
        return fields
    if not authority or authority.find(b"@") >= 0:
        raise Malformed("an :authority that is empty, or has user information")
    kept: Fields = [(b"host", authority)]
    for name, value in fields:
        if name != b"host":
            kept.append((name, value))
        elif value.lower() != authority.lower():
            raise Malformed(":authority and host name different authorities")
    return kept


def _upgraded(fields: Fields, key: bytes) -> Fields:
    """The fields of an extended CONNECT as those of an upgrade (RFC 8441, section 5)."""
    kept = [field for field in fields if field[0] != b"sec-websocket-key"]
    own = [(b"sec-websocket-key", key), (b"upgrade", _WEBSOCKET), (b"connection", b"Upgrade")]
    return kept + own


def _within(headers: Fields, path: bytes, limits: Limits) -> None:
    if len(path) > limits.target:
        raise BadRequest(414, "the request target exceeds limits.target")
    # As the lines would be that HTTP/1.1 has for them.
    if sum([len(name) + len(value) + 4 for name, value in headers]) > limits.head:
        raise BadRequest(431, "the request head exceeds limits.head")
    if len(headers) > limits.headers + len(_PSEUDO):
        raise BadRequest(431, "more header fields than limits.headers")


def as_headers(head: bytes, tunnel: bool = False, keyed: bool = False) -> Fields:
    """A head of HTTP/1.1 that is ready to send, as the field section of HTTP/2: what both say stands in one place.

    tunnel: it accepts an extended CONNECT, which in HTTP/2 is a success (RFC 8441, section 5). keyed: see `Http2Head`.
    """
    not_sent = _CONNECTION_SPECIFIC if keyed else _NOT_SENT
    lines = head.split(b"\r\n")
    headers: Fields = [(b":status", b"200" if tunnel else lines[0][9:12])]
    for line in lines[1:]:
        name, _, value = line.partition(b": ")
        name = name.lower()
        if name and name not in not_sent:
            headers.append((name, value))
    return headers
