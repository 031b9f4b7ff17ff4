"""What a shared store has of one stream of this process.

It is made anew from what the process keeps in memory whenever it is not there, or not whole. So nothing has to wait for
a server that is slow or gone, and a stream is there again when the server is.
"""

from abc import abstractmethod
from collections import deque
from typing import Final

from unbuffer.resume.about import pack, pack_end
from unbuffer.resume.store import About, Copy, End, Running

MOST_WAITING: Final = 8 << 20
"""Bytes that may wait for an answer of the server. Beyond that what is there is made anew, later."""

_MARGIN: Final = 30.0
"""Seconds. The keys of a stream that runs are kept for its window and more, and renewed in time; so what a process
that was killed has left is there for a window at least."""

_ABSENT: Final = 0
_THERE: Final = 1
_DROPPED: Final = 2


class Collector:
    """Where copies say what has to be written. fresh: those that something came for; absent: those to be made anew;
    ended: those whose end is to be written. waiting: bytes that came and are in no batch. stored: bytes that the store
    has of all."""

    def __init__(self) -> None:
        self.fresh: list[StoredCopy] = []
        self.absent: deque[StoredCopy] = deque()
        self.ended: list[StoredCopy] = []
        self.waiting = 0
        self.stored = 0

    @abstractmethod
    def overflow(self) -> None:
        """More waits than may."""


class StoredCopy(Copy):
    """One stream. followers: processes that read it, and when they last said so."""

    __slots__ = (
        "_began_between",
        "_between",
        "_count",
        "_counted",
        "_marks",
        "_parts",
        "_size",
        "_state",
        "_weight",
        "_writer",
        "_written",
        "about",
        "due",
        "end_of_it",
        "followers",
        "number",
        "running",
    )

    def __init__(self, writer: Collector, about: About, running: Running) -> None:
        self._writer = writer
        self.about = about
        self.running: Running | None = running
        """None once all that is kept in memory is over, or nothing more is wanted of it."""
        self.followers: dict[bytes, float] = {}
        self.number = 0
        """Of the latest entry."""
        self.end_of_it: End | None = None
        self.due = 0.0
        """When its keys are renewed, or it is forgotten."""
        self._state = _ABSENT
        self._parts: list[bytes] = []
        """What came since the latest batch, its size, and what was there before it: see `Copy.append`."""
        self._size = 0
        self._counted = 0
        self._began_between = True
        self._count = 0
        self._between = True
        self._written = 0
        """Bytes, since it was made anew."""
        self._marks: deque[tuple[int, int]] = deque()
        """Numbers of entries, with the bytes that were written before each: an eighth of `About.size` apart."""
        self._weight = 0
        """What the writer counts of it."""

    @property
    def is_there(self) -> bool:
        """Whether the store has it, as far as is known."""
        return self._state == _THERE

    @property
    def is_dropped(self) -> bool:
        """Whether it is not to be there again."""
        return self._state == _DROPPED

    @property
    def weight(self) -> int:
        """Bytes that the store has of it."""
        return self._weight

    @property
    def ttl(self) -> int:
        """Milliseconds that its keys are kept from now on."""
        window = self.about.window
        return int(1000 * (window if self.end_of_it is not None else 1.5 * window + _MARGIN))

    def append(self, data: bytes, count: int, between: bool) -> None:
        if self._state == _THERE:
            writer, size = self._writer, len(data)
            if not self._parts:
                writer.fresh.append(self)
            self._parts.append(data)
            self._size += size
            writer.waiting += size
            if writer.waiting > MOST_WAITING:
                writer.overflow()
        self._count = count
        self._between = between

    def end(self, end: End) -> None:
        self.end_of_it = end
        self._writer.ended.append(self)

    def take(self, orders: list[bytes], data: list[bytes]) -> None:
        """Put what came into a batch."""
        if self._state != _THERE or not self._parts:
            return
        if self._size > self.about.size:
            self.lose()  # more came than is kept: what is kept is all there has to be
            return
        self.number += 1
        self._mark()
        order = b"add %b %d %d %b %d %d" % (
            self.about.name,
            self.number,
            self._marks[0][0],
            b"d" if self._began_between else b"m",
            self._size,
            self._counted,
        )
        orders.append(order)
        data += self._parts
        self._written += self._size
        self._taken()

    def make(self, orders: list[bytes], data: list[bytes], process: bytes) -> int:
        """Put all that is kept into a batch, in place of what is there. Returns its size; -1 where nothing is kept."""
        all_of_it = self.running.kept() if self.running is not None else None
        if all_of_it is None:
            return -1
        first, whole, kept = all_of_it
        self._writer.waiting -= self._size
        self._state = _THERE
        self.number += 2  # the gap tells whoever reads it that this is no continuation
        self._marks.clear()
        self._written = 0
        self._mark()
        self._written = len(kept)
        about = pack(self.about, process)
        order = b"create %b %d %d %d %b %d %d" % (
            self.about.name,
            self.number,
            self.ttl,
            len(about),
            b"d" if whole else b"m",
            len(kept),
            first,
        )
        orders.append(order)
        data += (about, kept)
        self._taken()
        return len(kept)

    def finish(self, orders: list[bytes], data: list[bytes]) -> None:
        """Put its end into a batch."""
        assert self.end_of_it is not None
        self.number += 1
        end = pack_end(self.end_of_it)
        orders.append(b"finish %b %d %d %d %d" % (self.about.name, self.number, self.ttl, len(end), self._counted))
        data.append(end)

    def _taken(self) -> None:
        self._parts = []
        self._size = 0
        self._counted = self._count
        self._began_between = self._between
        self._weigh(self._written - self._marks[0][1] + len(self.about.name))

    def _mark(self) -> None:
        """Before an entry: what is older than `About.size` need not be there any more."""
        marks, size, written = self._marks, self.about.size, self._written
        if not marks or written - marks[-1][1] >= size >> 3:
            marks.append((self.number, written))
        while len(marks) > 1 and written - marks[1][1] >= size:
            marks.popleft()

    def _weigh(self, weight: int) -> None:
        self._writer.stored += weight - self._weight
        self._weight = weight

    def lose(self) -> None:
        """It is not there, or not whole."""
        if self._state != _THERE:
            return
        self._state = _ABSENT
        self._writer.waiting -= self._size
        self._parts = []
        self._size = 0
        self._weigh(0)
        self._writer.absent.append(self)

    def drop(self) -> None:
        """It is not to be there any more."""
        self.lose()
        self._state = _DROPPED
        self.running = None
