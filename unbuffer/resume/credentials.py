"""Whose a stream is: what the request that began it and the one that comes back to it have in common."""

import hmac
from hashlib import sha256
from typing import Final

from unbuffer.http.coded import value_of
from unbuffer.http.request import RequestHead

_CANCELS: Final = b"2026-07-28"
"""The first version of MCP in which a client cancels by closing the connection."""


def digest(key: bytes, path: bytes, request: RequestHead, credentials: tuple[bytes, ...]) -> bytes:
    """Who asks for this path: 32 bytes over it and the values of these fields, named in lower case. key: the name of a
    stream, so that no two digests of one client are alike, and none can be tried out without it."""
    parts = [path]
    for name in credentials:
        parts += [value for field, value in request.fields if field.lower() == name]
        parts.append(b"\n")  # in no value
    return hmac.digest(key, b"\0".join(parts), sha256)


def path_of(request: RequestHead) -> bytes:
    """The path of its target."""
    return request.target.partition(b"?")[0]


def shows_any(request: RequestHead, credentials: tuple[bytes, ...]) -> bool:
    """Whether it has one of these fields at all."""
    return any(value and name.lower() in credentials for name, value in request.fields)


def cancels_by_closing(request: RequestHead) -> bool:
    """Whether the client means to cancel when it closes the connection: MCP says so from 2026-07-28 on."""
    return value_of(request.fields, b"mcp-protocol-version") >= _CANCELS
