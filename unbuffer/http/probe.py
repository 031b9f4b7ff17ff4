"""The probe stream: what a request for it may ask, how its events are written, and how they are read again.

Whoever reads it knows of each event when it was sent, so that whatever arrives late was held by somebody between.
"""

import os
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

LONGEST: Final = 60.0
"""Seconds that a probe stream takes at the most."""

LARGEST: Final = 1 << 20
"""Bytes of its body at the most."""

SMALLEST_EVENT: Final = 96
"""Bytes: number, time and name need so many."""

LARGEST_EVENT: Final = 65536

MOST_EVENTS: Final = 4000

TYPES: Final = {
    "event-stream": "text/event-stream",
    "ndjson": "application/x-ndjson",
    "plain": "text/plain; charset=utf-8",
}
"""The media types that can be asked for, by their short names."""

PACE: Final[tuple[float, ...]] = (0.3, 0.7, 0.5, 0.4, 0.6, 0.3, 0.7, 0.5, 1.2, 1.8, 1.4, 1.6, 1.3, 1.7, 1.5, 1.5)
"""Of an uneven stream, what the pauses are multiplied by in turn: first it is quick and then slow. At an even pace a
timer looks like a size, and at one that repeats itself too soon a size looks like a timer."""

_EVENT: Final = re.compile(rb'\{"unbuffer":"([0-9a-f]{8})","(n|beat)":(\d{1,9}),"of":(\d{1,9}),"at":(\d{1,12}\.\d{6})')
_NUMBERS: Final[tuple[str, ...]] = ("count", "gap", "size", "delay", "beat")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a probe stream is to be.

    count    events
    gap      seconds between two of them
    size     bytes of each, framing included
    delay    seconds between the head and the first event
    beat     seconds between two SSE comments while no event is sent; 0 = none
    uneven   whether the gaps vary as PACE has it
    kind     the media type, by its short name
    """

    count: int = 20
    gap: float = 0.05
    size: int = 128
    delay: float = 0.0
    beat: float = 0.0
    uneven: bool = False
    kind: str = "event-stream"

    def pause(self, number: int) -> float:
        """Seconds before the event of this number; the first one has 0."""
        if number == 0:
            return self.delay
        return self.gap * PACE[number % len(PACE)] if self.uneven else self.gap

    def query(self) -> str:
        """The plan as the query of a request."""
        return (
            f"count={self.count}&gap={self.gap * 1000:g}&size={self.size}&delay={self.delay * 1000:g}"
            f"&beat={self.beat * 1000:g}&uneven={int(self.uneven)}&type={self.kind}"
        )


def plan_of(query: bytes) -> Plan:
    """The plan that a query asks for; parameters of other names are nobody's. Raises ValueError, in a sentence."""
    given: dict[str, str] = {}
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        given[unquote_to_bytes(name).decode("latin-1")] = unquote_to_bytes(value).decode("latin-1")
    number = {name: _number(name, given[name]) for name in _NUMBERS if name in given}
    kind = given.get("type", "event-stream")
    if kind not in TYPES:
        raise ValueError(f"type: want one of {', '.join(TYPES)}")
    plan = Plan(
        count=number.get("count", 20),
        gap=number.get("gap", 50) / 1000,
        size=number.get("size", 128),
        delay=number.get("delay", 0) / 1000,
        beat=number.get("beat", 0) / 1000,
        uneven=given.get("uneven", "0") == "1",
        kind=kind,
    )
    _within_bounds(plan)
    return plan


def _number(name: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,7}", text):
        raise ValueError(f"{name}: want a whole number{'' if name in ('count', 'size') else ' of milliseconds'}")
    return int(text)


def _within_bounds(plan: Plan) -> None:
    if not 1 <= plan.count <= MOST_EVENTS:
        raise ValueError(f"count: want 1 to {MOST_EVENTS} events")
    if not SMALLEST_EVENT <= plan.size <= LARGEST_EVENT:
        raise ValueError(f"size: want {SMALLEST_EVENT} to {LARGEST_EVENT} bytes for each event")
    if plan.count * plan.size > LARGEST:
        raise ValueError(f"count and size: want {LARGEST} bytes in all at the most")
    if plan.delay + (plan.count - 1) * plan.gap * (1.1 if plan.uneven else 1.0) > LONGEST:
        raise ValueError(f"delay, gap and count: want {LONGEST:g} seconds in all at the most")
    if plan.beat and (plan.beat < 0.05 or plan.kind != "event-stream"):
        raise ValueError("beat: want 50 ms or more, and type=event-stream, which has comments")


def event(plan: Plan, number: int, at: float, name: str) -> bytes:
    """The event of this number, from 0 on. at: now, seconds since the epoch. name: of the process, eight hex digits.

    What fills it up is random, so that no compressor makes nothing of it.
    """
    begin = b'{"unbuffer":"%b","n":%d,"of":%d,"at":%.6f,"fill":"' % (name.encode("ascii"), number, plan.count, at)
    before, after = (b"data: ", b'"}\n\n') if plan.kind == "event-stream" else (b"", b'"}\n')
    fill = plan.size - len(before) - len(begin) - len(after)
    return before + begin + os.urandom((fill + 1) // 2).hex().encode("ascii")[: max(fill, 0)] + after


def heartbeat(plan: Plan, number: int, at: float, name: str) -> bytes:
    """An SSE comment that says when it was sent."""
    return b': {"unbuffer":"%b","beat":%d,"of":%d,"at":%.6f}\n\n' % (name.encode("ascii"), number, plan.count, at)


@dataclass(frozen=True, slots=True)
class Sent:
    """What an event tells of itself. is_beat: a heartbeat. of: how many events there are. at: when it was sent."""

    name: str
    is_beat: bool
    number: int
    of: int
    at: float


def read(line: bytes) -> Sent | None:
    """What a line of a probe stream tells; None = it is none."""
    found = _EVENT.search(line)
    if found is None:
        return None
    name, key, number, of, at = found.groups()
    return Sent(name.decode("ascii"), key == b"beat", int(number), int(of), float(at))
