"""Streams that other processes serve, read from a shared store: one task looks for them and reads them all.

Who serves a stream tells in this process's inbox that there is more, so nothing is polled but once a second, to be
sure. What is read goes on where it ended before, whatever became of the connection meanwhile.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from unbuffer.resume.about import unpack, unpack_end
from unbuffer.resume.server import TIMEOUT, Server, Trouble
from unbuffer.resume.store import About, Followed, Search, Source

_ENTRIES: Final = 256
_STREAMS: Final = 16
"""Entries of a stream that are read at once, and streams: a MiB of each, at the most, is in memory at a time."""

_LATENESS: Final = 0.03
"""Seconds that a search waits at first: what went out to a client is in the store no later. All wait alike, so that the
time does not tell what is there."""

_EVERY: Final = 1.0
"""Seconds between two times that it is told who reads what, and looked whether those who serve it are there."""

Note = Callable[[bytes, bytes], None]
"""Tells a process something."""


class Tail(Source):
    """One stream that is read here. after: the number of the latest entry that was read."""

    __slots__ = ("_follower", "after", "followed", "name", "paused", "process", "ready")

    def __init__(self, follower: "Follower", name: bytes, process: bytes) -> None:
        """process: who serves it."""
        self._follower = follower
        self.name = name
        self.process = process
        self.after = 0
        self.followed: Followed | None = None
        """None once it is over."""
        self.ready = False
        self.paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        self._follower.go_on(self)

    def cancel(self) -> None:
        self._follower.note(self.process, b"cancel %b" % self.name)

    def leave(self) -> None:
        self.followed = None
        self._follower.left(self)

    def take(self, entries: list[Any]) -> bool:
        """Pass on what was read. False where it is over, or has to wait."""
        for entry, fields in entries:
            number = int(entry.partition(b"-")[0])
            followed = self.followed
            if followed is None:
                return False
            if self.paused:
                self.told()
                return False
            if self.after and number != self.after + 1:
                self.over()
                return False
            self.after = number
            if fields[0] == b"e":
                end = unpack_end(fields[1])
                self.followed = None
                self._follower.left(self)
                followed.over(end)
                return False
            if fields[1]:
                followed.add(fields[1])
        return True

    def told(self) -> None:
        """All that was there has been passed on."""
        if not self.ready and self.followed is not None:
            self.ready = True
            self.followed.ready()

    def over(self) -> None:
        """It cannot be gone on with."""
        followed, self.followed = self.followed, None
        self._follower.left(self)
        if followed is not None:
            followed.over(None)


class Follower:
    """All streams that are read here."""

    def __init__(self, server: Server, note: Note, lost_after: float) -> None:
        self.tails: dict[bytes, Tail] = {}
        self.note = note
        self._server = server
        self._lost_after = lost_after
        self._searches: list[tuple[float, bytes, Search]] = []
        self._news: dict[bytes, Tail] = {}
        self._work = asyncio.Event()
        self._told_at = 0.0
        self._missing: dict[bytes, float] = {}
        """Processes whose lease is not there, and since when."""
        self._closing = False

    def find(self, name: bytes, search: Search) -> None:
        """Look for a stream."""
        self._searches.append((time.monotonic() + _LATENESS, name, search))
        self._work.set()

    def more(self, names: list[bytes]) -> None:
        """There is more of these."""
        for name in names:
            tail = self.tails.get(name)
            if tail is not None:
                self.go_on(tail)

    def gone(self, names: list[bytes]) -> None:
        """These are not kept any more."""
        for name in names:
            tail = self.tails.get(name)
            if tail is not None:
                tail.over()

    def go_on(self, tail: Tail) -> None:
        """Read it."""
        if not tail.paused:
            self._news[tail.name] = tail
            self._work.set()

    def left(self, tail: Tail) -> None:
        """It is read no more."""
        if self.tails.get(tail.name) is tail:
            del self.tails[tail.name]
        self._news.pop(tail.name, None)

    async def run(self) -> None:
        """Look and read for ever."""
        pause = 0.05
        while True:
            if not self._news:
                self._work.clear()
                try:
                    async with asyncio.timeout(self._next(time.monotonic())):
                        await self._work.wait()
                except TimeoutError:
                    pass
            try:
                await self._round(time.monotonic())
                pause = 0.05
            except Trouble as trouble:
                self._server.trouble(trouble.reason, str(trouble))
                self._missing.clear()  # who could not be seen is not gone
                await asyncio.sleep(pause)
                pause = min(2 * pause, 1.0)
                self._give_up(time.monotonic())

    def close(self) -> None:
        """Nobody waits any more."""
        for _, _, search in self._searches:
            search.missing()
        self._searches = []
        for tail in list(self.tails.values()):
            tail.over()

    def _next(self, now: float) -> float | None:
        """Seconds until there is something to do although nobody says so."""
        if self._searches:
            return max(0.0, self._searches[0][0] - now)
        return _EVERY if self.tails else None

    def _give_up(self, now: float) -> None:
        """Who has waited for too long gets an answer."""
        late = [search for at, _, search in self._searches if at + TIMEOUT <= now]
        self._searches = [one for one in self._searches if one[0] + TIMEOUT > now]
        for search in late:
            search.missing()

    async def _round(self, now: float) -> None:
        while self._searches and self._searches[0][0] <= now:
            await self._look_up([one for one in self._searches[:_STREAMS] if one[0] <= now])
        while self._news:
            await self._read()
        if self.tails and now - self._told_at >= _EVERY:
            self._told_at = now
            await self._see_to_all(now)

    # -- searches

    async def _look_up(self, searches: list[tuple[float, bytes, Search]]) -> None:
        keys = self._server.keys
        texts = await self._server.ask_all([(b"GET", keys.about(name)) for _, name, _ in searches])
        there: list[tuple[tuple[float, bytes, Search], About, bytes]] = []
        for one, text in zip(searches, texts, strict=True):
            _, name, search = one
            try:
                about, process = unpack(name, text or b"")
            except ValueError:
                self._missed(one)
                continue
            if search.may(about):
                there.append((one, about, process))
            else:
                self._missed(one)
        if not there:
            return
        whole = (b"-", b"+", b"COUNT", _ENTRIES)
        read = await self._server.ask_all([(b"XRANGE", keys.events(about.name), *whole) for _, about, _ in there])
        for (one, about, process), entries in zip(there, read, strict=True):
            self._found(one, about, process, entries)

    def _missed(self, one: tuple[float, bytes, Search]) -> None:
        self._searches.remove(one)
        one[2].missing()

    def _found(self, one: tuple[float, bytes, Search], about: About, process: bytes, entries: list[Any]) -> None:
        name, search = about.name, one[2]
        was_all = len(entries) < _ENTRIES
        # What is in the middle of an event belongs to one whose beginning is not kept any more.
        while entries and entries[0][1][0] == b"m":
            entries = entries[1:]
        try:
            first = int(entries[0][1][3])
        except (ValueError, IndexError):
            self._missed(one)
            return
        tail = Tail(self, name, process)
        tail.followed = search.found(about, tail, first)
        self.tails[name] = tail
        self.note(process, b"read %b %b" % (self._server.process, name))
        if tail.take(entries):
            if was_all:
                tail.told()
            self.go_on(tail)
        self._searches.remove(one)  # not before: who is looked up when something goes wrong has to be answered

    # -- what comes

    async def _read(self) -> None:
        tails = list(self._news.values())[:_STREAMS]
        for tail in tails:
            self._news.pop(tail.name, None)
        try:
            await self._read_these(tails)
        except Trouble:
            for tail in tails:
                if tail.followed is not None:
                    self.go_on(tail)
            raise

    async def _read_these(self, tails: list[Tail]) -> None:
        keys = self._server.keys
        names = [keys.events(tail.name) for tail in tails]
        ids = [b"%d-0" % tail.after for tail in tails]
        by_key = dict(zip(names, tails, strict=True))
        answers = await self._server.ask(b"XREAD", b"COUNT", _ENTRIES, b"STREAMS", *names, *ids)
        for key, entries in answers.items() if isinstance(answers, dict) else answers or ():
            tail = by_key.pop(key)
            if tail.take(entries):
                if len(entries) >= _ENTRIES:
                    self.go_on(tail)
                else:
                    tail.told()
        for tail in by_key.values():  # nothing more is there
            tail.told()

    # -- once a second

    async def _see_to_all(self, now: float) -> None:
        by_process: dict[bytes, list[bytes]] = {}
        for tail in self.tails.values():
            by_process.setdefault(tail.process, []).append(tail.name)
            self.go_on(tail)
        for process, names in by_process.items():
            self.note(process, b"read %b %b" % (self._server.process, b" ".join(names)))
        processes = list(by_process)
        keys = self._server.keys
        there = await self._server.ask_all([(b"EXISTS", keys.lease(process)) for process in processes])
        for process, is_there in zip(processes, there, strict=True):
            if is_there:
                self._missing.pop(process, None)
                continue
            missing = now - self._missing.setdefault(process, now)
            # After a restart of the server, who serves it has its time to come back as well.
            if missing >= _EVERY and self._server.since and now - self._server.since >= self._lost_after:
                del self._missing[process]
                await self._lost(by_process[process])

    async def _lost(self, names: list[bytes]) -> None:
        """Who serves these is gone: pass on what it has left, and end them."""
        while self._news:
            await self._read()
        for name in names:
            tail = self.tails.get(name)
            if tail is not None:
                tail.over()
