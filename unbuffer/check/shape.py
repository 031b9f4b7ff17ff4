"""How one response arrived: a pure function of its observation, coarse on purpose. What is doubtful was streamed.

Of a probe the send times are known, so that what is late was held, whatever the pace. Of a stream of the user's own
only the arrivals are known; an application that writes in bursts looks like a buffer there, and has the benefit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from statistics import fmean, median, pstdev

from unbuffer.check.observation import Mark, Observation, Read

TOGETHER = 0.006
"""Seconds within which reads belong to one clump."""

NOTICED = 0.06
"""Seconds by which an event may be late: less is a network, or a busy machine."""

LONG = 0.3
"""Seconds that an event is late from which on a person sees it."""

WAIT = 0.5
"""Seconds before a first byte that are worth a word."""

HEAD_DELAY = 0.2
"""Seconds between a probe's head and its first event, from which on it can be seen that the head waited."""

STEADY = 0.12
"""Coefficient of variation below which pauses are those of a timer."""

ALIKE = 0.03
"""Share by which the sizes of clumps may differ and still be a buffer's."""

LEAST_BUFFER = 900
"""Bytes from which on a size may be a buffer's."""

LINES = (
    "text/event-stream",
    "application/x-ndjson",
    "application/jsonl",
    "application/jsonlines",
    "application/json-seq",
)
"""Media types whose events can be counted."""


class Kind(StrEnum):
    """What an arrival looks like."""

    STREAMED = "streamed"
    HELD = "held"
    STEPS = "steps"
    BEAT = "beat"
    FIRST_BYTES = "first_bytes"
    LATE = "late"
    """Held, without a pattern."""
    WHOLE = "whole"
    """An ordinary answer: no stream, or held by somebody who then knew its length."""
    SHORT = "short"
    """Too little, or too quick, to be judged."""
    NONE = "none"
    """There is nothing to judge: no response, an error, or nothing of a body."""


@dataclass(frozen=True, slots=True)
class Shape:
    """kind; size: bytes of a step or of what was held first, 0 = unknown; beat: seconds of a timer.

    late: the longest time that an event was held, seconds; 0.0 = unknown. head_late: the head came with the first of
    the body, although it could have come earlier by so many seconds. sure: the send times were known.
    """

    kind: Kind
    size: int = 0
    beat: float = 0.0
    late: float = 0.0
    head_late: float = 0.0
    sure: bool = False

    @property
    def held(self) -> bool:
        """Whether somebody held what should have come."""
        return self.kind in (Kind.HELD, Kind.STEPS, Kind.BEAT, Kind.FIRST_BYTES, Kind.LATE)


@dataclass(frozen=True, slots=True)
class Clump:
    """Reads in one breath. at: of the last of them. wait: how long its first event was held; of a probe only."""

    begun: float
    at: float
    body: int
    content: int
    pieces: int
    wait: float = 0.0


def shape(seen: Observation) -> Shape:
    """How this response arrived."""
    if seen.head is None or not 200 <= seen.status < 300 or not seen.reads:
        return Shape(Kind.NONE)
    if len(seen.marks) >= 5:
        return _of_probe(seen)
    if seen.beats and seen.marks and max(lags(seen.marks)) >= NOTICED:
        return _of_probe(replace(seen, marks=tuple(sorted((*seen.marks, *seen.beats), key=lambda mark: mark.sent))))
    if seen.plan is not None:
        return Shape(Kind.SHORT if seen.marks else Kind.NONE, head_late=_head_late(seen))
    return _of_stream(seen)


def lags(marks: Sequence[Mark]) -> list[float]:
    """How late each event came, beside the one that came fastest."""
    fastest = min(mark.came - mark.sent for mark in marks)
    return [mark.came - mark.sent - fastest for mark in marks]


def clumps(reads: Sequence[Read]) -> list[Clump]:
    """The reads in clumps."""
    found: list[list[Read]] = []
    for read in reads:
        if found and read.at - found[-1][-1].at <= TOGETHER:
            found[-1].append(read)
        else:
            found.append([read])
    return [
        Clump(
            reads[0].at,
            reads[-1].at,
            sum(read.body for read in reads),
            sum(read.content for read in reads),
            sum(max(read.ends, 0) for read in reads) or sum(read.frames for read in reads),
        )
        for reads in found
    ]


# -- with send times


def _of_probe(seen: Observation) -> Shape:
    late = lags(seen.marks)
    head_late = _head_late(seen)
    most = max(late)
    if most < NOTICED:
        return Shape(Kind.STREAMED, late=most, head_late=head_late, sure=True)
    groups = _groups(seen)
    kind, size, beat = _pattern(seen, groups, late)
    return Shape(kind, size, beat, most, head_late, sure=True)


def _groups(seen: Observation) -> list[Clump]:
    """The clumps of a probe's stream, each with how long its first event was held."""
    fastest = min(mark.came - mark.sent for mark in seen.marks)
    found = []
    for clump in clumps(seen.reads):
        inside = [mark for mark in seen.marks if clump.begun <= mark.came <= clump.at]
        wait = inside[0].came - inside[0].sent - fastest if inside else 0.0
        found.append(Clump(clump.begun, clump.at, clump.body, clump.content, len(inside), wait))
    return found


def _pattern(seen: Observation, groups: list[Clump], late: list[float]) -> tuple[Kind, int, float]:
    marks = seen.marks
    lasted = marks[-1].sent - marks[0].sent
    body = sum(group.body for group in groups)
    if len(groups) == 1 or (groups[-1].body >= 0.9 * body and groups[-1].wait >= 0.75 * lasted):
        return (Kind.HELD, 0, 0.0) if late[0] >= min(LONG, 0.75 * lasted) else (Kind.SHORT, 0, 0.0)
    gathered = sum(group.pieces for group in groups if group.pieces > 1) / len(marks)
    # The last clump ends with the stream, and not with a buffer or a timer.
    whole = groups[:-1]
    if gathered >= 0.7 or _crosses_events(seen, whole):
        if size := _buffer(whole):
            return Kind.STEPS, size, 0.0
        if beat := _timer(groups):
            return Kind.BEAT, 0, beat
        if size := _blocks(whole, body / len(marks)):
            return Kind.STEPS, size, 0.0
    if first := _first_bytes(groups, late):
        return Kind.FIRST_BYTES, first, 0.0
    collected = sum(group.pieces > 1 and group.wait >= 2 * NOTICED for group in groups)
    if median(late) >= LONG or (max(late) >= LONG and collected >= 3 and gathered >= 0.7):
        return Kind.LATE, 0, 0.0
    return Kind.STREAMED, 0, 0.0


def _crosses_events(seen: Observation, groups: list[Clump]) -> bool:
    """Whether clumps end inside of events: somebody counted bytes. Heartbeats between them have a size of their own."""
    plan = seen.plan
    if plan is None or plan.beat or not groups:
        return False
    return sum(group.content % plan.size != 0 for group in groups) > len(groups) / 2


def _buffer(groups: list[Clump]) -> int:
    """The size of the buffer that makes clumps of this size; 0 = none does. No timer does where the pace is uneven."""
    sizes = [group.body for group in groups]
    if len(sizes) < 2 or fmean(group.pieces for group in groups) < 1.5:
        return 0
    middle = round(median(sizes))
    alike = sum(abs(size - middle) <= ALIKE * middle for size in sizes)
    return middle if alike >= 0.75 * len(sizes) and middle >= LEAST_BUFFER else 0


def _blocks(groups: list[Clump], event: float) -> int:
    """The size of blocks of which now one and now several came at once; 0 = there are none. event: bytes of one."""
    sizes = [group.body for group in groups]
    for unit in (65536, 32768, 16384, 8192, 4096):
        whole = sum(size >= unit * 0.97 and _multiple(size, unit) for size in sizes)
        if len(sizes) >= 3 and unit >= 2 * event and whole >= 0.75 * len(sizes):
            return unit
    return 0


def _multiple(size: int, unit: int) -> bool:
    return abs(size - unit * round(size / unit)) <= ALIKE * unit


def _timer(groups: list[Clump]) -> float:
    """Seconds of the timer that makes these clumps, from the first byte held or from beat to beat; 0.0 = none."""
    if len(groups) < 4:
        return 0.0
    whole = groups[:-1]
    waits = [group.wait for group in whole if group.pieces > 1]
    pauses = [later.begun - earlier.begun for earlier, later in pairwise(whole)]
    candidates = [(_spread(values), median(values)) for values in (waits, pauses) if len(values) >= 3]
    return next((middle for spread, middle in sorted(candidates) if spread < STEADY and middle >= NOTICED), 0.0)


def _spread(values: list[float]) -> float:
    """How much values vary beside their median, the oddest of many left out: a busy machine makes one."""
    middle = median(values) or 1.0
    kept = sorted(values, key=lambda value: abs(value - middle))[: max(3, len(values) * 4 // 5)]
    return pstdev(kept) / middle


def _first_bytes(groups: list[Clump], late: list[float]) -> int:
    """How many bytes were held at the beginning of a stream that then flowed; 0 = none."""
    first, rest = groups[0], late[groups[0].pieces :]
    flows = len(rest) >= 4 and sum(one < NOTICED for one in rest) >= 0.8 * len(rest)
    event = first.body / max(first.pieces, 1)
    # Where it stops by itself it is a line that stood still, and no buffer.
    round_size = any(size - 1 <= first.body <= size + event for size in (1024 << power for power in range(8)))
    return first.body if flows and round_size and first.pieces >= 3 and first.wait >= 2 * NOTICED else 0


def _head_late(seen: Observation) -> float:
    """By how much the head of a probe came after it was sent, if it came with the first event; 0.0 = it did not."""
    plan = seen.plan
    if plan is None or plan.delay < HEAD_DELAY or not seen.marks or seen.head is None:
        return 0.0
    fastest = min(mark.came - mark.sent for mark in seen.marks)
    sent = min(mark.sent for mark in seen.marks) + fastest - plan.delay
    waited = seen.head - sent
    return waited if waited >= 0.7 * plan.delay and seen.reads[0].at - seen.head < TOGETHER else 0.0


# -- without them


def _of_stream(seen: Observation) -> Shape:
    groups = clumps(seen.reads)
    first = groups[0]
    assert seen.head is not None
    head_late = seen.head if seen.head >= WAIT and first.begun - seen.head < TOGETHER else 0.0
    if seen.value("content-length") and len(groups) == 1 and first.at - seen.head < TOGETHER:
        return Shape(Kind.WHOLE, head_late=head_late, late=seen.head)
    pieces = sum(group.pieces for group in groups)
    if len(groups) < 4:
        return Shape(_few(seen, groups, pieces), head_late=head_late)
    whole = groups[:-1]
    each = fmean(group.pieces for group in whole)
    if each >= 3 and median(_pauses(groups)) >= 0.08 and (size := _buffer(whole)):
        return Shape(Kind.STEPS, size, head_late=head_late)
    # A model that decodes speculatively writes a few tokens every 120 ms. The flush timers of proxies are slower.
    if each >= 3 and median(_pauses(groups)) >= 0.15 and (beat := _timer(groups)):
        return Shape(Kind.BEAT, 0, beat, head_late=head_late)
    if first.pieces >= 8 and first.begun >= WAIT and first.body >= LEAST_BUFFER and _flows(groups[1:]):
        return Shape(Kind.FIRST_BYTES, first.body, head_late=head_late)
    return Shape(Kind.STREAMED, head_late=head_late)


def _pauses(groups: Sequence[Clump]) -> list[float]:
    return [later.begun - earlier.begun for earlier, later in pairwise(groups)]


def _flows(groups: Sequence[Clump]) -> bool:
    return len(groups) >= 5 and fmean(group.pieces for group in groups) <= 1.5


def _few(seen: Observation, groups: list[Clump], pieces: int) -> Kind:
    last = groups[-1]
    body = sum(group.body for group in groups)
    if last.begun < WAIT or last.body < 0.9 * body or seen.ending not in ("complete", "closed"):
        return Kind.SHORT
    if pieces >= 5 or (seen.media_type not in LINES and last.body >= 256):
        # Faster than anybody makes them: they were there before.
        return Kind.HELD if last.at - last.begun < 0.05 else Kind.SHORT
    return Kind.SHORT
