"""What is allowed and yet hardly meant: routes that get no request, tokens that others on this machine may read."""

import os
import shlex
from collections.abc import Iterator, Mapping

from unbuffer.settings.checks import Finding
from unbuffer.settings.model import Settings
from unbuffer.settings.problems import quote
from unbuffer.settings.route import Route
from unbuffer.settings.route_paths import hidden


def doubts(settings: Settings, routes: Mapping[str, Route], tokens_in: str) -> Iterator[Finding]:
    """Everything worth a warning. routes: by path. tokens_in: the settings file, where it has authorization.tokens."""
    for path, before in hidden(routes):
        names = f"the route {quote(routes[path].name)} gets no request: {quote(routes[before].name)} ({before})"
        yield (path,), f"{names} takes them all before it; put it further up"
    files = {"authorization.tokens": tokens_in, "authorization.tokens_file": settings.authorization.tokens_file}
    files |= {
        f"{path}.authorization.tokens_file": route.authorization.tokens_file or "" for path, route in routes.items()
    }
    for path, name in files.items():
        if name and (mode := _open_to_others(name)):
            yield (path,), f"others on this machine may read {quote(name)} (mode {mode}): chmod 600 {shlex.quote(name)}"


def _open_to_others(name: str) -> str:
    """The mode of a file that more may read than need to; "" = it is closed, or nobody can tell.

    A group may read what another user owns: so a service gets the secrets of Kubernetes (fsGroup) and systemd.
    """
    try:
        found = os.stat(name)
    except OSError:
        return ""
    own = hasattr(os, "geteuid") and found.st_uid == os.geteuid()
    return f"{found.st_mode & 0o777:04o}" if found.st_mode & (0o044 if own else 0o004) else ""
