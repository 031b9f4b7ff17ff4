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

    __slots__ = ("_answer", "_decoder", "_ending", "_trailers", "behind")

    def __init__(self, answer: "Answer", codings: tuple[str, ...]) -> None:
        self._answer = answer
        self._decoder = Decoder(codings)
        self._ending = False
        """The response is complete, as far as the upstream is concerned."""
        self._trailers: Fields = []
        self.behind = False

    def feed(self, data: bytes, now: float, last: bool) -> None:
        """Coded bytes, as one read brought them."""
        self._decoder.feed(data)
        self._ending = last
        self.go_on(now)

    def end(self, trailers: Fields) -> None:
        """The response is complete; nothing of its body came with the news."""
        self._ending = True
        self._trailers = trailers
        self.go_on(time.monotonic())

    def go_on(self, now: float) -> None:
        """Give out what the decoder has, one step for one turn of the loop, and only while the client takes it."""
        answer, decoder = self._answer, self._decoder
        pieces: list[bytes] = []
        room = STEP
        damage = ""
        try:
            while room > 0 and (piece := decoder.read(room)):
                pieces.append(piece)
                room -= len(piece)
            if room > 0 and self._ending:
                decoder.finish()
        except CodingError as error:
            damage = str(error)
        if pieces:
            answer.decoded(b"".join(pieces), now)
        if damage:
            answer.damaged(damage)
        elif room <= 0:
            self.behind = True
            answer.fall_behind()
        elif self._ending:
            answer.decoded_all(self._trailers, now)
        else:
            answer.flush(now)
            if self.behind:
                self.behind = False
                answer.catch_up()
