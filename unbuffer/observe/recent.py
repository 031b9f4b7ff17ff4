"""The streams that ended last, for whoever looks later."""

from collections import deque

from unbuffer.record import Record

RECENT = 100
"""Ended streams that are kept for whoever looks later. A record takes about 1 KiB, and its path up to limits.target."""


class Recent:
    """The streams that ended last. count: how many have ended since the start."""

    __slots__ = ("count", "records")

    def __init__(self) -> None:
        self.records: deque[Record] = deque(maxlen=RECENT)
        self.count = 0

    def add(self, record: Record) -> None:
        """A stream has ended."""
        self.records.append(record)
        self.count += 1
