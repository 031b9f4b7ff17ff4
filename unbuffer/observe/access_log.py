"""One line for every stream, at its end. On the event loop a line costs an append.

A thread makes the lines and writes them, because a pipe that nobody reads blocks. Lines wait up to a bound; those
beyond it are dropped and counted, and the next line that gets through says how many are missing.
"""

import asyncio
import json
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import BinaryIO, Literal

import msgspec

from unbuffer.observe.stream_fields import FIELDS, Ended, ms
from unbuffer.record import MISSING, Record

log = logging.getLogger("unbuffer")

CAPACITY = 8192
"""Lines that may wait. A record takes about 1 KiB, and its path up to limits.target."""

FLUSH_PAUSE = 0.05
"""Seconds in which lines are gathered: the thread wakes 20 times a second at the most."""

WRITE_SIZE = 4096
"""Bytes of whole lines in one write. A pipe mixes no writes of up to PIPE_BUF, 4096 on Linux, when processes share it
(pipe(7)); and so few lines hold the interpreter's lock for less than 100 µs."""

GIVE_WAY = 0.00005
"""Seconds that the thread sleeps after a write. That the lock is free during the write is not enough: the thread has it
back before an event loop that waits for it wakes up. At 20 000 lines/s the loop was 7 to 12 ms late (p99) without this
and 1 to 3 ms with it, about what it was without any log."""

CLOSE_PATIENCE = 2.0
"""Seconds for the lines that are left when the process ends."""


Keys = Literal["otel", "ecs", "plain"]
"""The sets of names that the keys of a JSON line may have."""


class AccessLog:
    """The lines of all streams, in one file."""

    def __init__(self, form: Literal["json", "text", "off"], stream: BinaryIO, keys: Keys = "otel") -> None:
        """Write to the file below the stream. With the stream's own buffer, whose lock a blocked thread would hold, the
        interpreter could not end."""
        self._stream = stream
        self._make_line = text_line if form == "text" else json_line(keys)
        self._gathered: list[Record] = []
        self._timer: asyncio.TimerHandle | None = None
        self._batches: SimpleQueue[list[Record]] = SimpleQueue()
        # Each counter is written by one side only, so none needs a lock: the first two by the event loop.
        self._accepted = 0
        self._dropped = 0
        self._handled = 0
        self._failed = 0
        self._reported = 0
        self._failing = False
        self._thread: threading.Thread | None = None
        if form != "off":
            self._thread = threading.Thread(target=self._work, name="access-log", daemon=True)
            self._thread.start()

    def log(self, record: Record) -> None:
        """Take a stream that has ended. On the event loop; never blocks, never raises."""
        if self._thread is None:
            return
        if self._accepted - self._handled >= CAPACITY:
            self._dropped += 1
            return
        self._accepted += 1
        self._gathered.append(record)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_PAUSE, self._hand_over)

    def close(self) -> None:
        """Write what is left, for `CLOSE_PATIENCE` seconds at the most, and tell the process log what is missing."""
        if self._thread is None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._hand_over()
        self._batches.put([])
        self._thread.join(CLOSE_PATIENCE)
        missing = self._missing() + self._accepted - self._handled
        if missing:
            log.warning("access log: %d lines could not be written", missing)

    def _hand_over(self) -> None:
        self._timer = None
        self._batches.put(self._gathered)
        self._gathered = []

    def _missing(self) -> int:
        """Lines that were lost and of which no line has told."""
        return self._dropped + self._failed - self._reported

    # -- in the thread

    def _work(self) -> None:
        while batch := self._batches.get():
            self._write_batch(batch)

    def _write_batch(self, batch: list[Record]) -> None:
        missing = self._missing()
        for lines in _by_write_size(self._lines(batch, missing)):
            if self._write(b"".join(lines)):
                self._reported += missing
            else:
                self._failed += len(lines)
            self._handled += len(lines)
            missing = 0
            time.sleep(GIVE_WAY)

    def _lines(self, batch: list[Record], missing: int) -> Iterator[bytes]:
        # Anew for each batch: a clock that was set in the meantime is followed.
        offset = time.time() - time.monotonic()
        for record in batch:
            ended = datetime.fromtimestamp(record.ended + offset, UTC)
            timestamp = ended.isoformat(timespec="milliseconds").replace("+00:00", "Z")
            yield self._make_line(Ended(record, timestamp, missing))
            missing = 0

    def _write(self, data: bytes) -> bool:
        """Write everything, however long that takes; whether it worked."""
        fd = self._stream.fileno()
        while data:
            try:
                data = data[os.write(fd, data) :]
            except BlockingIOError:
                # Whoever shares the file may have made it non-blocking, as Node.js does with its standard output.
                room = select.poll()
                room.register(fd, select.POLLOUT)
                room.poll()
            except OSError as error:
                if not self._failing:
                    log.warning("access log: cannot write, lines are lost: %s", error.strerror)
                self._failing = True
                return False
        self._failing = False
        return True


def _by_write_size(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Lines in groups of up to `WRITE_SIZE` bytes; a longer line stands alone."""
    group: list[bytes] = []
    size = 0
    for line in lines:
        if group and size + len(line) > WRITE_SIZE:
            yield group
            group, size = [], 0
        group.append(line)
        size += len(line)
    if group:
        yield group


def json_line(keys: Keys) -> Callable[[Ended], bytes]:
    """Makes JSON lines with these keys. What is not known is left out."""
    named = [(name, field.read) for field in FIELDS if (name := getattr(field, keys))]
    encode = msgspec.json.Encoder().encode

    def line(one: Ended) -> bytes:
        values = {name: value for name, read in named if (value := read(one)) is not None}
        return encode(values) + b"\n"

    return line


def text_line(one: Ended) -> bytes:
    """A line for people. What others chose is quoted, as ASCII: it neither ends the line nor commands the terminal."""
    record = one.record
    judgement = record.judgement
    assert record.outcome is not None
    started = record.started
    words = [
        one.time,
        record.client,
        json.dumps(f"{record.method_label if record.method else ''} {record.path}"),
        str(record.status or "-"),
        record.kind,
        record.outcome.label,
        f"route={record.route}",
        f"duration={ms(record.ended - started)}ms",
    ]
    if judgement is not None:
        words.append(f"verdict={judgement.verdict.value}")
        if judgement.causes:
            words.append(f"cause={judgement.causes[0]}")
    if record.last_word == MISSING:
        words.append("last_word=missing")
    if record.head_at:
        words.append(f"ttfb={ms(record.head_at - started)}ms")
    if record.first_at:
        words.append(f"ttfc={ms(record.first_at - started)}ms")
    words += [
        f"chunks={record.chunks}",
        f"up={record.bytes_up}",
        f"down={record.bytes_down}",
        f"max_gap={ms(record.max_gap)}ms",
        f"stall={ms(record.stalled)}ms",
    ]
    if record.heartbeats:
        words.append(f"heartbeats={record.heartbeats}")
    if record.keepalives:
        words.append(f"keepalives={record.keepalives}")
    if record.detail:
        words.append(f"detail={json.dumps(record.detail)}")
    if one.lost:
        words.append(f"lines_lost={one.lost}")
    return " ".join(words).encode("ascii", "backslashreplace") + b"\n"
