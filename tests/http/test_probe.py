"""What a probe writes can be read again, is as large as asked for, and lasts as long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unbuffer.http.probe import (
    LARGEST,
    LARGEST_EVENT,
    LONGEST,
    SMALLEST_EVENT,
    TYPES,
    Plan,
    event,
    heartbeat,
    plan_of,
    read,
)

PLANS = st.builds(
    Plan,
    count=st.integers(1, 16),
    gap=st.integers(0, 3000).map(lambda ms: ms / 1000),
    size=st.integers(SMALLEST_EVENT, LARGEST_EVENT),
    delay=st.integers(0, 5000).map(lambda ms: ms / 1000),
    uneven=st.booleans(),
    kind=st.sampled_from(sorted(TYPES)),
)


@given(PLANS, st.integers(0, 15))
def test_an_event_is_as_large_as_asked_for_and_tells_when_it_was_sent(plan: Plan, number: int) -> None:
    written = event(plan, number, 1764270000.25, "0123abcd")
    assert len(written) == plan.size
    assert written.endswith(b"\n\n" if plan.kind == "event-stream" else b"\n")
    sent = read(written)
    assert sent is not None
    assert (sent.name, sent.is_beat, sent.number, sent.of, sent.at) == (
        "0123abcd",
        False,
        number,
        plan.count,
        1764270000.25,
    )


@given(PLANS)
def test_a_plan_is_read_as_it_is_written(plan: Plan) -> None:
    assert plan_of(plan.query().encode()) == plan


def test_a_heartbeat_is_a_comment() -> None:
    written = heartbeat(Plan(beat=0.1), 3, 5.5, "0123abcd")
    assert written.startswith(b": ")
    sent = read(written)
    assert sent is not None
    assert (sent.is_beat, sent.number) == (True, 3)


def test_the_query_of_somebody_else_does_no_harm() -> None:
    assert plan_of(b"cache=1&count=%32&&=&x") == Plan(count=2)


@pytest.mark.parametrize(
    "line", [b"", b"data: hello", b'{"unbuffer":"0123abcd"}', b'{"unbuffer":"x","n":1,"of":2,"at":1.0']
)
def test_what_is_no_event_of_a_probe_is_none(line: bytes) -> None:
    assert read(line) is None


def test_the_bounds_are_those_of_the_document() -> None:
    assert (LONGEST, LARGEST) == (60.0, 1 << 20)


def test_an_uneven_pace_takes_as_long_as_an_even_one() -> None:
    plan = Plan(count=17, gap=1.0, uneven=True)
    assert sum(plan.pause(number) for number in range(1, 17)) == pytest.approx(16.0)
