"""Routes compiled once into plain look-ups: which settings apply to a request."""

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from unbuffer.settings.model import Route, Settings

DEFAULT_ROUTE = "default"
OVERFLOW_ROUTE = "_other"


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for the streams of one route. Seconds and bytes; 0 = off."""

    route: str
    request_body_timeout: float
    response_head_timeout: float
    silence_timeout: float
    client_stall_timeout: float
    body_limit: int
    decode: bool


@dataclass(frozen=True, slots=True)
class _Rule:
    matches: Callable[[bytes], object]
    methods: frozenset[bytes]
    policy: Policy


class RouteTable:
    """The routes in their order, and what holds where none matches."""

    def __init__(self, settings: Settings) -> None:
        self._default = _policy(settings, DEFAULT_ROUTE, Route(name=DEFAULT_ROUTE))
        self._rules = [
            _Rule(_matcher(route), frozenset(m.encode("ascii") for m in route.methods), _named(settings, index, route))
            for index, route in enumerate(settings.routes)
        ]

    def match(self, method: bytes, target: bytes) -> Policy:
        """The policy of the first route that matches the path of `target`."""
        if not self._rules:
            return self._default
        path = _canonical(target.partition(b"?")[0])
        for rule in self._rules:
            if (not rule.methods or method in rule.methods) and rule.matches(path):
                return rule.policy
        return self._default


def _named(settings: Settings, index: int, route: Route) -> Policy:
    # A label has a bounded number of values, whatever the file holds.
    return _policy(settings, route.name if index < settings.metrics.max_routes else OVERFLOW_ROUTE, route)


def _policy(settings: Settings, name: str, route: Route) -> Policy:
    timeouts, limits, own = settings.timeouts, settings.limits, route.timeouts
    return Policy(
        route=name,
        request_body_timeout=timeouts.request_body if own.request_body is None else own.request_body,
        response_head_timeout=timeouts.response_head if own.response_head is None else own.response_head,
        silence_timeout=timeouts.silence if own.silence is None else own.silence,
        client_stall_timeout=timeouts.client_stall if own.client_stall is None else own.client_stall,
        body_limit=limits.body if route.limits.body is None else route.limits.body,
        decode=settings.decode if route.decode is None else route.decode,
    )


def _matcher(route: Route) -> Callable[[bytes], object]:
    if route.glob is not None:
        return _glob(route.glob)
    assert route.prefix is not None, "settings.load checks that a route has a prefix or a glob"
    prefix = route.prefix.rstrip("/").encode()
    return lambda path: path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/")


def _glob(pattern: str) -> Callable[[bytes], object]:
    pieces = re.split(r"(\*\*|\*)", pattern)
    wild = {"**": ".*", "*": "[^/]*"}
    text = "".join(wild.get(piece) or re.escape(piece) for piece in pieces)
    return re.compile(text.encode(), re.DOTALL).fullmatch


def _canonical(path: bytes) -> bytes:
    """The path as the application will see it: one spelling, so that no other one slips past a route."""
    if b"%" in path:
        path = unquote_to_bytes(path)
    if b"//" in path or b"/." in path:
        normal = posixpath.normpath(path.decode("latin-1")).encode("latin-1")
        # POSIX gives two leading slashes a meaning of their own; HTTP does not.
        path = b"/" + normal.lstrip(b"/") + (b"/" if path.endswith(b"/") and normal.strip(b"/") else b"")
    return path
