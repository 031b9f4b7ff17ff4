"""What resumable streams hold is bounded: each by its ring, all of them by a total."""

from benchmarks.resume import EVENT, Many, abandoned, chunk, each
from tests.peers import LAST
from unbuffer.outcome import Outcome
from unbuffer.resume.kept import WEIGHT
from unbuffer.settings.resume import Resume

TOTAL = 256 << 10


def test_those_that_were_left_stay_under_the_total() -> None:
    """200 with nearly twice the total in all; `python -m benchmarks.resume` does it with 10,000."""
    held, taken, streams = abandoned(200, TOTAL)
    assert held <= TOTAL
    assert streams > 20
    # The client's and the upstream's sides of the bench are in it.
    assert taken < 1.5 * TOTAL


def test_one_takes_its_ring_and_two_kilobytes() -> None:
    taken, ring = each(20, 100)
    assert ring > 100 * len(EVENT)
    assert taken <= ring + WEIGHT


def test_beyond_the_total_goes_first_what_ended_then_what_was_left() -> None:
    many = Many(Resume(window=60.0, bytes=16384, total=3 * 16384))
    data = b"data: %b\n\n" % (b"x" * 12000)
    _, upstream = many.begin(data)
    many.push(upstream, LAST)
    left, _ = many.begin(data)
    left.connection_lost(None)
    (ended, abandoned) = many.plane.resumption.streams  # type: ignore[union-attr]
    assert many.records.pop().outcome is Outcome.COMPLETED
    _, growing = many.begin(data)
    many.begin(data)
    assert ended not in many.plane.resumption.streams  # type: ignore[union-attr]
    assert abandoned in many.plane.resumption.streams  # type: ignore[union-attr]
    assert not many.records
    many.begin(data)
    assert many.records[0].outcome is Outcome.ABANDONED
    assert many.records[0].detail == "resume.total is reached"
    assert many.totals.resume_held <= 3 * 16384
    # Those who are read go on, whatever is forgotten.
    many.begin(data)
    many.push(growing, chunk(data))
    assert many.totals.resume_held <= 3 * 16384
    many.close()
