"""The live page's data: which streams are listed, and what is new to each open page.

Pictures of streams are kept only while somebody looks, and everything is bounded.
"""

import asyncio
from collections.abc import Callable, Iterable
from heapq import nlargest
from itertools import chain, count
from operator import attrgetter
from typing import Protocol

from unbuffer import documents
from unbuffer.judgement import Judgement, Verdict
from unbuffer.observe.causes import REMEDIES, explained
from unbuffer.observe.heatmap import COLUMN, COLUMNS, Heatmap
from unbuffer.observe.news import Chosen, Hello, News, Row, Sums, latest, milliseconds, seconds
from unbuffer.observe.pictures import LENGTH, PICTURES, Pictures, picture
from unbuffer.observe.recent import RECENT, Recent, failed
from unbuffer.observe.verdict import ADVICE, judge
from unbuffer.observe.window import Window
from unbuffer.outcome import Outcome
from unbuffer.presence import Given
from unbuffer.record import MISSING, Record
from unbuffer.totals import GAP_BOUNDS, RELAY_BOUNDS, Totals

RUNNING = 50
"""Running streams that are listed, the newest; the others are counted."""

WATCHERS = 8
"""Pages open at a time. Each costs the loop 0.2 ms a second, and 6 ms more with 10,000 streams."""

STEP = 1000
"""Streams that are looked through in one turn of the loop, in about half a millisecond."""

PATH = 200
"""Characters of a path that are shown."""


_AT_FIRST = (Verdict.LUMP, Verdict.SHORT)
"""Verdicts that hold of an end only: nearly every stream looks so at its beginning."""


HELLO = Hello(
    {verdict.value: advice for verdict, advice in ADVICE.items()},
    {cause.value: remedy for cause, remedy in REMEDIES.items()},
    {outcome.label: outcome.value.text for outcome in Outcome},
    GAP_BOUNDS,
    RELAY_BOUNDS,
    RECENT,
    LENGTH,
    COLUMN,
    COLUMNS,
    docs=documents.address(),
)


class Streams(Protocol):
    """What is asked of the clients of the data plane."""

    on_stream: Callable[[Record], None] | None

    def running(self) -> Iterable[Record]:
        """The streams that have not ended."""


class Watcher:
    """One open page: the stream it shows, and what it has been told."""

    __slots__ = ("chosen", "columns", "ended", "failures", "marks", "pinned")

    def __init__(self, pinned: Record | None) -> None:
        """pinned: the stream that somebody chose; None = the newest is followed."""
        self.chosen = pinned
        self.pinned = pinned is not None
        self.marks = 0
        self.ended = 0
        self.failures = 0
        self.columns = 0


class Live:
    """The data of all open pages. On the event loop."""

    def __init__(self, totals: Totals, recent: Recent, streams: Streams) -> None:
        self._totals = totals
        self._recent = recent
        self._streams = streams
        self._watchers: set[Watcher] = set()
        self._pictures = Pictures()
        self._numbers: dict[Record, int] = {}
        """Of the streams that were told of last: a page names the one it chooses."""
        self._next_number = count(1)
        self.heatmap = Heatmap(totals)
        self._window = Window(totals)

    def turn(self) -> None:
        """COLUMN seconds have passed."""
        self.heatmap.add_column()
        self._window.turn()

    # -- who looks

    @property
    def full(self) -> bool:
        """Whether no further page can be served."""
        return len(self._watchers) >= WATCHERS

    def watch(self, number: int, running: list[Record]) -> Watcher:
        """A page opens. number: of the stream it wants; the newest is followed if nobody has that number. running: what
        `newest` has found."""
        pinned = next((record for record, own in self._numbers.items() if own == number), None)
        watcher = Watcher(pinned)
        self._watchers.add(watcher)
        if len(self._watchers) == 1:
            self._streams.on_stream = self._draw
            for record in reversed(running[:PICTURES]):
                self._draw(record)
        if pinned is not None:
            self._draw(pinned)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """A page was closed. Nothing is kept for nobody."""
        self._watchers.discard(watcher)
        if not self._watchers:
            self._streams.on_stream = None
            self._pictures.clear()

    def _draw(self, record: Record) -> None:
        self._pictures.draw(record, [watcher.chosen for watcher in self._watchers])

    # -- what a page is told

    async def newest(self) -> list[Record]:
        """The running streams that are listed. The loop turns between the steps, however many there are."""
        found: list[Record] = []
        records = list(self._streams.running())
        for start in range(0, len(records), STEP):
            found = nlargest(RUNNING, chain(found, records[start : start + STEP]), key=attrgetter("started"))
            await asyncio.sleep(0)
        return found

    def news(
        self,
        watcher: Watcher,
        running: list[Record],
        state: str,
        now: float,
        offset: float,
        *,
        upstream: str = "",
        blocked: bool = False,
    ) -> News:
        """What is new to this page. running: what `newest` has found. state: of the process. offset: from the monotonic
        clock to the Unix epoch. upstream, blocked: as `News` has them."""
        running = [record for record in running if record.outcome is None]
        ended = self._ended(watcher)
        columns = latest(self.heatmap.columns, self.heatmap.count - watcher.columns)
        watcher.columns = self.heatmap.count
        if not watcher.pinned:
            self._follow(watcher)
        self._number(running)
        return News(
            now=now + offset,
            state=state,
            sums=self._sums(),
            upstream=upstream,
            blocked=blocked,
            running=[self._row(record, now, offset) for record in running],
            unlisted=max(self._totals.streams - len(running), 0),
            ended=[self._row(record, now, offset) for record in ended],
            columns=columns,
            chosen=self._chosen(watcher, now, offset),
        )

    def _ended(self, watcher: Watcher) -> list[Record]:
        """Those that are new to a page, the latest last: of so many that some are lost here the failures are kept."""
        recent = self._recent
        ended = latest(recent.records, recent.count - watcher.ended)
        failures = latest(recent.failed, recent.failures - watcher.failures)
        watcher.ended, watcher.failures = recent.count, recent.failures
        told = set(ended)
        return [record for record in failures if record not in told] + ended

    def _follow(self, watcher: Watcher) -> None:
        """Stay with a stream to its end, then go on to the newest."""
        if watcher.chosen is not None and watcher.chosen.outcome is None:
            return
        # With no picture at all there are still the numbers of what last went wrong, or last ended.
        told = self._recent.failed or self._recent.records
        chosen = self._pictures.newest() or next(reversed(told), None)
        if chosen is not watcher.chosen:
            watcher.chosen = chosen
            watcher.marks = 0

    def _number(self, running: list[Record]) -> None:
        """Number what is new, and forget what is shown no more."""
        chosen = [watcher.chosen for watcher in self._watchers if watcher.chosen is not None]
        numbers = self._numbers
        self._numbers = {
            record: numbers.get(record) or next(self._next_number)
            for record in (*self._recent.failed, *self._recent.records, *chosen, *reversed(running))
        }

    def _row(self, record: Record, now: float, offset: float) -> Row:
        runs = record.outcome is None
        until = now if runs else record.ended
        stall = record.stalled + (now - record.paused_at if record.paused_at else 0.0)
        judgement = self._by_now(record) if runs else record.judgement
        presence = record.presence
        given = presence if isinstance(presence, Given) else None
        chunks = record.chunks if given is None else given.pieces
        first_at, last_at = (record.first_at, record.last_at) if given is None else (given.first_at, given.last_at)
        return Row(
            id=self._numbers[record],
            route=record.route,
            method=record.method_label,
            path=record.path if len(record.path) <= PATH else record.path[:PATH] + "…",
            kind=record.kind,
            age=seconds(until - record.started),
            chunks=chunks,
            bytes=record.bytes_down,
            status=record.status,
            first=seconds(first_at - record.started) if chunks else None,
            gap=seconds(until - last_at) if chunks else None,
            max_gap=seconds(record.max_gap) if record.chunks > 1 else None,
            stall=seconds(stall),
            paused=record.paused_at > 0.0,
            heartbeats=record.heartbeats,
            keepalives=record.keepalives,
            readers=presence.readers if presence else None,
            resumes=presence.resumes if presence else 0,
            replayed=presence.replayed if presence else 0,
            replay=given is not None,
            absent=seconds(presence.absent_by(until)) if presence else 0.0,
            absences=presence.absences if presence else 0,
            verdict=judgement.verdict.value if judgement else "",
            seen=judgement.seen if judgement else "",
            causes=judgement.causes if judgement else (),
            finding=judgement.finding if judgement else "",
            sure=judgement.sure if judgement else False,
            unsaid=record.last_word == MISSING,
            outcome=record.outcome.label if record.outcome else "",
            ended=0.0 if runs else seconds(record.ended + offset),
            failed=not runs and failed(record),
        )

    def _by_now(self, record: Record) -> Judgement | None:
        """How a stream that runs looks by now; None while it could still be anything."""
        judgement = judge(record)
        if judgement is None or judgement.verdict in _AT_FIRST:
            return None
        return explained(judgement, record, self._totals)

    def _chosen(self, watcher: Watcher, now: float, offset: float) -> Chosen | None:
        record = watcher.chosen
        if record is None:
            return None
        head = milliseconds(record.head_at - record.started) if record.head_at else None
        timeline, drawn = record.timeline, None
        if timeline is not None:
            drawn = picture(record, timeline, watcher.marks, now)
            watcher.marks = timeline.count
        return Chosen(self._row(record, now, offset), watcher.pinned, head, drawn)

    def _sums(self) -> Sums:
        totals = self._totals
        chunks = bytes_down = 0
        for series in totals.series.values():
            chunks += sum(series.chunks_by_magnitude)
            bytes_down += series.bytes_down
        late = self._window.counts()
        relay = [sum(counts) for counts in zip(*(histogram.counts for histogram in totals.relay.values()), strict=True)]
        return Sums(totals.streams, chunks, bytes_down, relay, late.failed, dict(late.verdicts), late.blocked)
