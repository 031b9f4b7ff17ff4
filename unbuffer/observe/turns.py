"""Whether a stream had to wait for the end of another one: what a blocked event loop does, and a server that takes one
request at a time."""

from collections import deque
from typing import Final

from unbuffer.record import Record
from unbuffer.totals import Totals

WAIT: Final = 0.5
"""Seconds of a wait that a person notices."""

AT_ITS_END: Final = 0.1
"""Seconds after the end of the one within which the head of the other comes, beside what the one itself took for its
head; and seconds that the one may have been asked for later: an application takes connections in its own order."""

CHUNKS: Final = 3
"""Chunks of a stream from which on it is one that others can wait for."""

KEPT: Final = 16
"""Streams that are looked at: a server that takes one at a time ends them one by one."""


class Ended:
    """A stream that has ended. own: seconds from its turn to its head; first_at, last_at: of its chunks."""

    # No NamedTuple, which is a call into Python, at every end of a stream.
    __slots__ = ("asked", "first_at", "last_at", "own")

    def __init__(self, asked: float, own: float, first_at: float, last_at: float) -> None:
        self.asked = asked
        self.own = own
        self.first_at = first_at
        self.last_at = last_at


class Turns:
    """The streams that ended last."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._ended: deque[Ended] = deque(maxlen=KEPT)

    def waited(self, record: Record) -> float:
        """Seconds that this stream waited for its turn; 0.0 = it did not. Called once for each, at its end."""
        asked = record.sent_at or record.first_at
        turn = asked
        if self._ended and record.head_at - asked >= WAIT and self._alone():
            one = self._ended[-1]
            in_time = one.last_at - AT_ITS_END <= record.head_at <= one.last_at + AT_ITS_END + min(one.own, WAIT)
            if in_time and one.asked <= asked + AT_ITS_END and one.last_at - asked >= WAIT and self._one_by_one(one):
                turn = one.last_at
        if record.chunks >= CHUNKS:
            self._ended.append(Ended(asked, max(record.head_at - turn, 0.0), record.first_at, record.last_at))
        return turn - asked

    def _alone(self) -> bool:
        """Whether nobody else is being answered now."""
        return sum(series.active for series in self._totals.series.values()) <= 1

    def _one_by_one(self, one: Ended) -> bool:
        """Whether none of the others came while this one did."""
        return not any(
            other is not one and other.first_at < one.last_at - AT_ITS_END and other.last_at > one.first_at + AT_ITS_END
            for other in self._ended
        )
