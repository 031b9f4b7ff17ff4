"""Whether a stream had to wait for the end of another one: what a blocked event loop does, and a server that takes one
request at a time."""

from collections import deque
from typing import Final

from unbuffer.record import Record
from unbuffer.totals import Totals

WAIT: Final = 0.5
"""Seconds of a wait that a person notices."""

AT_ITS_END: Final = 0.1
"""Seconds after the end of the one within which the head of the other comes."""

CHUNKS: Final = 3
"""Chunks of a stream from which on it is one that others can wait for."""

KEPT: Final = 16
"""Streams that are looked at: a server that takes one at a time ends them one by one."""


class Turns:
    """The streams that ended last."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._ended: deque[tuple[float, float, float]] = deque(maxlen=KEPT)
        """Of each, when it was asked for, when its first chunk came, and its last."""

    def waited(self, record: Record) -> float:
        """Seconds that this stream waited for its turn; 0.0 = it did not. Called once for each, at its end."""
        asked = record.sent_at or record.first_at
        found = 0.0
        if record.head_at - asked >= WAIT and self._alone():
            before = [end for end in self._ended if end[0] <= asked < end[2] <= record.head_at + AT_ITS_END]
            if before and before[-1] is self._ended[-1] and record.head_at - before[-1][2] <= AT_ITS_END:
                found = record.head_at - asked if self._one_by_one(before[-1]) else 0.0
        if record.chunks >= CHUNKS:
            self._ended.append((asked, record.first_at, record.last_at))
        return found

    def _alone(self) -> bool:
        """Whether nobody else is being answered now."""
        return sum(series.active for series in self._totals.series.values()) <= 1

    def _one_by_one(self, one: tuple[float, float, float]) -> bool:
        """Whether none of the others came while this one did."""
        return not any(
            other is not one and other[1] < one[2] - AT_ITS_END and other[2] > one[1] + AT_ITS_END
            for other in self._ended
        )
