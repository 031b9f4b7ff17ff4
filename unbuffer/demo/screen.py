"""What the show prints: lines that only ever append, two columns in which time runs downwards.

No cursor is moved, so a terminal, a pipe and a log file show the same; a terminal adds colour.
"""

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TextIO

# Columns of the terminal: the time of an arrival, and what two columns of words need beside it.
_TIME = 8
_GUTTER = 2
_NARROW = 60

_BOLD = "\x1b[1m"
_DIM = "\x1b[2m"
_LANES = ("\x1b[33m", "\x1b[32m")
_PLAIN = "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Arrival:
    """What one read brought. at: seconds since the request was sent."""

    at: float
    text: str


class Screen:
    """Prints to `out`, at most `width` columns wide; only what is printed verbatim may be wider."""

    def __init__(self, out: TextIO, width: int, colour: bool) -> None:
        self._out = out
        self._colour = colour
        self._stacked = width < _NARROW
        self._width = width
        room = width - _TIME - _GUTTER
        self._column = room if self._stacked else (room - _GUTTER) // 2

    def heading(self, text: str) -> None:
        """A title with an empty line before it."""
        self._print("")
        for line in textwrap.wrap(text, self._width):
            self._print(self._painted(_BOLD, line))

    def say(self, text: str) -> None:
        """A sentence or two, wrapped."""
        for line in textwrap.wrap(text, self._width):
            self._print(line)

    def verbatim(self, text: str) -> None:
        """Lines as they are: commands and addresses, so that they can be copied, and what servers reported."""
        self._print(text)

    def lanes(self, titles: tuple[str, str]) -> None:
        """The head of a race."""
        self._print("")
        if not self._stacked:
            first, second = (self._painted(_LANES[lane], f"{titles[lane]:<{self._column}}") for lane in (0, 1))
            self._print(f"{self._painted(_DIM, 'seconds'.rjust(_TIME))}  {first}  {second.rstrip()}")

    def arrival(self, lane: int, title: str, arrival: Arrival) -> None:
        """One read of one lane (0 or 1): its time, and its text in the lane's column."""
        indent = 0 if self._stacked or lane == 0 else self._column + _GUTTER
        text = f"{title}: {arrival.text.strip()}" if self._stacked else arrival.text.strip()
        time = f"{arrival.at:{_TIME}.3f}"
        for line in textwrap.wrap(text, self._column) or [""]:
            self._print(f"{self._painted(_DIM, time)}  {' ' * indent}{self._painted(_LANES[lane], line)}")
            time = " " * _TIME

    def verdicts(self, titles: tuple[str, str], lanes: Sequence[Sequence[Arrival]]) -> None:
        """One line for each lane of a race."""
        self._print("")
        wide = max(map(len, titles))
        for lane, (title, arrivals) in enumerate(zip(titles, lanes, strict=True)):
            for line in textwrap.wrap(f"{title:<{wide}}  {verdict(arrivals)}", self._width, subsequent_indent="  "):
                self._print(self._painted(_LANES[lane], line))

    def _painted(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour else text

    def _print(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def standard_output() -> Screen:
    """The screen on standard output: as wide as the terminal, in colour if it is one and NO_COLOR is not set."""
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Screen(sys.stdout, shutil.get_terminal_size((100, 24)).columns, colour)


def verdict(arrivals: Sequence[Arrival]) -> str:
    """First token, largest gap and number of reads of one lane, in words."""
    if not arrivals:
        return "no text came"
    first = f"first token after {arrivals[0].at:.2f} s"
    if len(arrivals) == 1:
        return f"{first}, everything in 1 read"
    gap = max(later.at - earlier.at for earlier, later in pairwise(arrivals))
    return f"{first}, largest gap {gap:.2f} s, {len(arrivals)} reads"
