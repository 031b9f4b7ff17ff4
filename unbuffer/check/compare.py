"""Several points of one way, and several streams at one time."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Protocol

from unbuffer.check.observation import Observation
from unbuffer.check.shape import WAIT, Kind, Shape, clumps

STILL = 0.35
"""Seconds of a silence of all that are looked at."""

MOMENT = 0.003
"""Seconds within which several streams get the same event."""

AGAIN = 0.05
"""Seconds within which streams go on together: half of what lies between their beginnings."""


def beside(judged: Sequence[tuple[Observation, Shape]]) -> list[tuple[Observation, Shape]]:
    """The shapes of all, seen beside one another: what came at once, after a wait, was held if it came in pieces when
    it was asked for in another way, or at another point. By itself it was too little to be judged."""
    pieces = [one for one, form in judged if form.kind is Kind.STREAMED and one.plan is None]
    if not pieces:
        return list(judged)
    usual = median(one.content for one in pieces)
    return [
        (one, replace(form, kind=Kind.HELD, head_late=0.0) if _at_once(one, form, usual) else form)
        for one, form in judged
    ]


def _at_once(one: Observation, form: Shape, usual: float) -> bool:
    groups = clumps(one.reads) if form.kind in (Kind.SHORT, Kind.WHOLE) and one.plan is None else []
    return bool(groups) and len(groups) <= 2 and groups[-1].begun >= WAIT and one.content >= usual / 2


class Found(Protocol):
    """A finding, as far as it matters here."""

    @property
    def name(self) -> str: ...
    @property
    def url(self) -> str: ...


_HOLDS = ("held_to_the_end", "steps", "beat", "first_bytes_held", "held_irregularly", "compression_holds",
          "one_media_type", "one_method", "one_http_version", "app_engine")  # fmt: skip
_ALSO = ("head_withheld", "heartbeats_swallowed", "cut", "damaged", "truncated", "blocked_loop")


def between(name: str, url: str, urls: Sequence[str], found: Sequence[Found]) -> str:
    """Where this finding comes from, if several points gave streams: the outermost first, the innermost last.

    Empty = it is no matter of place, or there is only one point.
    """
    alike = _HOLDS if name in _HOLDS else (name,) if name in _ALSO else ()
    if not alike or len(urls) < 2 or url not in urls:
        return ""
    has = {finding.url for finding in found if finding.name in alike}
    at = urls.index(url)
    for inner in range(at + 1, len(urls)):
        if urls[inner] not in has:
            return f"between {urls[inner - 1]} and {urls[inner]}"
    return f"at {urls[-1]} or behind it" if urls[-1] in has else ""


def hears_the_same(group: Sequence[Observation]) -> bool:
    """Whether several running streams get most of their events in the same moments, and as large, as from a chat room.

    The size is needed: streams that a loop has blocked once speak in one moment from then on, if their pace is even.
    """
    first, *others = [[(one.began + read.at, read.content) for read in one.reads] for one in group]
    begun, over = max(one[0][0] for one in (first, *others)), min(one[-1][0] for one in (first, *others))
    events = [(at, size) for at, size in first if begun <= at <= over]
    heard = [
        all(any(size == other and abs(at - when) < MOMENT for when, other in one) for one in others)
        for at, size in events
    ]
    return sum(heard) > len(events) / 2


def began_in_step(group: Sequence[Observation]) -> bool:
    """Whether several streams at once that flow hear the same, and began so, although they were asked for one after the
    other. What they waited for is a pause of the application, or a loop that was blocked just then: from there on each
    has its own answer in the same moments as the others, so that nobody can tell."""
    if len(group) < 2 or not all(len(one.reads) > 1 for one in group):
        return False
    first = [one.began + one.reads[0].at for one in group]
    usual = median([later.at - earlier.at for one in group for earlier, later in pairwise(one.reads)])
    return max(first) - min(first) < AGAIN and usual < AGAIN and hears_the_same(group)


def common_silences(group: Sequence[Observation], least: float) -> list[float]:
    """Seconds of silences of at least so many, in which none of several running streams brought anything."""
    begun = max(one.began + one.reads[0].at for one in group)
    over = min(one.began + one.reads[-1].at for one in group)
    times = sorted({one.began + read.at for one in group for read in one.reads if begun <= one.began + read.at <= over})
    return [later - earlier for earlier, later in pairwise(times) if later - earlier >= least]


def stood_still(group: Sequence[Observation]) -> list[float]:
    """Seconds of the silences out of which all of several running streams came in the same moment,
    with an event or two each. They began one after the other: what the application itself pauses for ends so, too.
    What a hop has held comes with many."""
    begun = max(one.began + one.reads[0].at for one in group)
    over = min(one.began + one.reads[-1].at for one in group)
    times = sorted({one.began + read.at for one in group for read in one.reads if begun <= one.began + read.at <= over})
    usual = median([later - earlier for one in group for earlier, later in pairwise([read.at for read in one.reads])])
    found = []
    for since, until in pairwise(times):
        next_ones = [next(read for read in one.reads if one.began + read.at >= until) for one in group]
        together = all(one.began + read.at <= until + AGAIN for one, read in zip(group, next_ones, strict=True))
        if (
            until - since >= max(STILL, 8 * usual)
            and together
            and all(max(read.ends, read.frames) <= 2 for read in next_ones)
        ):
            found.append(until - since)
    return found
