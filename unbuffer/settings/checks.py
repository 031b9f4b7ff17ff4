"""Rules that hold between settings, or between a setting and this machine, once each value is right."""

import ipaddress
from collections.abc import Iterator, Mapping
from itertools import combinations
from operator import attrgetter

from unbuffer.settings.addresses import TCPAddress, UnixAddress, parse_address, parse_upstream
from unbuffer.settings.fields import Setting, every_setting, fields
from unbuffer.settings.model import ListenTLS, Route, Settings, UpstreamTLS
from unbuffer.settings.problems import quote
from unbuffer.settings.values import show_size

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
    yield from _files(settings)
    yield from _upstream_tls(settings)
    yield from _routes(routes)


def _addresses(settings: Settings) -> Iterator[Finding]:
    if not settings.listen.address:
        yield ("listen.address",), "want at least one address"
    taken = [("listen.address", text) for text in settings.listen.address]
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


def _files(settings: Settings) -> Iterator[Finding]:
    for path, setting in every_setting():
        name = attrgetter(path)(settings)
        if setting.form.name == "path" and name:
            try:
                open(name, "rb").close()
            except OSError as error:
                yield (path,), f"cannot read {quote(name)}: {error.strerror}"


def _upstream_tls(settings: Settings) -> Iterator[Finding]:
    if settings.upstream.url.startswith("https:"):
        return
    for name, setting in fields(UpstreamTLS).items():
        assert isinstance(setting, Setting)
        if getattr(settings.upstream.tls, name) != setting.default:
            message = f"has no effect: upstream.url is {quote(settings.upstream.url)}, not https"
            yield (f"upstream.tls.{name}", "upstream.url"), message


def _routes(routes: Mapping[str, Route]) -> Iterator[Finding]:
    for path, route in routes.items():
        if (route.prefix is None) == (route.glob is None):
            got = "neither" if route.prefix is None else "both"
            yield (path, f"{path}.prefix", f"{path}.glob"), f"want exactly one of prefix and glob, got {got}"
    for (first, one), (path, other) in combinations(routes.items(), 2):
        if one.name == other.name:
            yield (f"{path}.name", f"{first}.name"), f"{quote(other.name)} is the name of {first} already"
