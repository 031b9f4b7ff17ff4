"""The resumable streams of the process: by their names, for as long as their windows last, within the total bound."""

import secrets
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final

from unbuffer.http.coded import value_of
from unbuffer.http.response import ResponseHead
from unbuffer.managed import HOP_BY_HOP
from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.relay.exchange import Exchange
from unbuffer.relay.plane import Plane
from unbuffer.relay.resumable import Resumable
from unbuffer.relay.resumption import Resumption
from unbuffer.relay.stream import Stream
from unbuffer.relay.watchdog import NOT_WATCHED
from unbuffer.resume import naming
from unbuffer.resume.attach import take
from unbuffer.resume.elsewhere import Finding
from unbuffer.resume.kept import Kept
from unbuffer.resume.served import Handle, Served
from unbuffer.resume.store import About
from unbuffer.resume.stores import store_of
from unbuffer.resume.whose import digest, path_of, shows_any

_FIELD: Final = naming.FIELD.lower()

_CANCELS_BY_CLOSING: Final = b"2026-07-28"
"""The first version of MCP in which a client cancels by closing the connection."""

_NOT_KEPT: Final = HOP_BY_HOP | {b"content-encoding", b"date", b"set-cookie", b"set-cookie2"}
"""Of the head: what belongs to the first connection alone. A cookie may have been replaced since."""

_REMEMBERED: Final = 1024
"""Names of streams whose window is over that are still told from names that never were; 100 bytes each."""


class Registry(Resumption):
    """Of one plane.

    streams: by name. detached: those whose first client is gone, the one that left first at the front. searches: for
    streams that a store may have. gone: the latest names that were forgotten. nobody: the digest of nobody. weight:
    bytes of memory that all of them take, about. closed: no client can come back to this process.
    """

    __slots__ = (
        "_due",
        "_ended",
        "_key",
        "_plane",
        "_scopes",
        "closed",
        "detached",
        "gone",
        "nobody",
        "searches",
        "store",
        "streams",
        "totals",
        "watched_slot",
        "weight",
    )

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.totals = plane.totals
        self.store = store_of(plane.settings, plane.totals)
        self.streams: dict[bytes, Kept] = {}
        self.detached: dict[bytes, Served] = {}
        self.searches: dict[bytes, Finding] = {}
        self.gone: dict[bytes, None] = {}
        self._ended: dict[bytes, Kept] = {}
        """Those that are over, the first one at the front."""
        self._due: list[tuple[float, bytes]] = []
        """A heap of when each of them is forgotten."""
        self._scopes: dict[bytes, list[Kept]] = {}
        """Those of GET with ids of the application's own, by who asked for what."""
        self._key = secrets.token_bytes(16)
        self.nobody = secrets.token_bytes(32)
        self.weight = 0
        self.closed = False
        self.watched_slot = NOT_WATCHED

    # -- what the relay asks for

    def takes(self, stream: Stream) -> bool:
        assert isinstance(stream, Exchange)
        return take(self, stream)

    def open(self, stream: Stream, head: ResponseHead) -> Resumable | None:
        assert isinstance(stream, Exchange)
        policy, request = stream.policy.resume, stream.request
        if policy is None or self.closed or head.status != 200 or head.framing >= 0:
            return None
        if value_of(request.fields, b"mcp-protocol-version") >= _CANCELS_BY_CLOSING:
            return None
        if any(name.lower() == _FIELD for name, _ in head.fields):
            return None  # the upstream is an unbuffer that does it
        name = naming.new_name()
        head.fields.append((naming.FIELD, name))
        head.fields.append((b"Link", naming.link(name)))
        not_kept = _NOT_KEPT.union(head.connection) if head.connection else _NOT_KEPT
        about = About(
            name,
            request.method,
            digest(name, path_of(request), request, policy.credentials),
            policy.credentials,
            policy.window,
            policy.size,
            head.reason,
            [field for field in head.fields if field[0].lower() not in not_kept],
        )
        kept = Served(self, stream, policy, about, self._scope(stream))
        self.streams[name] = kept
        self.totals.resume_streams += 1
        intake = kept.intake
        assert intake is not None
        intake.copy = self.store.open(about, Handle(kept))
        return intake

    def running(self) -> Iterator[Record]:
        for kept in list(self.detached.values()):
            record = kept.record
            if record is not None:
                yield record

    def drain(self) -> None:
        """Who is read nowhere is cancelled, unless a store has its stream for readers elsewhere."""
        self.closed = not self.store.shared
        if self.closed:
            for kept in list(self.detached.values()):
                if not kept.readers:
                    kept.cancel(Outcome.DRAINING)

    def end_streams(self, outcome: Outcome) -> None:
        for kept in list(self.detached.values()):
            kept.cancel(outcome)

    async def start(self) -> None:
        await self.store.start()

    async def finish(self) -> None:
        await self.store.close()

    def close(self) -> None:
        self.closed = True
        self.end_streams(Outcome.DRAINING)
        for kept in list(self.streams.values()):
            self.forget(kept)
        self._due.clear()
        self._plane.watchdog.forget(self)

    # -- who asks for what

    def count(self, result: str) -> None:
        """A request that asks for a stream."""
        self.totals.resume_attaches[result] += 1

    def _scope(self, exchange: Exchange) -> bytes:
        """Of a stream of GET: who asked for which target, where it has credentials at all; else empty."""
        policy, request = exchange.policy.resume, exchange.request
        if policy is None or request.method != b"GET" or not shows_any(request, policy.credentials):
            return b""
        return digest(self._key, request.target, request, policy.credentials)

    def has_ids(self, kept: Kept) -> None:
        """The application has ids of its own."""
        if kept.scope:
            self._scopes.setdefault(kept.scope, []).append(kept)

    def the_one_with(self, exchange: Exchange, own: bytes) -> Kept | None:
        """The only stream that this client asked for by the same target and that has an event of this id. Such an id
        names no stream: where several have it, or nobody says who he is, the application knows better."""
        scope = self._scope(exchange) if self._scopes else b""
        found = [kept for kept in self._scopes.get(scope, ()) if kept.number_of(own) >= 0] if scope else []
        return found[0] if len(found) == 1 else None

    def search(self, name: bytes) -> Finding:
        """The search for a stream that is not here; it may be over when this returns."""
        finding = self.searches.get(name)
        if finding is None:
            finding = self.searches[name] = Finding(self, name)
        return finding

    def searched(self, name: bytes) -> None:
        """The search is over."""
        self.searches.pop(name, None)

    # -- memory and time

    def weigh(self, size: int) -> None:
        """A stream takes so many bytes more."""
        self.weight += size
        self.totals.resume_held = self.weight

    def bound(self, growing: Kept) -> None:
        """Keep within the total: what ended longest ago goes first, then what was left longest ago."""
        total = self._plane.settings.resume.total
        while self.weight > total:
            if self._ended:
                self.forget(next(iter(self._ended.values())))
                continue
            left = next((kept for kept in self.detached.values() if not kept.readers), None)
            if left is None:
                growing.shrink()
                return
            left.cancel(Outcome.ABANDONED, "resume.total is reached")

    def remember(self, kept: Kept) -> None:
        """One that another process serves is read here."""
        self.streams[kept.about.name] = kept
        self.totals.resume_streams += 1

    def ended(self, kept: Kept) -> None:
        """It has its outcome."""
        name = kept.about.name
        if self.detached.pop(name, None) is not None:
            self._plane.clients.ended()
        if self.closed:
            self.forget(kept)
            return
        due = kept.ended_at + kept.about.window
        self._ended[name] = kept
        heappush(self._due, (due, name))
        self._plane.watchdog.watch(self, due)

    def look(self, now: float) -> float:
        """Forget those whose window is over. Returns when to look again, 0.0 for never."""
        due = self._due
        while due and due[0][0] <= now:
            kept = self.streams.get(heappop(due)[1])
            if kept is not None:
                self.forget(kept)
        return due[0][0] if due else 0.0

    def forget(self, kept: Kept) -> None:
        """Nobody can come back to it any more. Who reads it goes on to its end."""
        name = kept.about.name
        if self.streams.pop(name, None) is None:
            return
        self._ended.pop(name, None)
        self.gone[name] = None
        if len(self.gone) > _REMEMBERED:
            del self.gone[next(iter(self.gone))]
        others = self._scopes.get(kept.scope)
        if others is not None and kept in others:
            others.remove(kept)
            if not others:
                del self._scopes[kept.scope]
        kept.forgotten()
        self.totals.resume_streams -= 1
