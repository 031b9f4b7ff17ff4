"""Clients that ask, over HTTP/1.1 or HTTP/2, an upstream that answers, and what there was when each outcome was told.

The relay between them is a real one, in memory (`tests/fuzz/stage.py`).
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hpack import Encoder
from hyperframe.frame import DataFrame, HeadersFrame, SettingsFrame, WindowUpdateFrame

from tests.fuzz.stage import Stage
from tests.fuzz.wire import Wire
from tests.http2.client import PREFACE, request
from tests.peers import GET10, LAST, chunk, response_head
from tests.relay.test_identity import Coder
from unbuffer.histogram import Histogram
from unbuffer.record import Record
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.exchange import Exchange
from unbuffer.relay.http2.connection import Http2Connection
from unbuffer.resume.registry import Registry
from unbuffer.totals import Series, Totals

EVENT = b"data: a\n\n"
MARKED = b"data: [DONE]\n\n"
BIG = b"data: " + b"x" * 200_000 + b"\n\n"
"""Decoded in several steps, each in a turn of the loop."""

REQUESTS = {
    "get": b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
    "head": b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "http10": GET10,
    "post": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    "upgrade": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
}
FRAMINGS = {"chunked": b"Transfer-Encoding: chunked", "length": b"Content-Length: 40", "close": b"X: y"}
KINDS = (b"text/event-stream", b"application/x-ndjson", b"text/html")
PIECES = ("informational", "switch", "head", "event", "half", "marked", "big", "damage", "end", "trailers", "surplus")
SERIES = sorted(name for name in Series.__dict__ if not name.startswith("_") and name != "stalled_by")
"""What is counted of a route and kind; compiled, there is no `__slots__`."""

ROOM = 1 << 20
"""What an HTTP/2 client opens its windows by when it takes what has come."""


@dataclass(frozen=True)
class Plan:
    """What is asked and answered, and what the route asks for."""

    request: str = "get"
    framing: str = "chunked"
    kind: bytes = KINDS[0]
    coded: bool = False
    error_event: bool = False
    marker: bool = False
    resume: bool = False
    http2: bool = False


Step = tuple[str, Any]


@dataclass(frozen=True)
class Mark:
    """What there was when an outcome had been told.

    sent: bytes that this client had been written. left: its connection was closing. stream: of HTTP/2, else 0.
    pending: bytes of that stream which there was no room for; ending: its end was to follow. counted: see `numbers`.
    """

    record: Record
    client: Wire
    sent: int
    left: bool
    stream: int
    pending: int
    ending: bool
    counted: object


class Answering:
    """The upstream's response to one request, piece by piece; what comes after its end comes all the same."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._coder = Coder("gzip")
        self._begun = False

    def read(self, pieces: Sequence[str]) -> bytes:
        """What one read brings."""
        return b"".join(self._piece(piece) for piece in pieces)

    def _piece(self, piece: str) -> bytes:
        if piece == "informational":
            return b"" if self._begun else b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
        if piece == "switch" and not self._begun:
            self._begun = True
            return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
        return self._head() + self._body(piece)

    def _head(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        lines = [FRAMINGS[self._plan.framing], b"Content-Type: " + self._plan.kind]
        return response_head(*lines, *([b"Content-Encoding: gzip"] if self._plan.coded else []))

    def _body(self, piece: str) -> bytes:
        chunked = self._plan.framing == "chunked"
        content = {"event": EVENT, "half": b"data", "marked": MARKED, "big": BIG}.get(piece)
        if content is not None:
            data = self._coder.add(content) if self._plan.coded else content
            return chunk(data) if chunked else data
        if piece == "damage":
            return chunk(b"this is no gzip") if chunked and self._plan.coded else b"\xffthis is no chunk\r\n"
        if piece in ("end", "trailers"):
            rest = self._coder.end() if self._plan.coded else b""
            self._coder = Coder("gzip")
            if not chunked:
                return rest
            return (chunk(rest) if rest else b"") + (b"0\r\nX: y\r\n\r\n" if piece == "trailers" else LAST)
        return b"HTTP/1.1 200 OK\r\n" if piece == "surplus" else b""


class Caller:
    """Who asks on a connection of HTTP/1.1."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._rest = b""
        """What is left of the request."""

    def ask(self, name: str, last: bytes = b"") -> None:
        """Send a request; last: the id of the latest event that this client has."""
        data = REQUESTS[name]
        self._rest = LAST if name == "post" else b""
        self.wire.deliver(data[:-2] + b"Last-Event-ID: %b\r\n\r\n" % last if last else data)

    def go_on(self) -> None:
        """Send what is left of the request, or the next one."""
        rest, self._rest = self._rest, b""
        if rest:
            self.wire.deliver(rest)
        else:
            self.ask("get")

    def take(self) -> None:
        """Take everything again."""
        self.wire.take()

    @property
    def exchange(self) -> Exchange | None:
        """The one that runs, or the latest of those."""
        connection = self.wire.protocol
        return connection._exchange if isinstance(connection, DownstreamConnection) else None

    def look(self, now: float) -> None:
        """Have the deadlines looked at."""
        connection = self.wire.protocol
        assert isinstance(connection, DownstreamConnection)
        connection.look(now)

    def stream_of(self, record: Record) -> tuple[int, int, bool]:
        """Its number and what it has pending; see `Mark`."""
        return 0, 0, False


class Http2Caller(Caller):
    """Who asks on a connection of HTTP/2. The windows are those that the protocol begins with, until it takes more."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(wire)
        self._encoder = Encoder()
        self._latest = -1
        self._streams: dict[int, int] = {}
        """By the record, whose every caller keeps until the end."""
        wire.deliver(PREFACE + SettingsFrame(0).serialize())

    def ask(self, name: str, last: bytes = b"") -> None:
        self._latest += 2
        self._rest = LAST if name == "post" else b""
        method = {"head": b"HEAD", "post": b"POST", "upgrade": b"CONNECT"}.get(name, b"GET")
        more = [(b":protocol", b"websocket")] if name == "upgrade" else []
        headers = request(*more, method=method)
        if last:
            headers.append((b"last-event-id", last))
        flags = ["END_HEADERS"] if name in ("post", "upgrade") else ["END_HEADERS", "END_STREAM"]
        sent = HeadersFrame(self._latest, self._encoder.encode(headers), flags=flags).serialize()
        self.wire.deliver(sent + (DataFrame(self._latest, b"ab").serialize() if name == "post" else b""))
        exchange = self.exchange
        if exchange is not None:
            self._streams[id(exchange.record)] = self._latest

    def go_on(self) -> None:
        rest, self._rest = self._rest, b""
        if rest:
            self.wire.deliver(DataFrame(1, flags=["END_STREAM"]).serialize())
        else:
            self.ask("get")

    def take(self) -> None:
        super().take()
        connection = self.wire.protocol
        if isinstance(connection, Http2Connection) and not self.wire.gone:
            open_now = [0, *(number for number, stream in connection.streams.items() if not stream.writer.over)]
            frames = [WindowUpdateFrame(number, window_increment=ROOM).serialize() for number in open_now]
            self.wire.deliver(b"".join(frames))

    @property
    def exchange(self) -> Exchange | None:
        connection = self.wire.protocol
        stream = connection.streams.get(self._latest) if isinstance(connection, Http2Connection) else None
        return stream.exchange if stream is not None else None

    def look(self, now: float) -> None:
        connection = self.wire.protocol
        assert isinstance(connection, Http2Connection)
        for stream in list(connection.streams.values()):
            stream.look(now)
        connection.look(now)

    def stream_of(self, record: Record) -> tuple[int, int, bool]:
        number = self._streams.get(id(record), self._latest)
        connection = self.wire.protocol
        stream = connection.streams.get(number) if isinstance(connection, Http2Connection) else None
        return (number, len(stream.writer.pending), stream.writer._ending) if stream is not None else (number, 0, False)


class Scene:
    """What the test does, step by step. marks: in the order in which the outcomes were told."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._callers: list[Caller] = []
        self._answering: tuple[object, Answering] | None = None
        self.marks: list[Mark] = []

    async def play(self, stage: Stage, steps: Sequence[Step]) -> None:
        """Go through all of it."""
        told = stage.plane.on_record

        def tell(record: Record) -> None:
            told(record)
            (caller,) = [one for one in self._callers if one.wire.get_extra_info("peername")[0] == record.client]
            wire, stream = caller.wire, caller.stream_of(record)
            left = wire.gone or wire.is_closing()
            self.marks.append(Mark(record, wire, len(wire.sent), left, *stream, numbers(stage.totals)))

        stage.plane.on_record = tell
        self._call(stage.client)
        self._callers[0].ask(self._plan.request)
        await stage.turns()
        for what, which in steps:
            await self._step(stage, what, which)

    def _call(self, wire: Wire) -> None:
        self._callers.append((Http2Caller if self._plan.http2 else Caller)(wire))

    async def _step(self, stage: Stage, what: str, which: Any) -> None:
        caller = self._callers[-1]
        client = caller.wire
        upstream = stage.loop.opened[-1] if stage.loop.opened else None
        served = getattr(upstream.protocol, "exchange", None) if upstream is not None else None
        if what == "turn":
            await stage.turns()
        elif what == "request" and not client.gone:
            caller.go_on()
        elif what == "come back" and self._plan.resume:
            self._come_back(stage)
        elif what == "client stalls":
            client.stall()
        elif what == "client takes":
            caller.take()
        elif what == "client ends" and not client.gone:
            client.end()
        elif what == "client resets":
            client.reset()
        elif what == "drain":
            stage.plane.clients.drain()
        elif what == "streams end":
            stage.plane.clients.end_streams()
        elif what == "look":
            await stage.turns()  # while time passes the loop goes round
            now = time.monotonic() + which
            for one in self._callers:
                one.look(now)
            if isinstance(stage.plane.resumption, Registry):
                for kept in list(stage.plane.resumption.detached.values()):
                    kept.look(now)
        elif what == "finish":
            exchange = caller.exchange or served
            if exchange is not None:
                exchange.finish(which, "of the test")
        elif upstream is None or upstream.gone:
            return
        elif what == "read":
            if self._answering is None or (served is not None and self._answering[0] is not served):
                self._answering = (served, Answering(self._plan))
            upstream.deliver(self._answering[1].read(which))
        elif what == "upstream ends":
            upstream.end()
        elif what == "upstream resets":
            upstream.reset()
        elif what == "upstream fails":
            upstream.lose(OSError(110, "timed out"))

    def _come_back(self, stage: Stage) -> None:
        """Another client, which has the latest event that the first one has got."""
        ids = re.findall(rb"\nid: ?([^\r\n]+)\n", stage.client.sent)
        self._call(stage.connect())
        self._callers[-1].ask("get", ids[-1] if ids else b"")


def numbers(totals: Totals) -> object:
    """Everything that is counted of streams, but for gauges of connections."""

    def of(value: object) -> object:
        if isinstance(value, Histogram):
            return (tuple(value.counts), value.sum)
        return dict(value) if isinstance(value, dict) else tuple(value) if isinstance(value, list | set) else value

    names = ("requests", "request_bytes", "decoded", "upstream_silences", "verdicts", "reuses", "streams")
    own = [of(getattr(totals, name)) for name in names]
    return own, {key: [of(getattr(series, name)) for name in SERIES] for key, series in totals.series.items()}
