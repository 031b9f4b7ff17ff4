"""A response body that came compressed all the same: decoded as it comes, given out in steps that a client paces."""

import time
from typing import TYPE_CHECKING

from unbuffer.http.coding import CodingError, Decoder
from unbuffer.http.request import Fields

if TYPE_CHECKING:
    from unbuffer.relay.answer import Answer

STEP = 65536
"""Decoded bytes given out at a time: a compression bomb is paced by the client that reads it."""


class Decoding:
    """The decoding of one answer.

    behind: the decoder holds more than was given out; the upstream is not read meanwhile.
    """

    __slots__ = ("_answer", "_damage", "_decoder", "_ending", "_full", "_trailers", "behind")

    def __init__(self, answer: "Answer", codings: tuple[str, ...]) -> None:
        self._answer = answer
        self._decoder = Decoder(codings)
        self._damage = ""
        """Why the latest step was the last one; empty = it was not."""
        self._full = False
        """The latest step was a whole one: the decoder may have more."""
        self._ending = False
        """The response is complete, as far as the upstream is concerned."""
        self._trailers: Fields = []
        self.behind = False

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
            self._answer.decoded(data, now)
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
        answer = self._answer
        if self._damage:
            answer.damaged(self._damage)
        elif self._full:
            self.behind = True
            answer.fall_behind()
        elif self._ending:
            answer.decoded_all(self._trailers, now)
        else:
            answer.flush(now)
            if self.behind:
                self.behind = False
                answer.catch_up()
