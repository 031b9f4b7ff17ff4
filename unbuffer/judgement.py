"""What a stream is found to look like: judged once, at its end, and kept in its record; `observe.verdict` judges."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a stream looked like, as the label says it."""

    STREAMED = "streamed"
    LUMP = "lump"
    BURSTS = "bursts"
    HEADERS_WITHHELD = "headers_withheld"
    SHORT = "short"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and what it was seen by: the size or the beat of bursts; empty for the others.

    causes: what most likely made it so, the likeliest first, as `observe.causes` finds them.
    """

    verdict: Verdict
    seen: str = ""
    causes: tuple[str, ...] = ()
