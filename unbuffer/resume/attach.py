"""Which stream a request is about, and whether it may be: the name alone opens nothing.

Whoever asks for a stream that is not his gets exactly what he would get if there were none.
"""

import hmac
import time
from typing import TYPE_CHECKING, Final

from unbuffer.http.coded import value_of
from unbuffer.http.request import without
from unbuffer.http.response import ResponseHead
from unbuffer.outcome import Outcome
from unbuffer.relay.exchange import Exchange
from unbuffer.relay.replay import Replay
from unbuffer.relay.resumable import Reading
from unbuffer.resume import naming
from unbuffer.resume.kept import Kept
from unbuffer.resume.readers import Returned
from unbuffer.resume.store import About
from unbuffer.resume.whose import digest, path_of
from unbuffer.totals import EXPIRED, FOREIGN, HIT, UNKNOWN_NAME

if TYPE_CHECKING:
    from unbuffer.resume.registry import Registry

_LAST_EVENT_ID: Final = b"last-event-id"
_OURS: Final = frozenset((_LAST_EVENT_ID,))
_SAFE: Final = (b"GET", b"HEAD")
_ALLOWED: Final = b"access-control-"
_NO_NUMBER: Final = "after must be the number of the last event that the client has; after=0 asks for all"


def take(registry: "Registry", exchange: Exchange) -> bool:
    """Answer the request if it is about a resumable stream, now or later. False: it is for the upstream."""
    request = exchange.request
    if not exchange.request_over:
        exchange.watch(exchange.record.started, exchange.policy.request_body_timeout)
    asked = naming.read_query(request.target)
    last = value_of(request.fields, _LAST_EVENT_ID)
    if not last:
        request.target, last = naming.take_id(request.target)
    ours = naming.read_id(last) if last else None
    if asked is not None:
        name, number = asked
        if number < 0:
            exchange.finish(Outcome.REQUEST_MALFORMED, _NO_NUMBER)
            return True
        if ours is not None and ours[0] == name:
            # An EventSource of this URL has come further than its URL says.
            return _find(registry, name, Coming(registry, exchange, name, ours[1], b"", True, True))
        own = last if ours is None else b""
        return _find(registry, name, Coming(registry, exchange, name, number, own, True, False))
    if not last:
        return False
    if ours is not None:
        name, number = ours
        return _find(registry, name, Coming(registry, exchange, name, number, b"", False, True))
    name = value_of(request.fields, naming.FIELD.lower())
    if naming.is_name(name):
        return _find(registry, name, Coming(registry, exchange, name, -1, last, False, True))
    kept = registry.the_one_with(exchange, last)
    return kept is not None and Coming(registry, exchange, kept.about.name, -1, last, False, True).settle(kept)


def _find(registry: "Registry", name: bytes, coming: "Coming") -> bool:
    """Have the request answered, or not, by what is here or, where a store is shared, by what is found there. A
    stranger waits for the store as well, so that the time does not tell him what is here."""
    kept = registry.streams.get(name)
    if not registry.store.shared or not name or (kept is not None and coming.may(kept.about)):
        return coming.settle(kept)
    return coming.wait(registry, name)


class Coming(Reading):
    """A request for a stream, until it is known what becomes of it."""

    __slots__ = ("_by_id", "_by_url", "_exchange", "_foreign", "_name", "_number", "_own", "_registry", "_waits")

    def __init__(
        self,
        registry: "Registry",
        exchange: Exchange,
        name: bytes,
        number: int,
        own: bytes,
        by_url: bool,
        by_id: bool,
    ) -> None:
        """number: of the latest event that the client has; below 0: only own can say. own: the id that the application
        gave that event, empty where it gave none. by_url: the target names the stream, and not a field of the request.
        by_id: number is that of Last-Event-ID."""
        self._registry = registry
        self._exchange: Exchange | None = exchange
        self._name = name
        self._number = number
        self._own = own
        self._by_url = by_url
        self._by_id = by_id
        self._foreign = False
        """Whether there was one, and somebody else's."""
        self._waits = False

    # -- while a store looks for it

    def wait(self, registry: "Registry", name: bytes) -> bool:
        """Have the store look for the stream. Returns as `take` does, if it is known by then."""
        finding = registry.search(name)
        begun = bool(finding.coming)
        finding.coming.append(self)
        if not begun:
            registry.store.find(name, finding)
        exchange = self._exchange
        if self in finding.coming and exchange is not None:
            exchange.reading = self
            self._waits = True
            return True
        return exchange is None or exchange.reading is not None or exchange.record.outcome is not None

    def resolve(self, kept: Kept | None) -> None:
        """The store has answered."""
        exchange, waited = self._exchange, self._waits
        if exchange is None:
            return
        exchange.reading = None
        taken = self.settle(kept)
        if waited and not taken:
            exchange.begin(time.monotonic())

    def begin(self) -> None:
        """It goes on when the store has answered."""

    def full(self) -> None:
        """Nothing has been written."""

    def has_room(self) -> None:
        """Nothing has been written."""

    def leave(self) -> None:
        self._exchange = None

    # -- what becomes of it

    def settle(self, kept: Kept | None) -> bool:
        """Answer, now that it is known what there is. False: the request is for the upstream."""
        registry, exchange = self._registry, self._exchange
        assert exchange is not None
        if not self.may(kept.about if kept is not None else None) or kept is None:
            registry.count(FOREIGN if self._foreign else EXPIRED if self._name in registry.gone else UNKNOWN_NAME)
            return self._miss(exchange)
        method, number, by_id = exchange.request.method, self._number, self._by_id
        if method == b"DELETE" and self._by_url:
            registry.count(HIT)
            kept.cancel(Outcome.CANCELLED)
            _no_content(exchange, kept)
            return True
        own = kept.number_of(self._own) if self._own else -1
        if own >= 0:
            number, by_id = own, True
            if number == kept.count and kept.ended_at and not self._by_url:
                return False  # the application knows what follows its own id
        has_all = number == kept.count and kept.ended_at > 0.0
        if has_all and by_id and not self._by_url and not number and method == kept.about.method and not kept.rests:
            registry.count(HIT)
            return self._begin_anew(exchange)  # it broke before there was anything: nothing runs twice
        if has_all and by_id and method == b"GET":
            if kept.rests:
                registry.count(HIT)
                _no_content(exchange, kept)  # an EventSource comes back for ever after anything else
                return True
            if self._by_url:
                # An EventSource of this URL has seen it break and would come back to see it again, every 3 s.
                registry.count(HIT)
                exchange.finish(Outcome.STREAM_UNKNOWN, f"it broke after its event {number}, which the client has")
                return True
            if kept.about.method == b"GET":
                # It has all there was, and has seen it break: the application may be there again.
                registry.count(HIT)
                return self._begin_anew(exchange)
        position = kept.after(number)
        if position < 0:
            if (number > kept.count or (self._own and own < 0)) and kept.awaits(self):
                exchange.reading = self
                self._waits = True
                return True
            registry.count(EXPIRED)
            return self._miss(exchange)
        registry.count(HIT)
        reader = Returned(kept, exchange, position, number)
        exchange.reading = reader
        if exchange.request_over:
            reader.begin()
        return True

    def may(self, about: About | None) -> bool:
        """Whether this stream is this client's. As much is done where there is none."""
        exchange = self._exchange
        if exchange is None:
            return False
        request, policy, registry = exchange.request, exchange.policy.resume, self._registry
        if about is not None:
            credentials, right = about.credentials, about.digest
        else:
            credentials, right = policy.credentials if policy is not None else (), registry.nobody
        same = hmac.compare_digest(digest(self._name, path_of(request), request, credentials), right)
        method = request.method
        fits = method == b"GET" or (about is not None and method == about.method)
        may = same and (fits or (self._by_url and method == b"DELETE"))
        self._foreign = self._foreign or (about is not None and not may)
        return may

    def _miss(self, exchange: Exchange) -> bool:
        """There is nothing for this client. GET begins anew, as it would have without us; what may cost money a second
        time is refused."""
        if not self._by_url:
            if exchange.policy.resume is None or self._number < 0:
                return False
            if exchange.request.method in _SAFE and exchange.request_over:
                return self._begin_anew(exchange)
        exchange.finish(Outcome.STREAM_UNKNOWN)
        return True

    def _begin_anew(self, exchange: Exchange) -> bool:
        """The application gets no id that it has not given."""
        request = exchange.request
        request.fields = [field for field in request.fields if field[0].lower() != _LAST_EVENT_ID]
        request.passed = without(request.passed, _OURS)
        return False


def _no_content(exchange: Exchange, kept: Kept) -> None:
    """204, which a page of another origin may read as it may the stream."""
    answer = Replay(exchange, exchange.record, exchange.client.writer)
    exchange.answer = answer
    fields = [field for field in kept.about.fields if field[0].lower().startswith(_ALLOWED)]
    answer.resume(ResponseHead(204, b"No Content", True, fields, False), exchange.record.started)
    answer.give_end()
    exchange.finish(Outcome.COMPLETED)
