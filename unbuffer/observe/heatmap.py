"""The gaps of the last minutes, counted in columns: the live page's heatmap."""

from collections import deque

from unbuffer.totals import GAP_BOUNDS, Totals

COLUMN = 5.0
"""Seconds of gaps that a column of the heatmap counts."""

COLUMNS = 60
"""Columns that are kept: five minutes, whether somebody looks or not."""


class Heatmap:
    """The columns that are kept. count: how many there have been since the start."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals
        self._gaps = self._gap_counts()
        self.columns: deque[tuple[int, ...]] = deque(maxlen=COLUMNS)
        self.count = 0

    def add_column(self) -> None:
        """COLUMN seconds are over: what gaps were there?"""
        before, self._gaps = self._gaps, self._gap_counts()
        self.columns.append(tuple(after - earlier for after, earlier in zip(self._gaps, before, strict=True)))
        self.count += 1

    def _gap_counts(self) -> list[int]:
        counts = [0] * (len(GAP_BOUNDS) + 1)
        for series in self._totals.series.values():
            counts = [a + b for a, b in zip(counts, series.gaps.counts, strict=True)]
        return counts
