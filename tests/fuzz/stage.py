"""A real data plane between a client and upstreams in memory, and what must hold of it whatever they send.

h11 is the second opinion: an independent parser reads what reaches either side.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

import h11

from tests.fuzz.wire import MemoryLoop, Wire
from unbuffer.outcome import WHOLE, Outcome
from unbuffer.record import Record
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.plane import Plane
from unbuffer.resume.registry import Registry
from unbuffer.settings.model import Limits, Listen, Settings, Upstream
from unbuffer.totals import Totals

SETTINGS = Settings(
    listen=Listen(http2=False),  # which has a target of its own
    upstream=Upstream(url="unix:/in/memory"),
    limits=Limits(head=1024, target=256, headers=16, body=4096),
)

LONGEST = 8192
"""Bytes of an input: more than any limit in SETTINGS."""
ROOM = 1 << 20
"""h11 is not to refuse for its own limits."""


@dataclass
class Message:
    """What an independent parser made of a message: its start line, its fields in lower case, its content."""

    start: tuple[bytes, ...]
    fields: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    whole: bool = False

    @property
    def own(self) -> bool:
        """Whether unbuffer itself says what went wrong."""
        if self.start[:1] == (b"503",) and {(b"cache-control", b"no-store"), (b"retry-after", b"1")} <= {*self.fields}:
            return True  # also at the end of a drain, which is no error
        return any(name == b"proxy-status" and b"unbuffer; error=" in value for name, value in self.fields)


class Server:
    """An upstream that reads with h11 what reaches it, and answers each request when it is whole."""

    def __init__(self, wire: Wire | None = None) -> None:
        self.requests: list[Message] = []
        self._wire = wire
        self._read = 0
        self._parser = h11.Connection(h11.SERVER, max_incomplete_event_size=ROOM)

    def look(self) -> None:
        """Read what has come, and answer what is whole."""
        assert self._wire is not None
        data = bytes(self._wire.sent[self._read :])
        self._read += len(data)
        for answer in self.take(data):
            self._wire.deliver(answer)

    def take(self, data: bytes) -> list[bytes]:
        """The answers to the requests that end in `data`. Raises h11.RemoteProtocolError."""
        answers: list[bytes] = []
        if data:
            self._parser.receive_data(data)
        while self._parser.their_state is not h11.MUST_CLOSE:
            event = self._parser.next_event()
            if isinstance(event, h11.Request):
                self.requests.append(Message((event.method, event.target, event.http_version), list(event.headers)))
            elif isinstance(event, h11.Data):
                self.requests[-1].body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.requests[-1].trailers = list(event.headers)
                self.requests[-1].whole = True
                if self.requests[-1].start[0] == b"CONNECT":
                    break  # h11 would go on as a tunnel
                answers.append(self._answer())
                if self._parser.our_state is not h11.DONE or self._parser.their_state is not h11.DONE:
                    break
                self._parser.start_next_cycle()
            else:
                break
        return answers

    def _answer(self) -> bytes:
        """The target comes back as the content, so that every answer is known for whose it is."""
        _, target, _ = self.requests[-1].start
        head = h11.Response(status_code=200, headers=[("Content-Length", str(len(target)))])
        body = b"" if self.requests[-1].start[0] == b"HEAD" else target
        parts = [self._parser.send(head)]
        if body:
            parts.append(self._parser.send(h11.Data(data=body)))
        parts.append(self._parser.send(h11.EndOfMessage()))
        return b"".join(part or b"" for part in parts)


class Stage:
    """Client connections, as many upstream connections as it takes, and what was recorded."""

    def __init__(self, loop: MemoryLoop, settings: Settings) -> None:
        loop.opened.clear()
        loop.failures.clear()
        self.loop = loop
        self.totals = Totals()
        self.records: list[Record] = []
        self.plane = Plane(settings, self.totals, loop, self.records.append, resumption=Registry)
        self.clients: list[Wire] = []
        """Nearly always that one alone; no two have the same address."""
        self.client = self.connect()
        self.answers: list[tuple[Record, Message]] = []
        """Each stream that was answered with what the client got, once all has ended."""
        self._servers: dict[Wire, Server] = {}

    def connect(self) -> Wire:
        """One more client."""
        protocol = DownstreamConnection(self.plane)
        client = Wire(self.loop, protocol, f"127.0.0.{len(self.clients) + 1}")
        self.clients.append(client)
        return client

    async def turns(self) -> None:
        """Let the loop go round until a connection that was asked for is there and was written to."""
        for _ in range(6):
            await asyncio.sleep(0)

    @property
    def servers(self) -> list[Server]:
        """An h11 server for each upstream connection."""
        for wire in self.loop.opened:
            self._servers.setdefault(wire, Server(wire))
        return list(self._servers.values())

    async def serve(self) -> None:
        """Have the upstreams answer until no request is left that is whole and has no answer."""
        seen = -1
        while (now := len(self.client.sent) + sum(len(wire.sent) for wire in self.loop.opened)) != seen:
            seen = now
            for server in self.servers:
                server.look()
            await self.turns()

    async def leave(self) -> None:
        """Every connection is lost: what still runs ends."""
        for wire in (*self.clients, *self.loop.opened):
            wire.take()
        await self.turns()
        for client in self.clients:
            client.reset()
        await self.turns()
        self.plane.close()
        for wire in self.loop.opened:
            wire.reset()
        await self.turns()

    def check(self) -> None:
        """What must hold when all has ended."""
        for failure in self.loop.failures:
            raise AssertionError(failure["message"]) from failure.get("exception")
        assert all(record.outcome not in (None, Outcome.INTERNAL_ERROR) for record in self.records), self.records
        totals = self.totals
        assert totals.streams == totals.upstream_active == totals.client_connections == totals.upstream_idle == 0
        assert all(series.active == 0 for series in totals.series.values())
        assert not self.plane.clients.connections
        assert not totals.resume_streams
        assert not totals.resume_held
        assert all(client.gone for client in self.clients)
        assert all(wire.gone for wire in self.loop.opened), "an upstream connection is left"
        self._read_answers()

    def _read_answers(self) -> None:
        """What the client got for each stream. An answer is whole when its stream is, or when it is unbuffer's own."""
        rest = bytes(self.client.sent)
        for index, record in enumerate(self.records):
            if not rest:
                assert record.outcome not in WHOLE, record.outcome
                continue
            last = index == len(self.records) - 1
            answer, rest = read_answer(rest, record.method, ends=last and self.client.ended)
            tunnel = answer.start == (b"101",)
            assert answer.whole == (record.outcome in WHOLE or answer.own) or tunnel, (record.outcome, answer)
            self.answers.append((record, answer))
        assert not rest, rest


def read_answer(data: bytes, method: str, ends: bool) -> tuple[Message, bytes]:
    """What h11 makes of the answer to one request, and what stands after it. ends: so does the connection."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=ROOM)
    # An upgrade is offered, so that 101 is read whoever asked for it.
    offer = [("Host", "a"), ("Connection", "upgrade"), ("Upgrade", "x")]
    parser.send(h11.Request(method=method or "GET", target="/", headers=offer))
    parser.send(h11.EndOfMessage())
    parser.receive_data(data)
    answer = Message((), [])
    while True:
        event = parser.next_event()
        if isinstance(event, h11.InformationalResponse) and event.status_code == 101:
            return Message((b"101",), list(event.headers)), b""
        if isinstance(event, h11.Response):
            answer = Message((b"%d" % event.status_code, bytes(event.reason)), list(event.headers))
        elif isinstance(event, h11.Data):
            answer.body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            answer.whole = True
            answer.trailers = list(event.headers)
            return answer, parser.trailing_data[0]
        elif event is h11.NEED_DATA:
            # Only a body that ends with its connection is whole now.
            if not ends or parser.their_state is not h11.SEND_BODY or _states_its_end(answer):
                return answer, b""
            parser.receive_data(b"")


def _states_its_end(answer: Message) -> bool:
    return any(name in (b"content-length", b"transfer-encoding") for name, _ in answer.fields)


@functools.cache
def _loop() -> MemoryLoop:
    return MemoryLoop()


def play(
    scenario: Callable[[Stage], Coroutine[Any, Any, None]], settings: Settings = SETTINGS, kind: type[Stage] = Stage
) -> Stage:
    """Play a scenario to its end, on one loop for all, and check what must hold then. Returns the stage after it."""
    loop = _loop()
    stage = kind(loop, settings)
    loop.run_until_complete(scenario(stage))
    loop.run_until_complete(stage.leave())
    stage.check()
    return stage


Script = tuple[int, list[tuple[bytes, int]]]


def read_script(data: bytes) -> Script:
    """What an input of a fuzzer means: a number for options, and pieces with what happens after each (0 to 3).

    The first byte is the number, the second one says how many cuts there are, and two bytes for each say what happens
    there and where it is; after them stand the bytes that are cut.
    """
    options, count = (data + b"\0\0")[:2]
    count &= 15
    cuts = data[2 : 2 + 2 * count].ljust(2 * count, b"\0")
    stream = data[2 + 2 * count :]
    places = sorted((int.from_bytes(cuts[i : i + 2], "big") & 0x3FFF, cuts[i] >> 6) for i in range(0, 2 * count, 2))
    pieces, start = [], 0
    for place, action in places:
        stop = max(start, place % (len(stream) + 1))
        pieces.append((stream[start:stop], action))
        start = stop
    pieces.append((stream[start:], 0))
    return options, pieces


def write_script(stream: bytes, options: int = 0, cuts: Iterable[tuple[int, int]] = ()) -> bytes:
    """The input that means this: `read_script` turned round, for cuts in rising order."""
    coded = [(action << 14 | place).to_bytes(2, "big") for place, action in cuts]
    return bytes((options, len(coded))) + b"".join(coded) + stream
