"""One request and what becomes of it: where downstream and upstream meet, and the one place where a stream ends.

The response has its own way down (`answer.py`). Every ending, whatever the cause, goes through `finish`, once.
"""

import asyncio
from typing import Final

from unbuffer.clock import monotonic
from unbuffer.http.coded import ranges_over_coded, value_of
from unbuffer.http.framing import CHUNKED, LAST_CHUNK, chunk
from unbuffer.http.headers import request_to_upstream
from unbuffer.http.request import IDEMPOTENT, RequestHead, accepts_events, list_members, shown_path, without
from unbuffer.http.response import ResponseHead
from unbuffer.outcome import WHOLE, Outcome
from unbuffer.record import Record
from unbuffer.relay.answer import Answer
from unbuffer.relay.client import Client
from unbuffer.relay.dial import ConnectError
from unbuffer.relay.patience import deadlines, sooner
from unbuffer.relay.plane import Plane
from unbuffer.relay.pool import Pool
from unbuffer.relay.resumable import Reading, Resumable
from unbuffer.relay.shared import Shared
from unbuffer.relay.tcp import kernel_timeout
from unbuffer.relay.tunnel import Tunnel
from unbuffer.relay.upstream import Asker, UpstreamConnection

_RANGE: Final = frozenset((b"range", b"if-range"))


class Exchange(Asker):
    """One stream, from its request head to its outcome.

    reading: what it goes on with in place of an upstream, where its client came back to a stream of before.
    """

    __slots__ = (
        "_connecting",
        "_unsent",
        "plane",
        "reading",
        "upstream",
    )

    def __init__(self, plane: Plane, client: Client, request: RequestHead, now: float) -> None:
        self.client = client
        self.policy = plane.routes.match(request.method, request.target)
        self.record = Record(
            now,
            request.method_name,
            shown_path(request.target),
            request.version,
            client.peer.address or "unix",
            self.policy.route,
        )
        self.record.trace = request.trace
        self.record.parent = request.parent
        self.upstream: UpstreamConnection | None = None
        self.tunnel = None
        self.resumable = None
        self.reading: Reading | None = None
        self.answer = Answer(self, self.record, client.writer)
        plane.totals.streams += 1
        self.plane = plane
        self.request = request
        self.request_over = request.framing == 0
        self._unsent = b""
        """Request bytes, framed, that wait for a connection; bounded by one read, because reading is paused."""
        self._connecting: asyncio.Task[None] | None = None

    @property
    def shared(self) -> Shared:
        """What it shares with all others."""
        return self.plane

    def __repr__(self) -> str:
        outcome = self.record.outcome
        state = outcome.label if outcome else "body" if self.answer.head_sent else "waiting"
        return f"<Exchange {self.record.method} {self.record.path} {state}>"

    @property
    def _pool(self) -> Pool:
        return self.plane.probe if self.policy.probe else self.plane.pool

    # -- the request goes up

    def begin(self, now: float) -> None:
        """Send the request up, on a connection at rest if there is one."""
        if not self.request_over:
            self.watch(now, self.policy.request_body_timeout)
        connection = self._pool.take(now)
        if connection is not None:
            self._send(connection, now)
            return
        self._connect()

    def _connect(self) -> None:
        # The one task of a stream: opening a connection is a coroutine of the event loop.
        self._connecting = self.plane.loop.create_task(self._connected())

    async def _connected(self) -> None:
        try:
            events = accepts_events(self.request.fields)
            connection = await self._pool.connect(events, self.plane.clients.is_closing)
        except ConnectError as refusal:
            self._connecting = None
            self.finish(refusal.outcome, refusal.detail)
        except Exception as error:
            self._connecting = None
            self.fail(error)
        else:
            self._connecting = None
            self._send(connection, monotonic())
            self.client.resume_reading()

    def _send(self, connection: UpstreamConnection, now: float) -> None:
        self.upstream = connection
        self.record.reused = connection.used
        self.plane.totals.upstream_active += 1
        self.plane.totals.reuses += connection.used
        data = request_to_upstream(self.request, self.client.peer, self.plane.pool.host)
        if self._unsent:
            data += self._unsent
            self._unsent = b""
        connection.begin(self, data, head_request=self.request.method == b"HEAD")
        if self.request_over:
            self._request_sent(now)

    def request_body(self, data: bytes, last: bool) -> None:
        """Body bytes of the request, as one read brought them, without their framing; may be empty at the end."""
        self.record.bytes_up += len(data)
        if self.reading is not None:
            self.request_over = last
            if last:
                self.reading.begin()
            return
        if self.request.framing == CHUNKED:
            # Trailer fields of a request are dropped: servers exist that take them for header fields.
            data = (chunk(data) if data else b"") + (LAST_CHUNK if last else b"")
        self.request_over = last
        if self.upstream is None:
            self._unsent += data
            self.client.pause_reading()
            return
        self.upstream.write(data)
        if last:
            self._request_sent(monotonic())

    def _request_sent(self, now: float) -> None:
        self.record.sent_at = now
        if self.policy.response_head_timeout and not self.record.head_at:
            self.watch(now, self.policy.response_head_timeout)

    # -- the response comes down

    def keep(self, head: ResponseHead) -> Resumable | None:
        """The answer with this head is one that its client may come back to, if anybody keeps it."""
        if self.plane.resumption is not None:
            self.resumable = self.plane.resumption.open(self, head)
        return self.resumable

    def client_full(self) -> None:
        """The client reads slower than what it reads comes."""
        if self.reading is not None:
            self.reading.full()
        elif self.resumable is not None:
            self.resumable.full()
        else:
            self.answer.downstream_full()

    def client_has_room(self) -> None:
        """It takes more again."""
        if self.reading is not None:
            self.reading.has_room()
        elif self.resumable is not None:
            self.resumable.has_room()
        else:
            self.answer.downstream_has_room()

    def pause_upstream(self) -> None:
        """Stop reading the upstream."""
        if self.upstream is not None and not self.upstream.transport.is_closing():
            self.upstream.transport.pause_reading()

    def resume_upstream(self) -> None:
        """Read the upstream again."""
        if self.upstream is not None and not self.upstream.transport.is_closing():
            self.upstream.transport.resume_reading()

    def asks_for_whole(self, head: ResponseHead) -> bool:
        """Ask once more, without Range, if this answer counts in coded bytes where the client gets decoded ones.

        Ranges are optional for a server (RFC 9110, section 14.2): that the client gets the whole is always right.
        """
        request, upstream = self.request, self.upstream
        asked = value_of(request.fields, b"range")
        again = bool(asked) and request.framing == 0 and request.method in IDEMPOTENT
        if not again or upstream is None or not ranges_over_coded(head, self.policy.decode, asked):
            return False
        request.fields = [field for field in request.fields if field[0].lower() not in _RANGE]
        request.passed = without(request.passed, _RANGE)
        self._forget_upstream(upstream)
        upstream.close()
        self._connect()
        return True

    # -- after 101 both sides are a tunnel of bytes

    def switch_protocols(self, head: ResponseHead, now: float) -> None:
        """The upstream accepted the upgrade: bytes only, from here on, whatever they mean."""
        offered = list_members(self.request.upgrade)
        taken = [m for name, value in head.fields if name.lower() == b"upgrade" for m in list_members(value)]
        if not taken or not set(taken) <= set(offered) or not self.request_over:
            # RFC 9110, section 7.8. Nor may it come before the end of the request: what is left of that is no part of
            # a tunnel.
            self.finish(Outcome.UPSTREAM_PROTOCOL_ERROR, "101 Switching Protocols that was not asked for")
            return
        accept = self.request.accept
        if accept and value_of(head.fields, b"sec-websocket-accept") != accept:
            # RFC 6455, section 4.1: whoever answered has not read the key.
            self.finish(Outcome.UPSTREAM_PROTOCOL_ERROR, "101 whose Sec-WebSocket-Accept is not that of the key")
            return
        self.answer.switch(head, now)
        assert self.upstream is not None
        websocket = taken == [b"websocket"]
        self.tunnel = Tunnel(self, self.answer, self.client.writer, self.upstream.transport, websocket)
        self.upstream.begin_tunnel()
        self.client.begin_tunnel()
        if self.plane.clients.closing:
            self.tunnel.go_away()

    # -- endings

    def fail(self, error: Exception) -> None:
        """A mistake of ours: it costs this stream, and the log says so."""
        self.plane.failed(self, error)
        self.finish(Outcome.INTERNAL_ERROR, type(error).__name__)

    def client_lost(self, exc: Exception | None) -> None:
        """The client's connection ended: nobody is left to generate for."""
        if self.tunnel is not None and self.tunnel.ends_with(exc):
            self.finish(Outcome.COMPLETED)
        else:
            self.finish(Outcome.CLIENT_DISCONNECT, self.client.why_lost(exc))

    def upstream_lost(self, exc: Exception | None, untouched: bool) -> None:
        """The upstream's connection ended before the response did; `untouched`: not a byte of it had come."""
        if self.tunnel is not None and self.tunnel.ends_with(exc):
            self.finish(Outcome.COMPLETED)
            return
        if untouched and self._may_retry() and self.upstream is not None:
            self._forget_upstream(self.upstream)
            self._connect()
            return
        when = "in the response body" if self.record.head_at else "before a response head"
        timeout = kernel_timeout(exc, self.upstream.transport, "upstream") if self.upstream is not None else ""
        if timeout:
            detail = f"{timeout}, {when}"
        else:
            what = "reset" if isinstance(exc, ConnectionError) else "closed"
            detail = f"the upstream {what} the connection {when}"
        self.finish(Outcome.UPSTREAM_DISCONNECT, detail)

    def _may_retry(self) -> bool:
        """A server may close a connection at rest at any moment (RFC 9112, section 9.3.1): then, and only for a request
        that may be repeated and had no body, once more on a fresh connection."""
        return (
            self.record.reused
            and self.request.method in IDEMPOTENT
            and self.request.framing == 0
            and not self.request.upgrade
        )

    def look(self, now: float) -> float:
        """Compare the deadlines with the clock. Returns when to look again, 0.0 for never."""
        again = 0.0
        for due, outcome, detail in deadlines(
            self.policy, self.record, self.request_over, self.client, self.answer.silent_since(now), now
        ):
            if due <= now:
                self.finish(outcome, detail)
                return 0.0
            again = sooner(again, due)
        return sooner(again, self.answer.look(now))

    def watch(self, now: float, seconds: float) -> None:
        """Have the deadlines looked at in so many seconds; 0 = there is no such deadline."""
        if seconds:
            self.plane.watchdog.watch(self.client, now + seconds)

    def finish(self, outcome: Outcome, detail: str = "", status: int = 0) -> None:
        """End the stream, once: every cause comes here. status: what to answer where the outcome is too coarse."""
        record = self.record
        if record.outcome is not None:
            return
        left = outcome is Outcome.CLIENT_DISCONNECT or outcome is Outcome.CLIENT_STALL_TIMEOUT
        if left and self.resumable is not None and self.resumable.let_go():
            return  # it goes on for whoever comes back
        record.outcome = outcome
        record.detail = detail
        record.ended = monotonic()
        series = self.answer.close(outcome, record.ended)
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        upstream = self.upstream
        if upstream is not None:
            self._forget_upstream(upstream)
            completed = outcome in WHOLE
            if completed and self.request_over and upstream.reusable:
                upstream.release(record.ended)
            else:
                upstream.close(flush=completed and record.kind == "upgrade")
        totals = self.plane.totals
        totals.streams -= 1
        if self.resumable is not None:
            self.resumable.over(outcome, detail, self.answer.explained)
        if self.reading is not None:
            self.reading.leave()
        self.client.exchange_over(outcome, status)
        totals.fold(record, series or totals.of(record.route, "plain"))
        self.plane.on_record(record)
        # They refer to us: nothing is left for the cyclic garbage collector.
        self.tunnel = self.resumable = self.reading = None

    def _forget_upstream(self, upstream: UpstreamConnection) -> None:
        self.plane.totals.upstream_active -= 1
        upstream.exchange = None
        self.upstream = None
