"""The probe stream of this process: an upstream that lives inside it, so that its bytes go the way of every stream.

It is bounded in time, size and number (`http.probe`, `probe.streams`); where its reader takes nothing it waits.
"""

import asyncio
import secrets
import time
from typing import Final

import httptools

from unbuffer.http.framing import LAST_CHUNK, chunk
from unbuffer.http.probe import LONGEST, TYPES, Plan, event, heartbeat, plan_of
from unbuffer.outcome import Outcome
from unbuffer.relay.dial import ConnectError, InProcess
from unbuffer.relay.pool import Pool
from unbuffer.relay.tcp import WRITE_BUFFER
from unbuffer.relay.upstream import UpstreamConnection
from unbuffer.relay.watchdog import Watchdog
from unbuffer.settings.model import Settings
from unbuffer.totals import Totals

NAME: Final = secrets.token_hex(4)
"""Of this process: whoever asks twice sees whether the same one answered."""


class ProbePool(Pool):
    """The way to the probe, in place of the one to the upstream: a pair of sockets for each stream, never reused."""

    def __init__(self, settings: Settings, totals: Totals, loop: asyncio.AbstractEventLoop, watchdog: Watchdog) -> None:
        super().__init__(settings, InProcess(settings, self._served), totals, loop, watchdog, None)
        self._most = settings.probe.streams
        self._running: set[ProbeStream] = set()
        self.socket_options = ()

    def _served(self) -> "ProbeStream":
        return ProbeStream(self._running)

    def take(self, now: float) -> UpstreamConnection | None:
        """None: each stream has its own."""
        return None

    def rest(self, connection: UpstreamConnection, now: float) -> None:
        """Close it."""
        connection.close()

    async def connect(self, events: bool, leaving: object) -> UpstreamConnection:
        """A new stream. Raises ConnectError where as many run as may."""
        if len(self._running) >= self._most:
            raise ConnectError(Outcome.REJECTED, "the limit probe.streams is reached")
        return await self.dialer.open(self._factory)

    def close(self) -> None:
        """Nothing rests here."""


class ProbeStream(asyncio.Protocol):
    """The server's side of one pair: reads one request, answers with its plan, and ends."""

    transport: asyncio.Transport

    def __init__(self, running: "set[ProbeStream]") -> None:
        self._running = running
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._plan: Plan | None = None
        self._next = 0
        self._beats = 0
        self._due = 0.0
        """When the next event is to be sent, on the loop's clock."""
        self._ends = 0.0
        """When it is given up, however slowly it was read."""
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    # -- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's
        self.transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._running.add(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._running.discard(self)
        self._plan = None
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._plan is not None:
            self._go_on()

    # -- what the parser tells

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_message_complete(self) -> None:
        """The whole request is here, its body is nobody's. Begin."""
        head_only = self._parser.get_method() == b"HEAD"
        try:
            plan = plan_of(self._target.partition(b"?")[2])
        except ValueError as error:
            text = f"the probe cannot do that: {error}\n".encode()
            head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n"
            self.transport.write(head % len(text) + (b"" if head_only else text))
            return
        kind = TYPES[plan.kind].encode("ascii")
        head = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.transport.write(head % kind)
        if head_only:
            return
        now = asyncio.get_running_loop().time()
        self._plan = plan
        self._due = now + plan.pause(0)
        self._ends = now + LONGEST
        self._go_on()

    # -- the pace

    def _go_on(self) -> None:
        """Send what is due, and come again for the next."""
        plan = self._plan
        if plan is None or not self._may_write():
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now > self._ends:
            self.transport.abort()  # a broken stream: what was not taken within a minute is nobody's any more
            return
        while now >= self._due:
            if not self._may_write():
                return
            self.transport.write(chunk(event(plan, self._next, time.time(), NAME)))
            self._next += 1
            if self._next == plan.count:
                self._plan = None
                self.transport.write(LAST_CHUNK)
                return
            self._due = max(self._due, now - 1.0) + plan.pause(self._next)
        due = self._due
        if self._timer is not None:
            self._timer.cancel()
        beat = plan.beat and due - now > plan.beat
        self._timer = loop.call_at(now + plan.beat if beat else due, self._beat if beat else self._go_on)

    def _may_write(self) -> bool:
        """A call, so that nobody takes the answer from before a write for the one after it: a write may pause us."""
        return not self._paused and not self.transport.is_closing()

    def _beat(self) -> None:
        if self._plan is not None and self._may_write():
            self.transport.write(chunk(heartbeat(self._plan, self._beats, time.time(), NAME)))
            self._beats += 1
            self._go_on()
