"""What has happened in the last minutes, from numbers that only grow: for the sums of the live page."""

from collections import Counter, deque
from dataclasses import dataclass

from unbuffer.observe.heatmap import COLUMNS
from unbuffer.outcome import FINE
from unbuffer.totals import Totals


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of the process.

    failed    streams that ended badly: by an error, or without the last word of the others of their route
    blocked   silences of all streams at once
    verdicts  streams by how they arrived
    """

    failed: int
    blocked: int
    verdicts: Counter[str]


class Window:
    """The counts of the last COLUMNS turns, or since the start where that is later."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._past = deque([_counts(totals)], maxlen=COLUMNS)

    def turn(self) -> None:
        """Some seconds have passed."""
        self._past.append(_counts(self._totals))

    def counts(self) -> Counts:
        """What has come since the window's begin."""
        before, now = self._past[0], _counts(self._totals)
        return Counts(now.failed - before.failed, now.blocked - before.blocked, now.verdicts - before.verdicts)


def _counts(totals: Totals) -> Counts:
    failed = sum(
        series.missing + sum(number for outcome, number in series.outcomes.items() if outcome not in FINE)
        for series in totals.series.values()
    )
    verdicts: Counter[str] = Counter()
    for (_, verdict), number in totals.verdicts.items():
        verdicts[verdict] += number
    return Counts(failed, totals.upstream_silences["upstream"], verdicts)
