"""The latest events of one stream, as they went out, and where each of them ends. Bounded by whoever drops them."""

from array import array
from bisect import bisect_left, bisect_right
from typing import Final

_ID_SIZE: Final = 200
"""Bytes that an id of the application's takes in the index, about."""


class Ring:
    """Bytes at the positions from `base` to `reached`, counted from the beginning of the stream.

    first: how many events there were before those that are held. whole: whether the event under way
    can be had from its beginning.
    """

    __slots__ = ("_buffer", "_ends", "_ids", "_kept", "base", "first", "reached", "whole")

    def __init__(self, first: int = 0) -> None:
        self._buffer = bytearray()
        self._ends = array("q")
        """The ends of the events from `first` on."""
        self._ids: dict[bytes, int] = {}
        """The application's own ids, with the number of the latest event that has each."""
        self._kept = 0
        """Up to here nothing is a mere comment."""
        self.base = 0
        self.reached = 0
        self.first = first
        self.whole = True

    @property
    def size(self) -> int:
        """Bytes that are held, with the table of the events and the application's ids."""
        return self.reached - self.base + 8 * len(self._ends) + _ID_SIZE * len(self._ids)

    @property
    def has_ids(self) -> bool:
        """Whether one of the events has an id of the application's own."""
        return bool(self._ids)

    def add_event(self, data: bytes) -> None:
        """One event with an id of ours."""
        self._buffer += data
        self.reached += len(data)
        self._ends.append(self.reached)

    def add(self, data: bytes, ends: list[tuple[int, bytes | None]], kept: int) -> None:
        """Any bytes; ends, kept: as `Cutter` has them."""
        start = self.reached
        self._buffer += data
        self.reached += len(data)
        for end, own in ends:
            self._ends.append(start + end)
            if own:
                self._ids.pop(own, None)
                self._ids[own] = self.first + len(self._ends)
            if not self.whole:
                self._forget(len(self._ends), start + end)
                self.whole = True
        if kept >= 0:
            self._kept = max(self._kept, start + kept)

    def drop_comments(self) -> None:
        """What came since the latest event, or anything else that says something, is comments: forget them."""
        end = max(self._kept, self.base, self._ends[-1] if self._ends else 0)
        if end < self.reached:
            del self._buffer[end - self.base :]
            self.reached = end

    @property
    def count(self) -> int:
        """Events so far."""
        return self.first + len(self._ends)

    def after(self, number: int) -> int:
        """The position after the event of this number, 0 for the beginning; -1 where it is not held any more, or never
        was."""
        index = number - self.first
        if index < 0 or index > len(self._ends) or (index == len(self._ends) and not self.whole):
            return -1
        return self._ends[index - 1] if index else self.base

    def number_of(self, own: bytes) -> int:
        """The number of the latest event with this id of the application's; -1 = there is none."""
        return self._ids.get(own, -1)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from one position to another."""
        return bytes(self._buffer[start - self.base : end - self.base])

    def drop(self, limit: int, needed: int) -> None:
        """Forget the oldest events until at most `limit` bytes are held, but nothing from the position `needed` on.

        An event under way that is larger than that goes as well: nobody can come back before its end then.
        """
        ends = self._ends
        count = min(bisect_left(ends, self.reached - limit) + 1, bisect_right(ends, needed))
        if count:
            self._forget(count, ends[count - 1])
        if not self._ends and needed == self.reached > self.base + limit:
            self.clear()

    def _forget(self, count: int, position: int) -> None:
        del self._buffer[: position - self.base]
        del self._ends[:count]
        self.base = position
        self.first += count
        self._kept = max(self._kept, position)
        for own in [own for own, number in self._ids.items() if number < self.first]:
            del self._ids[own]

    def settle(self) -> None:
        """Nothing more comes: give back what is spare, an eighth of it."""
        self._buffer = bytearray(self._buffer)
        self._ends = array("q", self._ends)

    def clear(self) -> None:
        """Forget everything. What was under way cannot be had from its beginning."""
        self.whole = self.reached == max(self._kept, self._ends[-1] if self._ends else 0)
        self._forget(len(self._ends), self.reached)
