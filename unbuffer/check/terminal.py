"""The report at a terminal: a picture, a verdict, numbered findings. Colour and width as the terminal has them."""

import os
import shutil
import textwrap
from collections.abc import Iterator
from typing import TextIO

from unbuffer import documents
from unbuffer.check.diagnosis import Diagnosis, View
from unbuffer.check.evidence import noted
from unbuffer.check.observation import Observation
from unbuffer.check.picture import drawn, lanes, span
from unbuffer.check.shape import Kind
from unbuffer.check.signatures import Level
from unbuffer.check.words import facts, heading, verdict

_BOLD, _DIM, _RED, _GREEN, _YELLOW, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"
_OF_LEVEL = {None: _GREEN, Level.BUFFERED: _RED, Level.ERROR: _YELLOW}
_TITLE = 18
_LEAST = 40


class Terminal:
    """Prints to `out`."""

    def __init__(self, out: TextIO, width: int, colour: bool) -> None:
        self._out = out
        self._width = max(width, _LEAST)
        self._colour = colour

    @classmethod
    def of(cls, out: TextIO) -> "Terminal":
        """As wide as the terminal, in colour if it is one and NO_COLOR is not set (https://no-color.org)."""
        colour = out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return cls(out, shutil.get_terminal_size((100, 24)).columns, colour)

    def report(self, diagnosis: Diagnosis) -> None:
        """All of it."""
        for view in diagnosis.views:
            self._view(diagnosis, view)

    def shown(self, diagnosis: Diagnosis) -> None:
        """What the first request of each URL brought, for `--show`."""
        for view in diagnosis.views:
            if len(diagnosis.views) > 1 and view.first.shown:
                self._say(self._painted(_BOLD, view.url))
            for text in view.first.shown:
                self._say(text.rstrip("\n"))

    def _view(self, diagnosis: Diagnosis, view: View) -> None:
        self._say(self._painted(_BOLD, view.url))
        self._say(self._painted(_DIM, f"  {facts(view)}"))
        for name, value in noted(view.first):
            self._wrapped(f"{name}: {value}", "  ", "    ", _DIM)
        self._say("")
        graves = [finding for finding in diagnosis.of(view) if finding.level is not Level.NOTE]
        for line in self._picture(view, {name for finding in graves for name in finding.variants}):
            self._say(line)
        worst = diagnosis.worst(view)
        self._wrapped(verdict(diagnosis, view), "", "  ", _OF_LEVEL[worst])
        for number, finding in enumerate(diagnosis.of(view), 1):
            self._say("")
            colour = "" if finding.level is Level.NOTE else _OF_LEVEL[finding.level]
            kind = "note, " if finding.level is Level.NOTE else ""
            self._wrapped(f"{number}. {kind}{finding.name}: {heading(diagnosis, finding)}", "", "   ", colour)
            self._wrapped(f"{finding.signature.meaning}.", "   ", "   ")
            if finding.where:
                self._wrapped(f"Where: {finding.where}.", "   ", "   ")
            for cure in finding.cures:
                self._wrapped(f"- {cure}", "   ", "     ")
            self._say(self._painted(_DIM, f"   {documents.where(finding.name)}"))
        self._say("")

    def _picture(self, view: View, named: set[str]) -> Iterator[str]:
        """Two lines for each request that looks different, or one where nobody knows when its events were sent.

        named: the variants that something was found in.
        """
        shown, alike = _different(view, named)
        seconds = span(shown)
        width = self._width - _TITLE - 10
        for one in shown:
            name = f"{one.variant} {one.group}" if one.group else one.variant
            for lane in lanes(one):
                title = f"{name if lane.title == 'sent' or not one.marks else ''}"
                late = lane.times[-1] if lane.times else 0.0
                painted = self._painted(_DIM if lane.title == "sent" else _BOLD, drawn(lane, seconds, width))
                yield f"{title:<{_TITLE - 6}.{_TITLE - 6}} {lane.title:<5}|{painted}|{late:6.2f} s"
        if shown:
            legend = "From the request on: . one event, : some, # many; h the head."
            yield from (self._painted(_DIM, line) for line in textwrap.wrap(legend, self._width))
            yield ""
        for like, names in alike.items():
            yield from textwrap.wrap(f"Like {like}: {'; '.join(names)}.", self._width)
        if alike:
            yield ""

    def _wrapped(self, text: str, first: str, later: str, colour: str = "") -> None:
        for line in textwrap.wrap(
            text, self._width, initial_indent=first, subsequent_indent=later, break_on_hyphens=False
        ):
            self._say(self._painted(colour, line) if colour else line)

    def _painted(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colour and colour else text

    def _say(self, text: str) -> None:
        print(text, file=self._out)


def _different(view: View, named: set[str]) -> tuple[list[Observation], dict[str, list[str]]]:
    """The requests that are worth a picture, and which others look like which of them."""
    shown: dict[str, Observation] = {}
    alike: dict[str, list[str]] = {}
    for one, form in view.seen:
        if not one.reads or one.status >= 300:
            continue
        if one.group:
            key = f"several {one.group}" if one.variant in named and not form.held else form.kind
        else:
            key = form.kind if form.kind is not Kind.SHORT or one.variant in named else Kind.STREAMED
        if key not in shown:
            shown[key] = one
        elif one.variant != shown[key].variant:
            names = alike.setdefault(shown[key].variant, [])
            names += [one.variant] if one.variant not in names else []
    return list(shown.values()), alike
