"""Credentials of a request: from its query into a field, and a bearer token against those that are valid here.

Nothing here quotes a credential: no error, no repr. A request that could be read in two ways is refused.
"""

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from urllib.parse import unquote_to_bytes

from unbuffer.http.request import BadRequest, RequestHead, folded, without

_VISIBLE = re.compile(rb"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class QueryCredential:
    """A query parameter that goes up as a field: its decoded name, the field's name, and what precedes the value."""

    parameter: bytes
    field: bytes
    scheme: bytes


@dataclass(frozen=True, slots=True)
class BearerTokens:
    """The tokens that open a route. forward: whether the one that came is passed on."""

    digests: tuple[bytes, ...] = field(repr=False)
    forward: bool

    @classmethod
    def of(cls, tokens: Iterable[str], forward: bool) -> "BearerTokens":
        """From the tokens themselves, which are not kept."""
        return cls(tuple(sha256(token.encode("ascii")).digest() for token in tokens), forward)

    def has(self, token: bytes) -> bool:
        """Whether this is one of them. Takes as long for every token of one length, right or wrong."""
        digest = sha256(token).digest()
        found = False
        for valid in self.digests:
            found |= hmac.compare_digest(digest, valid)
        return found


@dataclass(frozen=True, slots=True)
class Guard:
    """What a route does about credentials."""

    query: QueryCredential | None
    tokens: BearerTokens | None

    def admit(self, head: RequestHead, preflight: bool = False) -> None:
        """Make the head what the upstream may see of it. preflight: it is one, which has no token to show.

        Raises BadRequest: 400, or 401 where the token is wrong or, then without a text, missing.
        """
        if self.query is not None:
            _drop_other_spellings(head, self.query.field)
            if b"?" in head.target:
                _move(head, self.query)
        if self.tokens is not None and not preflight:
            _check(head, self.tokens)


def _drop_other_spellings(head: RequestHead, field: bytes) -> None:
    """Of a field that is set here, X-API-Key, an application that makes variables of names must see no other value."""
    name = field.lower()
    others = [key for other, _ in head.fields if folded(other) == folded(name) and (key := other.lower()) != name]
    if others:
        head.passed = without(head.passed, frozenset(others))


def _move(head: RequestHead, query: QueryCredential) -> None:
    head.target, values = take_parameter(head.target, query.parameter)
    if len(values) > 1:
        raise BadRequest(400, "more than one credential in the query")
    if not values or not values[0]:
        return
    if not _VISIBLE.fullmatch(values[0]):
        raise BadRequest(400, "a credential in the query with a space (as + is) or beyond visible ASCII")
    if any(name.lower() == query.field.lower() for name, _ in head.fields):
        raise BadRequest(400, "a credential both in the query and in its field")
    value = query.scheme + b" " + values[0] if query.scheme else values[0]
    head.fields.append((query.field, value))
    head.passed.append(b"%b: %b\r\n" % (query.field, value))


def take_parameter(target: bytes, parameter: bytes) -> tuple[bytes, list[bytes]]:
    """The target without the parameters of this name, and their values, decoded as browsers write forms
    (application/x-www-form-urlencoded: https://url.spec.whatwg.org/). Everything else keeps its bytes."""
    path, _, query = target.partition(b"?")
    kept: list[bytes] = []
    values: list[bytes] = []
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        if _decoded(name) == parameter:
            values.append(_decoded(value))
        else:
            kept.append(pair)
    if not values:
        return target, values
    rest = b"&".join(kept)
    return path + b"?" + rest if rest else path, values


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


def _check(head: RequestHead, tokens: BearerTokens) -> None:
    """RFC 6750, section 2.1. What is no bearer token is no credential here."""
    values = [value for name, value in head.fields if name.lower() == b"authorization"]
    if len(values) > 1:
        raise BadRequest(400, "more than one Authorization")
    scheme, _, token = values[0].partition(b" ") if values else (b"", b"", b"")
    if scheme.lower() != b"bearer":
        raise BadRequest(401, "")
    if not tokens.has(token.strip(b" ")):
        raise BadRequest(401, "the bearer token is not valid")
    if not tokens.forward:
        head.passed = without(head.passed, frozenset((b"authorization",)))


def challenge(invalid: bool) -> bytes:
    """The field that goes with 401; the error only for a token that came (RFC 6750, section 3.1)."""
    return b'WWW-Authenticate: Bearer realm="unbuffer"' + (b', error="invalid_token"' if invalid else b"") + b"\r\n"
