"""The watchdog, on a clock that the test winds: looks come when they were asked for, and no more of them."""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unbuffer.relay.watchdog import BATCH, NOT_WATCHED, TICK, Watchdog


class Handle:
    """A timer that can be cancelled."""

    def __init__(self, at: float, callback: Callable[[], object]) -> None:
        self.at = at
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Loop:
    """As much of an event loop as the watchdog uses."""

    def __init__(self) -> None:
        self.now = 1000.1
        self.timers: list[Handle] = []
        self.soon: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[[], object]) -> None:
        self.soon.append(callback)

    def turn(self) -> None:
        """Call what was to be called in the next turn."""
        (callback,) = self.soon
        self.soon.clear()
        callback()

    def call_later(self, delay: float, callback: Callable[[], object], *_: Any) -> Handle:
        handle = Handle(self.now + delay, callback)
        self.timers.append(handle)
        return handle

    def wind(self, seconds: float) -> None:
        """Let time pass, timer by timer."""
        end = self.now + seconds
        while self.timers and (first := min(self.timers, key=lambda timer: timer.at)).at <= end:
            self.timers.remove(first)
            self.now = first.at
            if not first.cancelled:
                first.callback()
        self.now = end

    def jump(self, seconds: float) -> None:
        """Let time pass in which nothing ran: a process that was stopped."""
        self.now += seconds
        due, self.timers = self.timers, []
        for timer in due:
            timer.at = self.now
        self.timers = due
        self.wind(0.0)

    @property
    def idle(self) -> bool:
        return all(timer.cancelled for timer in self.timers)


class Subject:
    """Remembers when it was looked at."""

    def __init__(self, loop: Loop, then: Callable[[float], float] = lambda now: 0.0) -> None:
        self.watched_slot = NOT_WATCHED
        self.looks: list[float] = []
        self._loop = loop
        self._then = then

    def look(self, now: float) -> float:
        assert now == self._loop.now
        self.looks.append(now)
        return self._then(now)


@pytest.fixture
def loop() -> Loop:
    return Loop()


@pytest.fixture
def watchdog(loop: Loop) -> Watchdog:
    return Watchdog(cast(asyncio.AbstractEventLoop, loop), lambda: loop.now)


@pytest.mark.parametrize("seconds", [0.0, 0.01, TICK, 1.0, 1.13, 15.0, 620.0])
def test_a_look_comes_no_earlier_than_asked_and_two_ticks_later_at_most(
    loop: Loop, watchdog: Watchdog, seconds: float
) -> None:
    for offset in range(10):
        loop.wind(offset * TICK / 10)
        subject = Subject(loop)
        at = loop.now + seconds
        watchdog.watch(subject, at)
        loop.wind(seconds + 3 * TICK)
        (look,) = subject.looks
        assert at <= look <= at + 2 * TICK + 1e-6


def test_looks_come_in_the_order_of_their_times(loop: Loop, watchdog: Watchdog) -> None:
    subjects = {seconds: Subject(loop) for seconds in (3, 1, 4, 2, 5)}
    for seconds, subject in subjects.items():
        watchdog.watch(subject, loop.now + seconds)
    loop.wind(10.0)
    looks = [subjects[seconds].looks for seconds in (1, 2, 3, 4, 5)]
    assert all(len(times) == 1 for times in looks)
    assert looks == sorted(looks)


def test_a_stopped_process_makes_up_for_all_looks_at_once(loop: Loop, watchdog: Watchdog) -> None:
    subjects = [Subject(loop) for _ in range(5)]
    for seconds, subject in enumerate(subjects):
        watchdog.watch(subject, loop.now + seconds)
    loop.jump(3600.0)
    assert all(subject.looks == [loop.now] for subject in subjects)
    assert loop.idle


def test_a_subject_that_asks_again_is_looked_at_again(loop: Loop, watchdog: Watchdog) -> None:
    subject = Subject(loop, lambda now: now + 10.0 if len(subject.looks) < 3 else 0.0)
    watchdog.watch(subject, loop.now + 10.0)
    loop.wind(100.0)
    assert len(subject.looks) == 3
    first, second, third = subject.looks
    assert 10.0 <= second - first <= 10.0 + 2 * TICK
    assert 10.0 <= third - second <= 10.0 + 2 * TICK


def test_an_earlier_time_replaces_a_later_one(loop: Loop, watchdog: Watchdog) -> None:
    subject = Subject(loop)
    watchdog.watch(subject, loop.now + 60.0)
    watchdog.watch(subject, loop.now + 5.0)
    loop.wind(6.0)
    assert len(subject.looks) == 1
    loop.wind(100.0)
    assert len(subject.looks) == 1


def test_a_later_time_leaves_the_earlier_look(loop: Loop, watchdog: Watchdog) -> None:
    """The subject then says itself when to look again: activity costs no change of the table."""
    subject = Subject(loop)
    watchdog.watch(subject, loop.now + 5.0)
    watchdog.watch(subject, loop.now + 60.0)
    loop.wind(100.0)
    assert len(subject.looks) == 1
    assert subject.looks[0] < 1000.1 + 6.0


def test_what_is_forgotten_is_not_looked_at(loop: Loop, watchdog: Watchdog) -> None:
    kept, gone = Subject(loop), Subject(loop)
    for subject in (kept, gone):
        watchdog.watch(subject, loop.now + 5.0)
    watchdog.forget(gone)
    watchdog.forget(gone)
    loop.wind(10.0)
    assert (len(kept.looks), gone.looks) == (1, [])
    watchdog.watch(gone, loop.now + 5.0)
    loop.wind(10.0)
    assert len(gone.looks) == 1


@pytest.mark.parametrize("apart", [0.0, TICK, 10 * TICK])
def test_a_look_may_end_another_subject_that_is_due(loop: Loop, watchdog: Watchdog, apart: float) -> None:
    """Whichever comes first ends the other one, which must then not be looked at, and not be watched again."""

    def end(other: int) -> float:
        watchdog.forget(subjects[other])
        return 0.0

    subjects = [Subject(loop, lambda now: end(1)), Subject(loop, lambda now: end(0))]
    watchdog.watch(subjects[0], loop.now + 5.0)
    watchdog.watch(subjects[1], loop.now + 5.0 + apart)
    loop.jump(10.0)
    loop.wind(10.0)
    assert sorted(len(subject.looks) for subject in subjects) == [0, 1]


def test_a_look_may_have_another_subject_watched(loop: Loop, watchdog: Watchdog) -> None:
    second = Subject(loop)

    def watch_second(now: float) -> float:
        watchdog.watch(second, now)
        return 0.0

    watchdog.watch(Subject(loop, watch_second), loop.now + 1.0)
    loop.wind(5.0)
    assert len(second.looks) == 1


def test_the_clock_stands_still_when_nobody_is_watched(loop: Loop, watchdog: Watchdog) -> None:
    assert loop.idle
    subject = Subject(loop)
    watchdog.watch(subject, loop.now + 5.0)
    assert len(loop.timers) == 1
    watchdog.watch(Subject(loop), loop.now + 1.0)
    assert len(loop.timers) == 1, "one timer for all"
    loop.wind(20.0)
    assert loop.idle
    loop.wind(3600.0)
    watchdog.watch(subject, loop.now + 1.0)
    loop.wind(2.0)
    assert len(subject.looks) == 2


def test_nothing_is_looked_at_after_close(loop: Loop, watchdog: Watchdog) -> None:
    subject = Subject(loop)
    watchdog.watch(subject, loop.now + 5.0)
    watchdog.close()
    assert loop.idle
    loop.wind(100.0)
    assert not subject.looks


def test_a_crowd_that_comes_due_together_is_looked_at_in_several_turns(loop: Loop, watchdog: Watchdog) -> None:
    """Others have their turn between; who was forgotten meanwhile is not looked at, who is late is not forgotten."""
    crowd = [Subject(loop) for _ in range(2 * BATCH + 1)]
    for subject in crowd:
        watchdog.watch(subject, loop.now + 1.0)
    loop.wind(2.0)
    assert sum(len(subject.looks) for subject in crowd) == BATCH
    waiting = [subject for subject in crowd if not subject.looks]
    watchdog.forget(waiting[0])
    late = Subject(loop)
    watchdog.watch(late, loop.now)
    loop.wind(2 * TICK)
    assert not late.looks, "it stands after the crowd"
    loop.turn()
    loop.turn()
    assert not loop.soon
    assert not waiting[0].looks
    assert all(len(subject.looks) == 1 for subject in [*crowd, late] if subject is not waiting[0])


def test_a_crowd_is_left_alone_once_the_clock_is_stopped(loop: Loop, watchdog: Watchdog) -> None:
    crowd = [Subject(loop) for _ in range(BATCH + 1)]
    for subject in crowd:
        watchdog.watch(subject, loop.now + 1.0)
    loop.wind(2.0)
    watchdog.close()
    loop.turn()
    assert sum(len(subject.looks) for subject in crowd) == BATCH


def test_a_later_time_leaves_the_look_of_one_whose_turn_is_to_come(loop: Loop, watchdog: Watchdog) -> None:
    """Both come due in one tick. The first one's look touches the second, as data does that comes between two turns."""

    def touch_second(now: float) -> float:
        watchdog.watch(second, now + 60.0)
        return 0.0

    second = Subject(loop)
    first = Subject(loop, touch_second)
    watchdog.watch(first, loop.now + 1.0)
    watchdog.watch(second, loop.now + 1.0 + TICK)  # a slot of its own: the first one's comes before it
    loop.jump(2.0)
    assert (len(first.looks), len(second.looks)) == (1, 1)


SUBJECTS: Final = 2 * BATCH + 2
"""Some wait for a later turn when all come due together."""

DELAYS = st.sampled_from([0.0, TICK, 1.0, 10.0])
"""Seconds. Few of them, so that many come due together."""

WATCH = st.tuples(st.integers(0, SUBJECTS - 1), DELAYS)
FORGET = st.tuples(st.integers(0, SUBJECTS - 1), st.none())


class Modelled:
    """A subject that knows what was asked for. looks: what it does to others in each of its looks, and what it returns
    then; none = nothing any more."""

    def __init__(self, stage: "Stage", looks: list[tuple[list[tuple[int, float | None]], float]]) -> None:
        self.watched_slot = NOT_WATCHED
        self.earliest: float | None = None
        self.latest = 0.0
        """When the look must have been, two ticks after it was asked for."""
        self._stage = stage
        self._looks = looks

    def ask(self, at: float) -> None:
        if self.earliest is None or at < self.earliest:
            self.earliest = at
            self.latest = max(at, self._stage.loop.now) + 2 * TICK + 1e-6

    def look(self, now: float) -> float:
        assert self.earliest is not None, "a look that nobody asked for"
        assert self.earliest <= now
        self.earliest = None
        others, delay = self._looks.pop() if self._looks else ([], 0.0)
        for number, seconds in others:
            self._stage.step(number, seconds)
        if not delay:
            return 0.0
        self.ask(now + delay)
        return now + delay


class Stage:
    """A watchdog and its subjects, beside a model of them."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.watchdog = Watchdog(cast(asyncio.AbstractEventLoop, self.loop), lambda: self.loop.now)
        self.subjects: list[Modelled] = []

    def step(self, number: int, seconds: float | None) -> None:
        """Watch subject `number`, or forget it."""
        subject = self.subjects[number]
        if seconds is None:
            self.watchdog.forget(subject)
            subject.earliest = None
        else:
            self.watchdog.watch(subject, self.loop.now + seconds)
            subject.ask(self.loop.now + seconds)

    def turns(self) -> None:
        """All looks that wait for a turn, and then none is late."""
        while self.loop.soon:
            self.loop.turn()
        late = [s for s in self.subjects if s.earliest is not None and s.latest < self.loop.now]
        assert not late


@given(
    looks=st.lists(st.lists(st.tuples(st.lists(WATCH | FORGET, max_size=3), DELAYS), max_size=3), max_size=SUBJECTS),
    steps=st.lists(st.lists(WATCH | FORGET, max_size=SUBJECTS) | st.sampled_from(["turn", "tick"]), max_size=20),
    together=DELAYS,
)
def test_the_earliest_look_that_was_asked_for_always_happens(
    looks: list[list[tuple[list[tuple[int, float | None]], float]]],
    steps: list[list[tuple[int, float | None]] | str],
    together: float,
) -> None:
    """Whatever else is asked for, between two looks of one turn or between two turns, in any order."""
    stage = Stage()
    stage.subjects += (Modelled(stage, looks[n] if n < len(looks) else []) for n in range(SUBJECTS))
    for number in range(SUBJECTS):
        stage.step(number, together)
    for step in steps:
        if step == "turn":
            if stage.loop.soon:
                stage.loop.turn()
        elif step == "tick":
            stage.turns()
            stage.loop.wind(TICK)
        else:
            for number, seconds in cast(list[tuple[int, float | None]], step):
                stage.step(number, seconds)
    stage.turns()
    while not stage.loop.idle:
        stage.loop.wind(TICK)
        stage.turns()
    assert all(subject.earliest is None for subject in stage.subjects)
