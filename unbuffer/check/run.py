"""The requests of a check, one after the other and some at once. What is known at any moment is in `kept`."""

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urljoin

from unbuffer.check import compare
from unbuffer.check.diagnosis import Finding
from unbuffer.check.evidence import carries_credentials
from unbuffer.check.measure import Asking, measure, offers_http2
from unbuffer.check.messages import http2_installed
from unbuffer.check.observation import REDIRECTS, Observation
from unbuffer.check.shape import Kind, shape
from unbuffer.check.target import Target, UsageError, target_of
from unbuffer.check.variants import Variant, first, others, with_patience

PROBE_PATH = "/_unbuffer/probe"

MOST_REDIRECTS = 10

STAGGER = 0.1
"""Seconds between the beginnings of several streams: what they are told at the same time is not what they have in
common."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be asked. probe: every URL is a probe's, whatever its path. quick: the first request alone. several:
    how many at once. patience: seconds of silence that are looked for, where the user gave some; 0.0 = none."""

    targets: Sequence[Target]
    asking: Asking
    probe: bool = False
    quick: bool = False
    several: int = 3
    patience: float = 0.0
    follow: bool = False


@dataclass(slots=True)
class Check:
    """A run. kept: what was seen so far. noticed: what was found without looking at a response. told: called with
    a line for each URL, and one for each request that says what it is for."""

    wanted: Wanted
    told: Callable[[str], object]
    kept: list[Observation] = field(default_factory=list)
    noticed: list[Finding] = field(default_factory=list)

    async def run(self) -> None:
        """Ask all URLs."""
        for target in self.wanted.targets:
            await self._ask(target)

    async def _ask(self, target: Target) -> None:
        wanted = self.wanted
        self._notice(target)
        probe = wanted.probe or target.target.partition("?")[0].endswith(PROBE_PATH)
        target, one = await self._first(target, first(probe))
        if one.marks and not probe:
            # A probe at a path of its own: ask it what it can do.
            self.kept.remove(one)
            probe = True
            target, one = await self._first(target, first(probe))
        if (
            wanted.quick
            or one.head is None
            or not 200 <= one.status < 300
            or not one.reads
            or (probe and not one.marks)
        ):
            return
        http2 = await offers_http2(target, wanted.asking.way)
        if http2 and not http2_installed():
            self.noticed.append(Finding("http2_missing", target.shown, "by ALPN; the library h2 is not installed"))
        groups = tuple(others(probe, http2 and http2_installed(), wanted.several))
        for group in groups:
            await self._together(target, group)
        await self._several_again(target, groups)
        if probe and wanted.patience:
            await self._together(target, with_patience(wanted.patience))
        if not probe:
            await self._ask_again(target, (first(probe), *(one for group in groups for one in group if not one.group)))

    async def _first(self, target: Target, variant: Variant) -> tuple[Target, Observation]:
        """The request that is alone; redirects are followed if the user wants that. Returns where it ended."""
        followed = 0
        while True:
            self.told(f"{target.shown}\n  {variant.name}: {variant.why}")
            one = await measure(target, variant, self.wanted.asking, self.kept)
            if not (self.wanted.follow and one.status in REDIRECTS and one.value("location")):
                return target, one
            try:
                there = _redirected(target, one.value("location"), variant, followed)
            except UsageError as error:
                self.kept[self.kept.index(one)] = one = replace(one, detail=str(error))
                return target, one
            self.kept.remove(one)
            target, followed = there, followed + 1

    async def _together(self, target: Target, variants: Sequence[Variant]) -> None:
        for name, why in dict.fromkeys((variant.name, variant.why) for variant in variants):
            self.told(f"  {name}: {why}")
        async with asyncio.TaskGroup() as group:
            for variant in variants:
                group.create_task(measure(target, variant, self.wanted.asking, self.kept))
                if variant.group:
                    await asyncio.sleep(STAGGER)

    async def _ask_again(self, target: Target, variants: Sequence[Variant]) -> None:
        """What is late in some of the requests only: a server whose threads are all busy looks so by chance.

        The second answer counts. Of a probe it is known when it was sent, so that there is no doubt.
        """
        kinds = {one.variant: shape(one) for one in self.kept if one.url == target.shown and not one.group}
        late = {name for name, form in kinds.items() if form.held or form.head_late}
        if not any(form.kind is not Kind.NONE for name, form in kinds.items() if name not in late):
            return
        for variant in variants:
            if variant.name in late:
                self.told(f"  {variant.name}: once more, because others were not late")
                number = next(
                    n for n, one in enumerate(self.kept) if (one.url, one.variant) == (target.shown, variant.name)
                )
                await measure(target, variant, self.wanted.asking, self.kept)
                self.kept[number] = self.kept.pop()

    async def _several_again(self, target: Target, groups: Sequence[Sequence[Variant]]) -> None:
        """Streams that began in step by chance: the second time counts."""
        group = [one for one in self.kept if one.url == target.shown and one.group]
        if compare.began_in_step(group):
            self.told("  several: once more, because they began in the same moment")
            self.kept[:] = [one for one in self.kept if one not in group]
            await self._together(target, groups[-1])

    def _notice(self, target: Target) -> None:
        if carries_credentials(target.query):
            self.noticed.append(Finding("query_credentials", target.shown, "a parameter looks like a credential"))
        names = (f"{target.scheme}_proxy", f"{target.scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY")
        given = [name for name in names if os.environ.get(name)]
        if given and self.wanted.asking.way.proxy is None and not self.wanted.asking.way.unix_socket:
            self.noticed.append(Finding("proxy_environment", target.shown, f"{given[0]} is set"))


def _redirected(target: Target, location: str, variant: Variant, followed: int) -> Target:
    """The target that a redirect names. A probe's parameters come from its plan again. followed: redirects before it.

    Raises UsageError if it cannot be followed.
    """
    if followed == MOST_REDIRECTS:
        raise UsageError(f"{MOST_REDIRECTS} redirects were followed before it")
    base = f"{target.scheme}://{target.authority}{target.asking(variant.plan)}"
    try:
        there = target_of(urljoin(base, location))
    except ValueError as error:
        raise UsageError(f"where it leads is no URL: {error}") from None
    same = (there.scheme, there.authority) == (target.scheme, target.authority)
    # Like curl: another host does not get the credentials.
    return replace(there, credentials=target.credentials if same else "")
