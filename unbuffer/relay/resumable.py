"""What a stream needs of the part that keeps it for a client which comes back, and of one that comes back to it.

Native base classes, as in `client.py`; `unbuffer.resume` implements them. Where no route has `resume`, all is None.
"""

from abc import abstractmethod
from dataclasses import dataclass

from unbuffer.outcome import Outcome
from unbuffer.relay.client import Writer


@dataclass(frozen=True, slots=True)
class ResumePolicy:
    """What holds for the resumable streams of one route: seconds and bytes, and names of fields in lower case."""

    window: float
    size: int
    linger: float
    credentials: tuple[bytes, ...]


class Resumable(Writer):
    """A stream that its client may come back to: what its answer is written to. It writes to clients."""

    __slots__ = ()

    @abstractmethod
    def full(self) -> None:
        """The client that asked for it takes no more for now."""

    @abstractmethod
    def has_room(self) -> None:
        """It takes more again."""

    @abstractmethod
    def let_go(self) -> bool:
        """The client that asked for it is gone, or too slow: go on without. False where that cannot be."""

    @abstractmethod
    def over(self, outcome: Outcome, detail: str, explained: bool) -> None:
        """Its exchange has its outcome. explained: an error event has told of it."""


class Reading:
    """What an exchange has in place of an upstream that goes on with a stream which another one began."""

    __slots__ = ()

    @abstractmethod
    def begin(self) -> None:
        """The whole request is there: it may be answered."""

    @abstractmethod
    def full(self) -> None:
        """The client takes no more for now."""

    @abstractmethod
    def has_room(self) -> None:
        """It takes more again."""

    @abstractmethod
    def leave(self) -> None:
        """The exchange has its outcome."""
