"""What a stream is counted by, chunk by chunk. In what every chunk pays, `Histogram.observe` is written out."""

from typing import Final

from unbuffer.clock import monotonic
from unbuffer.histogram import bucket
from unbuffer.record import Record
from unbuffer.rhythm import PAUSE
from unbuffer.totals import GAP_BOUNDS, RELAY_BOUNDS, Series

_PROMPT: Final = RELAY_BOUNDS[0]


def count_read(record: Record, series: Series, size: int, now: float) -> None:
    """A read brought `size` bytes of the body, with content in them."""
    chunks = record.chunks
    if chunks:
        gap = now - record.last_at
        gaps = series.gaps
        gaps.counts[bucket(GAP_BOUNDS, gap)] += 1
        gaps.sum += gap
        if gap > record.max_gap:
            record.max_gap = gap
        if gap >= PAUSE and record.rhythm is not None:
            record.rhythm.pause(gap, record.bytes_read, now)
    else:
        record.first_at = now
        series.ttfc.observe(now - record.started)
    record.last_at = now
    record.chunks = chunks + 1
    series.chunks_by_magnitude[(size - 1).bit_length()] += 1
    series.bytes_read += size


def count_write(record: Record, series: Series, now: float) -> None:
    """What was read at `now` has been written."""
    relay = series.relay
    delay = monotonic() - now
    relay.counts[bucket(RELAY_BOUNDS, delay) if delay > _PROMPT else 0] += 1
    relay.sum += delay
    timeline = record.timeline
    if timeline is not None:
        timeline.wrote(now, now + delay, record.bytes_down)


def count_keepalive(record: Record, series: Series, size: int, given: int, now: float) -> None:
    """A read of `size` bytes had no content; given: the bytes of its text."""
    record.keepalives += 1
    series.keepalives += 1
    if record.rhythm is not None:
        record.rhythm.aside += size
        record.rhythm.given += given
    if record.timeline is not None:
        record.timeline.kept_alive(now, given)


def count_stall(record: Record, series: Series, now: float) -> None:
    """The client takes again what it has taken no more of since `paused_at`, or the stream ends."""
    stalled = now - record.paused_at
    record.stalled += stalled
    series.stalled += stalled
    series.stalling.discard(record)
    if record.timeline is not None:
        record.timeline.pauses.append((record.paused_at, now))
    record.paused_at = 0.0
