"""The upstream of the soak: what its paths promise is all that the clients check, faults included."""

import asyncio
import contextlib
import random
import socket
import struct

EVENT = b"data: %08d\n\n"
PAUSE = 0.03
"""Seconds between two events, on average."""

_SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"
_EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_GARBAGE = b"HTTP/9.9 what\r\n\r\n"


class Upstream:
    """A server on an ephemeral port of 127.0.0.1.

    /events/N  N events; /cut/N  the same, reset in the middle; /endless  events until somebody leaves;
    /upload    the size of the body; /echo  a tunnel; /deaf  no answer, only an end; /garbage  no HTTP
    """

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0, backlog=4096)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # RuntimeError: uvloop's word for a write after the loss of a connection.
            with contextlib.suppress(ConnectionError, RuntimeError, asyncio.IncompleteReadError):
                while await self._serve(reader, writer):
                    pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether another one may follow."""
        head = await reader.readuntil(b"\r\n\r\n")
        _, name, *rest = head.split(b" ", 2)[1].split(b"/")
        size = await _read_body(head, reader) if name == b"upload" else 0
        if writer.transport.is_closing():
            return False
        match name:
            case b"upload":
                answer = b"%d" % size
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(answer), answer))
            case b"events":
                await _events(writer, int(rest[0]))
                writer.write(b"0\r\n\r\n")
            case b"endless":
                await _events(writer, 1_000_000)
            case b"cut":
                await _events(writer, int(rest[0]))
                _reset(writer)
                return False
            case b"echo":
                writer.write(_SWITCH)
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
                return False
            case b"garbage":
                writer.write(_GARBAGE)
                await writer.drain()
                return False
            case _:
                return False
        await writer.drain()
        return True


async def _events(writer: asyncio.StreamWriter, count: int) -> None:
    writer.write(_EVENTS)
    for number in range(count):
        event = EVENT % number
        if writer.transport.is_closing():
            raise ConnectionResetError
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(PAUSE * random.random() * 2)


async def _read_body(head: bytes, reader: asyncio.StreamReader) -> int:
    """Read the body; returns its size."""
    _, stated, length = head.partition(b"\r\nContent-Length: ")
    if stated:
        return len(await reader.readexactly(int(length.split(b"\r\n", 1)[0])))
    total = 0
    while size := int(await reader.readuntil(b"\r\n"), 16):
        await reader.readexactly(size + 2)
        total += size
    await reader.readexactly(2)
    return total


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
