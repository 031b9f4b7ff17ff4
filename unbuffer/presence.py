"""Who was there while a resumable stream ran, in plain numbers: resume writes them, observers read them."""


class Presence:
    """Of the stream that an upstream answers, or of one request that came back to it.

    readers: that read it now. resumes: requests that came back to it. replayed: events that they had missed. absent:
    seconds without a reader, up to the latest who came; absences: how often. left_at: since when there is none now, on
    the clock of `time.monotonic`; 0.0 = there is one, or it has ended.
    """

    __slots__ = ("absences", "absent", "left_at", "readers", "replayed", "resumes")

    def __init__(self, readers: int) -> None:
        self.readers = readers
        self.resumes = 0
        self.replayed = 0
        self.absent = 0.0
        self.absences = 0
        self.left_at = 0.0

    def absent_by(self, now: float) -> float:
        """Seconds without a reader, the absence that lasts included."""
        return self.absent + (now - self.left_at if self.left_at else 0.0)

    def came_back(self, replayed: int, now: float) -> None:
        """A request came back, which had missed so many events."""
        self.absent = self.absent_by(now)
        self.left_at = 0.0
        self.readers += 1
        self.resumes += 1
        self.replayed += replayed

    def left(self, now: float) -> None:
        """A reader has left."""
        self.readers -= 1
        if not self.readers:
            self.left_at = now
            self.absences += 1


class Given(Presence):
    """Of one request that came back. Nothing is read for it from the upstream: it is given what is kept.

    pieces: how often it was given something; first_at, last_at: when, for the first time and of late.
    """

    __slots__ = ("first_at", "last_at", "pieces")

    def __init__(self, replayed: int) -> None:
        super().__init__(1)
        self.replayed = replayed
        self.pieces = 0
        self.first_at = 0.0
        self.last_at = 0.0

    def gave(self, now: float) -> None:
        """It was given a piece."""
        if not self.pieces:
            self.first_at = now
        self.last_at = now
        self.pieces += 1
