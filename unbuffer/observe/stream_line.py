"""What a line of the access log holds: the values of one stream that has ended, under the names of one set of keys.

A line is made at the end of every stream, so this is written out: one straight expression, no look-up by name.
"""

import json
import time
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET

from unbuffer.observe.stream_fields import FIELDS
from unbuffer.outcome import LEFT, Outcome
from unbuffer.record import MISSING, Record

Keys = Literal["otel", "ecs", "plain"]
"""The sets of names that the keys of a JSON line may have."""

# Looked up once: in Python 3.11 an Enum's member costs more than the rest of a field.
_COMPLETED: Final = Outcome.COMPLETED
# A client that leaves is everyday life; the rest is worth a look.
_SEVERITIES: Final = {_COMPLETED: "INFO", **dict.fromkeys(LEFT, "INFO"), Outcome.INTERNAL_ERROR: "ERROR"}
_SUCCESS: Final = {_COMPLETED: "success", **dict.fromkeys(LEFT, "unknown")}
_CATEGORY: Final = ["web"]
_TYPE: Final = ["access"]


def ms(seconds: float) -> float:
    """Milliseconds, to the microsecond. (`round` takes four times as long.)"""
    return int(seconds * 1e6 + 0.5) / 1000


def _struct(keys: Keys) -> Any:
    """The class of a line: a slot for each field, in the order of the table, named for JSON as the set names it."""
    named = [(field.value, Any, UNSET) for field in FIELDS]
    return msgspec.defstruct(
        "Line", named, gc=False, rename={field.value: getattr(field, keys) or field.value for field in FIELDS}
    )


class StreamLine:
    """The values of streams under one set of keys. What is not known, or has no name there, is `msgspec.UNSET`."""

    def __init__(self, keys: Keys) -> None:
        self._struct = _struct(keys)
        self._encode_into = msgspec.json.Encoder().encode_into
        self._otel = keys == "otel"
        self._plain = keys == "plain"
        self._ecs = keys == "ecs"

    def json(self, lines: bytearray, record: Record, ended: str, lost: int) -> None:
        """Add a line of JSON; see `of`."""
        self._encode_into(self.of(record, ended, lost), lines, -1)
        lines += b"\n"

    def of(self, record: Record, ended: str, lost: int) -> Any:
        """A structure with an attribute for each `Field.value`.

        ended: the time of the end, ISO 8601. lost: lines before this one that could not be written.
        """
        outcome = record.outcome
        assert outcome is not None
        unset = UNSET  # once: it costs a look-up by name
        otel, ecs = self._otel, self._ecs
        completed = outcome is _COMPLETED
        severity = "INFO" if completed else _SEVERITIES.get(outcome, "WARN")
        label = outcome.label
        judgement = record.judgement
        causes = judgement.causes if judgement is not None else ()
        started, head_at, first_at = record.started, record.head_at, record.first_at
        lasted = record.ended - started
        silent = head_at > 0.0 and record.kind != "upgrade"
        detail = record.detail
        presence = record.presence
        return self._struct(
            ended,
            severity if otel else unset,
            unset if otel else severity.lower(),
            unset if self._plain else "stream",
            "8.11.0" if ecs else unset,
            "unbuffer.access" if ecs else unset,
            "event" if ecs else unset,
            _CATEGORY if ecs else unset,
            _TYPE if ecs else unset,
            _SUCCESS.get(outcome, "failure") if ecs else unset,
            round(lasted * 1e9) if ecs else unset,
            record.method_label if record.method else unset,
            record.route,
            record.path or unset,
            record.status or unset,
            record.version or unset,
            record.client,
            unset if completed or self._plain else label,
            record.trace or unset,
            label,
            record.kind,
            str(judgement.verdict) if judgement is not None else unset,  # `value` is two calls into Python
            (judgement.seen or unset) if judgement is not None else unset,
            causes[0] if causes else unset,
            judgement.finding if causes and judgement is not None else unset,
            True if causes and judgement is not None and judgement.sure else unset,
            "missing" if record.last_word == MISSING else unset,
            ms(head_at - started) if head_at else unset,
            ms(first_at - started) if first_at else unset,
            ms(lasted),
            record.chunks,
            record.bytes_up,
            record.bytes_read,
            record.bytes_down,
            ms(record.max_gap),
            ms(record.ended - max(head_at, record.last_at)) if silent else unset,
            ms(record.stalled),
            record.heartbeats or unset,
            record.keepalives or unset,
            (presence.resumes or unset) if presence is not None else unset,
            (presence.replayed or unset) if presence is not None else unset,
            (ms(presence.absent) or unset) if presence is not None else unset,
            record.reused,
            record.decoded or unset,
            # A file name in an error's text may hold bytes that are no characters (surrogateescape).
            detail.encode("utf-8", "backslashreplace").decode("utf-8") if detail else unset,
            lost or unset,
        )


_MILLISECONDS: Final = [f".{number:03d}Z" for number in range(1000)]


class WallClock:
    """Tells the ends of streams, on the monotonic clock, as times of the day in UTC."""

    __slots__ = ("_offset", "_second", "_text")

    def __init__(self) -> None:
        self._second = -1
        self._text = ""
        self.set()

    def set(self) -> None:
        """Compare the clocks anew: somebody may have set the one of the day."""
        self._offset = time.time() - time.monotonic()

    def at(self, monotonic: float) -> str:
        """ISO 8601, cut to milliseconds."""
        wall = monotonic + self._offset
        second = int(wall)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return self._text + _MILLISECONDS[int((wall - second) * 1000)]


def text_line(lines: bytearray, record: Record, ended: str, lost: int) -> None:
    """Add a line for people. What others chose is quoted, as ASCII: it neither ends the line nor commands the
    terminal."""
    judgement = record.judgement
    assert record.outcome is not None
    started = record.started
    words = [
        ended,
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
            words.append(f"finding={judgement.finding}")
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
    if record.presence is not None:
        words.append(f"resumes={record.presence.resumes} replayed={record.presence.replayed}")
        words.append(f"absent={ms(record.presence.absent)}ms")
    if record.detail:
        words.append(f"detail={json.dumps(record.detail)}")
    if lost:
        words.append(f"lines_lost={lost}")
    lines += " ".join(words).encode("ascii", "backslashreplace")
    lines += b"\n"
