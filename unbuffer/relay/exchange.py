"""One request and its answer: where downstream and upstream meet, and the one place where a stream ends.

A chunk takes one straight way: `body` counts it, decodes it if it must, frames it, writes it. Every ending, whatever
the cause, goes through `finish`, once.
"""

import asyncio
import time
from bisect import bisect_left
from typing import TYPE_CHECKING

from unbuffer.http.coding import CodingError, Decoder, decodable
from unbuffer.http.framing import CHUNKED, LAST_CHUNK, UNTIL_CLOSE, chunk
from unbuffer.http.headers import (
    Delivery,
    informational_to_downstream,
    request_to_upstream,
    response_to_downstream,
    trailers_to_downstream,
)
from unbuffer.http.request import IDEMPOTENT, Fields, RequestHead
from unbuffer.http.response import ResponseHead
from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.relay.pool import ConnectError
from unbuffer.relay.upstream import UpstreamConnection
from unbuffer.totals import CHUNK_SIZE_BOUNDS, GAP_BOUNDS, RELAY_BOUNDS, Series

if TYPE_CHECKING:
    from unbuffer.relay.downstream import DownstreamConnection

_COMPLETED = Outcome.COMPLETED

DECODE_STEP = 65536
"""Decoded bytes given out at a time: a compression bomb is paced by the client that reads it."""


class Exchange:
    """One stream, from its request head to its outcome."""

    __slots__ = (
        "_connecting",
        "_decoder",
        "_decoding",
        "_ending",
        "_framing",
        "_half_closed",
        "_head_out",
        "_held",
        "_paused_at",
        "_plane",
        "_request",
        "_request_over",
        "_series",
        "_trailers",
        "_waiting_since",
        "downstream",
        "head_sent",
        "policy",
        "record",
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
        self.upstream: UpstreamConnection | None = None
        self.head_sent = False
        """Whether a byte of the final response has gone to the client: from then on a failure can only break it."""
        plane.totals.streams += 1
        self._plane = plane
        self._request = request
        self._request_over = request.framing == 0
        self._held: list[bytes] = []
        """Request bytes, framed, that wait for a connection; bounded by one read, because reading is paused."""
        self._connecting: asyncio.Task[None] | None = None
        self._series: Series | None = None
        """Where it is counted: known with the response head."""
        self._framing = 0
        self._head_out = b""
        self._decoder: Decoder | None = None
        self._decoding = False
        """The decoder holds more than was given out; the upstream is not read."""
        self._ending = False
        """The response is complete, as far as the upstream is concerned."""
        self._trailers: Fields = []
        self._half_closed = False
        """One side of a tunnel has said everything."""
        self._paused_at = 0.0
        self._waiting_since = 0.0

    def __repr__(self) -> str:
        outcome = self.record.outcome
        state = outcome.label if outcome else "body" if self.head_sent else "waiting"
        return f"<Exchange {self.record.method} {self.record.path} {state}>"

    # -- the request goes up

    def begin(self, now: float) -> None:
        """Send the request up, on a connection at rest if there is one."""
        if not self._request_over:
            self._watch(self.policy.request_body_timeout)
        connection = self._plane.pool.take()
        if connection is not None:
            self._send(connection, now)
            return
        self._connect()

    def _connect(self) -> None:
        # The one task of a stream: opening a connection is a coroutine of the event loop.
        self._connecting = self._plane.loop.create_task(self._connected())

    async def _connected(self) -> None:
        try:
            connection = await self._plane.pool.connect()
        except ConnectError as error:
            self._connecting = None
            self.finish(error.outcome, error.detail)
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
        self._plane.totals.upstream_active += 1
        self._plane.totals.reuses += connection.used
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
        self._waiting_since = now
        if self.policy.response_head_timeout and not self.record.head_at:
            self._watch(self.policy.response_head_timeout)

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
        record = self.record
        record.head_at = now
        record.status = head.status
        record.kind = head.kind
        series = self._series = self._plane.totals.of(record.route, head.kind)
        series.active += 1
        series.ttfb.observe(now - record.started)
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
        self._head_out = response_to_downstream(head, Delivery(framing, length, close, decoded, http11, trailers))
        self.downstream.close_after = close
        if framing and self.policy.silence_timeout:
            self._watch(self.policy.silence_timeout)

    def _decode_codings(self, head: ResponseHead) -> bool:
        """Set up the decoder, if this body can be decoded (a range of coded bytes cannot)."""
        record = self.record
        if not head.framing or head.status == 206:
            return False
        able = self.policy.decode and decodable(head.codings)
        if able:
            self._decoder = Decoder(head.codings)
            record.decoded = "+".join(head.codings)
        else:
            known = "+".join(head.codings) if decodable(head.codings) else "other"
            self._count_decoded(known, "passed_through")
        return able

    def _count_decoded(self, codings: str, result: str) -> None:
        self._plane.totals.decoded[self.record.route, codings, result] += 1

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
        # Histogram.observe, written out: this is what every chunk pays.
        if record.chunks:
            gap = now - record.last_at
            gaps = series.gaps
            gaps.counts[bisect_left(GAP_BOUNDS, gap)] += 1
            gaps.sum += gap
            if gap > record.max_gap:
                record.max_gap = gap
        else:
            record.first_at = now
            series.ttfc.observe(now - record.started)
        record.last_at = now
        record.chunks += 1
        record.bytes_read += size
        sizes = series.chunk_sizes
        sizes.counts[bisect_left(CHUNK_SIZE_BOUNDS, size)] += 1
        sizes.sum += size
        if self._decoder is not None:
            self._decoder.feed(data)
            self._ending = last
            self._decode(now)
            return
        record.bytes_down += size
        series.bytes_down += size
        if self._framing == CHUNKED:
            data = b"%x\r\n%b\r\n" % (size, data)
            if last:
                data += LAST_CHUNK
        self._write(data, now)
        if last:
            self.finish(_COMPLETED)

    def _write(self, data: bytes, now: float) -> None:
        if self._head_out:
            data = self._head_out + data
            self._head_out = b""
            self.head_sent = True
            record = self.record
            self._plane.totals.requests[record.route, record.method_label, record.status] += 1
        transport = self.downstream.transport
        if data and not transport.is_closing():
            transport.write(data)
        assert self._series is not None
        relay = self._series.relay
        delay = time.monotonic() - now
        relay.counts[bisect_left(RELAY_BOUNDS, delay)] += 1
        relay.sum += delay

    def end(self, trailers: Fields) -> None:
        """The response is complete; nothing of its body came with the news."""
        if self._decoder is not None:
            self._ending = True
            self._trailers = trailers
            self._decode(time.monotonic())
            return
        self._write(self._last(trailers), time.monotonic())
        self.finish(_COMPLETED)

    def _last(self, trailers: Fields) -> bytes:
        if self._framing != CHUNKED:
            return b""
        if trailers and self._request.wants_trailers:
            return trailers_to_downstream(trailers)
        return LAST_CHUNK

    def _decode(self, now: float) -> None:
        """Give out what the decoder has, one step for one turn of the loop, and only while the client takes it."""
        decoder, record = self._decoder, self.record
        if decoder is None or record.outcome is not None:
            return
        pieces: list[bytes] = []
        room = DECODE_STEP
        damage = ""
        try:
            while room > 0 and (piece := decoder.read(room)):
                pieces.append(piece)
                room -= len(piece)
            if room > 0 and self._ending:
                decoder.finish()
        except CodingError as error:
            damage = str(error)
        data = b"".join(pieces)
        if data:
            record.bytes_down += len(data)
            assert self._series is not None
            self._series.bytes_down += len(data)
            self._write(chunk(data) if self._framing == CHUNKED else data, now)
        if damage:
            self._count_decoded(record.decoded, "error")
            self.finish(Outcome.DECODE_ERROR, damage)
        elif room <= 0:
            # The rest when the others have had their turn. Reading stops, so that no more is fed meanwhile.
            self._decoding = True
            self._pause_upstream()
            self._plane.loop.call_soon(self._decode_on)
        elif self._ending:
            self._count_decoded(record.decoded, "ok")
            self._write(self._last(self._trailers), now)
            self.finish(_COMPLETED)
        else:
            self.flush(now)
            if self._decoding:
                self._decoding = False
                self._resume_upstream()

    def _decode_on(self) -> None:
        if not self._paused_at:
            self._decode(time.monotonic())

    def downstream_full(self) -> None:
        """The client reads slower than the upstream sends: stop reading the upstream."""
        if self._paused_at or self._series is None:
            return
        self._paused_at = time.monotonic()
        self.record.stalls += 1
        self._series.stalls += 1
        self._pause_upstream()

    def downstream_drained(self) -> None:
        """The client's buffer has room again."""
        if not self._paused_at:
            return
        now = self._waiting_since = time.monotonic()
        self._count_stall(now)
        if self._decoding:
            self._decode(now)
        else:
            self._resume_upstream()

    def _count_stall(self, now: float) -> None:
        stalled = now - self._paused_at
        self.record.stalled += stalled
        if self._series is not None:
            self._series.stalled += stalled
        self._paused_at = 0.0

    def _pause_upstream(self) -> None:
        if self.upstream is not None and not self.upstream.transport.is_closing():
            self.upstream.transport.pause_reading()

    def _resume_upstream(self) -> None:
        if self.upstream is not None and not self.upstream.transport.is_closing():
            self.upstream.transport.resume_reading()

    # -- after 101 both sides are a tunnel of bytes

    def switch_protocols(self, head: ResponseHead, now: float) -> None:
        """The upstream accepted the upgrade: bytes only, from here on, whatever they mean."""
        if not self._request.upgrade or not self._request_over:
            # Nor may it come before the end of the request: what is left of that is no part of a tunnel.
            self.finish(Outcome.UPSTREAM_PROTOCOL_ERROR, "101 Switching Protocols that was not asked for")
            return
        record = self.record
        record.head_at = now
        record.status = 101
        record.kind = "upgrade"
        series = self._series = self._plane.totals.of(record.route, "upgrade")
        series.active += 1
        series.ttfb.observe(now - record.started)
        self._head_out = informational_to_downstream(head)
        self.flush(now)
        if self.upstream is not None:
            self.upstream.tunnel()
        self.downstream.tunnel()

    def tunnel_up(self, data: bytes) -> None:
        """Bytes of the client for the upstream."""
        self.record.bytes_up += len(data)
        if self.upstream is not None:
            self.upstream.write(data)

    def tunnel_down(self, data: bytes, now: float) -> None:
        """Bytes of the upstream for the client."""
        self.body(data, now, False)

    def tunnel_upstream_eof(self) -> bool:
        """The upstream has said everything. True: keep its connection, the client may still speak."""
        return self._half_close(self.downstream.transport)

    def tunnel_client_eof(self) -> bool:
        """The client has said everything. True: keep its connection, the upstream may still speak."""
        assert self.upstream is not None
        return self._half_close(self.upstream.transport)

    def _half_close(self, other: asyncio.Transport) -> bool:
        """Tell the other side that nothing more comes. False where it cannot be told (TLS): then all ends."""
        if self._half_closed:
            # Both have said everything: nothing is left to wait for.
            self.finish(_COMPLETED)
            return False
        self._half_closed = True
        if other.is_closing() or not other.can_write_eof():
            return False
        other.write_eof()
        return True

    # -- endings

    @property
    def close_delimited(self) -> bool:
        """Whether only the end of the connection tells the client that the body ended."""
        return self._framing == UNTIL_CLOSE

    def fail(self, error: Exception) -> None:
        """A mistake of ours: it costs this stream, and the log says so."""
        self._plane.loop.call_exception_handler({"message": f"unbuffer failed on {self!r}", "exception": error})
        self.finish(Outcome.INTERNAL_ERROR, type(error).__name__)

    def client_lost(self, exc: Exception | None) -> None:
        """The client's connection ended: nobody is left to generate for."""
        if self._ends_as_tunnels_do(exc):
            self.finish(_COMPLETED)
        else:
            self.finish(Outcome.CLIENT_DISCONNECT, str(exc or ""))

    def upstream_lost(self, exc: Exception | None, untouched: bool) -> None:
        """The upstream's connection ended before the response did; `untouched`: not a byte of it had come."""
        if self._ends_as_tunnels_do(exc):
            self.finish(_COMPLETED)
            return
        if untouched and self._may_retry() and self.upstream is not None:
            self._forget_upstream(self.upstream)
            self._connect()
            return
        what = "reset" if isinstance(exc, ConnectionError) else "closed"
        when = "in the response body" if self.record.head_at else "before a response head"
        self.finish(Outcome.UPSTREAM_DISCONNECT, f"the upstream {what} the connection {when}")

    def _ends_as_tunnels_do(self, exc: Exception | None) -> bool:
        """Whether this is a tunnel's ordinary end: closed, or reset after one side had said everything."""
        return self.record.kind == "upgrade" and (exc is None or self._half_closed)

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
        if not record.head_at:
            if policy.response_head_timeout and self._waiting_since:
                due = self._waiting_since + policy.response_head_timeout
                if due <= now:
                    self.finish(Outcome.RESPONSE_HEAD_TIMEOUT)
                    return 0.0
                dues.append(due)
        elif policy.silence_timeout and record.kind != "upgrade":
            # While the client takes nothing it is not the upstream that is silent.
            silent_since = now if self._paused_at else max(record.last_at, record.head_at, self._waiting_since)
            due = silent_since + policy.silence_timeout
            if due <= now:
                self.finish(Outcome.SILENCE_TIMEOUT)
                return 0.0
            dues.append(due)
        return min(dues, default=0.0)

    def _watch(self, seconds: float) -> None:
        if seconds:
            self._plane.watchdog.watch(self.downstream, time.monotonic() + seconds)

    def finish(self, outcome: Outcome, detail: str = "", status: int = 0) -> None:
        """End the stream, once: every cause comes here. status: what to answer where the outcome is too coarse."""
        record = self.record
        if record.outcome is not None:
            return
        record.outcome = outcome
        record.detail = detail
        record.ended = time.monotonic()
        if self._paused_at or self._decoding:
            self._resume_upstream()  # it may serve others
        if self._paused_at:
            self._count_stall(record.ended)
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        upstream = self.upstream
        if upstream is not None:
            self._forget_upstream(upstream)
            completed = outcome is _COMPLETED
            if completed and self._request_over and upstream.reusable:
                upstream.release()
            else:
                upstream.close(flush=completed and record.kind == "upgrade")
        series, totals = self._series, self._plane.totals
        if series is None:
            series = totals.of(record.route, "plain")
        else:
            series.active -= 1
        totals.streams -= 1
        self.downstream.exchange_over(self, outcome, detail, status)
        totals.fold(record, series)
        self._plane.on_record(record)

    def _forget_upstream(self, upstream: UpstreamConnection) -> None:
        self._plane.totals.upstream_active -= 1
        upstream.exchange = None
        self.upstream = None
