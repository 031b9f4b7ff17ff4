"""The live page's data: what a page is told equals what was measured, and everything is bounded."""

import asyncio
import io
from collections.abc import Callable, Iterable

import msgspec
import pytest

from unbuffer.judgement import Judgement, Verdict
from unbuffer.observe import live, pictures
from unbuffer.observe.access_log import AccessLog
from unbuffer.observe.heatmap import COLUMNS
from unbuffer.observe.live import HELLO, Live, Watcher
from unbuffer.observe.news import Chosen, News, Picture, Row, event
from unbuffer.observe.observer import Observer
from unbuffer.observe.recent import RECENT, Recent
from unbuffer.observe.verdict import judge
from unbuffer.outcome import Outcome
from unbuffer.record import MISSING, SAID, Record
from unbuffer.rhythm import Rhythm
from unbuffer.timeline import Timeline
from unbuffer.totals import GAP_BOUNDS, RELAY_BOUNDS, Totals

EPOCH = 1_700_000_000.0
"""Where the monotonic clock of these tests begins."""


class Plane:
    """A data plane as the live page sees it."""

    def __init__(self) -> None:
        self.on_stream: Callable[[Record], None] | None = None
        self.records: list[Record] = []

    def running(self) -> Iterable[Record]:
        return self.records


class Process:
    """A process with its live page."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.recent = Recent()
        self.plane = Plane()
        self.live = Live(self.totals, self.recent, self.plane)

    def begin(self, started: float = 100.0, path: str = "/chat") -> Record:
        """A stream whose head came at once."""
        record = Record(started, "POST", path, "1.1", "192.0.2.1", "chat")
        record.kind = "sse"
        record.status = 200
        record.head_at = started + 0.25
        record.rhythm = Rhythm("sse")
        self.plane.records.append(record)
        self.totals.streams += 1
        if self.plane.on_stream is not None:
            self.plane.on_stream(record)
        return record

    def end(self, record: Record, at: float, outcome: Outcome = Outcome.COMPLETED) -> None:
        record.outcome = outcome
        record.ended = at
        self.plane.records.remove(record)
        self.totals.streams -= 1
        self.recent.add(record)

    def watch(self, number: int = 0) -> Watcher:
        return self.live.watch(number, asyncio.run(self.live.newest()))

    def news(self, watcher: Watcher, now: float = 110.0) -> News:
        return self.live.news(watcher, asyncio.run(self.live.newest()), "ready", now, EPOCH)


def chunk(record: Record, at: float, size: int) -> None:
    """A chunk, as the relay counts it."""
    if record.chunks:
        record.max_gap = max(record.max_gap, at - record.last_at)
    else:
        record.first_at = at
    record.last_at = at
    record.chunks += 1
    record.bytes_read += size
    record.bytes_down += size
    if record.timeline is not None:
        record.timeline.wrote(at, at + 0.0005, record.bytes_down)


def ids(rows: list[Row]) -> list[int]:
    return [row.id for row in rows]


@pytest.fixture
def process() -> Process:
    return Process()


# -- rows


def test_a_running_stream_is_told_as_it_was_measured(process: Process) -> None:
    record = process.begin()
    chunk(record, 101.0, 60)
    chunk(record, 103.5, 40)
    record.stalled = 0.5
    record.heartbeats = 2
    record.keepalives = 3

    (row,) = process.news(process.watch()).running
    assert row == Row(
        id=row.id,
        route="chat",
        method="POST",
        path="/chat",
        kind="sse",
        age=10.0,
        chunks=2,
        bytes=100,
        status=200,
        first=1.0,
        gap=6.5,
        max_gap=2.5,
        stall=0.5,
        heartbeats=2,
        keepalives=3,
    )


def test_a_stall_that_goes_on_counts_up_to_now(process: Process) -> None:
    record = process.begin()
    record.stalled = 1.0
    record.paused_at = 108.0
    (row,) = process.news(process.watch()).running
    assert (row.stall, row.paused) == (3.0, True)


def test_an_ended_stream_has_its_outcome_and_the_time_of_day(process: Process) -> None:
    record = process.begin()
    chunk(record, 101.5, 4000)
    process.end(record, 103.0, Outcome.CLIENT_DISCONNECT)

    (row,) = process.news(process.watch()).ended
    assert (row.outcome, row.age, row.ended) == ("client_disconnect", 3.0, EPOCH + 103.0)
    assert row.gap == 1.5
    assert row.outcome in HELLO.outcomes


def test_a_stream_without_the_last_word_of_the_others_is_told_so(process: Process) -> None:
    whole, cut = process.begin(), process.begin()
    whole.last_word, cut.last_word = SAID, MISSING
    for record in (whole, cut):
        process.end(record, 105.0)
    assert [row.unsaid for row in process.news(process.watch()).ended] == [False, True]


def test_the_verdict_stands_with_what_it_was_seen_by(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    record = process.begin()
    judged = {record: Judgement(Verdict.BURSTS, "every 500 ms")}
    monkeypatch.setattr(live, "judge", judged.get)
    (row,) = process.news(process.watch()).running
    assert (row.verdict, row.seen) == ("bursts", "every 500 ms")
    assert row.verdict in HELLO.advice


def test_a_path_is_cut_and_a_method_of_ones_own_is_not_told(process: Process) -> None:
    record = process.begin(path="/" + "x" * 5000)
    record.method = "SECRET"
    (row,) = process.news(process.watch()).running
    assert row.path == "/" + "x" * (live.PATH - 1) + "…"
    assert row.method == "_OTHER"


def test_nothing_is_told_of_client_detail_trace_and_content(process: Process) -> None:
    record = process.begin()
    record.detail = record.trace = record.client = "private"
    process.end(record, 101.0)
    watcher = process.watch()
    assert b"private" not in event("news", process.news(watcher))


@pytest.mark.parametrize("step", [1, 7, live.STEP])
def test_the_newest_are_listed_and_the_others_counted(
    process: Process, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    monkeypatch.setattr(live, "STEP", step)
    for number in range(live.RUNNING + 3):
        process.begin(started=float(number))
    process.plane.records.sort(key=lambda record: record.started % 10)
    news = process.news(process.watch())
    assert len(news.running) == live.RUNNING
    assert news.running[0].age == 110.0 - (live.RUNNING + 2)
    assert news.unlisted == 3


def test_what_ended_while_it_was_looked_for_is_not_running(process: Process) -> None:
    watcher = process.watch()
    record = process.begin()
    found = asyncio.run(process.live.newest())
    process.end(record, 105.0)
    news = process.live.news(watcher, found, "ready", 110.0, EPOCH)
    assert (len(news.running), len(news.ended)) == (0, 1)


def test_the_loop_turns_while_many_streams_are_looked_through(process: Process) -> None:
    for number in range(3 * live.STEP):
        process.begin(float(number))
    turns = 0

    async def look() -> None:
        nonlocal turns
        search = asyncio.ensure_future(process.live.newest())
        while not search.done():
            await asyncio.sleep(0)
            turns += 1

    asyncio.run(look())
    assert turns >= 3


@pytest.mark.parametrize("verdict", Verdict)
def test_what_every_stream_looks_like_at_first_is_said_at_its_end(
    process: Process, monkeypatch: pytest.MonkeyPatch, verdict: Verdict
) -> None:
    record = process.begin()
    monkeypatch.setattr(live, "judge", {record: Judgement(verdict)}.get)
    watcher = process.watch()
    passing = verdict in (Verdict.LUMP, Verdict.SHORT)
    assert process.news(watcher).running[0].verdict == ("" if passing else verdict.value)
    record.judgement = Judgement(verdict)
    process.end(record, 105.0)
    assert process.news(watcher).ended[0].verdict == verdict.value


def test_an_ended_stream_was_judged_when_it_ended_and_is_not_again(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = process.begin()
    chunk(record, 101.0, 10)
    process.end(record, 105.0)
    Observer(process.totals, AccessLog("off", io.BytesIO()), Recent()).ended(record)
    assert record.judgement == judge(record)
    monkeypatch.setattr(live, "judge", lambda _: pytest.fail("judged again"))
    (row,) = process.news(process.watch()).ended
    assert row.verdict == "short"


# -- what ended


def test_whoever_comes_later_sees_the_last_hundred(process: Process) -> None:
    for number in range(120):
        process.end(process.begin(float(number)), 110.0 + number)
    ended = process.news(process.watch()).ended
    assert [row.ended - EPOCH for row in ended] == [130.0 + number for number in range(100)]


def test_each_ended_stream_is_told_once_to_each_page(process: Process) -> None:
    first, second = process.watch(), process.watch()
    record = process.begin()
    assert not process.news(first).ended
    process.end(record, 105.0)
    assert [len(process.news(watcher).ended) for watcher in (first, first, second)] == [1, 0, 1]


def test_a_stream_keeps_its_number_when_it_ends(process: Process) -> None:
    watcher = process.watch()
    record, other = process.begin(), process.begin(101.0)
    running = process.news(watcher).running
    process.end(record, 105.0)
    news = process.news(watcher)
    assert ids(news.ended) == [running[1].id]
    assert ids(news.running) == [running[0].id]
    process.end(other, 106.0)
    assert ids(process.news(watcher).ended) == [running[0].id]


def test_only_what_is_shown_is_numbered(process: Process) -> None:
    watcher = process.watch()
    for number in range(500):
        process.end(process.begin(float(number)), 1000.0)
        process.news(watcher)
    assert len(process.live._numbers) <= 2 * RECENT + live.RUNNING + live.WATCHERS


# -- the chosen stream


def test_where_nothing_runs_what_last_went_wrong_is_told(process: Process) -> None:
    for path, outcome in (("/lost", Outcome.UPSTREAM_REFUSED), ("/fine", Outcome.COMPLETED)):
        process.end(process.begin(path=path), 101.0, outcome)
    watcher = process.watch()
    chosen = process.news(watcher).chosen
    assert chosen is not None
    assert (chosen.row.path, chosen.picture, chosen.pinned) == ("/lost", None, False)
    process.begin(path="/new")
    chosen = process.news(watcher).chosen
    assert chosen is not None
    assert chosen.row.path == "/new"


def test_the_newest_is_followed_to_its_end_and_then_the_next(process: Process) -> None:
    watcher = process.watch()
    assert process.news(watcher).chosen is None
    first = process.begin(100.0)
    chosen = process.news(watcher).chosen
    assert chosen is not None
    assert not chosen.pinned
    process.begin(101.0)
    after = process.news(watcher).chosen
    assert after is not None
    assert after.row.id == chosen.row.id
    process.end(first, 105.0)
    following = process.news(watcher).chosen
    assert following is not None
    assert following.row.id != chosen.row.id


def test_the_picture_of_the_next_begins_at_its_beginning(process: Process) -> None:
    watcher = process.watch()
    for number, size in enumerate((10, 20)):
        record = process.begin(100.0 + number)
        chunk(record, 105.0, size)
        chunk(record, 106.0, size)
        chosen = process.news(watcher).chosen
        assert chosen is not None
        assert chosen.picture is not None
        assert [mark[2] for mark in chosen.picture.marks] == [size, size]
        process.end(record, 107.0)


def test_the_last_one_stays_when_none_runs(process: Process) -> None:
    watcher = process.watch()
    process.news(watcher)
    record = process.begin()
    chunk(record, 101.0, 10)
    process.end(record, 102.0)
    chosen = process.news(watcher).chosen
    assert chosen is not None
    assert chosen.row.outcome == "completed"
    assert chosen.picture is not None
    assert len(chosen.picture.marks) == 1


def test_a_chosen_stream_stays_whatever_comes(process: Process) -> None:
    record = process.begin(100.0)
    number = process.news(process.watch()).running[0].id
    pinned = process.watch(number)
    process.end(record, 105.0)
    process.begin(106.0)
    chosen = process.news(pinned).chosen
    assert chosen is not None
    assert (chosen.row.id, chosen.pinned) == (number, True)


def test_a_number_that_nobody_has_follows_the_newest(process: Process) -> None:
    process.begin()
    chosen = process.news(process.watch(4711)).chosen
    assert chosen is not None
    assert not chosen.pinned


def test_a_picture_has_every_chunk_once_pauses_and_heartbeats(process: Process) -> None:
    watcher = process.watch()
    record = process.begin()
    chunk(record, 101.0, 10)
    chunk(record, 101.5, 20)
    assert process.news(watcher).chosen == Chosen(
        process.news(process.watch()).running[0],
        pinned=False,
        head=250.0,
        picture=Picture(marks=[(1000.0, 0.5, 10), (1500.0, 0.5, 20)]),
    )
    chunk(record, 102.0, 30)
    assert record.timeline is not None
    record.timeline.heartbeats.append(103.0)
    record.timeline.pauses.append((104.0, 105.0))
    record.paused_at = 109.0
    chosen = process.news(watcher).chosen
    assert chosen is not None
    assert chosen.picture == Picture(
        marks=[(2000.0, 0.5, 30)], pauses=[(4000.0, 5000.0), (9000.0, 10000.0)], heartbeats=[3000.0]
    )


def test_of_more_chunks_than_are_kept_the_latest_come(process: Process) -> None:
    watcher = process.watch()
    record = process.begin()
    for number in range(pictures.LENGTH + 10):
        chunk(record, 101.0 + number, 1)
    chosen = process.news(watcher).chosen
    assert chosen is not None
    assert chosen.picture is not None
    assert [mark[0] for mark in chosen.picture.marks] == [(11 + number) * 1000.0 for number in range(pictures.LENGTH)]
    assert chosen.picture.missed == 0


def test_what_came_before_anybody_looked_is_said(process: Process) -> None:
    record = process.begin()
    chunk(record, 101.0, 10)
    chunk(record, 102.0, 10)
    watcher = process.watch()
    chunk(record, 103.0, 30)
    chosen = process.news(watcher).chosen
    assert chosen is not None
    assert chosen.picture == Picture(marks=[(3000.0, 0.5, 30)], missed=2)


def test_a_stream_that_ended_unseen_has_no_picture(process: Process) -> None:
    process.end(process.begin(), 105.0)
    number = process.news(process.watch()).ended[0].id
    chosen = process.news(process.watch(number)).chosen
    assert chosen is not None
    assert chosen.picture is None


# -- what it costs


def test_nothing_is_kept_while_nobody_looks(process: Process) -> None:
    before = process.begin()
    assert before.timeline is None
    first, second = process.watch(), process.watch()
    after = process.begin()
    assert before.timeline is not None
    assert after.timeline is not None
    process.live.leave(first)
    assert after.timeline is not None
    process.live.leave(second)
    assert process.plane.on_stream is None
    assert before.timeline is None
    assert after.timeline is None


def test_pictures_are_bounded_and_the_oldest_that_nobody_chose_goes(process: Process) -> None:
    first = process.begin(0.0)
    number = process.news(process.watch()).running[0].id
    process.watch(number)
    others = [process.begin(float(n)) for n in range(1, pictures.PICTURES + 5)]
    kept = [record for record in (first, *others) if record.timeline is not None]
    assert kept == [first, *others[-pictures.PICTURES + 1 :]]


def test_who_already_ran_is_drawn_newest_first_and_not_twice(process: Process) -> None:
    records = [process.begin(float(n)) for n in range(pictures.PICTURES + 3)]
    process.watch()
    assert [record.timeline is not None for record in records] == [False] * 3 + [True] * pictures.PICTURES
    timeline = records[-1].timeline
    assert process.plane.on_stream is not None
    process.plane.on_stream(records[-1])  # its head has come
    assert records[-1].timeline is timeline


def test_pages_are_bounded_and_leaving_makes_room(process: Process) -> None:
    watchers = [process.watch() for _ in range(live.WATCHERS - 1)]
    assert not process.live.full
    watchers.append(process.watch())
    assert process.live.full
    process.live.leave(watchers[0])
    assert not process.live.full


def test_every_chosen_stream_can_have_its_picture() -> None:
    assert live.WATCHERS < pictures.PICTURES


# -- sums and the heatmap


def test_sums_are_those_of_the_totals(process: Process) -> None:
    totals = process.totals
    for route in ("a", "b"):
        series = totals.of(route, "sse")
        series.chunks_by_magnitude[4] = series.chunks_by_magnitude[20] = 1
        series.bytes_down = 100
        totals.verdicts[route, "lump"] = 2
    totals.relay["sse"].observe(0.00005)
    totals.relay["plain"].observe(100.0)
    totals.upstream_silences["upstream"] = 3
    sums = process.news(process.watch()).sums
    assert (sums.chunks, sums.bytes, sums.verdicts, sums.blocked) == (4, 200, {"lump": 4}, 3)
    assert sums.relay == [1] + [0] * (len(RELAY_BOUNDS) - 1) + [1]


def test_what_went_wrong_counts_for_as_long_as_the_heatmap_shows_it(process: Process) -> None:
    watcher = process.watch()
    series = process.totals.of("a", "sse")
    series.outcomes[Outcome.UPSTREAM_REFUSED] = 2
    series.outcomes[Outcome.COMPLETED] = series.outcomes[Outcome.CLIENT_DISCONNECT] = 5
    series.missing = 1
    process.totals.verdicts["a", "lump"] = 2
    process.totals.upstream_silences["upstream"] = 1
    for _ in range(COLUMNS - 1):
        process.live.turn()
    sums = process.news(watcher).sums
    assert (sums.failed, sums.blocked, sums.verdicts) == (3, 1, {"lump": 2})
    process.live.turn()
    sums = process.news(watcher).sums
    assert (sums.failed, sums.blocked, sums.verdicts) == (0, 0, {})


def test_failures_are_kept_when_many_others_ended_since(process: Process) -> None:
    early = process.watch()
    lost = process.begin(path="/lost")
    process.end(lost, 101.0, Outcome.UPSTREAM_DISCONNECT)
    unsaid = process.begin(path="/unsaid")
    unsaid.last_word = MISSING
    process.end(unsaid, 101.5)
    for _ in range(RECENT):
        process.end(process.begin(), 102.0)
    for watcher in (early, process.watch()):
        ended = process.news(watcher).ended
        assert [(row.path, row.failed) for row in ended[:3]] == [("/lost", True), ("/unsaid", True), ("/chat", False)]
        assert len(ended) == RECENT + 2
        assert process.news(watcher).ended == []
    # It can still be chosen.
    chosen = process.news(process.watch(ended[0].id)).chosen
    assert chosen is not None
    assert chosen.row.path == "/lost"


def test_the_time_to_the_first_chunk_is_told(process: Process) -> None:
    record = process.begin()
    watcher = process.watch()
    assert process.news(watcher).running[0].first is None
    chunk(record, 101.5, 10)
    chunk(record, 103.0, 10)
    assert process.news(watcher).running[0].first == 1.5


def test_a_column_has_the_gaps_since_the_one_before(process: Process) -> None:
    watcher = process.watch()
    gaps = process.totals.of("a", "sse").gaps
    gaps.observe(0.001)
    process.live.heatmap.add_column()
    gaps.observe(100.0)
    process.totals.of("b", "sse").gaps.observe(100.0)
    process.live.heatmap.add_column()
    beyond = len(GAP_BOUNDS)
    assert process.news(watcher).columns == [(1, *[0] * beyond), (*[0] * beyond, 2)]
    assert process.news(watcher).columns == []


def test_whoever_comes_later_sees_the_last_minutes(process: Process) -> None:
    for _ in range(COLUMNS + 5):
        process.live.heatmap.add_column()
    assert len(process.news(process.watch()).columns) == COLUMNS


def test_an_event_is_one_line_of_json(process: Process) -> None:
    process.begin(path="/a\u2028b")
    data = event("news", process.news(process.watch()))
    name, line, *rest = data.split(b"\n")
    assert (name, rest) == (b"event: news", [b"", b""])
    assert msgspec.json.decode(line.removeprefix(b"data: "))["running"][0]["path"] == "/a\u2028b"


# -- the timeline


def test_a_timeline_takes_what_has_bytes_of_the_body() -> None:
    timeline = Timeline(3, 50)
    timeline.wrote(1.0, 1.1, 50)  # a head alone
    for number in range(1, 6):
        timeline.wrote(float(number), number + 0.1, 50 + 10 * number)
    timeline.wrote(6.0, 6.1, 100)  # the last chunk
    assert list(timeline.chunks) == [(3.0, 3.1, 10), (4.0, 4.1, 10), (5.0, 5.1, 10)]
    assert timeline.count == 5
