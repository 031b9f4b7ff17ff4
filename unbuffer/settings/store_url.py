"""Where a shared store is: the text form of `resume.store.url`."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from unbuffer.settings.addresses import parse_upstream
from unbuffer.settings.problems import quote

MEMORY = "memory"

STORE_PATTERN = r"^(?:memory|(?:redis|valkey)s?://[^\s/?#]+(?:/[0-9]{0,5})?|unix:(?://)?/[^/\x00][^\x00]*)$"
"""Its shape, as a regular expression that Python and JSON Schema read alike."""

_URL = re.compile(r"(redis|valkey)(s?)://(?:(.*)@)?([^/?#@]+)(?:/([0-9]{0,5}))?")
_PORT = 6379


@dataclass(frozen=True, slots=True)
class StoreTarget:
    """Where to connect. For a Unix socket path is set, and host is ""; otherwise path is "". user, password: of the
    URL. shown: for messages, without them."""

    tls: bool
    host: str
    port: int
    path: str
    database: int
    user: str
    password: str
    shown: str


def parse_store(url: str) -> StoreTarget:
    """Read `redis://[[user]:password@]host[:port][/database]`, `valkey://` and the two with TLS, `rediss://` and
    `valkeys://`, or `unix:/path`. Raises ValueError with a sentence."""
    try:
        if url.startswith("unix:"):
            path = parse_upstream(url).path
            return StoreTarget(False, "", 0, path, 0, "", "", f"unix:{path}")
        match = _URL.fullmatch(url)
        if match is None:
            raise ValueError(
                "it begins with redis://, rediss://, valkey://, valkeys:// or unix:/, and ends with a number"
            )
        scheme, s, user_info, authority, database = match.groups()
        target = parse_upstream(f"http://{authority}")
        port = target.port if authority.rpartition(":")[2].isdecimal() and ":" in authority else _PORT
        user, _, password = (user_info or "").partition(":")
        host = f"[{target.host}]" if ":" in target.host else target.host
        shown = f"{scheme}{s}://{host}:{port}"
        return StoreTarget(bool(s), target.host, port, "", int(database or 0), unquote(user), unquote(password), shown)
    except ValueError as why:
        raise ValueError(f"want memory, or a URL such as redis://127.0.0.1:6379, got {quote(url)}; {why}") from None
