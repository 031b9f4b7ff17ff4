"""Deadlines without a timer each: one coarse clock looks at what may be overdue and compares timestamps.

Activity only stores a time. A subject is looked at no earlier than it asked for and at most two ticks later.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

TICK = 0.25
"""Seconds. Deadlines are whole seconds in practice; a quarter is exact enough and costs four wake-ups a second."""


BATCH = 16
"""Looks in one turn of the loop. One that ends a connection takes some 25 µs: where thousands of slow senders come due
together, live streams would feel it."""


class Subject(Protocol):
    """Something with deadlines. `watched_slot` belongs to the watchdog; it starts as NOT_WATCHED."""

    watched_slot: int

    def look(self, now: float) -> float:
        """Act on what is overdue. Returns the time of the next look, 0.0 for none."""
        ...


NOT_WATCHED: Final = -1
_DUE: Final = -2


class Watchdog:
    """Subjects by the tick of their next look."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float]) -> None:
        self._loop = loop
        self._clock = clock
        self._slots: dict[int, dict[Subject, None]] = {}  # in a set each would take up to twice as much memory
        self._done = int(clock() / TICK)
        self._timer: asyncio.TimerHandle | None = None
        self._due: list[Subject] = []
        """Whose turn it is."""

    def watch(self, subject: Subject, at: float) -> None:
        """Have `subject` looked at at the time `at`, unless an earlier look is due already."""
        if subject.watched_slot == _DUE:
            return  # its turn is to come: it then says itself when to look again
        slot = max(int(at / TICK), self._done) + 1
        if subject.watched_slot >= 0:
            if subject.watched_slot <= slot:
                return
            self.forget(subject)
        subject.watched_slot = slot
        self._slots.setdefault(slot, {})[subject] = None
        if self._timer is None:
            self._timer = self._loop.call_later(TICK, self._tick)

    def forget(self, subject: Subject) -> None:
        """No further look. Harmless when none is due."""
        slot = subject.watched_slot
        subject.watched_slot = NOT_WATCHED
        if slot < 0:
            return
        subjects = self._slots[slot]
        subjects.pop(subject, None)
        if not subjects:
            del self._slots[slot]

    def close(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._slots.clear()
        self._due.clear()

    def _tick(self) -> None:
        now = self._clock()
        self._done = int(now / TICK)
        due = [subject for slot in self._slots if slot <= self._done for subject in self._slots[slot]]
        for subject in due:
            self.forget(subject)
            subject.watched_slot = _DUE
        # Only now, with the table at rest: a look may watch and forget others, also those whose turn is to come.
        under_way = bool(self._due)
        self._due += due
        if not under_way:
            self._look()
        self._timer = self._loop.call_later(TICK, self._tick) if self._slots else None

    def _look(self) -> None:
        batch = self._due[:BATCH]
        del self._due[:BATCH]
        if self._due:
            self._loop.call_soon(self._look)
        now = self._clock()
        for subject in batch:
            if subject.watched_slot != _DUE:
                continue
            subject.watched_slot = NOT_WATCHED
            again = subject.look(now)
            if again:
                self.watch(subject, again)
