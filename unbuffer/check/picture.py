"""Arrivals in time, as characters: one column is a slice of time, its character says how many came in it."""

from collections.abc import Iterable
from dataclasses import dataclass

from unbuffer.check.observation import Observation

_MARKS = " .:#"


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of a picture: seconds at which something was sent, or came. head: when the head came."""

    title: str
    times: tuple[float, ...]
    head: float | None = None


def lanes(seen: Observation) -> list[Lane]:
    """When its events were sent, where that is known, and when they came."""
    if not seen.marks:
        return [Lane("came", tuple(read.at for read in seen.reads if read.content), seen.head)]
    both = (*seen.marks, *seen.beats)
    fastest = min(mark.came - mark.sent for mark in both)
    sent = tuple(sorted(mark.sent + fastest for mark in both))
    return [Lane("sent", sent), Lane("came", tuple(sorted(mark.came for mark in both)), seen.head)]


def span(seen: Iterable[Observation]) -> float:
    """Seconds that all of them take, from request to end."""
    return max((time for one in seen for lane in lanes(one) for time in (*lane.times, lane.head or 0.0)), default=0.0)


def drawn(lane: Lane, seconds: float, width: int) -> str:
    """The lane in so many columns, which stand for so many seconds. `.` one, `:` some, `#` many, `h` the head alone."""
    counts = [0] * width
    for time in lane.times:
        counts[_column(time, seconds, width)] += 1
    line = [_MARKS[0 if not count else 1 if count == 1 else 2 if count < 5 else 3] for count in counts]
    if lane.head is not None and line[at := _column(lane.head, seconds, width)] == " ":
        line[at] = "h"
    return "".join(line)


def _column(time: float, seconds: float, width: int) -> int:
    return min(int(time / (seconds or 1.0) * width), width - 1)
