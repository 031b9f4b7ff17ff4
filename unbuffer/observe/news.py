"""What an open live page is told: the shapes of its updates, as they are written.

Counts, times, routes and paths without their query; never a byte of a stream.
"""

from collections import deque
from itertools import islice
from typing import TypeVar

import msgspec
from msgspec import Struct

T = TypeVar("T")


class Row(Struct, omit_defaults=True):
    """One stream in the table. Times in seconds.

    age      from the request head until now, or to the end
    first    from the request head to the first chunk
    gap      since the latest chunk until now, or to the end; keep-alives are no chunks
    stall    how long the upstream was not read because the client's buffer was full; paused: it is so now
    readers  of a resumable stream, now; resumes: requests that came back to it; replayed: events that they had missed
    replay   it is such a request: first, gap and chunks are of the pieces that it was given of what is kept
    absent   how long it had no reader; absences: how often
    seen     what the verdict was seen by; causes: what most likely made it so, the likeliest first
    finding  what `unbuffer check` and docs/lump.md call it; sure: the stream before it came the same way
    unsaid   it ended without the last word of nearly all others of its route
    outcome  empty while the stream runs; ended: when that was, in seconds of the Unix epoch
    failed   it ended by an error, or unsaid
    """

    id: int
    route: str
    method: str
    path: str
    kind: str
    age: float
    chunks: int
    bytes: int
    status: int = 0
    first: float | None = None
    gap: float | None = None
    max_gap: float | None = None
    stall: float = 0.0
    paused: bool = False
    heartbeats: int = 0
    keepalives: int = 0
    readers: int | None = None
    resumes: int = 0
    replayed: int = 0
    replay: bool = False
    absent: float = 0.0
    absences: int = 0
    verdict: str = ""
    seen: str = ""
    causes: tuple[str, ...] = ()
    finding: str = ""
    sure: bool = False
    unsaid: bool = False
    outcome: str = ""
    ended: float = 0.0
    failed: bool = False


class Picture(Struct, omit_defaults=True):
    """The chunks of one stream that are new to a page. Times in milliseconds since the request head.

    marks       when a chunk was read, how much later it was accepted for the client, and its bytes
    missed      chunks that came before anybody looked
    pauses      from when to when the upstream was not read because the client's buffer was full; all that are kept
    heartbeats  when each was sent; all that are kept
    keepalives  when each of the application's own was read; all that are kept
    absences    from when to when nobody read it, so that its chunks were kept and not given; all that are kept
    """

    marks: list[tuple[float, float, int]]
    missed: int = 0
    pauses: list[tuple[float, float]] = []
    heartbeats: list[float] = []
    keepalives: list[float] = []
    absences: list[tuple[float, float]] = []


class Chosen(Struct, omit_defaults=True):
    """The stream that a page shows in full. picture: None = its chunks are not kept."""

    row: Row
    pinned: bool
    head: float | None = None
    """Milliseconds from the request head to the response head."""
    picture: Picture | None = None


class Sums(Struct):
    """What all streams add up to.

    relay                      counts of the relay delay's buckets; these, chunks and bytes since the process began
    failed, verdicts, blocked  of the last minutes, as many as the heatmap shows
    """

    streams: int
    chunks: int
    bytes: int
    relay: list[int]
    failed: int
    """Streams that ended badly."""
    verdicts: dict[str, int]
    blocked: int
    """Silences of all streams at once, as a blocked event loop makes them."""


class News(Struct, omit_defaults=True):
    """What a page is told every second. ended and columns: those that are new to it.

    upstream  why it takes no connections; empty while it does
    blocked   the streams that run have fallen silent together, and are so now
    """

    now: float
    state: str
    sums: Sums
    running: list[Row]
    upstream: str = ""
    blocked: bool = False
    unlisted: int = 0
    ended: list[Row] = []
    columns: list[tuple[int, ...]] = []
    chosen: Chosen | None = None


class Hello(Struct):
    """What a page is told first: whose page it is, and the words and bounds of all that follows.

    started: of the process, in seconds of the Unix epoch. docs: the URL of the document that has a section for each
    finding; empty = it is in the repository, wherever that is.
    """

    advice: dict[str, str]
    remedies: dict[str, str]
    outcomes: dict[str, str]
    gap_bounds: tuple[float, ...]
    relay_bounds: tuple[float, ...]
    recent: int
    length: int
    column: float
    columns: int
    host: str = ""
    version: str = ""
    started: float = 0.0
    docs: str = ""

    def of(self, host: str, version: str, started: float) -> "Hello":
        """The same, of this process."""
        return msgspec.structs.replace(self, host=host, version=version, started=started)


_encoder = msgspec.json.Encoder()


def event(name: str, data: Hello | News) -> bytes:
    """An event of the stream of updates."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encoder.encode(data))


def latest(kept: deque[T], new: int) -> list[T]:
    """The last `new` of what is kept."""
    return list(islice(kept, max(len(kept) - new, 0), None))


def seconds(time: float) -> float:
    """As a page gets it."""
    return round(time, 5)


def milliseconds(time: float) -> float:
    """Of a time in seconds, as a page gets it."""
    return round(time * 1000, 2)
