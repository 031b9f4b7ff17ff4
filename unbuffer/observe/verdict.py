"""How a stream arrived from the upstream, judged by its record: pure, and the same for a stream that still runs.

The thresholds are few and coarse on purpose: a verdict names a cause that a person can mend, so a doubtful stream
counts as streamed.
"""

from math import sqrt
from typing import Final

from unbuffer.judgement import Judgement, Verdict
from unbuffer.record import Record
from unbuffer.rhythm import Rhythm

WAIT: Final = 0.5
"""Seconds that a person notices; less is not worth a word."""

TOGETHER: Final = 0.005
"""Seconds within which head and first chunk came in one breath."""

FEW_CLUMPS: Final = 4
"""Fewer clumps than this show no pattern."""

NEARLY_ALL: Final = 0.9
"""Share of the body in its last clump: what compressors and frameworks send ahead is no content."""

MANY_EVENTS: Final = 5
"""Events of a body that came at once from which on somebody collected them."""

MADE: Final = 0.00025
"""Seconds that making an event takes at least: the fastest models take 0.4 ms. What comes faster was there before."""

PER_CLUMP: Final = 3.0
"""Mean events of a clump from which on somebody collected them; an application may well write two at once, and one step
of speculative decoding."""

NOTICED: Final = 0.08
"""Seconds between clumps below which nobody sees them: a model that writes 300 tokens a second has such clumps."""

BEAT: Final = 0.15
"""Seconds from which on a beat is a timer's: models that decode speculatively write a few tokens every 120 ms. The
flush timers of proxies are slower."""

CROWD: Final = 8.0
"""Mean events of a clump from which on a faster beat is a timer's as well: no model guesses so many at once."""

LARGE: Final = 1024
"""Bytes of a clump from which on its size may be that of a buffer."""

PAGE: Final = 4096
"""Bytes: a clump of just one of these, or several, was cut by somebody who counts bytes, and two of them show it."""

MOST: Final = 0.75
"""Share of clumps of one size from which on the size is somebody's buffer; the last one is smaller, and what shares a
buffer with the response head is, too."""

STEADY: Final = 0.15
"""Coefficient of variation of the pauses below which a timer makes them; the pauses of a model have 0.3 and more."""

MANY_PAUSES: Final = 8
"""Pauses from which on the longest is left out: a busy machine makes one."""

OPENING: Final = 8
"""Events of a first read from which on somebody kept them until he had enough bytes."""

AT_ONCE: Final = 0.05
"""Seconds within which a body of known length was there: whoever took longer to send it had not all of it."""

STILLS: Final = 2
"""Silences that a stream had together with others from which on somebody stopped them: one is chance."""

SELDOM: Final = 8
"""Silences of which one that it had together with others is chance, however long the stream is."""

FLOWS: Final = 1.5
"""Mean events of the clumps after it, at the most."""


ADVICE = {
    Verdict.STREAMED: "Chunks came as they were made.",
    Verdict.LUMP: "The whole body came at once after a wait: something before unbuffer collected it.",
    Verdict.BURSTS: (
        "Chunks came in clumps of one size or on one beat: a buffer or a timer before unbuffer collects them."
    ),
    Verdict.HEADERS_WITHHELD: (
        "The response head waited for the first chunk: the client could not know that its request was taken, and no "
        "heartbeat could be sent."
    ),
    Verdict.FIRST_BYTES_HELD: "The beginning waited until there were enough bytes; what followed flowed.",
    Verdict.BLOCKED_LOOP: (
        "Streams waited for one another: a blocked event loop, or a server that takes one request at a time."
    ),
    Verdict.WHOLE: (
        "The text came whole, with its length, after a wait: an answer that took its time, or a stream that somebody "
        "held until he knew its length."
    ),
    Verdict.SHORT: "Too little, or too quick, to be judged.",
}
"""What was seen, in a sentence; what to change is said by `observe.causes`."""


_STREAMED: Final = Judgement(Verdict.STREAMED)
_SHORT: Final = Judgement(Verdict.SHORT)


def judge(record: Record) -> Judgement | None:
    """How this stream arrived; None for what is no stream or has brought nothing, keep-alives aside."""
    rhythm = record.rhythm
    if not record.chunks or (rhythm is None and not record.whole):
        return None
    # An answer that overtook the end of its request waited for nothing.
    asked = record.sent_at or record.first_at
    if rhythm is None:
        whole = record.last_at - record.head_at < AT_ONCE
        return Judgement(Verdict.WHOLE, f"after {record.head_at - asked:.1f} s") if whole else None
    if was_stopped(rhythm):
        return Judgement(Verdict.BLOCKED_LOOP, f"{rhythm.stills} times together with others")
    if _is_lump(record, rhythm, asked):
        return Judgement(Verdict.LUMP, f"after {(rhythm.begun or record.first_at) - asked:.1f} s")
    if collected_by := _collector(record, rhythm):
        return Judgement(Verdict.BURSTS, collected_by)
    if rhythm.clumps < FEW_CLUMPS:
        return _SHORT
    if record.first_at - asked >= WAIT and _held_its_beginning(record, rhythm):
        return Judgement(Verdict.FIRST_BYTES_HELD, f"{rhythm.opening} bytes for {record.first_at - asked:.1f} s")
    if record.head_at - asked >= WAIT and record.first_at - record.head_at < TOGETHER:
        return Judgement(Verdict.HEADERS_WITHHELD, f"for {record.head_at - asked:.1f} s")
    return _STREAMED


def was_stopped(rhythm: Rhythm) -> bool:
    """Whether it had more silences together with others than there are by chance."""
    return rhythm.stills >= max(STILLS, rhythm.silences // SELDOM)


def _is_lump(record: Record, rhythm: Rhythm, asked: float) -> bool:
    """Whether nearly all of the body came at once, at the end of a wait, and faster than anybody makes it."""
    begun = rhythm.begun or record.first_at
    if rhythm.clumps >= FEW_CLUMPS or begun - asked < WAIT:
        return False
    size = record.bytes_read - rhythm.aside
    if size - rhythm.offset < NEARLY_ALL * size:
        return False
    if record.kind == "stream":
        # Events of text cannot be counted, but what was written once comes in one read, or fills a few.
        events = float(record.chunks) if size < record.chunks * LARGE else 0.0
    else:
        events = _events(record, rhythm)
    return events >= MANY_EVENTS and record.last_at - begun < events * MADE


def _collector(record: Record, rhythm: Rhythm) -> str:
    """What parted the events into clumps, a buffer's size or a timer's beat; empty = nobody did."""
    # Behind a client that is slow the upstream is read in clumps, whatever it sends.
    if record.kind == "stream" or record.stalls or rhythm.clumps < 2:
        return ""
    pauses = rhythm.clumps - 1
    each = _events(record, rhythm) / rhythm.clumps
    total, squares = rhythm.pauses, rhythm.squares
    if each < PER_CLUMP or total < NOTICED * pauses:
        return ""
    if rhythm.clump >= LARGE and _of_one_size(rhythm, pauses, each):
        return f"{rhythm.clump} bytes at a time"
    if pauses >= MANY_PAUSES:
        pauses -= 1
        total -= record.max_gap
        squares -= record.max_gap * record.max_gap
    mean = total / pauses
    if rhythm.clumps < FEW_CLUMPS or mean < (NOTICED if each >= CROWD else BEAT):
        return ""
    deviation = sqrt(max(squares / pauses - mean * mean, 0.0))
    return f"every {mean * 1000:.0f} ms" if deviation < STEADY * mean else ""


def _of_one_size(rhythm: Rhythm, pauses: int, each: float) -> bool:
    """Whether the clumps that are complete, as many as there are pauses, are a buffer's. each: events of one."""
    if rhythm.clump % PAGE == 0 and each >= MANY_EVENTS:
        return pauses < FEW_CLUMPS or rhythm.alike >= MOST * (pauses - 2)
    return pauses >= FEW_CLUMPS - 1 and rhythm.alike >= MOST * (pauses - 1)


def _held_its_beginning(record: Record, rhythm: Rhythm) -> bool:
    """Whether the first read brought what fills a buffer, and the rest came as it was made."""
    ends, size = rhythm.opening_ends, rhythm.opening
    if ends < OPENING:
        return False
    event = size / ends
    full = any(buffer <= size <= buffer + 2 * event for buffer in (1024, 2048, 4096, 8192, 16384, 32768, 65536))
    return full and _events(record, rhythm) - ends <= FLOWS * (rhythm.clumps - 1)


def _events(record: Record, rhythm: Rhythm) -> float:
    """How many there were, by the size that the first ones had."""
    return rhythm.ends * (record.bytes_down - rhythm.given) / rhythm.sampled if rhythm.sampled else 0.0
