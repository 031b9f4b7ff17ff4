"""Whose silence it was: of one stream, of the upstream, or of this process."""

from collections.abc import Iterator

import pytest

from unbuffer.record import Record
from unbuffer.relay.silences import LOOK, LOOKS, MOST_LOOKS, Silences, blocked
from unbuffer.rhythm import Rhythm
from unbuffer.totals import Totals

T = 1000.0


class Streams:
    """Streams that run, by the time of their latest chunk. pause: seconds of those that they had before, on average."""

    def __init__(self, *last: float, pause: float = 0.04) -> None:
        self.totals = Totals()
        self.records = [Record(T - 60, "GET", "/", "1.1", "", "default") for _ in last]
        for record, at in zip(self.records, last, strict=True):
            record.rhythm = Rhythm("sse")
            for _ in range(50):
                record.rhythm.pause(pause, 0, at)
            record.rhythm.silences, record.rhythm.silent = (50, 50 * pause) if pause >= LOOK else (0, 0.0)
            record.last_at = at
            record.chunks = 51
        self.silences = Silences(self.totals, lambda: iter(self.records))

    def speaks(self, number: int, now: float) -> None:
        """A stream breaks its silence."""
        record = self.records[number]
        self.silences.over(record, record.last_at, now)
        assert record.rhythm is not None
        record.rhythm.pause(now - record.last_at, 0, now)
        record.last_at = now

    @property
    def counted(self) -> tuple[int, int]:
        """Silences of the upstream, and of streams."""
        return self.totals.upstream_silences["upstream"], self.totals.upstream_silences["stream"]


def test_one_that_is_silent_among_others_is_a_stream() -> None:
    streams = Streams(T, T + 1.9, T + 1.6, T + 1.4)
    streams.speaks(0, T + 2)
    assert streams.counted == (0, 1)


def test_all_that_fall_silent_together_are_the_upstream_and_count_once() -> None:
    streams = Streams(T, T + 0.1, T - 0.1, T + 0.05)
    for number in range(4):
        streams.speaks(number, T + 2 + number / 100)
    assert streams.counted == (1, 0)


def test_the_next_silence_of_all_counts_anew() -> None:
    streams = Streams(T, T + 0.02, T - 0.02)
    for again in range(2):
        for number in range(3):
            streams.speaks(number, T + 2 + 2 * again + number / 100)
    assert streams.counted == (2, 0)


def test_two_may_pause_together_by_chance() -> None:
    streams = Streams(T, T)
    streams.speaks(0, T + 2)
    assert streams.counted == (0, 1)


def test_who_has_spoken_first_after_it_contradicts_nobody() -> None:
    # The first chunk of a stream that was waiting for one, say: it is no silence that is over.
    streams = Streams(T, T - 0.01, T + 0.01, T + 2)
    streams.speaks(0, T + 2.01)
    assert streams.counted == (1, 0)


def test_who_was_silent_before_says_nothing() -> None:
    streams = Streams(T, T - 5, T - 10, 0.0)
    streams.speaks(0, T + 2)
    assert streams.counted == (0, 1)


def test_a_stream_that_blocks_the_others_may_speak_itself() -> None:
    last = [T + number / 100 for number in range(5)]
    streams = Streams(*last, T + 1.5)
    streams.speaks(0, T + 2)
    assert streams.counted == (1, 0)
    streams = Streams(*last[:4], T + 1.5)
    streams.speaks(0, T + 2)
    assert streams.counted == (0, 1)


def test_an_upstream_that_ended_a_stream_meanwhile_was_not_blocked() -> None:
    streams = Streams(T, T - 0.01, T + 0.01)
    streams.silences.ended_at = T + 1
    streams.speaks(0, T + 2)
    assert streams.counted == (0, 1)


def test_an_end_at_the_end_of_the_silence_contradicts_nobody() -> None:
    streams = Streams(T, T - 0.01, T + 0.01)
    streams.silences.ended_at = T + 1.9
    streams.speaks(0, T + 2)
    assert streams.counted == (1, 0)


def test_a_body_of_known_length_is_no_company() -> None:
    streams = Streams(T, T - 0.01, T + 0.01)
    streams.records[1].rhythm = None
    streams.speaks(0, T + 2)
    assert streams.counted == (0, 1)


def test_the_silence_of_this_process_itself_is_not_counted() -> None:
    streams = Streams(T, T - 0.01, T + 0.01, T + 0.02)
    streams.totals.on_time_at = T + 0.1
    streams.speaks(0, T + 2)
    assert streams.counted == (0, 0)
    streams.totals.on_time_at = T + 1.8
    streams.speaks(1, T + 2)
    assert streams.counted == (1, 0)


def test_a_crowd_that_pauses_all_the_time_is_not_compared_with_all_of_it_each_time() -> None:
    crowd = 5000
    streams = Streams(*(T + number * 2 / crowd for number in range(crowd)))
    looks = 0

    def running() -> Iterator[Record]:
        nonlocal looks
        for record in streams.records:
            looks += 1
            yield record

    streams.silences = Silences(streams.totals, running)
    for beat in range(1, 6):
        for number in range(crowd):
            streams.speaks(number, T + 2 * beat + number * 2 / crowd)
    assert streams.counted == (0, 5 * crowd)
    assert looks <= MOST_LOOKS + 10 * LOOKS + crowd

    # Now the upstream is blocked: nobody speaks, so there is time to look again.
    for number, record in enumerate(streams.records):
        record.last_at = T + 12 + (number + 25) % 50 / 1000
    looks = 0
    for number in range(crowd):
        streams.speaks(number, T + 14 + number / 1e5)
    assert streams.counted == (1, 5 * crowd)
    assert looks <= 2 * crowd + 10  # once for all, and once for who was silent together


def stills(streams: Streams) -> list[int]:
    """Of each stream, how many silences it had together with another one."""
    return [record.rhythm.stills for record in streams.records if record.rhythm is not None]


def test_silences_that_begin_and_end_together_are_counted_by_each_stream() -> None:
    last = (0.0, 0.1, 0.03)
    streams = Streams(*(T + at for at in last))
    for again in (T, T + 1.6):
        for number, at in enumerate(last):
            streams.records[number].last_at = again + at
        for number in range(3):
            streams.speaks(number, again + 0.75 + number / 500)
    assert stills(streams) == [2, 2, 2]
    assert streams.counted == (0, 0)  # a second is long enough to count for all, and this is less


@pytest.mark.parametrize(
    ("last", "speaks"),
    [
        # They fall silent, or speak again, one after the other, as models do that think.
        ((T, T + 0.3), (0.9, 0.905)),
        ((T, T + 0.05), (0.8, 0.83)),
        # Another one spoke meanwhile, or heard that it is answered.
        ((T, T + 0.05, T + 0.5), (0.8, 0.805)),
    ],
)
def test_whom_nobody_stopped_is_not_said_to_have_been(last: tuple[float, ...], speaks: tuple[float, ...]) -> None:
    streams = Streams(*last)
    for number, at in enumerate(speaks):
        streams.speaks(number, T + at)
    assert sum(stills(streams)) == 0


@pytest.mark.parametrize("what", ["head", "end", "this process"])
def test_what_shows_that_the_upstream_was_not_stopped(what: str) -> None:
    streams = Streams(T, T, 0.0)
    if what == "head":
        streams.records[2].head_at = T + 0.5
    elif what == "end":
        streams.silences.ended_at = T + 0.5
    else:
        streams.totals.on_time_at = T + 0.4
    streams.speaks(0, T + 0.8)
    streams.speaks(1, T + 0.801)
    assert sum(stills(streams)) == 0


def test_blocked_now_is_seen_while_it_lasts() -> None:
    def now(*last: float) -> bool:
        records = Streams(*last).records
        return blocked(records, T + 2)

    assert now(T, T + 0.1, T + 0.2)
    assert not now(T, T)
    assert not now(T, T + 0.3, T + 0.6)
    assert not now(T, T, T, T + 1.9)
    assert now(*[T + number / 100 for number in range(5)], T + 1.9)
    assert not now()


@pytest.mark.parametrize("pause", [2.0, 0.04], ids=["ticks", "tokens"])
def test_who_sends_the_same_events_to_all_is_not_blocked(pause: float) -> None:
    """A ticker, and a model's answer with thoughts, for ten readers; one of them is always told first."""
    streams = Streams(*(T + number / 5000 for number in range(10)), pause=pause)
    for again in range(1, 5):
        for number in range(10):
            streams.speaks(number, T + 2 * again + number / 5000)
    assert streams.totals.upstream_silences["upstream"] == 0
    assert sum(stills(streams)) == 0
    assert not blocked(streams.records, T + 10)


def test_news_that_come_to_each_at_a_time_of_its_own_are_not_blocked() -> None:
    """Rare events, some of them for some of the readers only."""
    streams = Streams(T, T + 0.1, T - 0.1, T + 0.05, pause=0.9)
    for number in range(4):
        streams.speaks(number, T + 2 + number / 1000)
    assert streams.counted == (0, 4)
    assert sum(stills(streams)) == 0
