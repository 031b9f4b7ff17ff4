"""Where to listen and where to connect: the text forms of addresses and of the upstream's URL."""

import ipaddress
import os
import re
from dataclasses import dataclass

from unbuffer.settings.problems import quote

_HOST = r"\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?\]|[A-Za-z0-9._-]"
_PORT = "[0-9]{1,5}"
# A third slash is part of the path: `unix:///run/app.sock` is `unix:/run/app.sock`.
_UNIX = r"unix:(?://)?/[^/\x00][^\x00]*"

ADDRESS_PATTERN = f"^(?:(?:{_HOST}*):{_PORT}|{_UNIX})$"
UPSTREAM_PATTERN = f"^(?:https?://(?:{_HOST}+)(?::{_PORT})?/?|{_UNIX})$"
"""The shapes of the two, as regular expressions that Python and JSON Schema read alike."""

SYSTEMD = "systemd"
"""In the place of an address to listen on: the sockets that the service manager passes."""

_HOST_AND_PORT = re.compile(f"({_HOST}*)(?::({_PORT}))?")
_URL = re.compile(r"(https?)://([^/?#]*)(.*)", re.DOTALL)
_DEFAULT_PORTS = {"http": 80, "https": 443}
# sockaddr_un holds 108 bytes on Linux, the closing NUL included (unix(7)).
_UNIX_PATH_BYTES = 107


@dataclass(frozen=True, slots=True)
class TCPAddress:
    """A host and a port to listen on. host "" = all interfaces; port 0 = any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket in the file system. The path is absolute."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class UpstreamTarget:
    """Where to connect to reach the application.

    For a Unix socket path is set, host is "" and port is 0; otherwise path is "".
    authority: `host:port` or `unix:/path`, for messages.
    """

    tls: bool
    host: str
    port: int
    path: str
    authority: str

    @property
    def host_field(self) -> str:
        """Host as a client of the upstream sends it (RFC 9110, section 7.2): without the scheme's own port, and
        `localhost` on a Unix socket, as nginx has it."""
        if self.path:
            return "localhost"
        return self.authority.removesuffix(":443" if self.tls else ":80")


def parse_address(text: str) -> TCPAddress | UnixAddress:
    """Read `host:port`, `[::1]:port`, `:port` or `unix:/path`.

    Raises ValueError with a sentence that says what was wanted and, where it can be told, what to write.
    """
    try:
        if text.startswith("unix:"):
            return UnixAddress(_unix_path(text))
        if re.fullmatch(_PORT, text):
            raise ValueError(f'write ":{text}" for all interfaces or "127.0.0.1:{text}" for this machine')
        if "://" in text:
            raise ValueError("an address has no scheme")
        host, port = _host_and_port(text)
        if port is None:
            raise ValueError("the port is missing")
        return TCPAddress(host, port)
    except ValueError as why:
        raise ValueError(f"want an address such as 127.0.0.1:8080, got {quote(text)}; {why}") from None


def parse_upstream(url: str) -> UpstreamTarget:
    """Read `http://host[:port]`, `https://host[:port]`, `unix:/path` or `unix:///path`.

    The path "/" alone is the same as none (RFC 3986, section 6.2.3). Raises ValueError as `parse_address`
    does.
    """
    try:
        if url.startswith("unix:"):
            path = _unix_path(url)
            return UpstreamTarget(False, "", 0, path, f"unix:{path}")
        return _parse_http(url)
    except ValueError as why:
        raise ValueError(f"want a URL such as http://127.0.0.1:8000, got {quote(url)}; {why}") from None


def check_host(text: str) -> None:
    """Raises ValueError, with a sentence, for what is neither a host name nor an IP address."""
    if re.fullmatch("[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*", text):
        ipaddress.IPv6Address(text)
    elif not text or _host_and_port(text)[1] is not None or "[" in text:
        raise ValueError("it is a host name or an IP address, without a port")


def _parse_http(url: str) -> UpstreamTarget:
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("it begins with http://, https:// or unix:/")
    scheme, authority, rest = match.groups()
    if "@" in url:
        raise ValueError("it has no user name or password: requests carry the client's own Authorization")
    if rest not in ("", "/"):
        raise ValueError("nothing follows the port: targets are forwarded exactly as received")
    host, port = _host_and_port(authority)
    if not host:
        raise ValueError("the host is missing")
    if port == 0:
        raise ValueError("port 0 cannot be connected to")
    port = port or _DEFAULT_PORTS[scheme]
    return UpstreamTarget(scheme == "https", host, port, "", str(TCPAddress(host, port)))


def _host_and_port(text: str) -> tuple[str, int | None]:
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None:
        raise ValueError(_why_not_host_and_port(text))
    host, port = match[1].strip("[]"), match[2]
    if ":" in host:
        ipaddress.IPv6Address(host)
    elif host.replace(".", "").isdecimal():
        ipaddress.IPv4Address(host)
    elif host and not all(0 < len(label) < 64 for label in host.removesuffix(".").split(".")):
        raise ValueError("the parts of a host name have 1 to 63 characters")
    if port is not None and int(port) > 65535:
        raise ValueError("the highest port is 65535")
    return host, None if port is None else int(port)


def _why_not_host_and_port(text: str) -> str:
    if text.startswith("*:"):
        return f"write {quote(text[1:])} for all interfaces"
    if text.count(":") > 1 and "[" not in text:
        return "an IPv6 address stands in brackets, as in [::1]:8080"
    return "it is a host name or an IP address, a colon and a port number"


def _unix_path(text: str) -> str:
    if not re.fullmatch(_UNIX, text):
        raise ValueError("the path of the socket is absolute, as in unix:/run/app.sock")
    path = text.removeprefix("unix:").removeprefix("//")
    if len(os.fsencode(path)) > _UNIX_PATH_BYTES:
        raise ValueError(f"the path of a socket has {_UNIX_PATH_BYTES} bytes at the most")
    return path
