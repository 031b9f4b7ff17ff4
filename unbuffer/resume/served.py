"""A resumable stream of this process: an exchange writes to it, and it writes to clients, as long as there are any."""

import time
from typing import TYPE_CHECKING, Final

from unbuffer.http.request import Fields
from unbuffer.http.response import ResponseHead
from unbuffer.outcome import Outcome
from unbuffer.presence import Presence
from unbuffer.record import Record
from unbuffer.relay.client import Client, Writer
from unbuffer.relay.exchange import Exchange
from unbuffer.relay.patience import sooner
from unbuffer.relay.resumable import Resumable, ResumePolicy
from unbuffer.resume.cutter import Cutter
from unbuffer.resume.kept import Kept
from unbuffer.resume.naming import id_prefix
from unbuffer.resume.readers import First, Reader
from unbuffer.resume.store import About, Copy, End, Running

if TYPE_CHECKING:
    from unbuffer.resume.registry import Registry


_EXCHANGE: Final = 4608
"""Bytes that an exchange takes with its connection to the upstream: without `resume` they would have gone with the
client. tests/resume/test_memory.py measures it."""


class Served(Kept):
    """left_at: since when nobody reads it; 0.0 = somebody does, or it has ended."""

    __slots__ = ("_first", "_linger", "_nobody", "_presence", "exchange", "handle", "intake", "left_at")

    def __init__(
        self, registry: "Registry", exchange: Exchange, policy: ResumePolicy, about: About, scope: bytes
    ) -> None:
        super().__init__(registry, about, 0, scope)
        self.exchange: Exchange | None = exchange
        """None once it has its outcome."""
        self.handle: Handle | None = None
        """What its store has of it."""
        self.left_at = 0.0
        self._linger = policy.linger
        self._first: First | None = First(self, exchange.client.writer)
        """The client that asked for it; None once it is gone."""
        self._readers.append(self._first)
        self._nobody: Nobody | None = None
        """In place of the client that asked."""
        self.intake: Intake | None = Intake(self, id_prefix(about.name))
        """What its answer is written to, while its exchange runs."""
        self._presence = exchange.record.presence = Presence(1)
        if exchange.client.stalled:
            self._first.full()  # with the response before this one

    @property
    def record(self) -> Record | None:
        """Of its exchange, while that runs."""
        return self.exchange.record if self.exchange is not None else None

    @property
    def first(self) -> First | None:
        """The client that asked for it; None once it is gone."""
        return self._first

    def waiting(self) -> int:
        """Bytes that wait to be taken by whoever waits least: 0 where a heartbeat would do somebody good."""
        if self._first is not None and self._first.live:
            return self._first.writer.waiting
        return 0 if any(reader.live for reader in self._readers) else 1

    # -- where it comes from

    def pause_source(self) -> None:
        if self.exchange is not None:
            self.exchange.answer.downstream_full()

    def resume_source(self) -> None:
        if self.exchange is not None:
            self.exchange.answer.downstream_has_room()

    def cancel(self, outcome: Outcome, detail: str = "") -> None:
        if self.exchange is not None:
            self.exchange.finish(outcome, detail)

    # -- clients leave

    def let_go(self) -> bool:
        """See `Resumable.let_go`."""
        exchange, first = self.exchange, self._first
        if exchange is None or first is None or not exchange.request_over:
            return False
        if self.readers == 1 and (not self._linger or self._registry.closed):
            return False
        client = exchange.client
        nobody = self._nobody = Nobody(self, exchange.resumable, client)
        self._first = None
        exchange.client = nobody
        self._registry.detached[self.about.name] = self
        self._registry.weigh(_EXCHANGE)
        client.exchange_over(Outcome.CLIENT_DISCONNECT, 0)
        exchange.plane.watchdog.watch(nobody, time.monotonic())
        self.left(first)
        self._registry.bound(self)
        return True

    def let_first_go(self) -> None:
        self.let_go()

    def unread(self) -> None:
        exchange, nobody = self.exchange, self._nobody
        if exchange is None:
            return
        self.left_at = time.monotonic()
        if self._registry.closed:
            exchange.finish(Outcome.DRAINING)
        elif nobody is not None:
            exchange.plane.watchdog.watch(nobody, self.left_at)

    def join(self, reader: Reader, number: int) -> None:
        super().join(reader, number)
        self.left_at = 0.0
        if not self.ended_at:
            now = time.monotonic()
            self._note_absence(now)
            self._presence.came_back(self.count - number, now)

    def _note_absence(self, now: float) -> None:
        """For whoever looks at its picture: nobody has read it up to now."""
        record = self.record
        if record is not None and record.timeline is not None and self._presence.left_at:
            record.timeline.absences.append((self._presence.left_at, now))

    def left(self, reader: Reader) -> None:
        if not self.ended_at:
            self._presence.left(time.monotonic())
        super().left(reader)

    def read_elsewhere(self) -> None:
        """Another process has a reader for it."""
        if self.left_at:
            self.left_at = time.monotonic()
            self.seen_elsewhere()

    def forgotten(self) -> None:
        super().forgotten()
        if self.handle is not None:
            self.handle.let_go()

    def look(self, now: float) -> float:
        """Compare the deadlines with the clock, where the client that asked is gone."""
        exchange = self.exchange
        if exchange is None:
            return 0.0
        due = self.left_at + self._linger if self.left_at else 0.0
        if due and due <= now:
            exchange.finish(Outcome.ABANDONED)
            return 0.0
        return sooner(due, exchange.look(now))

    def over(self, outcome: Outcome, detail: str, explained: bool) -> None:
        """Its exchange has its outcome."""
        exchange, first, nobody = self.exchange, self._first, self._nobody
        if exchange is None:
            return
        if first is not None:
            first.catch_up(True)
            self._readers.remove(first)
        if nobody is not None:
            exchange.plane.watchdog.forget(nobody)
            self._registry.weigh(-_EXCHANGE)
        now = time.monotonic()
        self._note_absence(now)
        self._presence.absent = self._presence.absent_by(now)
        self._presence.left_at = 0.0
        self.exchange = self._first = self._nobody = self.intake = None
        self.left_at = 0.0
        self.close(outcome, detail, explained)


class Intake(Resumable):
    """What the answer of such a stream is written to."""

    __slots__ = ("_cutter", "_first_id", "_kept", "copy")

    def __init__(self, kept: Served, prefix: bytes) -> None:
        self._kept: Served | None = kept
        self._cutter = Cutter(prefix)
        self._first_id = b"id: %b0\n" % prefix
        """Goes out behind the head, before any event: a client that loses the connection while the application thinks
        comes back with it. No empty line follows, since some readers make an event of a mere id: it is a line of the
        first event, whose own id comes later and counts. It is neither kept nor content. Empty once it is out."""
        self.copy: Copy | None = None
        """What a store has of it."""

    def informational(self, head: ResponseHead) -> None:
        raise AssertionError("the final head has gone out")

    def switch(self, head: ResponseHead) -> None:
        raise AssertionError("an event-stream is no tunnel")

    def half_close(self) -> bool:
        raise AssertionError("an event-stream is no tunnel")

    def flush(self) -> None:
        """The head, to the client that asked for it, and the first id."""
        if self._kept is not None:
            self._begin(self._kept)

    def _begin(self, kept: Served) -> None:
        first_id, self._first_id = self._first_id, b""
        if first_id and kept.first is not None:
            kept.first.writer.body(first_id, False)

    def body(self, data: bytes, last: bool) -> None:
        kept, cutter = self._kept, self._cutter
        if kept is None:
            return
        if cutter.between and cutter.is_one(data):
            data = cutter.numbered(data)
            kept.add_event(data)
            if self.copy is not None:
                self.copy.append(data, cutter.count, True)
        else:
            self._cut(kept, data)
        if last:
            self.end([])

    def _cut(self, kept: Served, data: bytes) -> None:
        """Any bytes; the first ones always."""
        if self._first_id:
            self._begin(kept)
        cutter = self._cutter
        was_between = cutter.between
        data = cutter.cut(data)
        if not data:
            return
        kept.add(data, cutter.ends, cutter.kept, cutter.between)
        mere = was_between and cutter.between and not cutter.ends and cutter.kept < 0
        if self.copy is not None and not mere:
            self.copy.append(data, cutter.count, cutter.between)

    def end(self, trailers: Fields) -> None:
        kept = self._kept
        if kept is not None and kept.first is not None:
            kept.first.catch_up(True)
            kept.first.writer.end(trailers)

    @property
    def waiting(self) -> int:
        return self._kept.waiting() if self._kept is not None else 1

    @property
    def lost(self) -> bool:
        """Somebody may come for it."""
        return False

    @property
    def between(self) -> bool:
        """No event is under way."""
        return self._cutter.between

    def full(self) -> None:
        if self._kept is not None and self._kept.first is not None:
            self._kept.first.full()

    def has_room(self) -> None:
        if self._kept is not None and self._kept.first is not None:
            self._kept.first.has_room()

    def let_go(self) -> bool:
        return self._kept is not None and self._kept.let_go()

    def over(self, outcome: Outcome, detail: str, explained: bool) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            if self.copy is not None:
                self.copy.end(End(outcome.label, detail, explained))
                self.copy = None
            kept.over(outcome, detail, explained)


class Handle(Running):
    """What a store may do with such a stream, as long as it is kept in memory."""

    __slots__ = ("_kept",)

    def __init__(self, kept: Served) -> None:
        self._kept: Served | None = kept
        kept.handle = self

    def read_elsewhere(self) -> None:
        if self._kept is not None:
            self._kept.read_elsewhere()

    def kept(self) -> tuple[int, bool, bytes] | None:
        return self._kept.all() if self._kept is not None else None

    def cancel(self) -> None:
        if self._kept is not None:
            self._kept.cancel(Outcome.CANCELLED)

    def let_go(self) -> None:
        """It is kept no more."""
        self._kept = None


class Nobody(Client):
    """Stands for the client of a stream that has left."""

    __slots__ = ("_kept", "_writer")

    def __init__(self, kept: Served, writer: Writer | None, before: Client) -> None:
        """writer: of the answer. before: who was there."""
        super().__init__()
        self._kept = kept
        assert writer is not None
        self._writer = writer
        self.peer = before.peer
        self.read_at = before.read_at
        self.resumed_at = before.resumed_at

    @property
    def writer(self) -> Writer:
        return self._writer

    def respond(self, head: ResponseHead, changed: bool, waited: float) -> None:
        raise AssertionError("the head has gone out")

    def pause_reading(self) -> None:
        """There is nothing to read."""

    def resume_reading(self) -> None:
        """There is nothing to read."""

    def begin_tunnel(self) -> None:
        raise AssertionError("an event-stream is no tunnel")

    def exchange_over(self, outcome: Outcome, status: int) -> None:
        """There is nobody to tell."""

    def why_lost(self, exc: Exception | None) -> str:
        return ""

    def look(self, now: float) -> float:
        return self._kept.look(now)
