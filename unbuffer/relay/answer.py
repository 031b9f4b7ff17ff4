"""The response on its way down, from its head to its end or to the outcome that cuts it short.

A chunk takes one straight way: `body` decodes it if it must, counts it, and has it written. `Exchange.finish` closes
the answer: from then on nothing of it is written or counted, whatever else came in the same read.
"""

from unbuffer.clock import monotonic
from unbuffer.http.coded import without_coded
from unbuffer.http.content import ContentReader, content_reader
from unbuffer.http.last_word import KEPT, has_last_word
from unbuffer.http.request import Fields
from unbuffer.http.response import ResponseHead, is_fresh_text, maker
from unbuffer.http.sse import Tail, error_event, padded, reads_events, unmarked
from unbuffer.outcome import WHOLE, Outcome
from unbuffer.record import SAID, UNSAID, Record
from unbuffer.relay.client import Writer
from unbuffer.relay.counting import count_keepalive, count_read, count_stall, count_write
from unbuffer.relay.decoding import Decoding, Taker, decoding_of
from unbuffer.relay.silences import LOOK
from unbuffer.relay.stream import Stream
from unbuffer.rhythm import SAMPLE, Rhythm
from unbuffer.totals import Series


class Answer(Taker):
    """The final response of one exchange, or the bytes after 101.

    head_sent: a byte of it has gone to the client; from then on a failure can only break it.
    explained: an error event has told the client why it breaks.
    """

    __slots__ = (
        "_beat_at",
        "_before",
        "_content",
        "_decoding",
        "_latest",
        "_resumed_at",
        "_series",
        "_stream",
        "_tail",
        "_writer",
        "explained",
        "head_sent",
        "record",
    )

    def __init__(self, stream: Stream, record: Record, writer: Writer) -> None:
        self.record = record
        self.head_sent = False
        self.explained = False
        self._stream: Stream | None = stream
        """None once the answer is closed."""
        self._series: Series | None = None
        """Where it is counted: from the response head on, until it is closed."""
        self._writer = writer
        self._decoding: Decoding | None = None
        self._content: ContentReader | None = None
        """Of event-streams and NDJSON that go out as text: bodies in which there are keep-alives."""
        self._tail: Tail | None = None
        """Kept only where something may be added to the body, or its end is looked at."""
        self._before = self._latest = b""
        """The two latest reads of such a body, decoded: their last `KEPT` bytes."""
        self._beat_at = 0.0
        """Time of the latest heartbeat, or of the latest keep-alive of the upstream's own that stands for one."""
        self._resumed_at = 0.0
        """When the client last took what it had been sent, so that the upstream was read again."""

    # -- what the upstream sends

    def head(self, head: ResponseHead, now: float) -> None:
        """The final response head. It goes out with the body bytes of the same read, or by `flush`."""
        stream = self._stream
        if stream is None:
            return
        self._answered(stream, head.kind, head.status, now)
        record, policy, client = self.record, stream.policy, stream.client
        decoded = False
        if head.codings or head.status == 304:
            decoded, self._decoding = decoding_of(stream, self, head)
        resumable = None
        if policy.resume is not None and head.kind == "sse" and (decoded or not head.codings):
            resumable = stream.keep(head)
        if resumable is not None:
            self._writer = resumable
        elif client.stalled:
            self.downstream_full()  # with the response before this one
        changed = decoded or resumable is not None or policy.may_grow(head)
        client.respond(head, changed, now - record.started if policy.server_timing else -1.0)
        if head.framing:
            stream.watch(now, policy.silence_timeout)
        if head.framing and head.streams:
            record.rhythm = Rhythm(head.kind)
            record.server, record.varies = maker(head.fields)
            if decoded or not head.codings:
                self._content = content_reader(head.kind, policy.keepalive_events)
            # A resumable stream has ids from its first event on.
            comments = resumable is not None or (head.kind == "sse" and reads_events(stream.request.fields))
            self._tail = policy.tail(head, decoded, comments)
            if head.kind == "sse" and (decoded or (head.framing < 0 and not head.codings)):
                stream.watch(now, policy.heartbeat)
            if stream.shared.clients.on_stream is not None:
                stream.shared.clients.on_stream(record)
        elif head.framing > 0 and record.sent_at and now - record.sent_at >= LOOK and head.status == 200:
            record.whole = is_fresh_text(head.fields)
            if record.whole:
                record.server, record.varies = maker(head.fields)

    def informational(self, head: ResponseHead) -> None:
        """A 1xx head: passed on at once."""
        if self._stream is not None:
            self._writer.informational(head)

    def switch(self, head: ResponseHead, now: float) -> None:
        """101: the head goes out at once; what follows has no framing."""
        stream = self._stream
        if stream is None:
            return
        self._answered(stream, "upgrade", 101, now)
        if stream.shared.clients.on_stream is not None:
            stream.shared.clients.on_stream(self.record)
        self._writer.switch(head)
        self.flush(now)

    def _answered(self, stream: Stream, kind: str, status: int, now: float) -> None:
        """The upstream has decided: from here on it is known where the stream is counted."""
        record = self.record
        record.head_at = now
        record.status = status
        record.kind = kind
        series = self._series = stream.shared.totals.of(record.route, kind)
        series.active += 1
        series.ttfb.observe(now - record.started)

    def flush(self, now: float) -> None:
        """Send a head that came alone: before any byte of the body exists, unless sse.opening adds one."""
        stream = self._stream
        if self.head_sent or stream is None:
            return
        self._count_head()
        if not stream.policy.opening or not self._beat(now):
            self._writer.flush()
        self._wrote(now)

    def body(self, data: bytes, now: float, last: bool) -> None:
        """Body bytes of the response, as one read brought them, without their framing. Not empty."""
        record = self.record
        series = self._series
        if series is None:
            return
        size = len(data)
        chunks = record.chunks
        decoding = self._decoding
        if decoding is not None:
            data = decoding.feed(data, last)
        content, tail = self._content, self._tail
        usual = content is not None and content.usual(data)
        if content is not None and not usual and not content.read(data):
            self._kept_alive(size, len(data), now)
            chunks = SAMPLE  # it tells nothing of how large an event is
        else:
            if chunks and now - record.last_at >= LOOK and record.rhythm is not None:
                self._silence_over(now)
            count_read(record, series, size, now)
        record.bytes_read += size
        if decoding is not None:
            if data:
                self._give(data, now, chunks)
            decoding.settle(now)
            return
        if tail is not None:
            # All that `Tail.feed` finds in such a read: it ends with an event.
            if usual and content is not None and tail.has_no_news(data):
                tail.last_bytes = content.event_end
            else:
                if record.heartbeats and not record.bytes_down:
                    data = unmarked(data)
                tail.feed(data)
        if content is not None:
            self._before = self._latest
            self._latest = data if size <= KEPT else data[-KEPT:]
        if chunks < SAMPLE and record.rhythm is not None:
            record.rhythm.sample(data, usual and record.kind == "sse")
        record.bytes_down += size
        series.bytes_down += size
        if not self.head_sent:
            self._count_head()
        self._writer.body(data, last)
        count_write(record, series, now)
        if last:
            self._over()

    def _silence_over(self, now: float) -> None:
        """The upstream speaks again, or will no more. While the client takes nothing it is not asked to."""
        stream, record = self._stream, self.record
        since = max(max(record.last_at, record.sent_at), self._resumed_at)  # compiled, three at once are a call
        if stream is not None and now - since >= LOOK:
            stream.shared.silences.over(record, since, now)

    def _kept_alive(self, size: int, given: int, now: float) -> None:
        """A read of `size` bytes had no content; given: the bytes of its text, 0 where a decoder has none of it yet."""
        stream, series, record = self._stream, self._series, self.record
        if stream is None or series is None or not given:
            return
        count_keepalive(record, series, size, given, now)
        if given >= stream.policy.heartbeat_padding:
            self._beat_at = now

    def decoded(self, data: bytes, now: float) -> None:
        """More than one step of a decoder is in a read: the next one. The first one has told what the read is."""
        content = self._content is None or self._content.read(data)
        self._give(data, now, self.record.chunks - 1 if content else SAMPLE)

    def _give(self, data: bytes, now: float, chunks: int) -> None:
        """Body bytes that a decoder gave, not empty. chunks: how many there were before."""
        series, record = self._series, self.record
        if series is None:
            return
        if self._tail is not None:
            if record.heartbeats and not record.bytes_down:
                data = unmarked(data)
            self._tail.feed(data)
        if self._content is not None:
            self._before = self._latest
            self._latest = data[-KEPT:]
        record.bytes_down += len(data)
        series.bytes_down += len(data)
        if chunks < SAMPLE and record.rhythm is not None:
            record.rhythm.sample(data, False)
        if not self.head_sent:
            self._count_head()
        self._writer.body(data, False)
        self._wrote(now)

    def _count_head(self) -> None:
        """The head goes out, with what is written next."""
        stream, record = self._stream, self.record
        self.head_sent = True
        if stream is not None:
            stream.forget_request()
            stream.shared.totals.requests[record.route, record.method_label, record.status] += 1

    def _wrote(self, now: float) -> None:
        """What was read at `now` has been written."""
        if self._series is not None:
            count_write(self.record, self._series, now)

    def end(self, trailers: Fields) -> None:
        """The response is complete; nothing of its body came with the news."""
        if self._decoding is not None:
            self._decoding.end(trailers)
        else:
            self.decoded_end(trailers, monotonic())

    def decoded_end(self, trailers: Fields, now: float) -> None:
        """Every byte of the body has gone out."""
        if self._series is None:
            return
        if not self.head_sent:
            self._count_head()
        if trailers and (self._decoding is not None or self.record.heartbeats):
            trailers = without_coded(trailers)
        self._writer.end(trailers)
        self._wrote(now)
        self._over()

    def _over(self) -> None:
        """A response ends that its framing calls complete: without the route's terminal marker it is cut."""
        stream, tail, record = self._stream, self._tail, self.record
        if stream is None:
            return
        if self._writer.lost:
            stream.client_lost(None)  # who is yet to be told so, in this turn of the loop
            return
        if tail is not None and not tail.terminated:
            stream.finish(Outcome.UNTERMINATED)
            return
        if record.chunks and record.status == 200 and self._content is not None:
            record.last_word = SAID if has_last_word(self._before + self._latest) else UNSAID
        stream.finish(Outcome.COMPLETED)

    # -- what is added to a stream of events

    @property
    def _may_add(self) -> bool:
        """Whether bytes of ours become no part of an event. A body of known length, which has no room for them, has no
        tail either."""
        tail = self._tail
        return tail is not None and tail.at_event_boundary and self.record.kind == "sse" and self.head_sent

    def look(self, now: float) -> float:
        """Break a silence that is long enough for a heartbeat. Returns when to look again, 0.0 for never."""
        stream, record = self._stream, self.record
        if stream is None or self._tail is None or not stream.policy.heartbeat or record.kind != "sse":
            return 0.0
        due = max(record.last_at, record.head_at, self._beat_at) + stream.policy.heartbeat
        if due > now:
            return due
        self._beat(now)
        return now + stream.policy.heartbeat

    def _beat(self, now: float) -> bool:
        """Break the silence for whoever counts it, unless something waits to be written: then it is no silence. Returns
        whether it did."""
        self._beat_at = now
        if not self._may_add or self._writer.waiting:
            return False
        stream, record, series, tail = self._stream, self.record, self._series, self._tail
        assert stream is not None
        assert series is not None
        assert tail is not None
        series.heartbeats += 1
        record.heartbeats += 1
        if record.timeline is not None:
            record.timeline.heartbeats.append(now)
        self._writer.body(padded(tail.heartbeat, stream.policy.heartbeat_padding), False)
        return True

    # -- the client takes it, or not

    def downstream_full(self) -> None:
        """The client reads slower than the upstream sends: stop reading the upstream."""
        stream, series, record = self._stream, self._series, self.record
        if stream is None or series is None or record.paused_at:
            return
        record.paused_at = monotonic()
        record.stalls += 1
        series.stalls += 1
        series.stalling.add(record)
        stream.pause_upstream()

    def downstream_has_room(self) -> None:
        """The client's buffer has room again."""
        stream, series, record = self._stream, self._series, self.record
        if stream is None or series is None or not record.paused_at:
            return
        now = self._resumed_at = monotonic()
        count_stall(record, series, now)
        if self._decoding is not None and self._decoding.has_more:
            self._decoding.go_on(now)
        else:
            stream.resume_upstream()

    def silent_since(self, now: float) -> float:
        """Since when the upstream has said nothing. While the client takes nothing it is not the upstream's silence."""
        record = self.record
        return now if record.paused_at else max(record.last_at, record.head_at, record.sent_at, self._resumed_at)

    # -- the outcome

    def close(self, outcome: Outcome, now: float) -> Series | None:
        """The exchange has its outcome. Returns where the answer was counted, None if no head had come. What was given
        to a resumable stream before goes out to the client that asked later in `finish`, by `Served.over`."""
        stream, series, record = self._stream, self._series, self.record
        assert stream is not None
        if record.rhythm is not None:
            if record.chunks and not record.paused_at:
                self._silence_over(now)
            stream.shared.silences.ended_at = now
        if record.paused_at or (self._decoding is not None and self._decoding.has_more):
            stream.resume_upstream()  # it may serve others
        if series is not None:
            if record.paused_at:
                count_stall(record, series, now)
            series.active -= 1
        event = b""
        if stream.policy.error_event and self._may_add and outcome not in WHOLE:
            self.explained = True
            event = error_event(outcome.label, outcome.value.status, stream.shared.told(outcome, record.detail))
        # Also for the cyclic garbage collector: nothing is left for it.
        self._stream = self._series = self._decoding = self._content = self._tail = None
        if event:
            self._writer.body(event, False)  # if that fills the client's buffer, it is no stall of this stream any more
        return series
