"""How the chunks of one stream come, in numbers that `observe.verdict` judges by."""

from typing import Final

PAUSE: Final = 0.005
"""Seconds between two chunks that part two clumps. What was written at once arrives within a millisecond or two."""

_CARRIAGE_RETURN: Final = 0x0D

SHORT: Final = 2
"""Short pauses for each silence from which on a stream flows. Ticks and news are silent nearly always."""

SAMPLE: Final = 8
"""Reads whose events are counted: enough to tell how large an event is."""


class Rhythm:
    """How the chunks of a stream come: in clumps, with pauses between them. Constant in size.

    clumps         runs of chunks without a pause of PAUSE
    pauses         sum of the pauses, seconds; squares: sum of their squares
    alike          clumps that were as big as the one before, within 2 %
    clump          bytes of the latest clump that is complete
    offset         where in the body the current clump began
    aside          bytes of keep-alives, as they were read, which are no part of a clump; given: the same, decoded
    begun          when it began; 0.0 = with the body
    ends           events that ended in the first reads, decoded; 0 where they cannot be told (kind "stream")
    sampled        bytes in which they were counted
    opening        bytes of the first read; opening_ends: events that ended in it
    silences       pauses that were long enough to be looked at (`relay.silences`); silent: their sum, seconds
    stills         silences that another stream began with it and ended in the same moment (`relay.silences`)
    """

    __slots__ = (
        "_kind", "alike", "aside", "begun", "clump", "clumps", "ends", "given", "offset", "opening", "opening_ends",
        "pauses", "sampled", "silences", "silent", "squares", "stills",
    )  # fmt: skip

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.clumps = 1
        self.pauses = 0.0
        self.squares = 0.0
        self.alike = 0
        self.clump = 0
        self.ends = 0
        self.sampled = 0
        self.opening = 0
        self.opening_ends = 0
        self.silences = 0
        self.silent = 0.0
        self.stills = 0
        self.offset = 0
        self.begun = 0.0
        self.aside = 0
        self.given = 0

    def pause(self, gap: float, offset: int, now: float) -> None:
        """A clump begins now, after a pause of `gap` seconds, at this offset in the body."""
        offset -= self.aside
        size = offset - self.offset
        self.offset = offset
        self.begun = now
        change = size - self.clump
        self.alike += (change if change > 0 else -change) <= self.clump >> 6
        self.clump = size
        self.clumps += 1
        self.pauses += gap
        self.squares += gap * gap

    def flowed(self, most: float) -> bool:
        """Whether its pauses were nearly all short: no silences, and `most` seconds on average at the most. Of a stream
        that has only begun nothing else is known."""
        short = self.clumps - 1 - self.silences
        return self.clumps == 1 or (short > SHORT * self.silences and self.pauses - self.silent <= most * short)

    def sample(self, data: bytes, one: bool) -> None:
        """One of the first reads. An empty line ends an event of an event-stream, every line one of NDJSON.

        one: it is known to be one event, which costs a tenth of counting.
        """
        first = not self.sampled
        self.sampled += len(data)
        if one:
            self.ends += 1
        elif self._kind == "sse":
            self.ends += data.count(b"\n\n")
            if _CARRIAGE_RETURN in data:  # to look for one byte takes a fiftieth of counting three
                self.ends += data.count(b"\n\r\n")
        elif self._kind == "ndjson":
            self.ends += data.count(b"\n")
        if first:
            self.opening = len(data)
            self.opening_ends = self.ends
