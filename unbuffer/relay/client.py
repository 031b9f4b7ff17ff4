"""What an exchange needs of its client, whatever version of HTTP it speaks. This file knows nothing of connections.

Native base classes, no protocols: compiled, a call through one costs what a virtual function costs in C++.
"""

from abc import abstractmethod

from unbuffer.http.headers import Peer
from unbuffer.http.request import Fields
from unbuffer.http.response import ResponseHead
from unbuffer.outcome import Outcome
from unbuffer.relay.watchdog import NOT_WATCHED


class Writer:
    """What a response is written to: heads, bytes of the body, and an end with its trailer fields.

    How a body is framed is the writer's business alone. The final head comes by way of `Client.respond`.
    """

    __slots__ = ()

    @abstractmethod
    def informational(self, head: ResponseHead) -> None:
        """A 1xx head: passed on at once."""

    @abstractmethod
    def switch(self, head: ResponseHead) -> None:
        """The head of a 101, which goes out by `flush`. What follows are the bytes of a tunnel."""

    @abstractmethod
    def flush(self) -> None:
        """Send a head that came alone: before any byte of the body exists."""

    @abstractmethod
    def body(self, data: bytes, last: bool) -> None:
        """Bytes of the body or of the tunnel, not empty; last: with them it ends."""

    @abstractmethod
    def end(self, trailers: Fields) -> None:
        """Every byte of the body has been given; trailer fields go to clients that take them."""

    @abstractmethod
    def half_close(self) -> bool:
        """Tell the client of a tunnel that nothing more comes, while it may go on speaking. False where it cannot be
        told: then all ends."""

    @property
    @abstractmethod
    def waiting(self) -> int:
        """Bytes written that the system has not taken."""

    @property
    @abstractmethod
    def lost(self) -> bool:
        """Whether nothing that is written arrives any more."""


class Client:
    """Who sent the request of an exchange and gets its answer: a connection of HTTP/1.1, or one stream of HTTP/2.

    It tells its exchange of the body of the request (`request_body`), of its own loss (`client_lost`), and that it
    takes no more for now (`client_full`, `client_has_room`); and it has the deadlines looked at, as a subject of the
    watchdog, by `Exchange.look`.

    peer: who it is. reading_paused: the upstream takes no more, so the client is not read. read_at: time of the latest
    read of its request. resumed_at: when reading was last taken up again. stalled: it has yet to take what was written
    to it.
    """

    __slots__ = ("peer", "read_at", "reading_paused", "resumed_at", "stalled", "watched_slot")

    peer: Peer

    def __init__(self) -> None:
        self.reading_paused = False
        self.read_at = 0.0
        self.resumed_at = 0.0
        self.stalled = False
        self.watched_slot = NOT_WATCHED

    @property
    @abstractmethod
    def writer(self) -> Writer:
        """What the answer is written to; the same one for the whole exchange."""

    @abstractmethod
    def respond(self, head: ResponseHead, changed: bool, waited: float) -> None:
        """The final head. It goes out with what `writer` gets next. changed, waited: as `Delivery` has them."""

    @abstractmethod
    def pause_reading(self) -> None:
        """Read no more of the request, or of the tunnel. Harmless where that is so already."""

    @abstractmethod
    def resume_reading(self) -> None:
        """Read on. Harmless where nothing was paused."""

    @abstractmethod
    def begin_tunnel(self) -> None:
        """From now on every byte belongs to the tunnel of the exchange, those that came early first."""

    @abstractmethod
    def exchange_over(self, outcome: Outcome, status: int) -> None:
        """The exchange has its outcome: answer if nothing was, break what was cut. status: of an answer of our own;
        0 = as the outcome has it."""

    @abstractmethod
    def why_lost(self, exc: Exception | None) -> str:
        """What made its connection end, for the record; empty where it simply left."""

    @abstractmethod
    def look(self, now: float) -> float:
        """See `watchdog.Subject`."""
