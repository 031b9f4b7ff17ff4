"""How late the event loop comes to its timers: so long, at that moment, waited every stream of the process.

A timer looks ten times a second: it sees a share of the short delays, as a histogram needs it, and all long ones.
"""

import asyncio
import time

from unbuffer.totals import Totals

PERIOD = 0.1
"""Seconds."""

LATE = 0.25
"""Seconds of lag from which on this process itself has stood still, as when it is paused or gets no CPU."""


class LoopLag:
    """The timer of one event loop, from `start` to `close`."""

    def __init__(self, totals: Totals, loop: asyncio.AbstractEventLoop) -> None:
        self._totals = totals
        self._loop = loop
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look from now on."""
        # The loop's own clock stands still in an iteration, and uvloop's counts whole milliseconds.
        now = time.monotonic()
        self._totals.on_time_at = now
        self._set(now)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, now: float) -> None:
        self._due = now + PERIOD
        self._timer = self._loop.call_later(PERIOD, self._tick)

    def _tick(self) -> None:
        now = time.monotonic()
        lag = max(now - self._due, 0.0)  # a millisecond too early is possible
        self._totals.loop_lag.observe(lag)
        if lag < LATE:
            self._totals.on_time_at = now
        self._set(now)
