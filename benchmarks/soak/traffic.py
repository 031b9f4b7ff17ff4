"""What the clients of the soak do, and what they must see. Each action leaves its connection closed."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable

from benchmarks.soak.upstream import EVENT

PATIENCE = 30.0
"""Seconds after which an action that does not end is a failure."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Wrong(Exception):
    """A client saw something that must not be."""


class Traffic:
    """Clients that choose by chance, until they are told to stop. done: what was done, how often."""

    def __init__(self, port: int, seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._port = port
        self._chance = random.Random(seed)
        self._stopping = False

    async def run(self, clients: int, seconds: float) -> None:
        """Keep so many clients busy for so long, and see each of them through to its end."""
        self._stopping = False
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, self._stop)
        await asyncio.gather(*(self._client() for _ in range(clients)))

    def _stop(self) -> None:
        self._stopping = True

    async def _client(self) -> None:
        while not self._stopping:
            action = self._chance.choices(_ACTIONS, _WEIGHTS)[0]
            try:
                async with asyncio.timeout(PATIENCE):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                    try:
                        await action((reader, writer), self._chance)
                    finally:
                        writer.transport.abort()
            except (Wrong, OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                if len(self.wrong) < 20:
                    self.wrong.append(f"{action.__name__.strip('_')}: {type(error).__name__}: {error}")
            self.done[action.__name__.strip("_")] += 1


# -- the actions


async def _whole_streams(streams: Streams, chance: random.Random) -> None:
    """A few streams on one connection, to their ends."""
    for _ in range(chance.randint(1, 4)):
        count = chance.randint(1, 60)
        await _ask(streams, b"GET /events/%d" % count, 200)
        await _all_events(streams, count)


async def _leaving(streams: Streams, chance: random.Random) -> None:
    """A client that leaves in the middle."""
    await _ask(streams, b"GET /endless", 200)
    for _ in range(chance.randint(0, 40)):
        await _chunk(streams)


async def _leaving_early(streams: Streams, chance: random.Random) -> None:
    """A client that leaves before there is an answer."""
    streams[1].write(b"GET /events/5 HTTP/1.1\r\nHost: soak\r\n\r\n"[: chance.randint(1, 44)])
    await asyncio.sleep(0)


async def _not_reading(streams: Streams, chance: random.Random) -> None:
    """A client that takes its time."""
    await _ask(streams, b"GET /events/50", 200)
    streams[0]._transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.sleep(chance.random())
    streams[0]._transport.resume_reading()  # type: ignore[attr-defined]
    await _all_events(streams, 50)


async def _upload(streams: Streams, chance: random.Random) -> None:
    """A body in pieces."""
    reader, writer = streams
    writer.write(b"POST /upload HTTP/1.1\r\nHost: soak\r\nTransfer-Encoding: chunked\r\n\r\n")
    total = 0
    for _ in range(chance.randint(0, 20)):
        piece = b"x" * chance.randint(1, 30000)
        total += len(piece)
        writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    await _status(streams, 200)
    said = b"%d" % total
    _expect(await reader.readexactly(len(said)), said)


async def _upload_given_up(streams: Streams, chance: random.Random) -> None:
    """A body that does not end."""
    streams[1].write(b"POST /upload HTTP/1.1\r\nHost: soak\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(chance.randint(0, 5)):
        streams[1].write(b"x" * 10000)
        await streams[1].drain()


async def _tunnel(streams: Streams, chance: random.Random) -> None:
    """Bytes both ways after an upgrade."""
    reader, writer = streams
    writer.write(b"GET /echo HTTP/1.1\r\nHost: soak\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
    await _status(streams, 101)
    for _ in range(chance.randint(1, 30)):
        word = b"w" * chance.randint(1, 3000)
        writer.write(word)
        _expect(await reader.readexactly(len(word)), word)
    if chance.random() < 0.5:
        writer.write_eof()
        _expect(await reader.read(), b"")


async def _cut(streams: Streams, chance: random.Random) -> None:
    """The upstream breaks off: the end must not look like one."""
    count = chance.randint(1, 20)
    await _ask(streams, b"GET /cut/%d" % count, 200)
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        for _ in range(count + 1):
            if not await _chunk(streams):
                raise Wrong("a clean end of a stream that was cut")


async def _faults(streams: Streams, chance: random.Random) -> None:
    """An upstream that ends or babbles in place of an answer."""
    for _ in range(chance.randint(1, 3)):
        await _ask(streams, chance.choice((b"GET /deaf", b"GET /garbage")), 502)


async def _malformed(streams: Streams, chance: random.Random) -> None:
    """Requests that are refused."""
    await _ask(streams, chance.choice((b"GET  /two-spaces", b"BAD\x00 /", b"GET /\x01")), 400)


_ACTIONS: tuple[Callable[[Streams, random.Random], Awaitable[None]], ...] = (
    _whole_streams, _leaving, _leaving_early, _not_reading, _upload, _upload_given_up, _tunnel, _cut, _faults,
    _malformed,
)  # fmt: skip
_WEIGHTS = (40, 10, 5, 5, 10, 5, 10, 5, 5, 5)


# -- what they are made of


async def _ask(streams: Streams, line: bytes, status: int) -> None:
    """Send a request, and read the head of its answer, with the body if unbuffer made it."""
    streams[1].write(line + b" HTTP/1.1\r\nHost: soak\r\n\r\n")
    head = await _status(streams, status)
    if b"Content-Length: " in head:
        await streams[0].readexactly(int(head.partition(b"Content-Length: ")[2].split(b"\r\n", 1)[0]))


async def _status(streams: Streams, status: int) -> bytes:
    head = await streams[0].readuntil(b"\r\n\r\n")
    if head.split(b" ", 2)[1] != b"%d" % status:
        raise Wrong(f"wanted {status}, got {head.partition(b'Proxy-Status: ')[2] or head!r}")
    return head


async def _all_events(streams: Streams, count: int) -> None:
    """Read a stream to its end. Events that came while others were busy may share a chunk."""
    body = b""
    while chunk := await _chunk(streams):
        body += chunk
    _expect(body, b"".join(EVENT % number for number in range(count)))


async def _chunk(streams: Streams) -> bytes:
    """The data of the next chunk; empty at the end."""
    size = int(await streams[0].readuntil(b"\r\n"), 16)
    return (await streams[0].readexactly(size + 2))[:-2]


def _expect(got: bytes, wanted: bytes) -> None:
    if got != wanted:
        raise Wrong(f"got {got[:80]!r}, wanted {wanted[:80]!r}")
