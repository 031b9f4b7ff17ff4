"""The streams whose chunks are kept for the live page, and what a page is drawn of one. Both are bounded."""

from collections import deque
from collections.abc import Collection

from unbuffer.observe.news import Picture, latest, milliseconds
from unbuffer.presence import Given
from unbuffer.record import Record
from unbuffer.timeline import Timeline

PICTURES = 16
"""Streams whose chunks are kept, more than pages can be open. One takes up to 330 KiB, all of them 5 MiB."""

LENGTH = 2000
"""Latest chunks of a picture: a minute of a fast model, and no more than a screen has columns for."""


class Pictures:
    """Those of one process, in the order in which they were begun."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque()

    def draw(self, record: Record, shown: Collection[Record | None]) -> None:
        """Keep the chunks of this stream from now on, in place of the oldest that no page shows."""
        if record.timeline is not None or record.outcome is not None:
            return
        record.timeline = Timeline(LENGTH, record.bytes_down)
        self._records.append(record)
        if len(self._records) > PICTURES:
            oldest = next(kept for kept in self._records if kept not in shown)
            self._records.remove(oldest)
            oldest.timeline = None

    def newest(self) -> Record | None:
        """The newest that runs, else the newest of all."""
        newest_first = list(reversed(self._records))
        running = (record for record in newest_first if record.outcome is None)
        return next(running, None) or next(iter(newest_first), None)

    def clear(self) -> None:
        """Nobody looks: nothing is kept for nobody."""
        for record in self._records:
            record.timeline = None
        self._records.clear()


def picture(record: Record, timeline: Timeline, told: int, now: float) -> Picture:
    """What there is of a stream. told: chunks of which its page knows."""
    started = record.started
    new = latest(timeline.chunks, timeline.count - told)
    pauses = [*timeline.pauses, (record.paused_at, now)] if record.paused_at else timeline.pauses
    presence = record.presence
    chunks = presence.pieces if isinstance(presence, Given) else record.chunks
    left_at = presence.left_at if presence is not None else 0.0
    absences = [*timeline.absences, (left_at, now)] if left_at else timeline.absences
    return Picture(
        [(milliseconds(read - started), milliseconds(accepted - read), size) for read, accepted, size in new],
        0 if record.decoded else chunks - timeline.count,
        [(milliseconds(begin - started), milliseconds(end - started)) for begin, end in pauses],
        [milliseconds(sent - started) for sent in timeline.heartbeats],
        [milliseconds(read - started) for read in timeline.keepalives],
        [(milliseconds(begin - started), milliseconds(end - started)) for begin, end in absences],
    )
