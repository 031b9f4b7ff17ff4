"""When the latest chunks of one stream came and went, for whoever looks at its picture."""

from collections import deque


class Timeline:
    """The latest chunks of one stream, and what came between them. Constant in size.

    chunks      when each was read from the upstream, when its bytes were accepted for the client, and how many those
                were; of a body that is decoded, what each step of the decoder gave. A client that came back to a
                resumable stream gets what is kept: of that both times are the same
    count       how many there have been since the beginning, those that are no longer kept as well
    pauses      from when to when the upstream was not read because the client's buffer was full
    heartbeats  when each was sent
    keepalives  when each of the application's own was read
    absences    from when to when nobody read a resumable stream: its chunks were kept, and given to no one
    """

    __slots__ = ("_bytes_down", "absences", "chunks", "count", "heartbeats", "keepalives", "pauses")

    def __init__(self, length: int, bytes_down: int) -> None:
        """length: how many chunks are kept, and a tenth of that of the rest. bytes_down: what the client had before."""
        self.chunks: deque[tuple[float, float, int]] = deque(maxlen=length)
        self.count = 0
        self.pauses: deque[tuple[float, float]] = deque(maxlen=length // 10)
        self.heartbeats: deque[float] = deque(maxlen=length // 10)
        self.keepalives: deque[float] = deque(maxlen=length // 10)
        self.absences: deque[tuple[float, float]] = deque(maxlen=length // 10)
        self._bytes_down = bytes_down

    def wrote(self, read_at: float, accepted_at: float, bytes_down: int) -> None:
        """Something was written; `bytes_down` of the body by now. A head and the end of a body are no chunks."""
        size = bytes_down - self._bytes_down
        if size:
            self.chunks.append((read_at, accepted_at, size))
            self.count += 1
            self._bytes_down = bytes_down

    def kept_alive(self, read_at: float, size: int) -> None:
        """A keep-alive of so many bytes was read, and is written next: it is no chunk."""
        self.keepalives.append(read_at)
        self._bytes_down += size
