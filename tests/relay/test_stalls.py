"""Whose silence it was: of one stream, of the upstream, or of this process."""

from unbuffer.record import Record, Rhythm
from unbuffer.relay.stalls import Stalls
from unbuffer.totals import Totals

T = 1000.0


class Streams:
    """Streams that run, by the time of their latest chunk."""

    def __init__(self, *last: float) -> None:
        self.totals = Totals()
        self.records = [Record(T - 60, "GET", "/", "1.1", "", "default") for _ in last]
        for record, at in zip(self.records, last, strict=True):
            record.rhythm = Rhythm()
            record.last_at = at
        self.stalls = Stalls(self.totals, lambda: iter(self.records))

    def speaks(self, number: int, now: float) -> None:
        """A stream breaks its silence."""
        record = self.records[number]
        self.stalls.over(record, record.last_at, now)
        record.last_at = now

    @property
    def counted(self) -> tuple[int, int]:
        """Silences of the upstream, and of streams."""
        return self.totals.upstream_stalls["upstream"], self.totals.upstream_stalls["stream"]


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
    streams = Streams(T, T, T)
    for again in range(2):
        for number in range(3):
            streams.speaks(number, T + 2 + 2 * again)
    assert streams.counted == (2, 0)


def test_two_may_pause_together_by_chance() -> None:
    streams = Streams(T, T)
    streams.speaks(0, T + 2)
    assert streams.counted == (0, 1)


def test_who_has_spoken_first_behind_it_contradicts_nobody() -> None:
    # The first chunk of a stream that was waiting for one, say: it is no silence that is over.
    streams = Streams(T, T, T, T + 2)
    streams.speaks(0, T + 2.01)
    assert streams.counted == (1, 0)


def test_who_was_silent_before_says_nothing() -> None:
    streams = Streams(T, T - 5, T - 10, 0.0)
    streams.speaks(0, T + 2)
    assert streams.counted == (0, 1)


def test_a_stream_that_blocks_the_others_may_speak_itself() -> None:
    streams = Streams(*[T] * 5, T + 1.5)
    streams.speaks(0, T + 2)
    assert streams.counted == (1, 0)
    streams = Streams(*[T] * 4, T + 1.5)
    streams.speaks(0, T + 2)
    assert streams.counted == (0, 1)


def test_an_upstream_that_ended_a_stream_meanwhile_was_not_blocked() -> None:
    streams = Streams(T, T, T)
    streams.stalls.ended_at = T + 1
    streams.speaks(0, T + 2)
    assert streams.counted == (0, 1)


def test_an_end_at_the_end_of_the_silence_contradicts_nobody() -> None:
    streams = Streams(T, T, T)
    streams.stalls.ended_at = T + 1.9
    streams.speaks(0, T + 2)
    assert streams.counted == (1, 0)


def test_a_body_of_known_length_is_no_company() -> None:
    streams = Streams(T, T, T)
    streams.records[1].rhythm = None
    streams.speaks(0, T + 2)
    assert streams.counted == (0, 1)


def test_the_silence_of_this_process_itself_is_not_counted() -> None:
    streams = Streams(T, T, T, T)
    streams.totals.on_time_at = T + 0.1
    streams.speaks(0, T + 2)
    assert streams.counted == (0, 0)
    streams.totals.on_time_at = T + 1.8
    streams.speaks(1, T + 2)
    assert streams.counted == (1, 0)
