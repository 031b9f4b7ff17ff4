"""What a stream is found to look like: judged once, at its end, and kept in its record; `observe.verdict` judges."""

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """What a stream looked like, as the label says it."""

    STREAMED = "streamed"
    LUMP = "lump"
    BURSTS = "bursts"
    HEADERS_WITHHELD = "headers_withheld"
    FIRST_BYTES_HELD = "first_bytes_held"
    BLOCKED_LOOP = "blocked_loop"
    WHOLE = "whole"
    SHORT = "short"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and what it was seen by: a size, a beat, or how long something was held; empty where it is nobody's.

    causes: what most likely made it so, the likeliest first, as `observe.causes` finds them. sure: whether the stream
    before it, of the same route and kind, was found to be the same; one alone is likely. What is whole may always
    be an ordinary answer.
    """

    verdict: Verdict
    seen: str = ""
    causes: tuple[str, ...] = ()
    sure: bool = False

    @property
    def finding(self) -> str:
        """What `unbuffer check` calls it, and docs/lump.md; empty = nothing was found."""
        if self.verdict is Verdict.BURSTS:
            return "steps" if "bytes" in self.seen else "beat"
        return FINDINGS.get(self.verdict, "")


FINDINGS = {
    Verdict.LUMP: "held_to_the_end",
    Verdict.HEADERS_WITHHELD: "head_withheld",
    Verdict.FIRST_BYTES_HELD: "first_bytes_held",
    Verdict.BLOCKED_LOOP: "blocked_loop",
    Verdict.WHOLE: "length_on_stream",
}
"""The names of `unbuffer check` for what has one."""
