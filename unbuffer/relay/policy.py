"""Routes compiled once into plain look-ups: which settings apply to a request."""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import unquote_to_bytes

from unbuffer.http.credentials import BearerTokens, Guard, QueryCredential
from unbuffer.http.response import ResponseHead
from unbuffer.http.sse import AUTO, COMMENT, Tail
from unbuffer.relay.resumable import ResumePolicy
from unbuffer.relay.templates import Templates
from unbuffer.settings.model import Settings
from unbuffer.settings.problems import Problem, SettingsError
from unbuffer.settings.route import Route, RouteSSE, RouteTimeouts
from unbuffer.settings.route_paths import glob_pattern, prefix_bytes
from unbuffer.settings.token_file import read_tokens
from unbuffer.totals import DEFAULT_ROUTE, OVERFLOW_ROUTE, PROBE_ROUTE

_PROBE_METHODS = frozenset((b"GET", b"HEAD", b"POST"))


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for the streams of one route. Seconds and bytes; 0 = off."""

    route: str
    request_body_timeout: float
    response_head_timeout: float
    silence_timeout: float
    client_stall_timeout: float
    body_limit: int
    body_rate: int
    decode: str
    guard: Guard | None
    heartbeat: float
    heartbeat_shape: str
    opening: bool
    heartbeat_padding: int
    keepalive_events: tuple[bytes, ...]
    error_event: bool
    terminal_marker: bytes
    server_timing: bool
    resume: ResumePolicy | None = None
    probe: bool = False
    """Whether unbuffer itself answers, with the probe stream."""

    @property
    def adds(self) -> bool:
        """Whether something may be written into a stream of events."""
        return bool(self.heartbeat) or self.opening or self.error_event

    def may_grow(self, head: ResponseHead) -> bool:
        """Whether something may be added to the body that this head has, or that a GET would get with it."""
        return head.kind == "sse" and head.length < 0 and not head.codings and self.adds

    def tail(self, head: ResponseHead, decoded: bool, wants_events: bool) -> Tail | None:
        """What keeps the end of the body in view, where something here depends on it.

        decoded: the body goes out without its codings. wants_events: the client asks for an event-stream by name.
        """
        if head.codings and not decoded:
            return None  # what goes out is no text
        marker = self.terminal_marker if head.framing < 0 and head.status < 300 else b""
        if not marker and not (head.kind == "sse" and (decoded or head.framing < 0) and self.adds):
            return None
        shape = COMMENT if self.heartbeat_shape == AUTO and wants_events else self.heartbeat_shape
        return Tail(marker, shape, self.keepalive_events if head.kind == "sse" else None)


@dataclass(frozen=True, slots=True)
class _Rule:
    matches: Callable[[bytes], object]
    methods: frozenset[bytes]
    policy: Policy


class RouteTable:
    """The routes in their order. Where none matches the default holds, named after the template of the path."""

    def __init__(self, settings: Settings, before: "RouteTable | None" = None) -> None:
        """before: the table that this one replaces, which may know templates."""
        self._default = _policy(settings, DEFAULT_ROUTE, Route(name=DEFAULT_ROUTE))
        self._rules = [
            _Rule(_matcher(route), frozenset(m.encode("ascii") for m in route.methods), _named(settings, index, route))
            for index, route in enumerate(settings.routes)
        ]
        if settings.probe.enabled:
            self._rules.insert(0, _probe(settings))
        policies = [self._default, *(rule.policy for rule in self._rules)]
        self.resumes = any(policy.resume is not None for policy in policies)
        self._room = settings.metrics.max_routes - len(settings.routes)
        self._labels: set[str] = before._labels if before else set()
        """Templates that became label values. They remain it, as time series last as long as the process."""
        self.know(before._templates if before and settings.metrics.openapi != "off" else Templates())

    def know(self, templates: Templates) -> None:
        """Use these templates in place of those before."""
        self._templates = templates
        self._templated: dict[str, Policy] = {}
        self._one_for_all = not self._rules and not templates.names

    @property
    def labels(self) -> list[str]:
        """The labels of the routes, as far as they are known before any request: of templates, if all find room."""
        templated = self._labels.union(self._templates.names)
        named = [rule.policy.route for rule in self._rules]
        return [DEFAULT_ROUTE, *named, *sorted(templated if len(templated) <= self._room else self._labels)]

    def match(self, method: bytes, target: bytes) -> Policy:
        """The policy of the first route that matches the path of `target`."""
        if self._one_for_all:
            return self._default
        path = _canonical(target.partition(b"?")[0])
        for rule in self._rules:
            if (not rule.methods or method in rule.methods) and rule.matches(path):
                return rule.policy
        template = self._templates.find(path)
        if template is None:
            return self._default
        return self._templated.get(template) or self._first_of(template)

    def _first_of(self, template: str) -> Policy:
        """The policy of a template that is asked for the first time: first come, first labelled."""
        if len(self._labels) < self._room:
            self._labels.add(template)
        label = template if template in self._labels else OVERFLOW_ROUTE
        policy = self._templated[template] = replace(self._default, route=label)
        return policy


def _probe(settings: Settings) -> _Rule:
    """The way to the probe. What an application may need, heartbeats and deadlines, would only falsify it."""
    quiet = RouteSSE(heartbeat=0.0, opening=False, error_event=False)
    deadlines = RouteTimeouts(response_head=0.0, silence=0.0)
    route = Route(name="probe", prefix=settings.probe.path, sse=quiet, timeouts=deadlines)
    policy = replace(_policy(settings, PROBE_ROUTE, route), probe=True, server_timing=False, resume=None)
    if settings.probe.tokens:
        policy = replace(policy, guard=Guard(None, BearerTokens.of(settings.probe.tokens, False)))
    return _Rule(_matcher(route), _PROBE_METHODS, policy)


def _named(settings: Settings, index: int, route: Route) -> Policy:
    # A label has a bounded number of values, whatever the file holds.
    return _policy(settings, route.name if index < settings.metrics.max_routes else OVERFLOW_ROUTE, route)


def _policy(settings: Settings, name: str, route: Route) -> Policy:
    timeouts, limits, own = settings.timeouts, settings.limits, route.timeouts
    sse, own_sse = settings.sse, route.sse
    return Policy(
        route=name,
        request_body_timeout=timeouts.request_body if own.request_body is None else own.request_body,
        response_head_timeout=timeouts.response_head if own.response_head is None else own.response_head,
        silence_timeout=timeouts.silence if own.silence is None else own.silence,
        client_stall_timeout=timeouts.client_stall if own.client_stall is None else own.client_stall,
        body_limit=limits.body if route.limits.body is None else route.limits.body,
        body_rate=limits.body_rate if route.limits.body_rate is None else route.limits.body_rate,
        decode=settings.decode if route.decode is None else route.decode,
        guard=_guard(settings, route),
        heartbeat=sse.heartbeat if own_sse.heartbeat is None else own_sse.heartbeat,
        heartbeat_shape=sse.heartbeat_shape if own_sse.heartbeat_shape is None else own_sse.heartbeat_shape,
        heartbeat_padding=sse.heartbeat_padding if own_sse.heartbeat_padding is None else own_sse.heartbeat_padding,
        opening=sse.opening if own_sse.opening is None else own_sse.opening,
        keepalive_events=tuple(
            name.encode()
            for name in (sse.keepalive_events if own_sse.keepalive_events is None else own_sse.keepalive_events)
        ),
        error_event=sse.error_event if own_sse.error_event is None else own_sse.error_event,
        terminal_marker=route.terminal_marker.encode(),
        server_timing=settings.server_timing if route.server_timing is None else route.server_timing,
        resume=_resume(settings, route),
    )


def _resume(settings: Settings, route: Route) -> ResumePolicy | None:
    resume, own = settings.resume, route.resume
    window = resume.window if own.window is None else own.window
    if not window:
        return None
    fields = resume.credentials if own.credentials is None else own.credentials
    names = {name.lower().encode("ascii") for name in fields}
    if _tokens(settings, route) is not None:
        names.add(b"authorization")  # of two who may come in here, neither gets what is the other's
    return ResumePolicy(
        window,
        resume.bytes if own.bytes is None else own.bytes,
        resume.linger if own.linger is None else own.linger,
        tuple(sorted(names)),
    )


def _guard(settings: Settings, route: Route) -> Guard | None:
    query, tokens = _query_credential(settings, route), _tokens(settings, route)
    return Guard(query, tokens) if query or tokens else None


def _query_credential(settings: Settings, route: Route) -> QueryCredential | None:
    credentials, own = settings.credentials, route.credentials
    parameter = credentials.query if own.query is None else own.query
    if not parameter:
        return None
    header = credentials.header if own.header is None else own.header
    scheme = credentials.scheme if own.scheme is None else own.scheme
    return QueryCredential(parameter.encode("ascii"), header.encode("ascii"), scheme.encode("ascii"))


def _tokens(settings: Settings, route: Route) -> BearerTokens | None:
    authorization, own = settings.authorization, route.authorization
    if not (authorization.required if own.required is None else own.required):
        return None
    file = authorization.tokens_file if own.tokens_file is None else own.tokens_file
    tokens = authorization.tokens if own.tokens_file is None else ()
    if file:
        try:
            tokens += read_tokens(file)
        except (OSError, ValueError) as error:  # it was right when the settings were checked
            raise SettingsError([Problem(file, str(error))]) from None
    return BearerTokens.of(tokens, authorization.forward if own.forward is None else own.forward)


def _matcher(route: Route) -> Callable[[bytes], object]:
    if route.glob is not None:
        return glob_pattern(route.glob).fullmatch
    assert route.prefix is not None, "settings.load checks that a route has a prefix or a glob"
    prefix = prefix_bytes(route.prefix)
    return lambda path: path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/")


# As numbers: CPython takes 13 ns to find one, and 95 ns to find out whether `b"%" in path`. (`partition` takes half of
# what `find` does.)
_PERCENT, _DOT = b"%."


def _canonical(path: bytes) -> bytes:
    """The path as the application will see it: one spelling, so that no other one slips past a route."""
    if _PERCENT in path:
        path = unquote_to_bytes(path)
    if path.partition(b"//")[1] or (_DOT in path and path.partition(b"/.")[1]):
        normal = posixpath.normpath(path.decode("latin-1")).encode("latin-1")
        # A dot segment at the end leaves its slash (RFC 3986, section 5.2.4).
        folder = path.endswith((b"/", b"/.", b"/..")) and normal.strip(b"/")
        # POSIX gives two leading slashes a meaning of their own; HTTP does not.
        path = b"/" + normal.lstrip(b"/") + (b"/" if folder else b"")
    return path
