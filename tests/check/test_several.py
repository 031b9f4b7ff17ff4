"""Several streams at once: a loop that stands still, and pauses that are the application's own."""

from collections.abc import Callable

import pytest

from tests.check.conftest import Run
from unbuffer.check import compare
from unbuffer.check.compare import began_in_step, hears_the_same, stood_still
from unbuffer.check.diagnosis import diagnose
from unbuffer.check.observation import Observation, Read
from unbuffer.check.run import STAGGER

Pause = Callable[[float, int], float]
"""How long a stream waits at this time before this event."""


def streams(pause: Pause, ends: int = 1) -> list[Observation]:
    """Three, of 60 events each. ends: events that come with the first read after a long pause."""
    found = []
    for number in range(3):
        now, reads = number * STAGGER, []
        for event in range(60):
            wait = pause(now, event)
            now += wait
            reads.append(Read(now - number * STAGGER, 100, 100, ends if wait > 0.3 else 1, 1))
        found.append(Observation("http://a/", "several", group=number + 1, began=number * STAGGER, reads=tuple(reads)))
    return found


def blocked(now: float, event: int) -> float:
    """The loop stands still from 0.8 s to 1.4 s, and a second later again."""
    due = now + 0.03 + event * 0.00001
    return (due if not 0.8 < due % 1.6 < 1.4 else due - due % 1.6 + 1.4) - now


def test_a_loop_that_is_blocked_stands_still_for_all() -> None:
    assert [round(seconds, 1) for seconds in stood_still(streams(blocked))] == [0.6, 0.6]


@pytest.mark.parametrize(
    "found",
    [
        # Thoughts: each stream has them at its own time.
        streams(lambda now, event: 0.6 if event in (20, 40) else 0.03),
        # A hop that holds everything comes with many events.
        streams(blocked, ends=20),
        # A slow one has such pauses all the time.
        streams(lambda now, event: 0.4),
    ],
)
def test_what_pauses_by_itself_does_not(found: list[Observation]) -> None:
    assert stood_still(found) == []


def in_one_moment(size: Callable[[int, int], int], gap: float = 0.03) -> list[Observation]:
    """Three streams whose events come in the same moments, so many seconds apart. size: of an event, by the number of
    the stream."""
    return [
        Observation(
            "http://a/",
            "several",
            group=number + 1,
            began=number * STAGGER,
            reads=tuple(
                Read(event * gap - number * STAGGER + number * 0.0002, 100, size(number, event), 1, 1)
                for event in range(10, 60)
            ),
        )
        for number in range(3)
    ]


def test_who_hears_the_same_is_known_by_moments_and_sizes() -> None:
    assert hears_the_same(in_one_moment(lambda number, event: 100 + event % 7))
    # Each its own answer, at an even pace, ever since a loop that was blocked let all go on.
    assert not hears_the_same(in_one_moment(lambda number, event: 100 + (event + 3 * number) % 7))
    assert not hears_the_same(streams(lambda now, event: 0.03))


def test_streams_that_began_in_one_moment_and_flow_are_asked_for_again() -> None:
    """As those whose first token is due while a loop is blocked; a ticker that is slow begins so every time."""
    assert began_in_step(in_one_moment(lambda number, event: 100 + event % 7))
    assert not began_in_step(in_one_moment(lambda number, event: 100 + (event + 3 * number) % 7))
    assert not began_in_step(in_one_moment(lambda number, event: 100 + event % 7, gap=0.7))
    assert not began_in_step(streams(lambda now, event: 0.03))


@pytest.mark.process
def test_what_they_are_given_then_is_what_counts(
    check: Run, only: Callable[..., None], app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    only("several")
    before: list[Observation] = []

    def in_step(group: list[Observation]) -> bool:
        before.extend(group)
        return True

    monkeypatch.setattr(compare, "began_in_step", in_step)
    told = check("--json", f"{app}/tokens?count=12&gap=10")
    began = [one["began"] for one in told.report["requests"] if one["variant"] == "several"]
    assert (len(before), len(began)) == (3, 3)
    assert min(began) > max(one.began for one in before)


def one_and_three(gap: float) -> list[str]:
    """The findings for 200 events so many seconds apart, where three streams at once take three times as long."""

    def observation(group: int, seconds: float) -> Observation:
        reads = tuple(Read(0.01 + event * seconds, 100, 100, 1, 1) for event in range(200))
        fields = (("content-type", "text/event-stream"), ("cache-control", "no-transform"))
        return Observation(
            *("http://a/", "several" if group else "as curl asks"),
            http="1.1",
            group=group,
            began=group * STAGGER,
            head=0.01,
            status=200,
            fields=fields,
            reads=reads,
            end=reads[-1].at,
        )

    told = diagnose([observation(0, gap), *(observation(number, 3 * gap) for number in (1, 2, 3))])
    return [finding.name for finding in told.findings]


def test_streams_that_wait_for_each_other_block_the_loop() -> None:
    assert "blocked_loop" in one_and_three(0.01)


def test_streams_that_come_as_fast_as_they_can_share_a_processor() -> None:
    assert "blocked_loop" not in one_and_three(0.002)
