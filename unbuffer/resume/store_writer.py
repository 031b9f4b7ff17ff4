"""The batches that bring the streams of this process to a shared store, one after the other.

What is in memory for it is one batch, and what came since, which is bounded.
"""

import asyncio
import time
from heapq import heappop, heappush
from typing import Final

from unbuffer.resume.copies import Collector, StoredCopy
from unbuffer.resume.script import INBOX_NOTES, INBOX_TTL
from unbuffer.resume.server import Server, Trouble, reason_of
from unbuffer.resume.store import About, Running
from unbuffer.totals import FORGOTTEN, OVERFLOW, Totals

TICK: Final = 0.015
"""Seconds between two batches: what comes waits for so long, and for the server's answer to the batch before."""

_ANEW: Final = 1 << 20
"""Bytes of streams that are made anew in one batch: no other one waits long behind them."""

_AGAIN: Final = 1.0
"""Seconds until streams are made anew after that has failed, and between two renewals of the lease."""

_SILENCE: Final = 5.0
"""Seconds after which a process that said it reads a stream does so no more (it says so every second), and for which a
batch is sent again where its answer was lost."""


class Writer(Collector):
    """All copies of one process."""

    def __init__(self, server: Server, totals: Totals, total: int, lost_after: float) -> None:
        """total: bytes that the store may have of this process."""
        super().__init__()
        self.copies: dict[bytes, StoredCopy] = {}
        self._server = server
        self._totals = totals
        self._total = total
        self._lease = int(1000 * lost_after)
        self._lease_due = 0.0
        self._notes: list[tuple[bytes, bytes]] = []
        self._drops: list[bytes] = []
        self._kept: dict[bytes, StoredCopy] = {}
        """Those that have ended, the first one at the front."""
        self._finished: list[StoredCopy] = []
        """Those whose end is in the batch."""
        self._due: list[tuple[float, bytes]] = []
        """A heap of when each of the copies is due."""
        self._anew_at = 0.0
        self._closing = False
        self._work = asyncio.Event()

    def open(self, about: About, running: Running) -> StoredCopy:
        """Another stream."""
        copy = self.copies[about.name] = StoredCopy(self, about, running)
        self.absent.append(copy)
        self._lease_due = 0.0 if len(self.copies) == 1 else self._lease_due
        self._work.set()
        return copy

    def note(self, process: bytes, text: bytes) -> None:
        """Tell another process."""
        self._notes.append((process, text))
        self._work.set()

    def read_by(self, process: bytes, names: list[bytes], now: float) -> None:
        """A process says that it reads these."""
        news = []
        for name in names:
            copy = self.copies.get(name)
            if copy is not None:
                if process not in copy.followers:
                    news.append(name)  # what was written before we knew
                copy.followers[process] = now
                if copy.running is not None:
                    copy.running.read_elsewhere()
        if news:
            self.note(process, b"more %b" % b" ".join(news))

    def overflow(self) -> None:
        """The server is slower than what comes."""
        self._totals.resume_store_errors[OVERFLOW] += 1
        for copy in self.fresh:
            copy.lose()
        self.fresh = []
        self.waiting = 0

    async def run(self) -> None:
        """Write batches for ever, or until `close`."""
        while True:
            if not self.copies and not self._notes and not self._drops:
                if self._closing:
                    return
                self._work.clear()
                await self._work.wait()
            collected_since = time.monotonic()
            if not self._closing:
                await asyncio.sleep(TICK)
            orders, data = self._batch(time.monotonic())
            if orders:
                await self._deliver(b"\n".join(orders), b"".join(data), collected_since)
            elif self._closing:
                return

    def close(self) -> None:
        """`run` is to return when all is written."""
        self._closing = True
        self._work.set()

    # -- a batch

    def _batch(self, now: float) -> tuple[list[bytes], list[bytes]]:
        orders: list[bytes] = []
        data: list[bytes] = []
        fresh, self.fresh = self.fresh, []
        news: dict[bytes, list[bytes]] = {}
        for copy in fresh:
            copy.take(orders, data)
            if copy.followers:
                self._tell(copy, news, now)
        self.waiting = 0
        if self.absent and now >= self._anew_at:
            self._make(orders, data, news, now)
        if self.ended:
            self._finish(orders, data, news, now)
        self._look(orders, now)
        if self.stored > self._total:
            self._bound(news)
        for process, names in news.items():
            self._notes.append((process, b"more %b" % b" ".join(names)))
        for process, text in self._notes:
            orders.append(b"note %b %d %d %d" % (process, INBOX_NOTES, INBOX_TTL, len(text)))
            data.append(text)
        self._notes = []
        orders += [b"drop %b" % name for name in self._drops]
        self._drops = []
        if self.copies and now >= self._lease_due and not self._closing:
            self._lease_due = now + _AGAIN
            orders.append(b"lease %b %d" % (self._server.process, self._lease))
        return orders, data

    def _tell(self, copy: StoredCopy, news: dict[bytes, list[bytes]], now: float) -> None:
        for process, seen in list(copy.followers.items()):
            if now - seen > _SILENCE:
                del copy.followers[process]
            else:
                news.setdefault(process, []).append(copy.about.name)

    def _make(self, orders: list[bytes], data: list[bytes], news: dict[bytes, list[bytes]], now: float) -> None:
        size = 0
        while self.absent and size < _ANEW:
            copy = self.absent.popleft()
            if copy.running is None or copy.is_there or copy.is_dropped:
                continue
            made = copy.make(orders, data, self._server.process)
            if made < 0:
                copy.drop()
                continue
            size += made
            self._tell(copy, news, now)
            if not copy.due:
                self._renew_later(copy, now)
            elif copy.end_of_it is not None and copy.about.name in self._kept:
                copy.finish(orders, data)
                self._finished.append(copy)

    def _finish(self, orders: list[bytes], data: list[bytes], news: dict[bytes, list[bytes]], now: float) -> None:
        ended, self.ended = self.ended, []
        for copy in ended:
            name = copy.about.name
            if copy.is_dropped:
                self.copies.pop(name, None)
                continue
            self._kept[name] = copy
            copy.due = now + copy.about.window
            heappush(self._due, (copy.due, name))
            if copy.is_there:
                copy.finish(orders, data)
                self._tell(copy, news, now)
                self._finished.append(copy)

    def _renew_later(self, copy: StoredCopy, now: float) -> None:
        copy.due = now + copy.ttl / 3000
        heappush(self._due, (copy.due, copy.about.name))

    def _look(self, orders: list[bytes], now: float) -> None:
        """Renew what is due, and forget whose window is over: 200 at a time."""
        due = self._due
        for _ in range(200):
            if not due or due[0][0] > now:
                return
            at, name = heappop(due)
            copy = self.copies.get(name)
            if copy is None or copy.due != at:
                continue
            if name in self._kept:
                self._forget(copy)
            elif copy.is_there:
                orders.append(b"renew %b %d" % (name, copy.ttl))
                self._renew_later(copy, now)
            else:
                self._renew_later(copy, now)

    def _forget(self, copy: StoredCopy) -> None:
        copy.drop()
        self.copies.pop(copy.about.name, None)
        self._kept.pop(copy.about.name, None)

    def _bound(self, news: dict[bytes, list[bytes]]) -> None:
        """Keep within the total: what ended longest ago goes first, then what has most."""
        while self.stored > self._total:
            there = [copy for copy in self._kept.values() if copy.weight]
            if not there:
                there = sorted(self.copies.values(), key=_weight, reverse=True)
            if not there or not there[0].weight:
                return
            copy = there[0]
            name = copy.about.name
            self._totals.resume_store_errors[FORGOTTEN] += 1
            self._drops.append(name)
            for process in copy.followers:
                self._notes.append((process, b"gone %b" % name))
            copy.drop()
            if name in self._kept:
                self._forget(copy)

    # -- its answer

    async def _deliver(self, orders: bytes, data: bytes, since: float) -> None:
        """Send a batch, again where the answer was lost: the ids make the second time harmless."""
        server, pause = self._server, 0.05
        while True:
            try:
                why, *failed = await server.write(orders, data)
                break
            except Trouble as trouble:
                server.trouble(trouble.reason, str(trouble))
                if not trouble.lost or self._closing:
                    self.give_up()
                    return
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1.0)
            if time.monotonic() - since > _SILENCE:
                # It may have been started anew, empty: a batch that is that old is of no use.
                self.give_up()
                return
        now = time.monotonic()
        self._totals.resume_store_delay.observe(now - since)
        finished, self._finished = self._finished, []
        for copy in finished:
            if copy.about.name not in failed:
                copy.running = None
        if not failed:
            server.works()
            return
        text = why.decode(errors="replace")
        reason = reason_of(text)
        for name in failed:
            lost = self.copies.get(name)
            if lost is not None:
                lost.lose()
        if text == "gone":
            # Its data was lost, or it has put some away for others: neither is trouble that lasts.
            self._totals.resume_store_errors[reason] += 1
            server.works()
        else:
            server.trouble(reason, text)
            self._anew_at = now + _AGAIN

    def give_up(self) -> None:
        """Nobody knows what is there: have it made anew."""
        for copy in list(self.copies.values()):
            if copy.running is not None:
                copy.lose()
        self.fresh = []
        self._finished = []
        self.waiting = 0
        self._lease_due = 0.0
        self._anew_at = time.monotonic() + _AGAIN


def _weight(copy: StoredCopy) -> int:
    return copy.weight
