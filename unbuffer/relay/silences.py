"""Silences of the upstream inside response bodies: of one stream, or of all at once, as a blocked event loop makes.

A silence is counted when it is over, so it costs a chunk one comparison. An application that sends the same event to
all of its streams blocks nothing, but their silences begin and end together as well. Such streams do not flow, or they
fall silent in one moment; those that something stops have each said their latest word at a time of their own.
"""

from collections.abc import Callable, Iterable
from typing import Final

from unbuffer.record import Record
from unbuffer.totals import ALL_STREAMS, ONE_STREAM, Totals

SILENCE: Final = 1.0
"""Seconds of silence that count; a boundary of the gap histogram. Token streams pause for a tenth of it."""

LOOK: Final = 0.5
"""Seconds of silence from which on it is looked at whether another stream was silent with it. One such silence is
chance, several are not."""

AT_ONCE = 0.015
"""Seconds within which streams speak again that somebody had stopped; all that is due is sent in one turn of a loop."""

ON_TIME = 0.25
"""Seconds since this process was last seen on time that such a silence may have at the most."""

SPREAD = 0.25
"""Seconds within which streams fall silent together, and speak again. Models that think fall silent one by one."""

OTHERS = 2
"""Streams that fall silent with one before it is the upstream: two may pause together by chance."""

FLOWS = 0.25
"""Mean pause of a stream that flows, in silences, at the most: what is four times as long is unlike its others."""

STEP = 0.001
"""Seconds that an application takes to send an event to one more stream, at the most. Streams that it sends the same
events to are as far apart before a silence as after it, and in the same order."""

APART = 0.003
"""Seconds between the latest words of streams from which on it was not the same event that they had; while they are
silent, their order is not known."""

OWN_WORDS = 0.25
"""Share of the streams that fell silent together whose latest word is APART from that of the others, at the least."""

BLOCKER = 4
"""Silent streams for one that speaks meanwhile: a generator that blocks the event loop goes on with its own stream."""

STOOD_STILL = 0.5
"""Seconds since this process was last seen on time from which on the silence was its own; a timer looks ten times a
second."""


LOOKS = 20_000
"""Streams that may be looked at in a second, 0.1 us each. Thousands of streams that pause all the time would else have
each pause compared with all of them. With a blocked upstream there was a second without a look."""

MOST_LOOKS = 50_000
"""Of these as many as may come at once."""


def blocked(running: Iterable[Record], now: float) -> bool:
    """Whether the upstream looks blocked at this moment, before `Silences` can count it: streams have fallen silent
    together, and next to nobody speaks."""
    latest = [record for record in running if record.rhythm is not None and record.chunks]
    silent = [record.last_at for record in latest if now - record.last_at >= SILENCE]
    if not silent:
        return False
    last = max(silent)
    together = [
        record.last_at for record in latest if last - SPREAD <= record.last_at <= last and _flowed(record, now - last)
    ]
    apart = len([at for at in together if last - at > APART])
    enough = max(OTHERS, BLOCKER * (len(latest) - len(silent)))
    return len(together) > enough and apart >= OWN_WORDS * len(together)


def _flowed(record: Record, silence: float) -> bool:
    """Whether this silence is unlike the pauses that the stream had before."""
    return record.rhythm is not None and record.rhythm.flowed(FLOWS * silence)


class Silences:
    """Who counts the silences of one process.

    ended_at: when a stream last ended; an upstream that ends a stream is not blocked.
    """

    def __init__(self, totals: Totals, running: Callable[[], Iterable[Record]]) -> None:
        """running: the streams that have not ended."""
        self.ended_at = 0.0
        self._totals = totals
        self._running = running
        self._blocked = (-1.0, -1.0)
        """Begin and end of the latest silence of all."""
        self._first: Record | None = None
        """The first stream that spoke again after the latest silence; None = others had spoken meanwhile."""
        self._since = self._first_at = 0.0
        """Since when it had been silent, and when it spoke."""
        self._met = False
        """Whether another one has spoken with it."""
        self._looks = float(MOST_LOOKS)
        """How many streams may still be looked at; the latest look may have taken more."""
        self._looked_at = 0.0

    def over(self, record: Record, since: float, now: float) -> None:
        """A stream was silent from `since` until now, for LOOK at least; its `last_at` is still of before."""
        late = now - self._totals.on_time_at if self._totals.on_time_at else 0.0
        flowed = _flowed(record, now - since)
        if record.rhythm is not None and record.chunks:
            record.rhythm.silences += 1
            record.rhythm.silent += now - record.last_at
        if flowed and late <= ON_TIME:
            self._meet(record, since, now)
        if late > STOOD_STILL or now - since < SILENCE:
            return
        begin, end = self._blocked
        if abs(since - begin) <= SPREAD and now - end <= SPREAD:
            return  # one of those that were counted together
        scope = ONE_STREAM
        if flowed and self._may_look(now) and self._upstream_silent(record, since, now):
            scope = ALL_STREAMS
            self._blocked = (since, now)
            self._totals.stood_still_at = now
        self._totals.upstream_silences[scope] += 1

    def _meet(self, record: Record, since: float, now: float) -> None:
        """Count the silence for those that had it together, unless somebody spoke meanwhile."""
        if now - self._first_at > AT_ONCE or abs(since - self._since) > SPREAD:
            self._first, self._since, self._first_at, self._met = record, since, now, False
            return
        first = self._first
        later = now - self._first_at
        same_event = abs(since - self._since - later) < max(STEP, later / 4)
        if first is None or same_event or not self._may_look(now):
            return
        assert record.rhythm is not None
        assert first.rhythm is not None
        if not self._met:
            self._met = True
            if since + SPREAD < self.ended_at < now - AT_ONCE or self._anybody_spoke(record, since + SPREAD, now):
                self._first = None
                return
            first.rhythm.stills += 1
        record.rhythm.stills += 1

    def _anybody_spoke(self, record: Record, since: float, now: float) -> bool:
        """Whether any other stream brought something, if only a head, between `since` and a moment ago."""
        for other in self._running():
            self._looks -= 1
            if since < max(other.last_at, other.head_at) < now - AT_ONCE and other is not record:
                return True
        return False

    def _may_look(self, now: float) -> bool:
        self._looks = min(self._looks + (now - self._looked_at) * LOOKS, MOST_LOOKS)
        self._looked_at = now
        return self._looks > 0

    def _upstream_silent(self, record: Record, since: float, now: float) -> bool:
        """Whether others fell silent with this one, and next to nobody spoke, or ended, until a moment ago. Who was
        silent before, thinking or held up by a client, says nothing."""
        if since + SPREAD < self.ended_at < now - SPREAD:
            return False
        together = speaking = 0
        earliest = latest = since
        for other in self._running():
            self._looks -= 1
            if other is record or other.last_at < since - SPREAD:
                continue
            if other.last_at <= since + SPREAD:
                if _flowed(other, now - since):
                    together += 1
                    earliest, latest = min(earliest, other.last_at), max(latest, other.last_at)
            elif other.last_at < now - SPREAD:
                speaking += 1
        same_event = earliest > since - STEP and latest < since + STEP * together
        return together >= max(OTHERS, BLOCKER * speaking) and not same_event
