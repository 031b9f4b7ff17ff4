"""Who reads a resumable stream, each at its own pace."""

import time
from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from unbuffer.http.response import ResponseHead
from unbuffer.outcome import WHOLE, Outcome
from unbuffer.presence import Given
from unbuffer.relay.client import Writer
from unbuffer.relay.exchange import Exchange
from unbuffer.relay.replay import Replay
from unbuffer.relay.resumable import Reading

if TYPE_CHECKING:
    from unbuffer.resume.kept import Kept

_SLICE: Final = 65536
"""Bytes that a reader who is behind gets at a time, until its buffer is full."""

_EMPTY_LINE: Final = b"\n"
"""What every replay begins with. Readers exist that keep half an event over to a new connection: this ends it, and
without its empty line they drop it."""


class Reader(Reading):
    """One client of a stream.

    live: it has been given everything so far, and gets what comes at once. position: up to where it has been given the
    stream; of no meaning where it is live.
    """

    __slots__ = ("_full", "kept", "live", "position")

    def __init__(self, kept: "Kept", live: bool, position: int) -> None:
        self.kept = kept
        self.live = live
        self.position = position
        self._full = False

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Bytes of the stream, to the client, now."""

    @abstractmethod
    def cut(self) -> None:
        """It is too far behind. It may come back."""

    @abstractmethod
    def over(self) -> None:
        """The stream has ended, and it has been given all of it."""

    def full(self) -> None:
        self._full = True
        if self.live:
            self.live = False
            self.position = self.kept.reached

    def has_room(self) -> None:
        self._full = False
        self.catch_up(False)

    def catch_up(self, at_once: bool) -> None:
        """Give what there is as long as there is room; at_once: all of it, whether there is or not."""
        kept = self.kept
        while not self.live and (at_once or not self._full):
            start = self.position
            if start >= kept.reached:
                self.live = True
                break
            end = kept.reached if at_once else min(start + _SLICE, kept.reached)
            self.position = end
            self.write(kept.read(start, end))
        kept.advanced(self)


class First(Reader):
    """The client that asked for the stream, on the exchange that the upstream answers."""

    __slots__ = ("writer",)

    def __init__(self, kept: "Kept", writer: Writer) -> None:
        super().__init__(kept, True, 0)
        self.writer = writer

    def begin(self) -> None:
        """It has begun."""

    def write(self, data: bytes) -> None:
        self.writer.body(data, False)

    def cut(self) -> None:
        self.kept.let_first_go()

    def over(self) -> None:
        """Its exchange tells it."""

    def leave(self) -> None:
        """Its exchange is the stream's own."""


class Returned(Reader):
    """A client that came back, or another one of the same, on an exchange of its own."""

    __slots__ = ("_answer", "_exchange", "_given")

    def __init__(self, kept: "Kept", exchange: Exchange, position: int, number: int) -> None:
        """number: of the latest event that it has."""
        super().__init__(kept, False, position)
        self._exchange: Exchange | None = exchange
        self._answer = Replay(exchange, exchange.record, exchange.client.writer)
        exchange.answer = self._answer
        self._full = True  # until the request is over
        kept.join(self, number)
        self._given = exchange.record.presence = Given(kept.count - number)

    def begin(self) -> None:
        """Answer: the head, what it has missed, and from then on what comes."""
        exchange, kept = self._exchange, self.kept
        if exchange is None:
            return
        self._full = False
        self._answer.resume(ResponseHead(200, kept.about.reason, True, kept.about.fields, False), time.monotonic())
        self._answer.give(_EMPTY_LINE)
        self.catch_up(False)

    def write(self, data: bytes) -> None:
        answer, now = self._answer, time.monotonic()
        self._given.gave(now)
        answer.give(data)
        timeline = answer.record.timeline
        if timeline is not None:
            timeline.wrote(now, now, answer.record.bytes_down)

    def cut(self) -> None:
        if self._exchange is not None:
            self._exchange.finish(Outcome.CLIENT_STALL_TIMEOUT, "behind the other readers by resume.bytes")

    def over(self) -> None:
        exchange, kept = self._exchange, self.kept
        if exchange is None:
            return
        if kept.outcome in WHOLE:
            self._answer.give_end()
        self._answer.explained = kept.explained
        # It is another client that left; this one gets what there is, and then a break.
        left = kept.outcome is Outcome.CLIENT_DISCONNECT or kept.outcome is Outcome.CLIENT_STALL_TIMEOUT
        exchange.finish(Outcome.ABANDONED if left else kept.outcome, kept.detail)

    def leave(self) -> None:
        self._exchange = None
        self.kept.left(self)
