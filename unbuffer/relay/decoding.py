"""A response body that came compressed all the same: decoded as it comes, given out in steps that a client paces."""

import time
from abc import abstractmethod

from unbuffer.http.coded import goes_out_decoded, is_of_decoded, leaves_open, value_of, without_ranges
from unbuffer.http.coding import CodingError, Decoder, decodable
from unbuffer.http.request import Fields
from unbuffer.http.response import ResponseHead
from unbuffer.outcome import Outcome
from unbuffer.relay.stream import Stream
from unbuffer.totals import DAMAGED, DECODED, PASSED_THROUGH

STEP = 65536
"""Decoded bytes given out at a time: a compression bomb is paced by the client that reads it."""


class Taker:
    """Who takes what a decoder gives: an Answer."""

    __slots__ = ()

    @abstractmethod
    def decoded(self, data: bytes, now: float) -> None:
        """More than one step is in a read: the next one, not empty."""

    @abstractmethod
    def decoded_end(self, trailers: Fields, now: float) -> None:
        """The decoder has given everything."""

    @abstractmethod
    def flush(self, now: float) -> None:
        """The decoder has nothing yet."""


def decoding_of(stream: Stream, taker: Taker, head: ResponseHead) -> "tuple[bool, Decoding | None]":
    """Whether the head speaks of a decoded body, and the decoding of that body if it comes."""
    policy, record = stream.policy, stream.record
    decoded = goes_out_decoded(head, policy.decode, record.method == "HEAD")
    if head.status == 304 and (policy.decode != "never" or policy.adds):
        # Of an event-stream a 304 does not say that it is one.
        known = is_of_decoded(head, value_of(stream.request.fields, b"if-none-match"))
        if known is not None:
            return known, None
    if decoded and not head.framing and leaves_open(head, policy.decode):
        head.fields = without_ranges(head.fields)
    if not head.framing or head.status == 206:
        return decoded, None
    label = "+".join(head.codings) if decodable(head.codings) else "other"
    if decoded:
        record.decoded = label
        return True, Decoding(stream, taker, head.codings)
    stream.shared.totals.decoded[record.route, label, PASSED_THROUGH] += 1
    return False, None


class Decoding:
    """The decoding of one answer.

    has_more: the decoder holds more than was given out; the upstream is not read meanwhile.
    """

    __slots__ = ("_damage", "_decoder", "_ending", "_full", "_stream", "_taker", "_trailers", "has_more")

    def __init__(self, stream: Stream, taker: Taker, codings: tuple[str, ...]) -> None:
        self._stream = stream
        self._taker = taker
        self._decoder = Decoder(codings)
        self._damage = ""
        """Why the latest step was the last one; empty = it was not."""
        self._full = False
        """The latest step was a whole one: the decoder may have more."""
        self._ending = False
        """The response is complete, as far as the upstream is concerned."""
        self._trailers: Fields = []
        self.has_more = False

    def feed(self, data: bytes, last: bool) -> bytes:
        """Coded bytes, as one read brought them. Returns the first step of what they stand for; `settle` has to follow
        when that has been given out."""
        self._decoder.feed(data)
        self._ending = last
        return self._step()

    def end(self, trailers: Fields) -> None:
        """The response is complete; nothing of its body came with the news."""
        self._ending = True
        self._trailers = trailers
        self.go_on(time.monotonic())

    def go_on(self, now: float) -> None:
        """Give out what the decoder has, one step for one turn of the loop, and only while the client takes it."""
        data = self._step()
        if data:
            self._taker.decoded(data, now)
        self.settle(now)

    def _step(self) -> bytes:
        decoder = self._decoder
        pieces: list[bytes] = []
        room = STEP
        try:
            while room > 0 and (piece := decoder.read(room)):
                pieces.append(piece)
                room -= len(piece)
            if room > 0 and self._ending:
                decoder.finish()
        except CodingError as error:
            self._damage = str(error)
        self._full = room <= 0
        return b"".join(pieces)

    def settle(self, now: float) -> None:
        """What comes of a step when its bytes have been given out."""
        taker = self._taker
        if self._damage:
            self._over(DAMAGED)
            self._stream.finish(Outcome.DECODE_ERROR, self._damage)
        elif self._full:
            # The rest when the others have had their turn. No more is fed meanwhile.
            self.has_more = True
            self._stream.pause_upstream()
            self._stream.shared.loop.call_soon(self._in_turn)
        elif self._ending:
            self._over(DECODED)
            taker.decoded_end(self._trailers, now)
        else:
            taker.flush(now)
            if self.has_more:
                self.has_more = False
                self._stream.resume_upstream()

    def _in_turn(self) -> None:
        record = self._stream.record
        if record.outcome is None and not record.paused_at:
            self.go_on(time.monotonic())

    def _over(self, result: str) -> None:
        record = self._stream.record
        if record.outcome is None:
            self._stream.shared.totals.decoded[record.route, record.decoded, result] += 1
