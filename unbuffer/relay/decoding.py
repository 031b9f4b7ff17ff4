"""A response body that came compressed all the same: decoded as it comes, given out in steps that a client paces."""

import time
from typing import TYPE_CHECKING

from unbuffer.http.coding import CodingError, Decoder
from unbuffer.http.request import Fields
from unbuffer.outcome import Outcome

if TYPE_CHECKING:
    from unbuffer.relay.exchange import Exchange

STEP = 65536
"""Decoded bytes given out at a time: a compression bomb is paced by the client that reads it."""


class Decoding:
    """The decoding of one exchange's response.

    behind: the decoder holds more than was given out; the upstream is not read meanwhile.
    """

    __slots__ = ("_decoder", "_ending", "_exchange", "_trailers", "behind")

    def __init__(self, exchange: "Exchange", codings: tuple[str, ...]) -> None:
        self._exchange = exchange
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
        exchange, decoder = self._exchange, self._decoder
        if exchange.record.outcome is not None:
            return
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
            exchange.decoded(b"".join(pieces), now)
        if damage:
            exchange.count_decoded("error")
            exchange.finish(Outcome.DECODE_ERROR, damage)
        elif room <= 0:
            # The rest when the others have had their turn. Reading stops, so that no more is fed meanwhile.
            self.behind = True
            exchange.pause_upstream()
            exchange.plane.loop.call_soon(self._in_turn)
        elif self._ending:
            exchange.count_decoded("ok")
            exchange.body_over(self._trailers, now)
        else:
            exchange.flush(now)
            if self.behind:
                self.behind = False
                exchange.resume_upstream()

    def _in_turn(self) -> None:
        if not self._exchange.record.paused_at:
            self.go_on(time.monotonic())
