"""One line for every stream, at its end, and what becomes of the lines that nobody takes.

Lines wait up to a bound; those beyond it are dropped and counted, and the next line that gets through says how many are
missing.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import BinaryIO, Literal

from unbuffer.observe.log_writer import Writer, writer_to
from unbuffer.observe.stream_line import Keys, StreamLine, WallClock, text_line
from unbuffer.record import Record

log = logging.getLogger("unbuffer")

CAPACITY = 8192
"""Lines that may wait. One takes about 600 bytes, and its path up to limits.target."""

FLUSH_PAUSE = 0.05
"""Seconds in which lines are gathered, unless they fill a write before."""

CLOSE_PATIENCE = 2.0
"""Seconds for the lines that are left when the process ends."""


class AccessLog:
    """The lines of all streams, in one file."""

    def __init__(self, form: Literal["json", "text", "off"], stream: BinaryIO, keys: Keys = "otel") -> None:
        """Write to the file below the stream. With the stream's own buffer, whose lock a blocked thread would hold, the
        interpreter could not end. On the event loop."""
        self._writer: Writer | None = None
        self._add_line: Callable[[bytearray, Record, str, int], None]
        self._add_line = text_line if form == "text" else StreamLine(keys).json
        self._clock = WallClock()
        self._timer: asyncio.TimerHandle | None = None
        self._lines = bytearray()
        """Gathered for one write."""
        self._count = 0
        self._telling = 0
        """Lost lines of which they tell."""
        self._accepted = 0
        self._dropped = 0
        self._put = 0
        """Lost lines of which all lines that were handed over tell."""
        if form != "off":
            self._writer = writer_to(stream.fileno(), asyncio.get_running_loop())

    def log(self, record: Record) -> None:
        """Take a stream that has ended. On the event loop; never blocks, never raises."""
        writer = self._writer
        if writer is None:
            return
        if self._accepted - writer.handled >= CAPACITY:
            self._dropped += 1
            return
        self._accepted += 1
        if not self._lines:
            self._clock.set()
        missing = self._dropped + writer.failed + writer.untold - self._put - self._telling
        before = len(self._lines)
        self._add_line(self._lines, record, self._clock.at(record.ended), missing)
        if before and len(self._lines) > writer.size:
            last = self._lines[before:]
            del self._lines[before:]
            self._hand_over(writer)
            self._lines = last
        self._count += 1
        self._telling += missing
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_PAUSE, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._lines and self._writer is not None:
            self._hand_over(self._writer)

    def _hand_over(self, writer: Writer) -> None:
        group = (bytes(self._lines), self._count, self._telling)
        self._put += self._telling
        self._lines = bytearray()
        self._count = self._telling = 0
        writer.put(group)

    def close(self) -> None:
        """Write what is left, for `CLOSE_PATIENCE` seconds at the most, and tell the process log what is missing."""
        writer = self._writer
        if writer is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._flush()
        writer.close(CLOSE_PATIENCE)
        missing = self._dropped + writer.failed - writer.told + self._accepted - writer.handled
        if missing:
            log.warning("access log: %d lines could not be written", missing)
