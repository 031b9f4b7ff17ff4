"""What was seen of one response: plain numbers, from which the diagnosis is made, and which can be kept as JSON.

Nothing of what the stream says is in here, unless `--show` asked for it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, NamedTuple

from unbuffer.http.probe import Plan

Ending = Literal["complete", "closed", "cut", "enough", "silent", "interrupted", "failed"]
"""complete: as its framing has it. closed: cleanly, with the connection, which a cut may look like (RFC 9112, section
6.3). cut: inside its framing. enough: the check had seen enough. silent: nothing came for as long as its patience
lasted. interrupted: by the user. failed: there was no response."""

Failure = Literal[
    "", "name", "refused", "timeout", "network", "socket", "proxy", "certificate", "tls", "closed", "no_http"
]
"""Why there was no response. name: it does not resolve. refused: nothing listens. timeout: nothing came of connecting.
network: no way to the address. socket: the Unix socket. proxy: it is not there, or lets nobody through. certificate:
not valid. tls: no handshake. closed: without an answer. no_http: something else answered. Empty = there was one, or the
recording is older than this."""

REDIRECTS = (300, 301, 302, 303, 307, 308)
"""Statuses that lead elsewhere, where there is a Location (RFC 9110, section 15.4)."""


class Read(NamedTuple):
    """What one read of the socket brought of a body.

    at: seconds since the request was sent. body: bytes, without transfer coding. content: decoded. ends: events or
    lines that ended in it. frames: chunks (HTTP/1.1) or DATA frames (HTTP/2) that began in it.
    """

    at: float
    body: int
    content: int
    ends: int
    frames: int


class Mark(NamedTuple):
    """An event of a probe stream. sent: on the clock of its process, seconds since its first event was sent. came:
    seconds since the request was sent."""

    number: int
    sent: float
    came: float


@dataclass(frozen=True, slots=True)
class Observation:
    """One request and what became of it. Times are seconds since the request was sent.

    url      without query
    variant  the name of what was asked (`variants.py`); group: which of several at once, 0 = alone
    http     of the response: 1.0, 1.1 or 2
    encoding the Accept-Encoding that was sent
    plan     what a probe was asked for; None = the stream is the user's own
    began    when the request was sent, on a clock that all observations of a run share
    head     when the response head was there; None = never
    marks    events of a probe; beats: its heartbeats; of: how many events it said there are
    partial  the content ends inside a line or an event
    damage   why its content coding could not be taken off; empty = it could, as far as it came
    unended  the response ended cleanly, and the data of its content coding has no end
    names    of the processes that sent the probe's events
    failure  of what failed: the kind, which detail says in words
    """

    url: str
    variant: str
    method: str = "GET"
    http: str = ""
    encoding: str = "identity"
    plan: Plan | None = None
    group: int = 0
    began: float = 0.0
    head: float | None = None
    status: int = 0
    fields: tuple[tuple[str, str], ...] = ()
    reads: tuple[Read, ...] = ()
    marks: tuple[Mark, ...] = ()
    beats: tuple[Mark, ...] = ()
    of: int = 0
    names: tuple[str, ...] = ()
    partial: bool = False
    damage: str = ""
    unended: bool = False
    end: float = 0.0
    ending: Ending = "complete"
    detail: str = ""
    failure: Failure = ""
    shown: tuple[str, ...] = field(default=(), compare=False)

    def all(self, name: str) -> tuple[str, ...]:
        """The values of every field of this name."""
        return tuple(value for key, value in self.fields if key.lower() == name)

    def value(self, name: str) -> str:
        """They in one, joined by commas; empty = there is none."""
        return ", ".join(self.all(name))

    @property
    def media_type(self) -> str:
        """Lower-case, without parameters."""
        return self.value("content-type").partition(";")[0].strip().lower()

    @property
    def content(self) -> int:
        """Bytes of content in all."""
        return sum(read.content for read in self.reads)


def printable(text: str) -> str:
    """What a server said, without characters that control a terminal or break a report."""
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)


def dumps(observations: Sequence[Observation]) -> str:
    """As JSON, to be kept."""
    return json.dumps([as_data(observation) for observation in observations])


def as_data(observation: Observation) -> dict[str, Any]:
    """As plain data, defaults left out."""
    data = asdict(observation)
    return {
        key: [list(one) if isinstance(one, tuple) else one for one in value] if isinstance(value, tuple) else value
        for key, value in data.items()
        if key in ("url", "variant") or value != _DEFAULTS[key]
    }


def loads(text: str) -> list[Observation]:
    """What `dumps` has kept."""
    return [_loaded(data) for data in json.loads(text)]


def _loaded(data: dict[str, Any]) -> Observation:
    made = dict(data)
    for name in ("fields", "names", "shown"):
        made[name] = tuple(tuple(one) if isinstance(one, list) else one for one in data.get(name, ()))
    made["reads"] = tuple(Read(*one) for one in data.get("reads", ()))
    for name in ("marks", "beats"):
        made[name] = tuple(Mark(*one) for one in data.get(name, ()))
    if data.get("plan"):
        made["plan"] = Plan(**data["plan"])
    return Observation(**made)


_DEFAULTS = asdict(Observation("", ""))
