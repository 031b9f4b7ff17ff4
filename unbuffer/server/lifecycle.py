"""Where the process stands between its start and its end. It only moves on: what drains never turns ready again."""

import asyncio
from enum import Enum


class State(Enum):
    """The states, in the order in which they come. The value is the word for people."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"


# A start may fail, or a signal may come before the listeners are up.
_MOVES = {
    State.STARTING: (State.READY, State.DRAINING, State.STOPPED),
    State.READY: (State.DRAINING,),
    State.DRAINING: (State.STOPPED,),
    State.STOPPED: (),
}


class Lifecycle:
    """The state of this process. ending: set when the graceful end has begun."""

    def __init__(self) -> None:
        self.state = State.STARTING
        self.ending = asyncio.Event()

    @property
    def draining(self) -> bool:
        """Whether the end has begun; it stays true once it has."""
        return self.state in (State.DRAINING, State.STOPPED)

    def drain(self) -> None:
        """Begin the graceful end. Whoever asks once more changes nothing."""
        if not self.draining:
            self.move(State.DRAINING)
            self.ending.set()

    def move(self, to: State) -> None:
        """Go on to another state. Raises ValueError for a move that the table does not have."""
        if to not in _MOVES[self.state]:
            raise ValueError(f"a process that is {self.state.value} cannot become {to.value}")
        self.state = to
