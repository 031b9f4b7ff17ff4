"""File, environment and flags to `Settings`, or every problem at once.

Flags win over the environment, the environment over the file, the file over the model's defaults.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from unbuffer.settings.addresses import (
    TCPAddress,
    UnixAddress,
    UpstreamTarget,
    parse_address,
    parse_upstream,
)
from unbuffer.settings.checks import contradictions
from unbuffer.settings.doubts import doubts
from unbuffer.settings.dump import dump
from unbuffer.settings.fields import Block, every_setting, fields, join, long_form
from unbuffer.settings.given import Given, Written
from unbuffer.settings.kinds import Section
from unbuffer.settings.model import SHORT_FORMS, Settings
from unbuffer.settings.problems import Problem, SettingsError, did_you_mean, quote

__all__ = [
    "Problem",
    "SettingsError",
    "TCPAddress",
    "UnixAddress",
    "UpstreamTarget",
    "admin_address",
    "dump",
    "load",
    "parse_address",
    "parse_upstream",
    "settings_file",
]

_PREFIX = "UNBUFFER_"
# Kubernetes gives every pod such variables for each Service of its namespace (enableServiceLinks), one called
# `unbuffer` included; Docker's links have the same form.
_NO_SETTING = re.compile(
    r"UNBUFFER_(CONFIG|UPSTREAM_SOCKET|UPSTREAM_PORT)=.*"
    r"|UNBUFFER_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)=.*"
    r"|UNBUFFER_(\w+_)?PORT=(tcp|udp|sctp)://.*",
    re.DOTALL,
)

Named = tuple[str, str, str | list[str]]
"""What the environment or a flag sets: where it stands, the path, and the text of one value or several."""

_S = TypeVar("_S", bound=Section)


def load(
    path: str | None,
    environ: Mapping[str, str],
    flags: Mapping[str, str | list[str]],
    upstream: str | None = None,
    warn: Callable[[Problem], object] | None = None,
) -> Settings:
    """Read the settings from all sources.

    path: of the YAML file; None = the one that UNBUFFER_CONFIG names, if any.
    environ: variables such as UNBUFFER_TIMEOUTS__SILENCE; PORT where nothing else sets listen.address.
    flags: dotted paths with the text of their values: `{"upstream": "http://127.0.0.1:9000"}`.
    upstream: the URL where nothing else sets upstream.url; None = the model's.
    warn: is told what is allowed and yet hardly meant.

    Raises SettingsError with every problem of every source.
    """
    file = settings_file(path, environ)
    given = _given(file, environ, flags)
    if "listen.address" not in given.wheres and "PORT" in environ:
        _take(given, _from_port(given, environ["PORT"]))
    if "upstream.url" not in given.wheres and upstream is not None:
        _take(given, [("unbuffer exec", "upstream", upstream)])

    settings = _build(Settings, "", given)
    routes = dict(zip(given.lists.get("routes", ()), settings.routes, strict=True))
    for paths, message in contradictions(settings, routes):
        if given.refused.isdisjoint(paths):
            given.problem(given.where(paths), message)
    if given.problems:
        raise SettingsError(given.problems)
    if warn is not None:
        tokens_in = file if file and given.wheres.get("authorization.tokens", "").startswith(f"{file}:") else ""
        for paths, message in doubts(settings, routes, tokens_in if settings.authorization.tokens else ""):
            warn(Problem(given.where(paths), message))
    return settings


def admin_address(path: str | None, environ: Mapping[str, str], flags: Mapping[str, str | list[str]]) -> str | None:
    """admin.address of the same sources, None where none has it, whatever else is wrong with them: a process can be
    asked to drain while somebody edits its file.

    Raises SettingsError with every problem where it cannot be known.
    """
    given = _given(settings_file(path, environ), environ, flags)
    misspelled = any(problem.where.endswith(" admin") for problem in given.problems)
    if misspelled or "admin.address" in given.refused:
        raise SettingsError(given.problems)
    address: str | None = given.values.get("admin.address")
    return address


def settings_file(path: str | None, environ: Mapping[str, str]) -> str | None:
    """The file to read, if any: the one that was named, else that of UNBUFFER_CONFIG."""
    return path if path is not None else environ.get("UNBUFFER_CONFIG")


def _given(file: str | None, environ: Mapping[str, str], flags: Mapping[str, str | list[str]]) -> Given:
    """What the file, the environment and the flags say."""
    given = Given()
    if file:
        # A sidecar is often set up by its environment alone, and need not pay for a parser of YAML: 1.2 MB.
        from unbuffer.settings.document import read_file

        read_file(given, file)
    _take(given, _from_environ(given, environ))
    _take(given, _from_flags(given, flags))
    return given


def _from_environ(given: Given, environ: Mapping[str, str]) -> Iterator[Named]:
    paths = {_variable(path): path for path in (*dict(every_setting()), *SHORT_FORMS)}
    for name, text in sorted(environ.items()):
        if name in paths:
            yield name, paths[name], text
        elif name.startswith(_PREFIX) and not _NO_SETTING.fullmatch(f"{name}={text}"):
            path = name.removeprefix(_PREFIX).lower().replace("__", ".")
            given.problem(name, _why_unknown(path, _variable))


def _from_flags(given: Given, flags: Mapping[str, str | list[str]]) -> Iterator[Named]:
    known = {*dict(every_setting()), *SHORT_FORMS}
    for path, values in flags.items():
        if path in known:
            yield f"flag {path}", path, values
        else:
            given.problem(f"flag {path}", _why_unknown(path, str))


def _from_port(given: Given, text: str) -> Iterator[Named]:
    if re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) < 65536:
        yield "PORT", "listen.address", f":{text}"
    else:
        given.refuse("listen.address", "PORT", f"want a port number such as 8080, got {quote(text)}")


def _take(given: Given, named: Iterable[Named]) -> None:
    """Take the values of one source."""
    settings = dict(every_setting())
    taken: dict[str, str] = {}
    for where, name, values in named:
        path = long_form(name)
        setting = settings[path]
        if path in taken:
            given.problem(where, f"{taken[path]} sets {path} already")
            continue
        taken[path] = where
        if setting.many:
            given.put(path, setting, where, [Written(where, text) for text in _items(values)])
        elif isinstance(values, str):
            given.put(path, setting, where, [Written(where, values.strip())])
        else:
            given.refuse(path, where, f"want {setting.wanted}, got {len(values)} values")


def _items(values: str | list[str]) -> list[str]:
    if isinstance(values, str):
        return [item.strip() for item in values.split(",")] if values.strip() else []
    return [value.strip() for value in values]


def _why_unknown(path: str, spelled: Callable[[str], str]) -> str:
    """What is wrong with this path, in names as the source spells them."""
    known = [*dict(every_setting()), *SHORT_FORMS]
    if path.partition(".")[0] == "routes":
        return "routes are set in the file only"
    inside = next((one for one in known if one.startswith(f"{path}.")), None)
    if inside:
        return f"a section has no value; set one of its settings, such as {spelled(inside)}"
    return f"no such setting{did_you_mean(path, known, spelled)}"


def _variable(path: str) -> str:
    return _PREFIX + path.upper().replace(".", "__")


def _build(section: type[_S], path: str, given: Given) -> _S:
    values: dict[str, Any] = {}
    for name, field in fields(section).items():
        here = join(path, name)
        if isinstance(field, Block):
            items = given.lists.get(here, ()) if field.many else (here,)
            built = tuple(_build(field.section, item, given) for item in items)
            values[name] = built if field.many else built[0]
        elif here in given.wheres and here not in given.refused:
            values[name] = given.values[here]
        else:
            if field.required and here not in given.refused:
                given.refuse(here, given.wheres[path], f"{name} is missing")
            # What is missing or wrong gets a text in its place: the report says the rest.
            values[name] = "" if field.required else field.default
    return section(**values)
