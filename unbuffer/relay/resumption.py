"""What the relay needs of all resumable streams of the process. This file knows nothing of how they are kept."""

from abc import abstractmethod

from unbuffer.http.response import ResponseHead
from unbuffer.relay.clients import Unattended
from unbuffer.relay.resumable import Resumable
from unbuffer.relay.stream import Stream


class Resumption(Unattended):
    """All of them; `unbuffer.resume.registry` implements it."""

    __slots__ = ()

    @abstractmethod
    def takes(self, stream: Stream) -> bool:
        """Whether a request is about a resumable stream, and none for the upstream. It is answered then, or will be."""

    @abstractmethod
    def open(self, stream: Stream, head: ResponseHead) -> Resumable | None:
        """The resumable stream that begins with this head, to which fields that name it are added; None where it
        cannot be one."""

    @abstractmethod
    async def start(self) -> None:
        """Before the first request. Raises where what keeps them is there and will never do."""

    @abstractmethod
    def close(self) -> None:
        """End and forget everything."""

    @abstractmethod
    async def finish(self) -> None:
        """After `close`: let go of what keeps them."""
