"""Rules that hold between settings, or between a setting and this machine, once each value is right."""

import ipaddress
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from itertools import combinations
from operator import attrgetter
from urllib.parse import urlsplit

from unbuffer import managed
from unbuffer.settings.addresses import SYSTEMD, TCPAddress, UnixAddress, parse_address, parse_upstream
from unbuffer.settings.fields import Setting, every_setting, fields
from unbuffer.settings.files import open_file
from unbuffer.settings.model import Limits, Listen, ListenTLS, Settings, UpstreamTLS
from unbuffer.settings.problems import quote
from unbuffer.settings.resume import Resume, ResumeStore
from unbuffer.settings.route import Route
from unbuffer.settings.route_paths import mistake
from unbuffer.settings.store_url import MEMORY, parse_store
from unbuffer.settings.token_file import read_tokens
from unbuffer.settings.values import show_size
from unbuffer.totals import DEFAULT_ROUTE, OVERFLOW_ROUTE

Finding = tuple[tuple[str, ...], str]
"""The paths of the settings that do not fit together, the one to mend first, and what is wrong."""

# What a host stands for where two addresses are compared; other hosts stand for themselves.
_LOOPBACK = {"127.0.0.1", "::1"}
_REACHES = {
    "": {"0.0.0.0", "::", *_LOOPBACK},  # noqa: S104 - compared, not bound
    "0.0.0.0": {"0.0.0.0", "127.0.0.1"},  # noqa: S104
    "::": {"::", "::1"},
    "localhost": _LOOPBACK,
}


def contradictions(settings: Settings, routes: Mapping[str, Route]) -> Iterator[Finding]:
    """Everything that does not fit together. routes: by path, such as `routes[0]`."""
    yield from _addresses(settings)
    yield from _limits(settings)
    yield from _keys(settings)
    yield from _files(settings, routes)
    yield from _proxy_protocol(settings)
    yield from _http2(settings)
    yield from _credentials(settings, routes)
    yield from _resume(settings, routes)
    yield from _authorization(settings, routes)
    yield from _upstream_tls(settings)
    yield from _collectors(settings)
    yield from _routes(settings, routes)


def _addresses(settings: Settings) -> Iterator[Finding]:
    if not settings.listen.address:
        yield ("listen.address",), "want at least one address"
    taken = [("listen.address", text) for text in settings.listen.address if text != SYSTEMD]
    if settings.admin.address != "off":
        taken.append(("admin.address", settings.admin.address))
    for (other_path, other), (path, text) in combinations(taken, 2):
        if _same(parse_address(text), parse_address(other)):
            yield (path, other_path), f"{quote(text)} is taken: {other_path} has {quote(other)}"

    target = parse_upstream(settings.upstream.url)
    upstream = UnixAddress(target.path) if target.path else TCPAddress(target.host, target.port)
    for path, text in taken:
        if _same(upstream, parse_address(text)):
            message = f"{quote(settings.upstream.url)} is unbuffer itself: {path} has {quote(text)}"
            yield ("upstream.url", path), message


def _same(one: TCPAddress | UnixAddress, other: TCPAddress | UnixAddress) -> bool:
    if isinstance(one, TCPAddress) and isinstance(other, TCPAddress):
        # Port 0 is a different free port each time.
        return one.port == other.port != 0 and not _reaches(one.host).isdisjoint(_reaches(other.host))
    return one == other


def _reaches(host: str) -> set[str]:
    name = str(ipaddress.ip_address(host)) if ":" in host else host.lower()
    return _REACHES.get(name, {name})


def _limits(settings: Settings) -> Iterator[Finding]:
    target, head = settings.limits.target, settings.limits.head
    if target >= head:
        message = f"limits.target ({show_size(target)}) has to be less than limits.head ({show_size(head)})"
        yield ("limits.target", "limits.head"), message


def _keys(settings: Settings) -> Iterator[Finding]:
    for path in ("listen.tls", "upstream.tls"):
        tls: ListenTLS | UpstreamTLS = attrgetter(path)(settings)
        if tls.key and not tls.certificate:
            yield (
                (f"{path}.key", f"{path}.certificate"),
                f"has no certificate; set {path}.certificate too",
            )


def _files(settings: Settings, routes: Mapping[str, Route]) -> Iterator[Finding]:
    names = {path: attrgetter(path)(settings) for path, setting in every_setting() if setting.form.name == "path"}
    names |= {f"{path}.authorization.tokens_file": route.authorization.tokens_file for path, route in routes.items()}
    for path, name in names.items():
        if name:
            try:
                with open_file(name) as file:
                    file.read(1)
            except OSError as error:
                yield (path,), f"cannot read {quote(name)}: {error.strerror}"


def _proxy_protocol(settings: Settings) -> Iterator[Finding]:
    listen = settings.listen
    if not listen.proxy_protocol:
        for name in ("proxy_scheme", "proxy_https_ports"):
            if getattr(listen, name) != getattr(Listen(), name):
                yield (f"listen.{name}", "listen.proxy_protocol"), "has no effect: listen.proxy_protocol is not true"
        return
    if listen.proxy_scheme != "auto" and listen.proxy_https_ports:
        message = f"has no effect: listen.proxy_scheme is {listen.proxy_scheme}, whatever the port"
        yield ("listen.proxy_https_ports", "listen.proxy_scheme"), message
    if not settings.forwarded.trusted_proxies:
        message = "wants to know who may send the header; name the proxies in forwarded.trusted_proxies"
        yield ("listen.proxy_protocol", "forwarded.trusted_proxies"), message
    if listen.tls.certificate:
        message = "does not go together with listen.tls: the header comes before the handshake; end TLS in the proxy"
        yield ("listen.proxy_protocol", "listen.tls.certificate"), message


def _http2(settings: Settings) -> Iterator[Finding]:
    if settings.listen.http2:
        return
    for name in ("http2_streams", "http2_frames"):
        if getattr(settings.limits, name) != getattr(Limits(), name):
            yield (f"limits.{name}", "listen.http2"), "has no effect: listen.http2 is not true"


def _resume(settings: Settings, routes: Mapping[str, Route]) -> Iterator[Finding]:
    own = settings.resume
    used = bool(own.window)
    sizes = {"resume.bytes": own.bytes if own.window else 0}
    for path, route in routes.items():
        here = route.resume
        window = own.window if here.window is None else here.window
        used = used or bool(window)
        for name in ("bytes", "linger", "credentials"):
            if not window and getattr(here, name) is not None:
                message = "has no effect: resume.window is 0, here and above; say how long streams are kept, such as 2m"
                yield (f"{path}.resume.{name}", f"{path}.resume.window", "resume.window"), message
        if window:
            sizes["resume.bytes" if here.bytes is None else f"{path}.resume.bytes"] = here.bytes or own.bytes
    for path, size in sizes.items():
        if size > own.total:
            message = f"a stream may hold {show_size(size)}, but all together {show_size(own.total)} (resume.total)"
            yield (path, "resume.total"), message
    yield from _store(own.store)
    for name in ("bytes", "linger", "store", "credentials", "total"):
        if not used and getattr(own, name) != getattr(Resume(), name):
            message = "has no effect: resume.window is 0, here and on every route; say how long streams are kept"
            path = "resume.store.url" if name == "store" else f"resume.{name}"
            yield (path, "resume.window"), message


def _store(store: ResumeStore) -> Iterator[Finding]:
    if store.url == MEMORY:
        for name in fields(ResumeStore):
            if getattr(store, name) != getattr(ResumeStore(), name):
                yield (f"resume.store.{name}", "resume.store.url"), "has no effect: resume.store.url is memory"
        return
    if find_spec("redis") is None:
        message = "needs the library redis, which is not installed: in a clone, pip install '.[resume]'"
        yield ("resume.store.url",), message
    where = parse_store(store.url) if store.url else None
    given = [f"resume.store.{name}" for name in ("password", "password_file") if getattr(store, name)]
    if where is not None and where.password:
        given.append("resume.store.url")
    if len(given) > 1:
        yield tuple(given), f"the password is in {' and in '.join(given)}; it has to be in one of them"
    if where is not None and store.ca and not where.tls:
        yield ("resume.store.ca", "resume.store.url"), "has no effect: resume.store.url is not rediss:// or valkeys://"


def _credentials(settings: Settings, routes: Mapping[str, Route]) -> Iterator[Finding]:
    headers = {"credentials.header": settings.credentials.header}
    headers |= {f"{path}.credentials.header": route.credentials.header or "" for path, route in routes.items()}
    for path, header in headers.items():
        name = header.lower().encode()
        if name in managed.REQUEST or name.startswith(managed.X_FORWARDED):
            yield (path,), f"{quote(header)} is a field that unbuffer itself writes or takes away"


def _authorization(settings: Settings, routes: Mapping[str, Route]) -> Iterator[Finding]:
    own = settings.authorization
    files: dict[str, str | None] = {"authorization.tokens_file": own.tokens_file}
    files |= {f"{path}.authorization.tokens_file": route.authorization.tokens_file for path, route in routes.items()}
    for path, name in files.items():
        try:
            if name:
                read_tokens(name)
        except OSError:
            pass  # _files has said so
        except ValueError as error:
            yield (path,), str(error)

    has_tokens = bool(own.tokens or own.tokens_file)
    asked = own.required
    if own.required and not has_tokens:
        message = "has no tokens to compare with; set authorization.tokens or authorization.tokens_file"
        yield ("authorization.required", "authorization.tokens", "authorization.tokens_file"), message
    for path, route in routes.items():
        here = route.authorization
        required = own.required if here.required is None else here.required
        if here.required and not (has_tokens if here.tokens_file is None else here.tokens_file):
            message = f"has no tokens to compare with; set {path}.authorization.tokens_file"
            yield (f"{path}.authorization.required", f"{path}.authorization.tokens_file"), message
        elif here.tokens_file and not required:
            message = f"has no effect: {path}.authorization.required is not true"
            yield (f"{path}.authorization.tokens_file",), message
        asked = asked or (required and here.tokens_file is None)
    if has_tokens and not asked:
        given = "authorization.tokens" if own.tokens else "authorization.tokens_file"
        yield (given, "authorization.required"), "has no effect: authorization.required is not true, here or on a route"


def _upstream_tls(settings: Settings) -> Iterator[Finding]:
    if settings.upstream.url.startswith("https:"):
        return
    for name, setting in fields(UpstreamTLS).items():
        assert isinstance(setting, Setting)
        if getattr(settings.upstream.tls, name) != setting.default:
            message = f"has no effect: upstream.url is {quote(settings.upstream.url)}, not https"
            yield (f"upstream.tls.{name}", "upstream.url"), message


def _collectors(settings: Settings) -> Iterator[Finding]:
    for path, url in (("metrics.otlp", settings.metrics.otlp), ("tracing.otlp", settings.tracing.otlp)):
        try:
            _ = urlsplit(url).port
        except ValueError as error:
            yield (path,), f"cannot be used: {error}, in {quote(url)}"


def _routes(settings: Settings, routes: Mapping[str, Route]) -> Iterator[Finding]:
    for path, route in routes.items():
        if (route.prefix is None) == (route.glob is None):
            got = "neither" if route.prefix is None else "both"
            yield (path, f"{path}.prefix", f"{path}.glob"), f"want exactly one of prefix and glob, got {got}"
        elif why := mistake(route, settings.limits.target):
            yield (f"{path}.prefix" if route.glob is None else f"{path}.glob",), why
    named: dict[str, str] = {}
    for path, route in routes.items():
        first = named.setdefault(route.name, path)
        if route.name in (DEFAULT_ROUTE, OVERFLOW_ROUTE):
            message = f"{quote(route.name)} is the name of what no route matches; give the route another one"
            yield (f"{path}.name",), message
        elif first != path:
            yield (f"{path}.name", f"{first}.name"), f"{quote(route.name)} is the name of {first} already"
