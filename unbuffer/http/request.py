"""What a request head says, read strictly (RFC 9110, RFC 9112).

The request line is read here, byte for byte; the fields come from llhttp, which refuses folding, bare line feeds and
control bytes. Whatever two recipients could read differently is refused.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from unbuffer.http.framing import FramingError, request_framing
from unbuffer.http.memory import remember
from unbuffer.http.tokens import TCHAR
from unbuffer.managed import REQUEST, X_FORWARDED
from unbuffer.record import METHODS

Fields = list[tuple[bytes, bytes]]

NO_FIELDS: Final[Fields] = []
"""Where there are none: one list for all, to which nobody adds."""

# method SP request-target SP HTTP-version (RFC 9112, section 3), any token as a method, the target as visible ASCII.
# The longest registered method has 17 bytes (UPDATEREDIRECTREF).
_REQUEST_LINE: Final = re.compile(rb"(%b{1,64}) ([\x21-\x7e]+) HTTP/([0-9]\.[0-9])" % TCHAR)

# A host name or address, with or without a port. RFC 3986 has the comma in names as well: there a list of two Hosts,
# merged by somebody on the way, would look like one.
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
# As a number: CPython takes 13 ns to find one in bytes, and 95 ns for `b"#" in target`.
_FRAGMENT: Final = ord("#")
_QUERY: Final = ord("?")
_AT: Final = ord("@")
# Either may be percent-encoded: some recipient decodes it.
_TWO_SLASHES: Final = re.compile(r"(?:/|%2[Ff]){2}")
_WITH_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/]*(.*)", re.DOTALL)
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#@]+)([/?].*)?", re.DOTALL)
# Trace Context, section 3.2: no version ff, no id of zeros, and nothing after the flags in version 00.
_TRACEPARENT = re.compile(
    rb"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-((?!0{16})[0-9a-f]{16}-[0-9a-f]{2})(?:-.*)?"
)

_METHODS: Final = {name.encode(): name for name in METHODS}
"""The usual methods as text."""

# Safe to send twice, so that a request may be repeated after a connection broke (RFC 9110, section 9.2.2).
IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))


class RequestLine:
    """A request line, word by word. spoken: it is of a version that is spoken here, HTTP/1.1 or HTTP/1.0."""

    __slots__ = ("http11", "method", "spoken", "target")

    def __init__(self, method: bytes, target: bytes, version: bytes) -> None:
        self.method = method
        self.target = target
        self.http11 = version == b"1.1"
        self.spoken = self.http11 or version == b"1.0"


HTTP2_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a connection of HTTP/2 begins with: to HTTP/1.1 a request line that it refuses (RFC 9113, section 3.4)."""

_lines: Final[dict[bytes, RequestLine]] = {}
"""Request lines that came: many an API has always the same. None in which there may be credentials."""


def request_line(line: bytes) -> RequestLine | None:
    """Read a request line, given without its CR LF; None = it is none."""
    known = _lines.get(line)
    if known is not None:
        return known
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        return None
    made = RequestLine(match[1], match[2], match[3])
    return made if _QUERY in line or _AT in line else remember(_lines, line, made)


class BadRequest(Exception):
    """A request that is refused: the status to answer and one sentence on why."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def list_members(value: bytes) -> list[bytes]:
    """The members of a comma-separated list in lower case (RFC 9110, section 5.6.1); empty members are dropped."""
    return [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]


def accepts_events(fields: Fields) -> bool:
    """Whether the request names text/event-stream in Accept, as an EventSource does; `*/*` does not."""
    for name, value in fields:
        if name.lower() == b"accept":
            for member in list_members(value):
                if member.partition(b";")[0].rstrip() == b"text/event-stream":
                    return True
    return False


# Fields that are read here, or that do not go on as they are. Hop-by-hop ones (RFC 9110, section 7.6.1, and the names
# of older practice) are dropped; framing, Host and Accept-Encoding are written anew.
_DROP: Final = 0
_HOST_FIELD: Final = 1
_CONNECTION: Final = 2
_LENGTH: Final = 3
_CODING: Final = 4
_UPGRADE: Final = 5
_TE: Final = 6
_TRACE: Final = 7
_FORWARDING: Final = 8
_EXPECT: Final = 9
_PASSED: Final = 10
_SPECIAL: Final = {name: _DROP for name in REQUEST if name != b"via"} | {
    b"connection": _CONNECTION,
    b"content-length": _LENGTH,
    b"expect": _EXPECT,
    b"forwarded": _FORWARDING,
    b"host": _HOST_FIELD,
    b"te": _TE,
    b"traceparent": _TRACE,
    b"transfer-encoding": _CODING,
    b"upgrade": _UPGRADE,
}
"""Via is passed, and continued."""
# Options of Connection that name no field to strip, or one that is handled on its own. Host stays whatever Connection
# says: without it the message would be another one.
_OPTIONS = frozenset((b"close", b"host", b"http2-settings", b"keep-alive", b"te", b"upgrade"))

# Lower case, and a hyphen for whatever is no letter or digit: of fields that have the same name then, servers that make
# variables of names (CGI, RFC 3875, section 4.1.18; WSGI, PHP) take one for another.
_FOLD: Final = bytes(code if chr(code).isalnum() else ord("-") for code in range(128)).lower() + b"-" * 128


def folded(name: bytes) -> bytes:
    """What `name` is to a server that cannot tell X_Forwarded_For from X-Forwarded-For."""
    return name.translate(_FOLD)


_meanings: Final[dict[bytes, int]] = {}
"""What becomes of the fields with these names, spelled as they came: clients have few."""

_hosts: Final[dict[bytes, bool]] = {}
"""Values of Host that were found valid: clients of one upstream know it by few."""


def _meaning_of(name: bytes) -> int:
    key = folded(name)
    meaning = _FORWARDING if key.startswith(X_FORWARDED) else _SPECIAL.get(key, _PASSED)
    if meaning != _PASSED and key != name.lower():
        meaning = _FORWARDING  # another spelling of what is managed here: only who is trusted may mean something by it
    return remember(_meanings, name, meaning)


def shown_path(target: bytes) -> str:
    """What of a request target, refused ones included, may stand in a log, a metric, a page or a span: its path.

    Credentials travel in the query and in the user information of a URL; a fragment is nobody's business. Of what is
    neither a path nor a URL, or has an @ where a path does not begin it, nothing is shown: where it ends nobody knows.
    Nor is it known of a URL in a path: where an @ comes after two slashes, however they are written, the path is shown
    up to there.
    """
    # As text: compiled, to look for something in it costs a fifth of what it costs in bytes.
    path = target.decode("ascii", "replace")
    if "?" in path:
        path = path.partition("?")[0]
    if "#" in path:
        path = path.partition("#")[0]
    if "@" in path or "%40" in path:
        match = _TWO_SLASHES.search(path, 0, max(path.rfind("@"), path.rfind("%40")))
        if match is not None:
            path = path[: match.start()]
    if not path.startswith("/") and path != "*":
        match = None if "@" in path else _WITH_AUTHORITY.fullmatch(path)
        path = match[1] if match else ""
    return path


def named_fields(connection: Iterable[bytes]) -> frozenset[bytes]:
    """The fields to strip because Connection names them (RFC 9110, section 7.6.1)."""
    return frozenset(connection) - _OPTIONS


class RequestHead:
    """A request head that was understood.

    framing: see `unbuffer.http.framing`. connection: the options of Connection, in lower case. upgrade: the protocols
    asked for, without h2c, when the request really asks for an upgrade; else empty. states_length: Content-Length was
    there, be it 0. trace, parent: the ids of a valid traceparent, as Record has them. passed: the fields that go on as
    they came, as lines. forwarding: X-Forwarded-* and Forwarded, which go on only when their sender is
    trusted; so do other spellings of a name that is managed here, such as X_Forwarded_For or Content_Length.
    """

    __slots__ = (
        "connection",
        "fields",
        "forwarding",
        "framing",
        "host",
        "http11",
        "keep_alive",
        "method",
        "parent",
        "passed",
        "states_length",
        "target",
        "trace",
        "upgrade",
        "wants_trailers",
    )

    @property
    def method_name(self) -> str:
        """The method as text; one object for all requests with a usual one."""
        return _METHODS.get(self.method) or self.method.decode("ascii")

    @property
    def version(self) -> str:
        """Of HTTP, as it came: "1.1" or "1.0"."""
        return "1.1" if self.http11 else "1.0"

    @property
    def via(self) -> bytes:
        """The same, as `Via` has it (RFC 9110, section 7.6.3)."""
        return b"1.1" if self.http11 else b"1.0"

    @property
    def accept(self) -> bytes:
        """The Sec-WebSocket-Accept that a 101 has to have; empty where it is for the client itself to check."""
        return b""

    def __init__(self, method: bytes, target: bytes, http11: bool, fields: Fields) -> None:
        """Read the head; raises BadRequest."""
        self.method = method
        self.target = target
        self.http11 = http11
        self.fields = fields
        self.connection: Sequence[bytes] = ()
        self.upgrade = b""
        self.wants_trailers = False
        self.trace = self.parent = ""
        self.forwarding: Sequence[tuple[bytes, bytes, bytes]] = ()
        passed: list[bytes] = []
        lengths: Sequence[bytes] = ()
        codings: Sequence[bytes] = ()
        host = upgrade = trace = b""
        hosts = 0
        for name, value in fields:
            known = _meanings.get(name)
            meaning = known if known is not None else _meaning_of(name)
            if meaning == _PASSED:
                passed.append(b"%b: %b\r\n" % (name, value))
            elif meaning == _FORWARDING:
                self.forwarding = (*self.forwarding, (name.lower(), name, value))
            elif meaning == _HOST_FIELD:
                host = value
                hosts += 1
            elif meaning == _CONNECTION:
                self.connection = (*self.connection, *list_members(value))
            elif meaning == _LENGTH:
                lengths = (*lengths, value) if lengths else (value,)
            elif meaning == _CODING:
                codings = (*codings, value) if codings else (value,)
            elif meaning == _UPGRADE:
                upgrade = upgrade + b", " + value if upgrade else value
            elif meaning == _TE:
                self.wants_trailers = self.wants_trailers or b"trailers" in list_members(value)
            elif meaning == _TRACE:
                trace = trace + b"," + value if trace else value  # which of two would be right nobody knows
                passed.append(b"%b: %b\r\n" % (name, value))
            elif meaning == _EXPECT and http11:
                # From HTTP/1.0 it is to be ignored (RFC 9110, section 10.1.1); sent on in HTTP/1.1 it would not be.
                passed.append(b"%b: %b\r\n" % (name, value))
        if self.connection:
            named = named_fields(self.connection)
            if named:
                passed = without(passed, named)
                self.forwarding = [field for field in self.forwarding if field[0] not in named]
        self.passed = passed
        if trace and (match := _TRACEPARENT.fullmatch(trace)):
            self.trace, self.parent = match[1].decode("ascii"), match[2].decode("ascii")
        try:
            self.framing = request_framing(http11, lengths, codings)
        except FramingError as error:
            raise BadRequest(error.status, str(error)) from None
        self.states_length = bool(lengths)
        self.host = _host(host, hosts, http11)
        if method == b"CONNECT":
            raise BadRequest(501, "CONNECT: this is a reverse proxy")
        if not target.startswith(b"/"):
            self._read_other_target()
        if _FRAGMENT in target:
            raise BadRequest(400, "a fragment in the request target")
        if upgrade and http11 and b"upgrade" in self.connection:
            # HTTP/2 in clear text would pass everything that follows unread: it is never offered to the upstream.
            self.upgrade = b", ".join(p for p in upgrade.split(b",") if p.strip(b" \t").lower() != b"h2c").strip(b" \t")
        if http11:
            self.keep_alive = b"close" not in self.connection
        else:
            self.keep_alive = b"keep-alive" in self.connection and b"close" not in self.connection

    def _read_other_target(self) -> None:
        """The other forms of a target (RFC 9112, section 3.2): absolute, asterisk, authority."""
        if self.target == b"*" and self.method == b"OPTIONS":
            return
        match = _ABSOLUTE.fullmatch(self.target)
        if match is None or not _HOST.fullmatch(match[1]):
            raise BadRequest(400, "a request target that is neither a path nor a URL")
        # Section 3.2.2: the target's authority replaces Host.
        self.host = match[1]
        path = match[2] or b""
        if not path and self.method == b"OPTIONS":
            self.target = b"*"  # section 3.2.4: the whole server is asked
        else:
            self.target = path if path.startswith(b"/") else b"/" + path


def without(passed: list[bytes], named: frozenset[bytes]) -> list[bytes]:
    """The lines of the fields that do not have one of these names, given in lower case."""
    return [line for line in passed if line.partition(b":")[0].lower() not in named]


def _host(value: bytes, count: int, http11: bool) -> bytes:
    """Exactly one valid Host in HTTP/1.1, at most one before (RFC 9112, section 3.2). count: how many came."""
    if count != 1:
        if not count and not http11:
            return b""
        raise BadRequest(400, "more than one Host" if count else "no Host")
    if value and value not in _hosts:
        if not _HOST.fullmatch(value):
            raise BadRequest(400, "a Host that is not a host name or address")
        remember(_hosts, value, True)
    return value


ANSWERED: Final = RequestHead(b"GET", b"/", False, NO_FIELDS)
"""Stands for a request of which nothing is asked for any more: its fields are the larger part of what an open stream
would keep."""
