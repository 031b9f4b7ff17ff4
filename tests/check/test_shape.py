"""Buffers, timers and networks of every size, simulated: each is told from the others, and no clean one is accused.

Real ones are in test_findings.py and test_recorded.py; here there are as many as one likes.
"""

import random
from collections.abc import Callable

import pytest

from unbuffer.check.observation import Mark, Observation, Read
from unbuffer.check.shape import Kind, Shape, shape
from unbuffer.check.variants import BEATS, LARGE, MEDIUM, SMALL
from unbuffer.http.probe import Plan

KIB = 1024
SEEDS = 40

Hop = Callable[[list[float], int], list[tuple[float, int]]]
"""Makes of events of one size, sent at these times, the reads that come: time and bytes."""


def sent(plan: Plan) -> list[float]:
    times, now = [], 0.0
    for number in range(plan.count):
        now += plan.pause(number)
        times.append(now)
    return times


def seen_behind(hop: Hop, plan: Plan) -> Observation:
    """A probe's stream, as it is seen behind this hop."""
    times = sent(plan)
    reads, marks, body = [], [], 0
    for at, size in hop(times, plan.size):
        ends = (body + size) // plan.size - body // plan.size
        marks += [Mark(n, times[n], at) for n in range(body // plan.size, (body + size) // plan.size)]
        reads.append(Read(at, size, size, ends, 1))
        body += size
    head = 0.001
    return Observation(
        "http://a/", "identity", http="1.1", plan=plan, head=head, status=200, reads=tuple(reads), marks=tuple(marks)
    )


def a_buffer(size: int) -> Hop:
    """Passes full blocks of this size on, and the rest at the end."""

    def hop(times: list[float], each: int) -> list[tuple[float, int]]:
        reads, held = [], 0
        for at in times:
            held += each
            while held >= size:
                reads.append((at, size))
                held -= size
        return [*reads, *([(times[-1], held)] if held else [])]

    return hop


def a_timer(seconds: float, tick: bool) -> Hop:
    """Passes on what it has so many seconds after the first byte that it holds, or on a beat."""

    def hop(times: list[float], each: int) -> list[tuple[float, int]]:
        reads: list[tuple[float, int]] = []
        held, due = 0, 0.0
        for at in times:
            if held and at >= due:
                reads.append((due, held))
                held = 0
            if not held:
                due = (at // seconds + 1) * seconds if tick else at + seconds
            held += each
        return [*reads, (min(due, times[-1] + 0.001), held)]

    return hop


def holding_first(size: int) -> Hop:
    """Holds the first so many bytes."""

    def hop(times: list[float], each: int) -> list[tuple[float, int]]:
        first = -(-size // each)
        return [(times[first - 1], first * each), *((at, each) for at in times[first:])]

    return hop


def the_end(times: list[float], each: int) -> list[tuple[float, int]]:
    return [(times[-1] + 0.001, each * len(times))]


def a_network(rng: random.Random, jitter: float, hiccup: float = 0.0) -> Hop:
    """Delays each event by up to so many seconds, in order; once it stands still."""

    def hop(times: list[float], each: int) -> list[tuple[float, int]]:
        reads, latest = [], 0.0
        still = rng.randrange(1, len(times))
        for number, at in enumerate(times):
            delay = rng.uniform(0, jitter) + (hiccup if number == still else 0.0)
            latest = max(latest + 0.0001, at + 0.02 + delay)
            reads.append((latest, each))
        return reads

    return hop


@pytest.mark.parametrize("plan", [SMALL, MEDIUM, LARGE], ids=["small", "medium", "large"])
def test_what_streams_is_not_accused_on_a_bad_line(plan: Plan) -> None:
    rng = random.Random(7)
    for jitter, hiccup in ((0.0, 0.0), (0.005, 0.0), (0.03, 0.4), (0.08, 0.0), (0.08, 0.3)):
        for _ in range(SEEDS):
            form = shape(seen_behind(a_network(rng, jitter, hiccup), plan))
            assert not form.held, (jitter, hiccup, form)


@pytest.mark.parametrize(
    ("plan", "size"),
    [
        (SMALL, KIB), (MEDIUM, KIB), (MEDIUM, 2 * KIB), (MEDIUM, 4 * KIB), (MEDIUM, 8 * KIB),
        (LARGE, 16 * KIB), (LARGE, 32 * KIB), (LARGE, 64 * KIB), (MEDIUM, 3 * KIB), (MEDIUM, 5000), (LARGE, 100 * KIB),
    ],
)  # fmt: skip
def test_a_buffer_is_known_by_its_size(plan: Plan, size: int) -> None:
    form = shape(seen_behind(a_buffer(size), plan))
    assert (form.kind, form.size) == (Kind.STEPS, size), form


# A short stream has too few beats of a slow timer; the longer ones tell.
@pytest.mark.parametrize(
    ("plan", "seconds"),
    [(SMALL, 0.1), (SMALL, 0.2), *((plan, s) for plan in (MEDIUM, LARGE) for s in (0.1, 0.2, 0.25, 0.37))],
)
@pytest.mark.parametrize("tick", [False, True], ids=["from the first byte", "beat"])
def test_a_timer_is_known_by_its_time_and_not_taken_for_a_buffer(plan: Plan, seconds: float, tick: bool) -> None:
    form = shape(seen_behind(a_timer(seconds, tick), plan))
    assert form.kind is Kind.BEAT, form
    assert form.beat == pytest.approx(seconds, rel=0.12)


@pytest.mark.parametrize(
    ("plan", "size"), [(MEDIUM, 4 * KIB), (MEDIUM, 8 * KIB), (MEDIUM, 16 * KIB), (LARGE, 64 * KIB)]
)
def test_first_bytes_that_are_held_are_known_by_their_number(plan: Plan, size: int) -> None:
    form = shape(seen_behind(holding_first(size), plan))
    assert (form.kind, form.size) == (Kind.FIRST_BYTES, size), form


@pytest.mark.parametrize("plan", [SMALL, MEDIUM, LARGE], ids=["small", "medium", "large"])
def test_what_comes_at_the_end_is_held(plan: Plan) -> None:
    assert shape(seen_behind(the_end, plan)).kind is Kind.HELD


# -- streams of an application's own: only arrivals are known


def own(reads: list[tuple[float, int]], media_type: str = "text/event-stream", head: float = 0.002) -> Shape:
    """The shape of a stream whose reads bring so many events of 40 bytes each."""
    made = tuple(Read(at, events * 40, events * 40, events, events) for at, events in reads)
    fields = (("Content-Type", media_type),)
    return shape(Observation("http://a/", "identity", http="1.1", head=head, status=200, fields=fields, reads=made))


def paced(
    rng: random.Random, pauses: Callable[[], float], events: Callable[[], int], begin: float = 0.1
) -> list[tuple[float, int]]:
    now, reads = begin, []
    for _ in range(rng.randrange(20, 60)):
        reads.append((now, events()))
        now += pauses()
    return reads


@pytest.mark.parametrize(
    "kind", ["tokens", "thoughts", "late first token", "speculative", "bursts of tools", "fast", "jitter"]
)
def test_a_model_is_not_accused(kind: str) -> None:
    rng = random.Random(11)
    for _ in range(SEEDS):
        reads = {
            "tokens": lambda: paced(rng, lambda: rng.expovariate(30), lambda: 1),
            "thoughts": lambda: paced(rng, lambda: rng.choice((0.02, 0.02, 0.03, 0.6)), lambda: 1),
            "late first token": lambda: paced(rng, lambda: rng.uniform(0.01, 0.05), lambda: 1, 3.0),
            "speculative": lambda: paced(rng, lambda: rng.gauss(0.12, 0.004), lambda: rng.randrange(2, 6)),
            "bursts of tools": lambda: paced(rng, lambda: rng.uniform(0.2, 2.0), lambda: rng.randrange(3, 20)),
            "fast": lambda: paced(rng, lambda: rng.uniform(0.0001, 0.002), lambda: rng.randrange(1, 9), 0.005),
            "jitter": lambda: paced(rng, lambda: rng.uniform(0.001, 0.08), lambda: rng.randrange(1, 4)),
        }[kind]()
        form = own(reads)
        assert not form.held, (reads, form)


def test_an_own_stream_that_is_held_is_found() -> None:
    assert own([(2.0, 40)]).kind is Kind.HELD
    assert own([(0.05, 1), (2.0, 40)]).kind is Kind.HELD
    assert own([(0.3 * number, 103) for number in range(1, 8)]).kind is Kind.STEPS
    rng = random.Random(3)
    assert own([(0.21 * number, rng.randrange(4, 9)) for number in range(1, 12)]).kind is Kind.BEAT


def test_what_came_at_once_at_once_was_not_held() -> None:
    assert own([(0.05, 40)]).kind is Kind.SHORT
    assert own([(2.0, 2)]).kind is Kind.SHORT


def test_heartbeats_have_a_beat_of_their_own() -> None:
    """On a machine that is late they would else be those of a timer."""
    came, reads = 0.1, []
    marks: list[Mark] = []
    beats: list[Mark] = []
    for number in range(BEATS.count):
        for beat in range(5 if number else 1):
            late = 0.08 if (number, beat) == (2, 0) else 0.0
            mark = Mark(number if beat == 0 else 4 * number + beat, came, came + late)
            (beats if beat else marks).append(mark)
            reads.append(Read(came + late, 70 if beat else 128, 70 if beat else 128, 0 if beat else 1, 1))
            came += BEATS.beat
    seen = Observation(
        "http://a/", "heartbeats", http="1.1", plan=BEATS, head=0.001, status=200,
        reads=tuple(reads), marks=tuple(marks), beats=tuple(beats),
    )  # fmt: skip
    assert shape(seen).kind is Kind.STREAMED
