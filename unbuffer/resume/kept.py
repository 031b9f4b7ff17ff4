"""One resumable stream: its latest events, who reads them, and how it ended."""

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from unbuffer.outcome import WHOLE, Outcome
from unbuffer.resume.readers import Reader
from unbuffer.resume.ring import Ring
from unbuffer.resume.store import About

if TYPE_CHECKING:
    from unbuffer.resume.attach import Coming
    from unbuffer.resume.registry import Registry

WEIGHT: Final = 2048
"""Bytes that a stream takes beside its ring, at the most; tests/resume/test_memory.py measures it."""

_STEP: Final = 1024
"""Bytes that a ring grows by before it is counted anew."""


class Kept:
    """A stream from its head to the end of its window. Where it comes from is its heirs' business: an exchange of this
    process (`served.py`), or a store (`elsewhere.py`).

    ended_at: 0.0 = it has not. outcome, detail, explained: how. scope: see `Registry.the_one_with`.
    """

    __slots__ = (
        "_mark",
        "_paused",
        "_readers",
        "_registry",
        "_ring",
        "_seen",
        "_weight",
        "about",
        "detail",
        "ended_at",
        "explained",
        "outcome",
        "scope",
    )

    def __init__(self, registry: "Registry", about: About, first: int, scope: bytes) -> None:
        """first: how many events of it are not to be had any more."""
        self._registry = registry
        self.about = about
        self.scope = scope
        self.ended_at = 0.0
        self.outcome = Outcome.COMPLETED
        self.detail = ""
        self.explained = False
        self._ring = Ring(first)
        self._readers: list[Reader] = []
        self._seen = 0
        """While nobody reads it: nothing from this position on may be dropped."""
        self._paused = False
        self._weight = 0
        """What the registry counts of it."""
        self._mark = 0
        """The size of the ring from which on it is counted anew."""
        self._weigh()

    # -- where it comes from

    @abstractmethod
    def pause_source(self) -> None:
        """Nothing more is to come until `resume_source`."""

    @abstractmethod
    def resume_source(self) -> None:
        """Go on."""

    @abstractmethod
    def cancel(self, outcome: Outcome, detail: str = "") -> None:
        """End it, unless it has ended."""

    @abstractmethod
    def unread(self) -> None:
        """The last reader of a stream that runs has left."""

    @abstractmethod
    def let_first_go(self) -> None:
        """The client that asked is too far behind."""

    # -- what is known of it

    @property
    def count(self) -> int:
        """Events so far."""
        return self._ring.count

    @property
    def reached(self) -> int:
        """The position of what comes next."""
        return self._ring.reached

    @property
    def readers(self) -> int:
        """How many read it now."""
        return len(self._readers)

    @property
    def rests(self) -> bool:
        """Whether it is over for good: it ended well, or its client did not want it any more."""
        return self.ended_at > 0.0 and (self.outcome in WHOLE or self.outcome is Outcome.CANCELLED)

    def after(self, number: int) -> int:
        """The position after the event of this number; -1 where nothing can go on from there."""
        return self._ring.after(number)

    def number_of(self, own: bytes) -> int:
        """The number of the latest event with this id of the application's; -1 = there is none."""
        return self._ring.number_of(own)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from one position to another."""
        return self._ring.read(start, end)

    def all(self) -> tuple[int, bool, bytes]:
        """See `store.Running.kept`."""
        ring = self._ring
        return ring.first, ring.whole, ring.read(ring.base, ring.reached)

    # -- what comes

    def add_event(self, data: bytes) -> None:
        """One event with an id of ours."""
        self._ring.add_event(data)
        self._give(data)

    def add(self, data: bytes, ends: list[tuple[int, bytes | None]], kept: int, between: bool) -> None:
        """Any bytes, not empty; ends, kept, between: as `Cutter` has them."""
        ring = self._ring
        had_ids = ring.has_ids
        ring.add(data, ends, kept)
        if ring.has_ids and not had_ids:
            self._registry.has_ids(self)
        # One who is behind may have got half of a comment.
        if between and all(reader.live for reader in self._readers):
            ring.drop_comments()
        self._give(data)

    def _give(self, data: bytes) -> None:
        for reader in self._readers:
            if reader.live:
                reader.write(data)
        if self._ring.size >= self._mark:
            self._grow()

    def close(self, outcome: Outcome, detail: str, explained: bool) -> None:
        """Nothing more comes."""
        self.ended_at = time.monotonic()
        self.outcome = outcome
        self.detail = detail
        self.explained = explained
        self._ring.settle()
        self._registry.ended(self)
        for reader in list(self._readers):
            reader.catch_up(False)

    # -- memory

    def _grow(self) -> None:
        if self._ring.size > self.about.size:
            self._make_room()
        self._weigh()
        self._registry.bound(self)

    def _weigh(self) -> None:
        size = self._ring.size
        self._mark = size + _STEP
        self._registry.weigh(WEIGHT + size - self._weight)
        self._weight = WEIGHT + size

    def _make_room(self) -> None:
        """Forget what nobody needs. Where that is not enough, the slowest of several readers is cut, and one alone, or
        nobody, has the source wait."""
        ring, limit = self._ring, self.about.size
        while ring.size > limit:
            slowest = None
            needed = ring.reached if self._readers else self._seen
            for reader in self._readers:
                if not reader.live and reader.position < needed:
                    slowest, needed = reader, reader.position
            # An eighth more than must be, so that not every event moves the rest.
            ring.drop(limit - limit // 8 - 8 * (ring.count - ring.first), needed)
            if ring.size <= limit:
                break
            if slowest is None or len(self._readers) == 1:
                if not self._paused:
                    self._paused = True
                    self.pause_source()
                return
            slowest.cut()
            if slowest in self._readers:
                return  # the request of the first one is not over

    def _go_on(self) -> None:
        """Read the source again, if there is room."""
        if not self._paused or self.ended_at:
            return
        self._make_room()
        if self._ring.size <= self.about.size:
            self._paused = False
            self.resume_source()

    def shrink(self) -> None:
        """Forget all that nobody waits for."""
        if self._readers and all(reader.live for reader in self._readers):
            self._ring.clear()
            self._weigh()

    def forgotten(self) -> None:
        """The registry forgets it."""
        self._registry.weigh(-self._weight)
        self._weight = 0

    # -- readers come and go

    def awaits(self, coming: "Coming") -> bool:
        """Whether what this request has seen is on its way here: it is resolved then. False: there is no such event."""
        return False

    def join(self, reader: Reader, number: int) -> None:
        """One that has the events up to this number."""
        self._readers.append(reader)
        self._registry.totals.resume_replayed += self.count - number

    def advanced(self, reader: Reader) -> None:
        """It has been given more."""
        if not self.ended_at:
            self._go_on()
        elif reader.live:
            reader.over()

    def left(self, reader: Reader) -> None:
        """It reads no more."""
        if reader not in self._readers:
            return
        self._readers.remove(reader)
        if not self._readers:
            reached = self._ring.reached if reader.live else reader.position
            # What was written to a connection that broke has not all arrived.
            self._seen = max(reached - self.about.size // 2, self._ring.base)
            if not self.ended_at:
                self.unread()
        self._go_on()

    def seen_elsewhere(self) -> None:
        """Another process has read all there is, or as good as."""
        if not self._readers:
            self._seen = max(self._ring.reached - self.about.size // 2, self._ring.base)
            self._go_on()
