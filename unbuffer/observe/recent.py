"""The streams that ended last, for whoever looks later."""

from collections import deque

from unbuffer.outcome import FINE
from unbuffer.record import MISSING, Record

RECENT = 100
"""Ended streams that are kept for whoever looks later, and as many that ended badly. A record takes about 1 KiB, and
its path up to limits.target."""


class Recent:
    """The streams that ended last. count: how many have ended since the start; failures: how many of them badly."""

    __slots__ = ("count", "failed", "failures", "records")

    def __init__(self) -> None:
        self.records: deque[Record] = deque(maxlen=RECENT)
        self.failed: deque[Record] = deque(maxlen=RECENT)
        """Those that ended badly: a busy process has a hundred good ones in a second."""
        self.count = 0
        self.failures = 0

    def add(self, record: Record) -> None:
        """A stream has ended."""
        self.records.append(record)
        self.count += 1
        if failed(record):
            self.failed.append(record)
            self.failures += 1


def failed(record: Record) -> bool:
    """Whether a stream that has ended is one for the person on call."""
    return record.outcome not in FINE or record.last_word == MISSING
