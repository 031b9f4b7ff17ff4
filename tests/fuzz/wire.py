"""Connections in memory: a loop and transports that do what real ones do, with the test as the other side."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

# What a transport has for a socket. Nothing ever comes there: all that came was delivered.
_QUIET, _OTHER_END = socket.socketpair()
_QUIET.setblocking(False)


class Wire(asyncio.Transport):
    """A transport whose other side is the test.

    sent: what the protocol wrote. said_all: it wrote its end. closed: it closed the connection after what it wrote.
    aborted: or it did not care. gone: it was told that the connection is lost. protocol: whom it tells.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, host: str = "127.0.0.1") -> None:
        super().__init__({"peername": (host, 1), "socket": _QUIET})
        self.sent = bytearray()
        self.said_all = False
        self.closed = False
        self.aborted = False
        self.gone = False
        self._loop = loop
        self.protocol = protocol
        self._closing = False
        self._paused = False
        self._coming: list[bytes] = []
        self._heard_all = False
        self._stalled = False
        self._unsent = 0
        self._told_full = False
        protocol.connection_made(self)

    @property
    def ended(self) -> bool:
        """Whether the protocol ended in good order what it wrote: the other side sees an end and no reset."""
        return self.said_all or (self.closed and not self.aborted)

    # -- what the other side does

    def deliver(self, data: bytes) -> None:
        """The other side has sent this; it is read as soon as the protocol reads. After its end it sends nothing."""
        if data and not self._heard_all:
            self._coming.append(data)
            self._read()

    def end(self) -> None:
        """The other side has sent everything; that too is noticed when the protocol reads."""
        if not self._heard_all:
            self._heard_all = True
            self._coming.append(b"")
            self._read()

    def reset(self) -> None:
        """The other side has reset the connection."""
        self.lose(ConnectionResetError())

    def stall(self) -> None:
        """The other side takes nothing from now on."""
        self._stalled = True

    def take(self) -> None:
        """The other side takes everything again."""
        self._stalled = False
        self._unsent = 0
        if self._told_full:
            self._told_full = False
            self.protocol.resume_writing()
        if self._closing:
            self.lose(None)

    # -- what the protocol does

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._check()
        if self.said_all:
            raise RuntimeError("a write after write_eof")
        if self.aborted:
            return
        self.sent += data
        if self._stalled:
            self._unsent += len(data)
            if not self._told_full:
                self._told_full = True
                self.protocol.pause_writing()

    def write_eof(self) -> None:
        self._check()
        self.said_all = True

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return self._unsent

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """One byte that is not taken is too many here."""

    def pause_reading(self) -> None:
        self._check()
        self._paused = True

    def resume_reading(self) -> None:
        self._check()
        self._paused = False
        self._loop.call_soon(self._read)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self.closed = self._closing = True
        if not self._unsent:
            self.lose(None)

    def abort(self) -> None:
        self.aborted = True
        self.lose(None)

    # -- what happens

    def _check(self) -> None:
        """A transport of uvloop that is gone takes no call."""
        if self.gone:
            raise RuntimeError("a call to a transport that is gone")

    def _read(self) -> None:
        while self._coming and not self._paused and not self._closing:
            data = self._coming.pop(0)
            if data:
                self.protocol.data_received(data)
            elif not self.protocol.eof_received():
                self.close()

    def lose(self, error: Exception | None) -> None:
        """The connection is lost, in order or for this reason."""
        self._closing = True
        self._loop.call_soon(self._lost, error)

    def _lost(self, error: Exception | None) -> None:
        if not self.gone:
            self.gone = True
            self.protocol.connection_lost(error)


class MemoryLoop(asyncio.SelectorEventLoop):
    """An event loop whose connections to Unix sockets are made in memory.

    opened: they, in their order. failures: what its exception handler was told.
    """

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[Wire] = []
        self.failures: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: self.failures.append(context))

    async def create_unix_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], path: str | None = None, **_: Any
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        protocol = protocol_factory()
        wire = Wire(self, protocol)
        self.opened.append(wire)
        return wire, protocol
