"""Streams that wait for the end of others, and those that only happen to begin there."""

import pytest

from unbuffer.observe.turns import Turns
from unbuffer.record import Record
from unbuffer.totals import Totals


def ended(asked: float, head: float, last: float, chunks: int = 20) -> Record:
    record = Record(asked, "GET", "/", "1.1", "", "chat")
    record.sent_at, record.head_at, record.first_at, record.last_at = asked, head, head + 0.001, last
    record.kind, record.chunks = "sse", chunks
    return record


FIRST = ended(100.0, 100.1, 101.5)


@pytest.mark.parametrize(
    ("before", "record", "waited"),
    [
        ([FIRST], ended(100.2, 101.51, 103.0), 1.3),
        ([FIRST, ended(100.1, 101.51, 103.0)], ended(100.2, 103.01, 104.0), 2.8),
        # It was asked for first, and came second; its head takes as long as that of the other one did.
        ([FIRST], ended(99.95, 101.51, 103.0), 1.55),
        ([ended(100.0, 100.3, 101.5)], ended(100.2, 101.85, 103.0), 1.3),
        # Nobody was there before, it waited for something else, it did not wait, or what it waited for was no stream.
        ([], ended(100.2, 101.51, 103.0), 0.0),
        ([FIRST], ended(100.2, 101.8, 103.0), 0.0),
        ([FIRST], ended(101.2, 101.51, 103.0), 0.0),
        ([ended(100.0, 101.4, 101.5, chunks=1)], ended(100.2, 101.51, 103.0), 0.0),
        # Others came at the same time: by chance it began when one of them ended.
        ([ended(100.0, 100.1, 101.4), FIRST], ended(100.2, 101.51, 103.0), 0.0),
    ],
)
def test_whoever_begins_when_another_ends_has_waited(before: list[Record], record: Record, waited: float) -> None:
    turns = Turns(Totals())
    for other in before:
        turns.waited(other)
    assert turns.waited(record) == pytest.approx(waited, abs=0.02)


def test_where_others_are_being_answered_nobody_waits_for_his_turn() -> None:
    totals = Totals()
    totals.of("chat", "sse").active = 2
    turns = Turns(totals)
    turns.waited(FIRST)
    assert turns.waited(ended(100.2, 101.51, 103.0)) == 0.0
