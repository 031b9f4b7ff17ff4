"""The event loop's lag is that of a timer, and who is late is not on time."""

import asyncio
import time
from typing import cast

import pytest

from unbuffer.observe.loop_lag import LATE, PERIOD, LoopLag
from unbuffer.totals import LAG_BOUNDS, Totals


class Loop:
    """An event loop whose timer the test calls, at a time that it chooses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.timers = 0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def call_later(self, delay: float, callback: object) -> "Loop":
        assert delay == PERIOD
        self.timers += 1
        self.callback = callback
        return self

    def cancel(self) -> None:
        self.timers -= 1

    def turn(self, late: float) -> None:
        """Call the timer, so many seconds behind its time."""
        self.now += PERIOD + late
        self.timers -= 1
        assert callable(self.callback)
        self.callback()


def start(totals: Totals, loop: Loop) -> LoopLag:
    lag = LoopLag(totals, cast(asyncio.AbstractEventLoop, loop))
    lag.start()
    return lag


def test_the_lag_is_how_late_the_timer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    totals, loop = Totals(), Loop(monkeypatch)
    lag = start(totals, loop)
    for late in (0.0, 0.002, 0.03, 3.0, -0.001):
        loop.turn(late)
    counts = dict(zip((*LAG_BOUNDS, "more"), totals.loop_lag.counts, strict=True))
    assert {bound: count for bound, count in counts.items() if count} == {0.001: 2, 0.0025: 1, 0.05: 1, "more": 1}
    assert totals.loop_lag.sum == pytest.approx(3.032)
    lag.close()
    assert loop.timers == 0


def test_who_is_late_is_not_on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    totals, loop = Totals(), Loop(monkeypatch)
    assert totals.on_time_at == 0.0
    start(totals, loop)
    assert totals.on_time_at == 1000.0
    loop.turn(LATE)
    assert totals.on_time_at == 1000.0
    loop.turn(0.0)
    assert totals.on_time_at == loop.now


async def test_a_real_loop_is_looked_at_until_the_close() -> None:
    totals = Totals()
    lag = LoopLag(totals, asyncio.get_running_loop())
    lag.start()
    while not sum(totals.loop_lag.counts):  # noqa: ASYNC110 - nobody sets an event for it
        await asyncio.sleep(PERIOD)
    lag.close()
    seen = sum(totals.loop_lag.counts)
    await asyncio.sleep(2 * PERIOD)
    assert sum(totals.loop_lag.counts) == seen


def test_what_was_never_started_can_be_closed() -> None:
    loop = asyncio.new_event_loop()
    LoopLag(Totals(), loop).close()
    loop.close()
