"""What a stream and its events are called: in `id:` lines, in response fields and in URLs."""

import re
import secrets
from typing import Final

from unbuffer.http.credentials import take_parameter

FIELD: Final = b"Unbuffer-Stream"
"""Names the stream: in a response, and in a request that goes on from an id of the application's own."""

STREAM: Final = b"unbuffer-stream"
AFTER: Final = b"after"
"""Parameters of a query: the name of a stream, and the number of the last event that its client has."""

_LAST: Final = b"lastEventId"
"""The parameter in which event-source-polyfill, by default, says what Last-Event-ID says."""

_LAST_OF_OURS: Final = b"%b=ub." % _LAST

_RELATION: Final = b"urn:unbuffer:resume"

_NAME: Final = re.compile(rb"[A-Za-z0-9_-]{22}")
# Short ASCII: some readers fail at ids beyond Latin-1 or with spaces, and never come back.
_ID: Final = re.compile(rb"ub\.([A-Za-z0-9_-]{22})\.([0-9]{1,15})")


def new_name() -> bytes:
    """A name that nobody can guess: 128 bits, as 22 characters."""
    return secrets.token_urlsafe(16).encode("ascii")


def is_name(text: bytes) -> bool:
    """Whether this can be the name of a stream."""
    return _NAME.fullmatch(text) is not None


def id_prefix(name: bytes) -> bytes:
    """What the ids of this stream begin with; the number of the event follows."""
    return b"ub.%b." % name


def read_id(text: bytes) -> tuple[bytes, int] | None:
    """The name and the number in an id of ours; None for any other one."""
    match = _ID.fullmatch(text)
    return (match[1], int(match[2])) if match is not None else None


def link(name: bytes) -> bytes:
    """The value of a Link to the stream (RFC 8288): with the number of the latest event in place of the 0 it goes on
    after that. Relative to the URL that was asked for, whatever whoever is in front has made of its path."""
    return b'<?%b=%b&%b=0>; rel="%b"' % (STREAM, name, AFTER, _RELATION)


def read_query(target: bytes) -> tuple[bytes, int] | None:
    """The name and the number in the query of such a URL; None where the query names no stream, an empty name where it
    has none that can be one, and a number below 0 where it has none that can be read."""
    if target.find(STREAM) < 0:
        return None
    rest, names = take_parameter(target, STREAM)
    if not names:
        return None
    _, numbers = take_parameter(rest, AFTER)
    number = numbers[0] if len(numbers) == 1 else b"" if numbers else b"0"
    name = names[0] if len(names) == 1 and is_name(names[0]) else b""
    return name, int(number) if number.isdigit() and len(number) <= 15 else -1


def take_id(target: bytes) -> tuple[bytes, bytes]:
    """The target without an id of ours in its query, and that id; empty where it has none."""
    if target.find(_LAST_OF_OURS) < 0:
        return target, b""
    rest, ids = take_parameter(target, _LAST)
    return (rest, ids[0]) if len(ids) == 1 and read_id(ids[0]) is not None else (target, b"")
