"""Scripted peers: a client and an upstream that do, byte for byte and step by step, what a test tells them.

Every wait has a generous bound, so that a hang is a failure with a traceback and not a stuck run; no test measures it.
"""

import asyncio
import contextlib
import re
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

T = TypeVar("T")

PATIENCE = 20.0

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
GET10 = b"GET / HTTP/1.0\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
LONG_POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1099511627776\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
"""Requests and an answer where nothing about them matters."""

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
"""The head of an event-stream, and the end of its body."""


def chunk(data: bytes) -> bytes:
    """As the chunked coding has it; empty for the last chunk, without trailer fields."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def response_head(*lines: bytes, status: bytes = b"200 OK") -> bytes:
    """A head with these lines."""
    return b"HTTP/1.1 %b\r\n%b\r\n" % (status, b"".join(line + b"\r\n" for line in lines))


async def soon(awaitable: Awaitable[T]) -> T:
    """What `awaitable` gives; fails when it takes unreasonably long."""
    return await asyncio.wait_for(awaitable, PATIENCE)


class Peer:
    """One end of a connection, with reads that wait for just what is asked for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        """Write and wait until the buffer has room."""
        self.writer.write(data)
        await soon(self.writer.drain())
        await asyncio.sleep(0)  # neither gives the others a turn, from Python 3.12 on

    async def read(self, count: int) -> bytes:
        """Exactly so many bytes."""
        return await soon(self.reader.readexactly(count))

    async def until(self, mark: bytes) -> bytes:
        """Everything up to and with `mark`."""
        return await soon(self.reader.readuntil(mark))

    async def head(self) -> bytes:
        """A message head with its empty line."""
        return await self.until(b"\r\n\r\n")

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; b"" at its end."""
        size = int(await self.until(b"\r\n"), 16)
        data = await self.read(size + 2)
        return data[:-2]

    async def chunks_of(self, size: int) -> bytes:
        """Body bytes of a chunked body, at least `size`, in as many chunks as they come."""
        data = b""
        while len(data) < size:
            part = await self.chunk()
            assert part, f"the body ended after {data!r}"
            data += part
        return data

    async def rest(self) -> bytes:
        """Everything up to a clean end; a reset raises ConnectionError."""
        return await soon(self.reader.read())

    async def ended(self) -> None:
        """Wait until the other side has closed or reset the connection, whatever still comes."""
        with contextlib.suppress(ConnectionError):
            while await soon(self.reader.read(65536)):
                pass

    def eof(self) -> None:
        """Close the sending side."""
        self.writer.write_eof()

    def reset(self) -> None:
        """End the connection by a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        """Close the connection and wait until that is done."""
        # What is still to be written interests nobody: waiting for it would be waiting for the other side.
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await soon(self.writer.wait_closed())


async def say(upstream: Peer, client: Peer, data: bytes) -> None:
    """Send a chunk, and see it arrive, with nothing before it."""
    await upstream.send(chunk(data))
    assert await client.chunk() == data


class ScriptedUpstream:
    """A server whose connections wait to be taken by the test."""

    def __init__(self) -> None:
        self._accepted: asyncio.Queue[Peer] = asyncio.Queue()
        self._peers: list[Peer] = []
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen on an ephemeral port."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=1 << 22)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        self._peers.append(peer)
        self._accepted.put_nowait(peer)

    async def accept(self) -> Peer:
        """The next connection."""
        return await soon(self._accepted.get())

    @property
    def untaken(self) -> int:
        """Connections that no `accept` has taken."""
        return self._accepted.qsize()

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for peer in self._peers:
            await peer.close()


async def connect(port: int) -> Peer:
    """A client's connection."""
    return Peer(*await soon(asyncio.open_connection("127.0.0.1", port, limit=1 << 22)))


DATE = b"Date: Thu, 01 Jan 1970 00:00:00 GMT"
"""The line of a head that says when, as `timeless` leaves it."""


def timeless(data: bytes) -> bytes:
    """The same bytes with every Date (RFC 9110, section 5.6.7) in them made `DATE`, which is as long."""
    days, months = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)", rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    when = rb"\r\nDate: %b, [0-9]{2} %b [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT(?=\r\n)" % (days, months)
    return re.sub(when, b"\r\n" + DATE, data)


def stop_reading(peer: Peer) -> None:
    """Take nothing more from the socket: what the other side sends piles up on its way."""
    cast(asyncio.Transport, peer.writer.transport).pause_reading()


def read_again(peer: Peer) -> None:
    """Take what has piled up, and what comes."""
    cast(asyncio.Transport, peer.writer.transport).resume_reading()


async def eventually(condition: Callable[[], object]) -> None:
    """Wait for a state that no peer is told of."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nobody sets an event for it
            await asyncio.sleep(0.001)
