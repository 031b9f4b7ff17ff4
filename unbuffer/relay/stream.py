"""What the parts of a running stream may ask of the whole, which is an Exchange. So they need not know that."""

from abc import abstractmethod

from unbuffer.http.request import ANSWERED, RequestHead
from unbuffer.http.response import ResponseHead
from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.relay.client import Client
from unbuffer.relay.policy import Policy
from unbuffer.relay.resumable import Resumable
from unbuffer.relay.shared import Shared


class Stream:
    """A native base class: compiled, a call through it costs what a virtual function costs in C++.

    request_over: every byte of the request has come. resumable: what the answer is written to, where its client may
    come back to it.
    """

    __slots__ = ("client", "policy", "record", "request", "request_over", "resumable")

    client: Client
    policy: Policy
    record: Record
    request: RequestHead
    request_over: bool
    resumable: Resumable | None

    def forget_request(self) -> None:
        """The head of the answer goes out: nothing more depends on what was asked, once all of it has come."""
        if self.request_over:
            self.request = ANSWERED

    @property
    @abstractmethod
    def shared(self) -> Shared:
        """What it shares with all others."""

    @abstractmethod
    def pause_upstream(self) -> None:
        """Stop reading the upstream."""

    @abstractmethod
    def resume_upstream(self) -> None:
        """Read the upstream again."""

    @abstractmethod
    def keep(self, head: ResponseHead) -> Resumable | None:
        """The answer with this head is one that its client may come back to, if anybody keeps it."""

    @abstractmethod
    def watch(self, now: float, seconds: float) -> None:
        """Have the deadlines looked at in so many seconds; 0 = there is no such deadline."""

    @abstractmethod
    def client_full(self) -> None:
        """The client takes no more for now."""

    @abstractmethod
    def client_has_room(self) -> None:
        """It takes more again."""

    @abstractmethod
    def client_lost(self, exc: Exception | None) -> None:
        """The client's connection ended: nobody is left to generate for."""

    @abstractmethod
    def finish(self, outcome: Outcome, detail: str = "", status: int = 0) -> None:
        """End the stream, once: every cause comes here. status: what to answer where the outcome is too coarse."""
