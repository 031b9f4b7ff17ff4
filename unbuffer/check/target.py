"""Where a check goes: a URL as users write it, and the ways around it that curl users know."""

import base64
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from unbuffer.http.probe import Plan

PORTS = {"http": 80, "https": 443}


class UsageError(Exception):
    """What was asked for cannot be done; the text says why and what to write."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL. target: path and query as they are sent. credentials: the user's name and password, for Basic."""

    scheme: str
    host: str
    port: int
    target: str
    credentials: str = ""

    @property
    def tls(self) -> bool:
        """Whether it is https."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """As `Host` has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The URL without query and credentials."""
        return f"{self.scheme}://{self.authority}{self.target.partition('?')[0]}"

    @property
    def query(self) -> str:
        """Without the question mark."""
        return self.target.partition("?")[2]

    def asking(self, plan: Plan | None) -> str:
        """Path and query that ask a probe for this plan; parameters of the user's own stay."""
        if plan is None:
            return self.target
        path, _, query = self.target.partition("?")
        names = {pair.partition("=")[0] for pair in plan.query().split("&")}
        kept = [pair for pair in query.split("&") if pair and pair.partition("=")[0] not in names]
        return f"{path}?{'&'.join([*kept, plan.query()])}"


def target_of(url: str) -> Target:
    """The target that a URL names; without a scheme it is http, as with curl. Raises UsageError."""
    text = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        why = "its port is no number from 1 to 65535" if str(error).startswith("Port ") else error
        raise UsageError(f"{shown(url)} is no URL: {why}") from None
    if port == 0:
        raise UsageError(f"{shown(url)} is no URL: its port is no number from 1 to 65535")
    if parts.scheme not in PORTS:
        raise UsageError(f"{shown(url)}: unknown scheme {parts.scheme!r}; want http:// or https://")
    if not host:
        raise UsageError(f"{shown(url)} has no host; want a URL such as https://app.example/chat")
    try:
        host = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        raise UsageError(f"{shown(url)}: {host!r} cannot be the name of a host") from None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if any(character <= " " or not character.isascii() for character in path):
        raise UsageError(f"{shown(url)} has spaces or letters beyond ASCII; write them as %20 and the like")
    return Target(parts.scheme, host, port or PORTS[parts.scheme], path, _basic(parts))


def shown(url: str) -> str:
    """A URL as it may be printed: without what may be secret."""
    return url.partition("?")[0].rpartition("@")[2] or url[:40]


def _basic(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return base64.b64encode(both.encode()).decode("ascii")
