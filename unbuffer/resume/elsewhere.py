"""A resumable stream that another process serves, read here by way of a store, as long as it has readers here."""

import asyncio
from typing import TYPE_CHECKING, Final

from unbuffer.outcome import Outcome
from unbuffer.resume.cutter import Cutter
from unbuffer.resume.kept import Kept
from unbuffer.resume.naming import id_prefix
from unbuffer.resume.store import About, End, Followed, Search, Source

if TYPE_CHECKING:
    from unbuffer.resume.attach import Coming
    from unbuffer.resume.registry import Registry

_ALL: Final = 1 << 62
"""A position beyond all: of what the store has, the oldest may go before it is known who reads it from where."""

LATE = 2.0
"""Seconds that what a client has seen may be late in the store: whoever writes it may be busy, or the store slow. After
that it is taken for something that never was, or is lost with the process that sent it."""

_LOST = "who served it is gone"
_OUTCOMES = {outcome.label: outcome for outcome in Outcome}


class Elsewhere(Kept):
    """The registry forgets it when its last reader has left: the store has it."""

    __slots__ = ("_late", "_patient", "_source", "_timer")

    def __init__(self, registry: "Registry", about: About, first: int, source: Source) -> None:
        super().__init__(registry, about, first, b"")
        self._seen = _ALL
        self._source: Source | None = source
        """None once nothing more comes of it."""
        self._late: list[Coming] = []
        """Those that have seen more than the store has."""
        self._timer: asyncio.TimerHandle | None = None
        self._patient = True

    def pause_source(self) -> None:
        if self._source is not None:
            self._source.pause()

    def resume_source(self) -> None:
        if self._source is not None:
            self._source.resume()

    def cancel(self, outcome: Outcome, detail: str = "") -> None:
        if self._source is not None:
            self._source.cancel()

    def let_first_go(self) -> None:
        """Its readers have all come back."""

    def unread(self) -> None:
        if not self._late:
            self.leave()
            self._registry.forget(self)

    # -- what a client has seen before the store has it

    def awaits(self, coming: "Coming") -> bool:
        if self._source is None or not self._patient:
            return False
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LATE, self._no_more)
        self._late.append(coming)
        return True

    def came(self) -> None:
        """There is more, or it is over: see who has waited for that."""
        if self._late:
            late, self._late = self._late, []
            for one in late:
                one.resolve(self)
            if not self._late:
                self._no_more()

    def _no_more(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        late, self._late = self._late, []
        self._patient = False
        for one in late:
            one.resolve(self)
        self._patient = True
        if not self._readers and not self.ended_at:
            self.unread()

    def remember(self) -> None:
        """It is read here."""
        self._registry.remember(self)

    def forget(self) -> None:
        """It is read here no more."""
        self._registry.forget(self)

    def leave(self) -> None:
        """Nothing more of it is wanted."""
        source, self._source = self._source, None
        if source is not None:
            source.leave()

    def over(self, end: End | None) -> None:
        """Nothing more comes."""
        if self._source is None:
            return
        self._source = None
        self._end(end)
        self.came()

    def _end(self, end: End | None) -> None:
        if end is None:
            self.close(Outcome.UPSTREAM_DISCONNECT, _LOST, False)
        else:
            self.close(_OUTCOMES.get(end.outcome, Outcome.UPSTREAM_DISCONNECT), end.detail, end.explained)


class Finding(Search):
    """The search for one stream; coming: the requests that wait for it."""

    __slots__ = ("_name", "_registry", "coming")

    def __init__(self, registry: "Registry", name: bytes) -> None:
        self._registry = registry
        self._name = name
        self.coming: list[Coming] = []

    def may(self, about: About) -> bool:
        coming, self.coming = self.coming, []
        for one in coming:
            if one.may(about):
                self.coming.append(one)
            else:
                one.resolve(None)
        return bool(self.coming)

    def found(self, about: About, source: Source, first: int) -> Followed:
        return Feed(self, Elsewhere(self._registry, about, first, source), first)

    def missing(self) -> None:
        self.settle(None)

    def settle(self, kept: Kept | None) -> None:
        """Answer those who wait."""
        self._registry.searched(self._name)
        coming, self.coming = self.coming, []
        for one in coming:
            one.resolve(kept)


class Feed(Followed):
    """What a store tells of such a stream. Those who search for it are answered once all is there that was."""

    __slots__ = ("_cutter", "_finding", "_kept")

    def __init__(self, finding: Finding, kept: Elsewhere, first: int) -> None:
        self._finding: Finding | None = finding
        """None once they have been answered."""
        self._kept = kept
        self._cutter = Cutter(id_prefix(kept.about.name), numbers=False, count=first)

    def add(self, data: bytes) -> None:
        cutter = self._cutter
        data = cutter.cut(data)
        if data:
            self._kept.add(data, cutter.ends, cutter.kept, cutter.between)
            self._kept.came()

    def ready(self) -> None:
        finding, self._finding = self._finding, None
        if finding is None:
            return
        kept = self._kept
        kept.remember()
        finding.settle(kept)
        if not kept.readers:
            kept.unread()

    def over(self, end: End | None) -> None:
        self._kept.over(end)
        self.ready()
