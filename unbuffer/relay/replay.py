"""The answer to a client that came back. Its bytes were read, decoded and counted as chunks when they came from the
upstream; here they are given out, at the pace of this client."""

from unbuffer.http.response import ResponseHead
from unbuffer.relay.answer import Answer


class Replay(Answer):
    """Of one exchange, in place of the answer that an upstream would fill."""

    __slots__ = ()

    def resume(self, head: ResponseHead, now: float) -> None:
        """The head, as the first client got it. It goes out with what `give` gets."""
        stream, record = self._stream, self.record
        if stream is None:
            return
        record.head_at, record.status, record.kind = now, head.status, head.kind
        series = self._series = stream.shared.totals.of(record.route, head.kind)
        series.active += 1
        stream.client.respond(head, True, -1.0)
        if stream.client.stalled:
            stream.client_full()  # with the response before this one
        if stream.shared.clients.on_stream is not None:
            stream.shared.clients.on_stream(record)

    def give(self, data: bytes) -> None:
        """Bytes of the body, not empty."""
        series = self._series
        if series is None:
            return
        self.record.bytes_down += len(data)
        series.bytes_down += len(data)
        if not self.head_sent:
            self._count_head()
        self._writer.body(data, False)

    def give_end(self) -> None:
        """The stream is complete."""
        if self._series is None:
            return
        if not self.head_sent:
            self._count_head()
        self._writer.end([])

    def silent_since(self, now: float) -> float:
        """The exchange that began the stream keeps its deadlines."""
        return now
