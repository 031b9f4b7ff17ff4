"""One request and its answer: where downstream and upstream meet, and the one place where a stream ends.

A chunk takes one straight way: `body` counts it, decodes it if it must, frames it, writes it. Every ending, whatever
the cause, goes through `finish`, once.
"""

import asyncio
import time
from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from unbuffer.http.coding import decodable
from unbuffer.http.framing import CHUNKED, LAST_CHUNK, UNTIL_CLOSE, chunk
from unbuffer.http.headers import (
    Delivery,
    informational_to_downstream,
    request_to_upstream,
    response_to_downstream,
    trailers_to_downstream,
)
from unbuffer.http.request import IDEMPOTENT, Fields, RequestHead, list_members
from unbuffer.http.response import ResponseHead
from unbuffer.http.sse import Tail, error_event, unmarked
from unbuffer.outcome import WHOLE, Outcome
from unbuffer.record import PAUSE, SAMPLE, Record, Rhythm
from unbuffer.relay.decoding import Decoding
from unbuffer.relay.pool import ConnectError
from unbuffer.relay.stalls import STALL
from unbuffer.relay.tcp import kernel_timeout
from unbuffer.relay.tunnel import Tunnel
from unbuffer.relay.upstream import UpstreamConnection
from unbuffer.totals import GAP_BOUNDS, RELAY_BOUNDS, Series

if TYPE_CHECKING:
    from unbuffer.relay.downstream import DownstreamConnection

_COMPLETED: Final = Outcome.COMPLETED
_PROMPT: Final = RELAY_BOUNDS[0]


class Exchange:
    """One stream, from its request head to its outcome."""

    __slots__ = (
        "_beat_at",
        "_connecting",
        "_decoding",
        "_framing",
        "_head_out",
        "_held",
        "_request",
        "_request_over",
        "_series",
        "_tail",
        "_waiting_since",
        "downstream",
        "explained",
        "head_sent",
        "plane",
        "policy",
        "record",
        "tunnel",
        "upstream",
    )

    def __init__(self, downstream: "DownstreamConnection", request: RequestHead, now: float) -> None:
        plane = downstream.plane
        self.downstream = downstream
        self.policy = plane.routes.match(request.method, request.target)
        self.record = Record(
            now,
            request.method.decode("ascii"),
            request.target.partition(b"?")[0].decode("ascii"),
            "1.1" if request.http11 else "1.0",
            downstream.peer.address or "unix",
            self.policy.route,
        )
        self.record.trace = request.trace
        self.record.parent = request.parent
        self.upstream: UpstreamConnection | None = None
        self.tunnel: Tunnel | None = None
        self.head_sent = False
        """Whether a byte of the final response has gone to the client: from then on a failure can only break it."""
        self.explained = False
        """Whether an error event has told the client why its response breaks."""
        plane.totals.streams += 1
        self.plane = plane
        self._request = request
        self._request_over = request.framing == 0
        self._held: list[bytes] = []
        """Request bytes, framed, that wait for a connection; bounded by one read, because reading is paused."""
        self._connecting: asyncio.Task[None] | None = None
        self._series: Series | None = None
        """Where it is counted: known with the response head."""
        self._framing = 0
        self._head_out = b""
        self._decoding: Decoding | None = None
        self._tail: Tail | None = None
        """Kept only where something may be added to the body, or its end is looked at."""
        self._beat_at = 0.0
        """Time of the latest heartbeat."""
        self._waiting_since = 0.0

    def __repr__(self) -> str:
        outcome = self.record.outcome
        state = outcome.label if outcome else "body" if self.head_sent else "waiting"
        return f"<Exchange {self.record.method} {self.record.path} {state}>"

    # -- the request goes up

    def begin(self, now: float) -> None:
        """Send the request up, on a connection at rest if there is one."""
        if not self._request_over:
            self._watch(now, self.policy.request_body_timeout)
        connection = self.plane.pool.take(now)
        if connection is not None:
            self._send(connection, now)
            return
        self._connect()

    def _connect(self) -> None:
        # The one task of a stream: opening a connection is a coroutine of the event loop.
        self._connecting = self.plane.loop.create_task(self._connected())

    async def _connected(self) -> None:
        try:
            connection = await self.plane.pool.connect()
        except ConnectError as refusal:
            self._connecting = None
            self.finish(refusal.outcome, refusal.detail)
        except Exception as error:
            self._connecting = None
            self.fail(error)
        else:
            self._connecting = None
            self._send(connection, time.monotonic())
            self.downstream.release()

    def _send(self, connection: UpstreamConnection, now: float) -> None:
        self.upstream = connection
        self.record.reused = connection.used
        self.plane.totals.upstream_active += 1
        self.plane.totals.reuses += connection.used
        data = request_to_upstream(self._request, self.downstream.peer)
        if self._held:
            data = b"".join((data, *self._held))
            self._held = []
        connection.begin(self, data, head_request=self._request.method == b"HEAD")
        if self._request_over:
            self._request_sent(now)

    def request_body(self, data: bytes, last: bool) -> None:
        """Body bytes of the request, as one read brought them, without their framing; may be empty at the end."""
        self.record.bytes_up += len(data)
        if self._request.framing == CHUNKED:
            # Trailer fields of a request are dropped: servers exist that take them for header fields.
            data = (chunk(data) if data else b"") + (LAST_CHUNK if last else b"")
        self._request_over = last
        if self.upstream is None:
            self._held.append(data)
            self.downstream.hold()
            return
        self.upstream.write(data)
        if last:
            self._request_sent(time.monotonic())

    def _request_sent(self, now: float) -> None:
        self._waiting_since = self.record.sent_at = now
        if self.policy.response_head_timeout and not self.record.head_at:
            self._watch(now, self.policy.response_head_timeout)

    def upstream_full(self) -> None:
        """The upstream reads slower than the client sends: stop reading the client."""
        self.downstream.hold()

    def upstream_drained(self) -> None:
        """The upstream's buffer has room again."""
        self.downstream.release()

    # -- the response comes down

    def informational(self, head: ResponseHead) -> None:
        """A 1xx head: passed on at once. HTTP/1.0 knows none (RFC 9110, section 15.2)."""
        if self._request.http11:
            self.downstream.write(informational_to_downstream(head))

    def head(self, head: ResponseHead, now: float) -> None:
        """The final response head. It goes out with the body bytes of the same read, or by `flush`."""
        self._answered(head.kind, head.status, now)
        record = self.record
        decoded = bool(head.codings) and self._decode_codings(head)
        http11 = self._request.http11
        framing, length = head.framing, -1 if head.status == 204 else head.length
        if framing and (decoded or framing < 0):
            framing, length = CHUNKED if http11 else UNTIL_CLOSE, -1
        # An answer before the end of its request: whether that end still comes nobody knows (RFC 9112, section 9.3).
        close = framing == UNTIL_CLOSE or not self.downstream.may_keep_alive or not self._request_over
        if self.downstream.stalled:
            self.downstream_full()  # with the response before this one
        self._framing = framing
        trailers = self._request.wants_trailers
        waited = now - record.started if self.policy.server_timing else -1.0
        delivery = Delivery(framing, length, close, decoded, http11, trailers, waited)
        self._head_out = response_to_downstream(head, delivery)
        self.downstream.close_after = close
        if framing and self.policy.silence_timeout:
            self._watch(now, self.policy.silence_timeout)
        if framing and head.streams:
            record.rhythm = Rhythm(head.kind)
            self._keep_tail(head, decoded, now)
            if self.plane.on_stream is not None:
                self.plane.on_stream(record)

    def _answered(self, kind: str, status: int, now: float) -> None:
        """The upstream has decided: from here on it is known where the stream is counted."""
        record = self.record
        record.head_at = now
        record.status = status
        record.kind = kind
        series = self._series = self.plane.totals.of(record.route, kind)
        series.active += 1
        series.ttfb.observe(now - record.started)

    def _keep_tail(self, head: ResponseHead, decoded: bool, now: float) -> None:
        """Keep the end of the body in view, where the route asks for something that depends on it."""
        if head.codings and not decoded:
            return  # what goes out is no text
        policy = self.policy
        marker = policy.terminal_marker if head.framing < 0 and head.status < 300 else b""
        events = head.kind == "sse" and self._framing < 0
        if marker or (events and (policy.heartbeat or policy.error_event)):
            self._tail = Tail(marker)
        if events and policy.heartbeat:
            self._watch(now, policy.heartbeat)

    def _decode_codings(self, head: ResponseHead) -> bool:
        """Set up the decoder, if this body can be decoded (a range of coded bytes cannot)."""
        if not head.framing or head.status == 206:
            return False
        able = decodable(head.codings)
        self.record.decoded = "+".join(head.codings) if able else "other"
        if able and self.policy.decode:
            self._decoding = Decoding(self, head.codings)
            return True
        self.count_decoded("passed_through")
        self.record.decoded = ""
        return False

    def count_decoded(self, result: str) -> None:
        """Count what became of a compressed body: ok, error or passed_through."""
        record = self.record
        self.plane.totals.decoded[record.route, record.decoded, result] += 1

    def flush(self, now: float) -> None:
        """Send a head that came alone: before any byte of the body exists."""
        if self._head_out:
            self._write(b"", now)

    def body(self, data: bytes, now: float, last: bool) -> None:
        """Body bytes of the response, as one read brought them, without their framing. Not empty."""
        record = self.record
        series = self._series
        assert series is not None
        size = len(data)
        chunks = record.chunks
        # Histogram.observe, written out: this is what every chunk pays.
        if chunks:
            gap = now - record.last_at
            gaps = series.gaps
            gaps.counts[bisect_left(GAP_BOUNDS, gap)] += 1
            gaps.sum += gap
            if gap > record.max_gap:
                record.max_gap = gap
            if gap >= PAUSE and record.rhythm is not None:
                record.rhythm.pause(gap, record.bytes_read, now)
                if gap >= STALL:
                    self._silence_over(now)
        else:
            record.first_at = now
            series.ttfc.observe(now - record.started)
        record.last_at = now
        record.chunks = chunks + 1
        record.bytes_read += size
        series.chunks_by_magnitude[(size - 1).bit_length()] += 1
        series.bytes_read += size
        if self._decoding is not None:
            self._decoding.feed(data, now, last)
            return
        if self._tail is not None:
            if record.heartbeats and not record.bytes_down:
                data = unmarked(data)
            self._tail.feed(data)
        if chunks < SAMPLE and record.rhythm is not None:
            record.rhythm.sample(data)
        record.bytes_down += size
        series.bytes_down += size
        if self._framing == CHUNKED:
            data = b"%x\r\n%b\r\n" % (size, data)
            if last:
                data += LAST_CHUNK
        self._write(data, now)
        if last:
            self.finish(self._whole())

    def _silence_over(self, now: float) -> None:
        """The upstream speaks again, or will no more. While the client takes nothing it is not asked to."""
        since = max(self.record.last_at, self._waiting_since)
        if now - since >= STALL:
            self.plane.stalls.over(self.record, since, now)

    def decoded(self, data: bytes, now: float) -> None:
        """Body bytes that a decoder gave. Not empty."""
        assert self._series is not None
        if self._tail is not None:
            if self.record.heartbeats and not self.record.bytes_down:
                data = unmarked(data)
            self._tail.feed(data)
        self.record.bytes_down += len(data)
        self._series.bytes_down += len(data)
        if self.record.chunks <= SAMPLE and self.record.rhythm is not None:
            self.record.rhythm.sample(data)
        self._write(chunk(data) if self._framing == CHUNKED else data, now)

    def _write(self, data: bytes, now: float) -> None:
        if self._head_out:
            data = self._head_out + data
            self._head_out = b""
            self.head_sent = True
            record = self.record
            self.plane.totals.requests[record.route, record.method_label, record.status] += 1
        transport = self.downstream.transport
        if data and not transport.is_closing():
            transport.write(data)
        assert self._series is not None
        relay = self._series.relay
        delay = time.monotonic() - now
        relay.counts[bisect_left(RELAY_BOUNDS, delay) if delay > _PROMPT else 0] += 1
        relay.sum += delay
        timeline = self.record.timeline
        if timeline is not None:
            timeline.wrote(now, now + delay, self.record.bytes_down)

    def end(self, trailers: Fields) -> None:
        """The response is complete; nothing of its body came with the news."""
        if self._decoding is not None:
            self._decoding.end(trailers)
        else:
            self.body_over(trailers, time.monotonic())

    def body_over(self, trailers: Fields, now: float) -> None:
        """Every byte of the body has gone out: end it as it is framed."""
        last = b""
        if self._framing == CHUNKED:
            last = trailers_to_downstream(trailers) if trailers and self._request.wants_trailers else LAST_CHUNK
        self._write(last, now)
        self.finish(self._whole())

    def _whole(self) -> Outcome:
        """How a response ends that its framing calls complete: without the route's terminal marker it is cut."""
        return _COMPLETED if self._tail is None or self._tail.terminated else Outcome.UNTERMINATED

    # -- what is added to a stream of events

    @property
    def _may_add(self) -> bool:
        """Whether bytes of ours become no part of an event. A body of known length, which has no room for them, has no
        tail either."""
        tail = self._tail
        return tail is not None and tail.at_event_boundary and self.record.kind == "sse" and self.head_sent

    def _beat(self, now: float) -> None:
        """Break the silence for whoever counts it, unless something waits to be written: then it is no silence."""
        self._beat_at = now
        if self._may_add and not self.downstream.transport.get_write_buffer_size():
            assert self._series is not None
            assert self._tail is not None
            self._series.heartbeats += 1
            self.record.heartbeats += 1
            if self.record.timeline is not None:
                self.record.timeline.heartbeats.append(now)
            self._add(self._tail.heartbeat)

    def _add(self, data: bytes) -> None:
        self.downstream.write(chunk(data) if self._framing == CHUNKED else data)

    def downstream_full(self) -> None:
        """The client reads slower than the upstream sends: stop reading the upstream."""
        if self.record.paused_at or self._series is None:
            return
        self.record.paused_at = time.monotonic()
        self.record.stalls += 1
        self._series.stalls += 1
        self._series.stalling.add(self.record)
        self.pause_upstream()

    def downstream_drained(self) -> None:
        """The client's buffer has room again."""
        if not self.record.paused_at:
            return
        now = self._waiting_since = time.monotonic()
        self._count_stall(now)
        if self._decoding is not None and self._decoding.behind:
            self._decoding.go_on(now)
        else:
            self.resume_upstream()

    def _count_stall(self, now: float) -> None:
        record = self.record
        stalled = now - record.paused_at
        record.stalled += stalled
        if self._series is not None:
            self._series.stalled += stalled
            self._series.stalling.discard(record)
        if record.timeline is not None:
            record.timeline.pauses.append((record.paused_at, now))
        record.paused_at = 0.0

    def pause_upstream(self) -> None:
        """Stop reading the upstream."""
        if self.upstream is not None and not self.upstream.transport.is_closing():
            self.upstream.transport.pause_reading()

    def resume_upstream(self) -> None:
        """Read the upstream again."""
        if self.upstream is not None and not self.upstream.transport.is_closing():
            self.upstream.transport.resume_reading()

    # -- after 101 both sides are a tunnel of bytes

    def switch_protocols(self, head: ResponseHead, now: float) -> None:
        """The upstream accepted the upgrade: bytes only, from here on, whatever they mean."""
        offered = list_members(self._request.upgrade)
        taken = [m for name, value in head.fields if name.lower() == b"upgrade" for m in list_members(value)]
        if not taken or not set(taken) <= set(offered) or not self._request_over:
            # RFC 9110, section 7.8. Nor may it come before the end of the request: what is left of that is no part of
            # a tunnel.
            self.finish(Outcome.UPSTREAM_PROTOCOL_ERROR, "101 Switching Protocols that was not asked for")
            return
        self._answered("upgrade", 101, now)
        if self.plane.on_stream is not None:
            self.plane.on_stream(self.record)
        self._head_out = informational_to_downstream(head)
        self.flush(now)
        assert self.upstream is not None
        websocket = taken == [b"websocket"]
        self.tunnel = Tunnel(self, self.downstream, self.upstream, websocket)
        self.upstream.tunnel()
        self.downstream.tunnel()
        if self.plane.closing:
            self.tunnel.go_away()

    # -- endings

    @property
    def close_delimited(self) -> bool:
        """Whether only the end of the connection tells the client that the body ended."""
        return self._framing == UNTIL_CLOSE

    def fail(self, error: Exception) -> None:
        """A mistake of ours: it costs this stream, and the log says so."""
        self.plane.loop.call_exception_handler({"message": f"unbuffer failed on {self!r}", "exception": error})
        self.finish(Outcome.INTERNAL_ERROR, type(error).__name__)

    def client_lost(self, exc: Exception | None) -> None:
        """The client's connection ended: nobody is left to generate for."""
        if self.tunnel is not None and self.tunnel.ends_with(exc):
            self.finish(_COMPLETED)
        else:
            gone = kernel_timeout(exc, self.downstream.transport, "client")
            self.finish(Outcome.CLIENT_DISCONNECT, gone or str(exc or ""))

    def upstream_lost(self, exc: Exception | None, untouched: bool) -> None:
        """The upstream's connection ended before the response did; `untouched`: not a byte of it had come."""
        if self.tunnel is not None and self.tunnel.ends_with(exc):
            self.finish(_COMPLETED)
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
            and self._request.method in IDEMPOTENT
            and self._request.framing == 0
            and not self._request.upgrade
        )

    def look(self, now: float) -> float:
        """Compare the deadlines with the clock. Returns when to look again, 0.0 for never."""
        policy, record = self.policy, self.record
        dues: list[float] = []
        if not self._request_over and policy.request_body_timeout:
            # While the upstream takes nothing it is not the client that is silent.
            silent_since = now if self.downstream.held else self.downstream.read_at
            due = silent_since + policy.request_body_timeout
            if due <= now:
                self.finish(Outcome.REQUEST_BODY_TIMEOUT)
                return 0.0
            dues.append(due)
            if policy.body_rate and not record.head_at:
                # Every byte moves this deadline on. Apache's MinRate counts so, too.
                begun = now if self.downstream.held else max(record.started, self.downstream.released_at)
                due = begun + policy.request_body_timeout + record.bytes_up / policy.body_rate
                if due <= now:
                    self.finish(Outcome.REQUEST_BODY_TIMEOUT, "limits.body_rate")
                    return 0.0
                dues.append(due)
        if not record.head_at:
            if policy.response_head_timeout and self._waiting_since:
                due = self._waiting_since + policy.response_head_timeout
                if due <= now:
                    self.finish(Outcome.RESPONSE_HEAD_TIMEOUT)
                    return 0.0
                dues.append(due)
        elif policy.silence_timeout and record.kind != "upgrade":
            # While the client takes nothing it is not the upstream that is silent.
            silent_since = now if self.record.paused_at else max(record.last_at, record.head_at, self._waiting_since)
            due = silent_since + policy.silence_timeout
            if due <= now:
                self.finish(Outcome.SILENCE_TIMEOUT)
                return 0.0
            dues.append(due)
        if self._tail is not None and policy.heartbeat and record.kind == "sse":
            due = max(record.last_at, record.head_at, self._beat_at) + policy.heartbeat
            if due <= now:
                self._beat(now)
                due = now + policy.heartbeat
            dues.append(due)
        return min(dues, default=0.0)

    def _watch(self, now: float, seconds: float) -> None:
        if seconds:
            self.plane.watchdog.watch(self.downstream, now + seconds)

    def finish(self, outcome: Outcome, detail: str = "", status: int = 0) -> None:
        """End the stream, once: every cause comes here. status: what to answer where the outcome is too coarse."""
        record = self.record
        if record.outcome is not None:
            return
        record.outcome = outcome
        record.detail = detail
        record.ended = time.monotonic()
        if record.rhythm is not None:
            if record.chunks and not record.paused_at:
                self._silence_over(record.ended)
            self.plane.stalls.ended_at = record.ended
        if record.paused_at or (self._decoding is not None and self._decoding.behind):
            self.resume_upstream()  # it may serve others
        if record.paused_at:
            self._count_stall(record.ended)
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        upstream = self.upstream
        if upstream is not None:
            self._forget_upstream(upstream)
            completed = outcome in WHOLE
            if completed and self._request_over and upstream.reusable:
                upstream.release(record.ended)
            else:
                upstream.close(flush=completed and record.kind == "upgrade")
        series, totals = self._series, self.plane.totals
        if series is None:
            series = totals.of(record.route, "plain")
        else:
            series.active -= 1
        totals.streams -= 1
        if self.policy.error_event and self._may_add and outcome not in WHOLE:
            ending = outcome.value
            self.explained = True
            self._add(error_event(ending.name, ending.status, detail or ending.text))
        self.downstream.exchange_over(self, outcome, detail, status)
        totals.fold(record, series)
        self.plane.on_record(record)
        self.tunnel = self._decoding = None  # they refer to us: nothing is left for the cyclic garbage collector

    def _forget_upstream(self, upstream: UpstreamConnection) -> None:
        self.plane.totals.upstream_active -= 1
        upstream.exchange = None
        self.upstream = None
