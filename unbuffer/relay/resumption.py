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
    def close(self) -> None:
        """End and forget everything."""
