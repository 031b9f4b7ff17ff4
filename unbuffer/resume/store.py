"""What keeps resumable streams for clients that come back to another process than the one that serves them.

The process that serves a stream has its latest events in memory in any case, and answers from there by itself. A store
is told of them beside that (`Copy`), and is asked for the streams that this process does not know (`Store.find`): what
it finds is read here like one of our own (`Source`, `Followed`).

All of it is called on the event loop, and nothing here may block, wait or raise: what cannot be done is counted and
left undone, and the stream goes on. Only `start` and `close` are coroutines.
"""

from abc import abstractmethod
from dataclasses import dataclass

from unbuffer.http.request import Fields


class StoreError(Exception):
    """A store cannot be used at all; the text says what to do."""


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a stream from its head on, and the same for all who read it.

    name: 22 characters of base64url, unguessable. method: of the request that began it. digest: 32 bytes that whoever
    comes back must have the credentials for, see `whose.digest`. credentials: the fields that it is made of, in
    lower case. window: seconds that the stream is kept after its end. size: bytes of its latest events that are kept.
    reason, fields: of the head, status 200, as the first client got them.
    """

    name: bytes
    method: bytes
    digest: bytes
    credentials: tuple[bytes, ...]
    window: float
    size: int
    reason: bytes
    fields: Fields


@dataclass(frozen=True, slots=True)
class End:
    """How a stream ended. outcome: the label of an `Outcome`. explained: its last event tells why it breaks."""

    outcome: str
    detail: str = ""
    explained: bool = False


class Running:
    """A stream that this process serves, as its store may act on it."""

    __slots__ = ()

    @abstractmethod
    def read_elsewhere(self) -> None:
        """Another process has a reader for it now. As long as that is told at least once in a third of the route's
        `linger`, the stream is not abandoned, and its upstream is not held for readers here."""

    @abstractmethod
    def kept(self) -> tuple[int, bool, bytes] | None:
        """All that is kept of it in memory: how many events there were before, whether it begins with an event, and the
        bytes up to the latest `Copy.append`. A store that lost its copy makes another one of it. None: nothing is kept
        any more."""

    @abstractmethod
    def cancel(self) -> None:
        """Another process got a DELETE for it. Harmless where it has ended."""


class Copy:
    """What a store has of one stream that this process serves."""

    __slots__ = ()

    @abstractmethod
    def append(self, data: bytes, count: int, between: bool) -> None:
        """The next bytes of the body, as the clients get them, ids included; mere heartbeats are left out.

        count: the events that have ended with them, from the beginning of the stream. between: they end with an event,
        so the next ones begin one. (The way of a chunk: put it on a list and leave.)
        """

    @abstractmethod
    def end(self, end: End) -> None:
        """Nothing more comes. It is kept for the window, then forgotten."""


class Followed:
    """A stream that another process serves, as it is read here. The store tells what it reads."""

    __slots__ = ()

    @abstractmethod
    def add(self, data: bytes) -> None:
        """The next bytes, cut anywhere. Without a gap: where there is one, `over(None)` and nothing more."""

    @abstractmethod
    def ready(self) -> None:
        """All that was there when the stream was found has been added: its readers may be answered. Once, unless `over`
        came first."""

    @abstractmethod
    def over(self, end: End | None) -> None:
        """Nothing more comes. None: who served it is gone, or the store; its readers see a break."""


class Source:
    """Where a followed stream comes from. The store makes one for each stream that is found and read here."""

    __slots__ = ()

    @abstractmethod
    def pause(self) -> None:
        """Its readers have `About.size` yet to take: `add` no more until `resume`."""

    @abstractmethod
    def resume(self) -> None:
        """Go on."""

    @abstractmethod
    def cancel(self) -> None:
        """A DELETE came for it: tell who serves it."""

    @abstractmethod
    def leave(self) -> None:
        """Nobody reads it here any more, and nothing of it is wanted."""


class Search:
    """Who waits for what `Store.find` finds. Exactly one of `found` and `missing` is called, once."""

    __slots__ = ()

    @abstractmethod
    def may(self, about: About) -> bool:
        """It is there: whether anybody who waits may have it. Asked before anything of it is read, so that strangers
        have the same number of questions to wait for, whether it is there or not; where False, `missing` follows."""

    @abstractmethod
    def found(self, about: About, source: Source, first: int) -> Followed:
        """It is there. first: how many events of it are not kept any more; what `add` brings begins after them, with
        the beginning of an event. `ready` has to follow when what is there has been added."""

    @abstractmethod
    def missing(self) -> None:
        """It is not there, or the store cannot tell within `timeout`."""


class Store:
    """Where streams are kept beside the memory of the process that serves them.

    shared: other processes read it. Then a drain does not cancel what nobody reads here, since its client may read it
    elsewhere.
    """

    __slots__ = ("shared",)

    def __init__(self, shared: bool) -> None:
        self.shared = shared

    @abstractmethod
    async def start(self) -> None:
        """Make ready. Raises StoreError where it is clear that it can never work."""

    @abstractmethod
    def open(self, about: About, running: Running) -> Copy | None:
        """A stream begins. None: nothing of it is kept but in memory."""

    @abstractmethod
    def find(self, name: bytes, search: Search) -> None:
        """Look for a stream that this process does not know; the answer may come within this call. Several searches
        for one name may wait at a time."""

    @abstractmethod
    async def close(self) -> None:
        """The process ends: write what waits to be written, within a second or two, and let go."""


class MemoryStore(Store):
    """Nothing is kept but in the memory of the process that serves a stream, which is enough for one process."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(shared=False)

    async def start(self) -> None:
        """Nothing is to be done."""

    def open(self, about: About, running: Running) -> Copy | None:
        """No copy."""
        return None

    def find(self, name: bytes, search: Search) -> None:
        """What this process does not know is nowhere."""
        search.missing()

    async def close(self) -> None:
        """Nothing is to be done."""
