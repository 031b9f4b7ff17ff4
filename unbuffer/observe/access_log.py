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
from msgspec import Struct, field

from unbuffer.outcome import Outcome
from unbuffer.record import Record

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


class AccessLog:
    """The lines of all streams, in one file."""

    def __init__(self, form: Literal["json", "text", "off"], stream: BinaryIO) -> None:
        """Write to the file below the stream. With the stream's own buffer, whose lock a blocked thread would hold, the
        interpreter could not end."""
        self._stream = stream
        self._make_line: _MakeLine = _text_line if form == "text" else _json_line
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
        """Take the record of a stream that has ended. On the event loop; never blocks, never raises."""
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
            yield self._make_line(record, timestamp, missing)
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


_MakeLine = Callable[[Record, str, int], bytes]


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


class _Line(Struct, kw_only=True, omit_defaults=True):
    """A line as JSON, with the names of OpenTelemetry's semantic conventions. What is not known is left out."""

    timestamp: str
    severity_text: str
    body: str
    method: str = field(name="http.request.method", default="")
    route: str = field(name="http.route")
    path: str = field(name="url.path", default="")
    status: int = field(name="http.response.status_code", default=0)
    version: str = field(name="network.protocol.version", default="")
    client: str = field(name="client.address")
    error: str = field(name="error.type", default="")
    trace_id: str = ""
    outcome: str = field(name="unbuffer.outcome")
    kind: str = field(name="unbuffer.kind")
    ttfb: float | None = field(name="unbuffer.ttfb_ms", default=None)
    ttfc: float | None = field(name="unbuffer.ttfc_ms", default=None)
    duration: float = field(name="unbuffer.duration_ms")
    chunks: int = field(name="unbuffer.chunks")
    bytes_up: int = field(name="unbuffer.bytes_up")
    bytes_read: int = field(name="unbuffer.bytes_read")
    bytes_down: int = field(name="unbuffer.bytes_down")
    max_gap: float = field(name="unbuffer.max_gap_ms")
    stalled: float = field(name="unbuffer.stall_ms")
    reused: bool = field(name="unbuffer.reused")
    decoded: str = field(name="unbuffer.decoded", default="")
    detail: str = field(name="unbuffer.detail", default="")
    missing: int = field(name="unbuffer.lines_lost", default=0)


_encoder = msgspec.json.Encoder()

# A client that leaves is everyday life; the rest is worth a look.
_SEVERITIES = {Outcome.COMPLETED: "INFO", Outcome.CLIENT_DISCONNECT: "INFO", Outcome.INTERNAL_ERROR: "ERROR"}


def _json_line(record: Record, timestamp: str, missing: int) -> bytes:
    outcome = record.outcome
    assert outcome is not None
    started = record.started
    line = _Line(
        timestamp=timestamp,
        severity_text=_SEVERITIES.get(outcome, "WARN"),
        body="stream",
        method=record.method,
        route=record.route,
        path=record.path,
        status=record.status,
        version=record.version,
        client=record.client,
        error="" if outcome is Outcome.COMPLETED else outcome.label,
        trace_id=record.trace,
        outcome=outcome.label,
        kind=record.kind,
        ttfb=_ms(record.head_at - started) if record.head_at else None,
        ttfc=_ms(record.first_at - started) if record.first_at else None,
        duration=_ms(record.ended - started),
        chunks=record.chunks,
        bytes_up=record.bytes_up,
        bytes_read=record.bytes_read,
        bytes_down=record.bytes_down,
        max_gap=_ms(record.max_gap),
        stalled=_ms(record.stalled),
        reused=record.reused,
        decoded=record.decoded,
        # A file name in an error's text may hold bytes that are no characters (surrogateescape).
        detail=record.detail.encode("utf-8", "backslashreplace").decode("utf-8"),
        missing=missing,
    )
    return _encoder.encode(line) + b"\n"


def _text_line(record: Record, timestamp: str, missing: int) -> bytes:
    """A line for people. What others chose is quoted, as ASCII: it neither ends the line nor commands the terminal."""
    assert record.outcome is not None
    started = record.started
    words = [
        timestamp,
        record.client,
        json.dumps(f"{record.method} {record.path}"),
        str(record.status or "-"),
        record.kind,
        record.outcome.label,
        f"route={record.route}",
        f"duration={_ms(record.ended - started)}ms",
    ]
    if record.head_at:
        words.append(f"ttfb={_ms(record.head_at - started)}ms")
    if record.first_at:
        words.append(f"ttfc={_ms(record.first_at - started)}ms")
    words += [
        f"chunks={record.chunks}",
        f"up={record.bytes_up}",
        f"down={record.bytes_down}",
        f"max_gap={_ms(record.max_gap)}ms",
        f"stall={_ms(record.stalled)}ms",
    ]
    if record.detail:
        words.append(f"detail={json.dumps(record.detail)}")
    if missing:
        words.append(f"lines_lost={missing}")
    return " ".join(words).encode("ascii", "backslashreplace") + b"\n"


def _ms(seconds: float) -> float:
    """Milliseconds, to the microsecond."""
    return round(seconds * 1000, 3)
