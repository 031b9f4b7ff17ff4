"""What a metric is, and where its values are read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from unbuffer.histogram import Histogram
from unbuffer.totals import Series, Totals


class Reloads(Protocol):
    """How the settings were last loaded.

    successful: those of the latest attempt are in force. at: when settings were last put in force; seconds of the Unix
    epoch.
    """

    successful: bool
    at: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Where the values are read: the totals, live, and what was found out for this scrape."""

    totals: Totals
    draining: bool
    upstream_up: bool
    buffered: int
    reloads: Reloads
    build: tuple[str, ...]
    """The label values of unbuffer_build_info."""


Value = tuple[tuple[str, ...], float | Histogram]
"""Label values in the order of the family's labels, and what they count."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: what it is called, what it says, and where its values come from.

    name: as in a query, with `_total` for a counter.
    span: from which instant to which instant it measures, or at which instant it counts.
    read: takes the list of what there is at its start; the loop turns in between, and the tables may grow meanwhile.
    """

    name: str
    type: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    span: str
    read: Callable[[Snapshot], Iterable[Value]]


def by_series(read: Callable[[Series], float | Histogram]) -> Callable[[Snapshot], Iterable[Value]]:
    """One value for each series."""
    return lambda now: (((one.route, one.kind), read(one)) for one in list(now.totals.series.values()))


def by_label(read: Callable[[Totals], Mapping[str, float | Histogram]]) -> Callable[[Snapshot], Iterable[Value]]:
    """One value for each label."""
    return lambda now: (((label,), value) for label, value in list(read(now.totals).items()))


def alone(read: Callable[[Snapshot], float | Histogram]) -> Callable[[Snapshot], Iterable[Value]]:
    """One value, without labels."""
    return lambda now: (((), read(now)),)
