"""The body of a response as it comes: decoded, split into lines and events, and, of a probe, when each was sent."""

from unbuffer.check.observation import Mark, Read
from unbuffer.http.coding import CodingError, Decoder, decodable, parse_codings
from unbuffer.http.probe import Sent, read

LONGEST_LINE = 1 << 18
"""Bytes of a line that are kept until its end; what is longer is no line of interest."""

LARGEST = 64 << 20
"""Bytes of content after which a stream is left: it flows."""


class Content:
    """Takes the body of one response, read by read."""

    def __init__(self, show: bool) -> None:
        self._show = show
        self._decoder: Decoder | None = None
        self._events = False
        self._line = b""
        self._after_cr = False
        self._in_event = False
        self._first: float | None = None
        """When the first event of a probe was sent."""
        self._body = self._content = self._ends = self._frames = 0
        self.reads: list[Read] = []
        self.marks: list[Mark] = []
        self.beats: list[Mark] = []
        self.names: set[str] = set()
        self.of = 0
        self.shown: list[str] = []
        self.size = 0
        """Bytes of content so far."""
        self.note = ""
        """Why it cannot be looked into; empty = it can."""
        self.damage = ""
        """What is wrong with its content coding; empty = nothing so far."""

    def begin(self, media_type: str, codings: str) -> None:
        """The head is here. codings: the value of Content-Encoding."""
        self._events = media_type == "text/event-stream"
        names = parse_codings(codings.encode("latin-1"))
        if not names:
            return
        try:
            self._decoder = Decoder(names) if decodable(names) else None
            self.note = "" if self._decoder else f"the coding {codings} cannot be decoded here"
        except ImportError:
            self.note = f"the coding {codings} cannot be decoded here: its library is not installed"

    def frame(self) -> None:
        """A chunk, or a DATA frame, begins."""
        self._frames += 1

    def take(self, data: bytes, at: float) -> None:
        """Bytes of the body, without transfer coding; `at`: when they came. Told in `reads` by `read_over`."""
        self._body += len(data)
        if self.note or self.damage:
            self._content += len(data)
            self.size += len(data)
        elif self._decoder is None:
            self._look(data, at)
        else:
            self._decode(self._decoder, data, at)

    def _decode(self, decoder: Decoder, data: bytes, at: float) -> None:
        try:
            decoder.feed(data)
            # A bomb is left where it is: to look into all of it would stop the clock of every other stream.
            while self.size < LARGEST and (content := decoder.read()):
                self._look(content, at)
        except CodingError as error:
            self._content += len(data)  # it came, whatever it is
            self.damage = f"{error} ({f'after {self.size} bytes of content' if self.size else 'is it coded at all?'})"

    def read_over(self, at: float) -> None:
        """One read of the socket has been taken."""
        if self._body:
            self.reads.append(Read(round(at, 6), self._body, self._content, self._ends, self._frames))
            self._body = self._content = self._ends = self._frames = 0

    @property
    def partial(self) -> bool:
        """Whether it ends inside a line or an event."""
        return not self.damage and (bool(self._line.strip()) or (self._events and self._in_event))

    @property
    def unended(self) -> bool:
        """Whether it ends inside the data of its content coding."""
        if self._decoder is None or self.damage or self.size >= LARGEST:
            return False
        try:
            self._decoder.finish()
        except CodingError:
            return True
        return False

    def _look(self, content: bytes, at: float) -> None:
        self._content += len(content)
        self.size += len(content)
        if self._show:
            self.shown.append(f"{at:8.3f}  {content.decode('utf-8', 'replace')}")
        if self._events and (self._after_cr or b"\r" in content):
            # Its lines may end with CR, LF or both; what ends with CR has ended, whatever comes next.
            content, self._after_cr = content.removeprefix(b"\n") if self._after_cr else content, content[-1:] == b"\r"
            content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = (self._line + content).split(b"\n")
        for line in lines:
            self._take_line(line.rstrip(b"\r"), at)
        self._line = rest[-LONGEST_LINE:]

    def _take_line(self, line: bytes, at: float) -> None:
        if self._events:
            self._ends += self._in_event and not line
            self._in_event = bool(line) and (self._in_event or not line.startswith(b":"))
        elif line:
            self._ends += 1
        if b'"unbuffer":' in line and (sent := read(line)) is not None:
            self._mark(sent, at)

    def _mark(self, sent: Sent, at: float) -> None:
        if self._first is None:
            self._first = sent.at
        self.names.add(sent.name)
        self.of = sent.of
        mark = Mark(sent.number, round(sent.at - self._first, 6), round(at, 6))
        (self.beats if sent.is_beat else self.marks).append(mark)
