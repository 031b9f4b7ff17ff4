"""Whose a stream is: what the request that began it and the one that comes back to it have in common."""

import hmac
from hashlib import sha256

from unbuffer.http.request import RequestHead


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
