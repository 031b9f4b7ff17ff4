"""What every connection of the data plane shares: settings compiled into look-ups, totals, pool, watchdog."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.relay.policy import RouteTable
from unbuffer.relay.pool import Pool
from unbuffer.relay.stalls import Stalls
from unbuffer.relay.tcp import client_options
from unbuffer.relay.templates import Templates
from unbuffer.relay.trust import Trust
from unbuffer.relay.watchdog import Watchdog
from unbuffer.settings.model import Settings
from unbuffer.totals import Totals

if TYPE_CHECKING:
    from unbuffer.relay.downstream import DownstreamConnection
    from unbuffer.relay.preface import Preface

Health = Callable[[bytes, Callable[[int, bytes], None]], None]
"""Called with the path that was asked for and with what takes the answer, status and body: at once or later."""

LAST_WORDS = 1.0
"""Seconds in which a stream that was ended may still be written out, so that the client sees how it ended."""


class Plane:
    """The data plane of one process.

    on_record is called once for every stream, at its end, on the event loop: it must neither block nor raise.
    """

    def __init__(
        self,
        settings: Settings,
        totals: Totals,
        loop: asyncio.AbstractEventLoop,
        on_record: Callable[[Record], None],
    ) -> None:
        self.totals = totals
        self.loop = loop
        self.on_record = on_record
        self.health: Health | None = None
        """Answers /livez and /readyz on the data port, where `listen.health` asks for it."""
        self.on_stream: Callable[[Record], None] | None = None
        """Called with each stream and tunnel that begins, while somebody watches them."""
        self.on_upstream: Callable[[], None] | None = None
        """Called when the upstream takes a connection: the first one, also since a reload, or since one failed."""
        self.watchdog = Watchdog(loop, time.monotonic)
        self.stalls = Stalls(totals, self.running)
        self.connections: set[DownstreamConnection | Preface] = set()
        self.surplus = 0
        """How many of them are beyond limits.connections, and being closed."""
        self.draining = False
        """Every response says that its connection ends behind it."""
        self.closing = False
        """The listeners are closed as well: a connection without a request is given up soon."""
        self._empty: asyncio.Event | None = None
        self._use(settings, Pool(settings, totals, loop, self.watchdog), None)

    def reload(self, settings: Settings) -> None:
        """Put other settings in force for the requests to come; what runs keeps those it began with.

        Raises ssl.SSLError or OSError, and nothing has changed, if the files of upstream.tls cannot be used.
        """
        old, new = self.pool, Pool(settings, self.totals, self.loop, self.watchdog)
        other_options = client_options(settings) != client_options(self.settings)
        self._use(settings, new, self.routes)
        old.close()
        for connection in self.connections:
            connection.reload()
            if other_options:
                connection.reload_options()

    def _use(self, settings: Settings, pool: Pool, routes: RouteTable | None) -> None:
        """All that is made of the settings, in one turn of the loop. routes: those from before."""
        self.routes = RouteTable(settings, routes)  # may fail, over a file
        self.settings = settings
        self.pool = pool
        pool.on_up = self._upstream_up
        self.origins = frozenset(origin.encode("ascii") for origin in settings.cors.origins)
        self.trust = Trust(settings)
        self.totals.name_routes(self.routes.labels)

    def know(self, templates: Templates) -> None:
        """Use these path templates of the application."""
        self.routes.know(templates)
        self.totals.name_routes(self.routes.labels)

    def _upstream_up(self) -> None:
        if self.on_upstream is not None:
            self.on_upstream()

    @property
    def full(self) -> bool:
        """Whether one more client connection would be beyond limits.connections."""
        limit = self.settings.limits.connections
        return bool(limit) and len(self.connections) - self.surplus >= limit

    def told(self, outcome: Outcome, detail: str) -> str:
        """What a client is told of the end of its stream. What is wrong with its own request it hears exactly; what
        happened between here and the upstream is for the log, since it has addresses in it."""
        ending = outcome.value
        if not detail or (ending.status >= 500 and not self.settings.proxy_status_details):
            return ending.text
        return f"{ending.text} ({detail})"

    def running(self) -> Iterator[Record]:
        """The streams that have not ended."""
        for connection in self.connections:
            record = connection.record
            if record is not None:
                yield record

    def buffered(self) -> Iterator[int]:
        """For each client, the bytes written that the system has not taken yet; others may come and go meanwhile."""
        for connection in list(self.connections):
            yield connection.transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        """Whether a drain has closed the listeners."""
        return self.closing

    def drain(self) -> None:
        """The listeners are closed: connections close behind a response that says so, or once nothing has come."""
        if self.closing:
            return
        self.draining = self.closing = True
        for connection in list(self.connections):
            connection.drain()

    def connection_closed(self) -> None:
        """A client connection has ended."""
        if self._empty is not None and not self.connections:
            self._empty.set()

    async def shutdown(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the client connections to end, then end what still runs, visibly."""
        self._empty = asyncio.Event()
        if await self._all_closed(timeout):
            return
        self.end_streams()
        if await self._all_closed(LAST_WORDS):
            return
        for connection in list(self.connections):
            connection.abort()
        await self._all_closed(LAST_WORDS)

    def end_streams(self) -> None:
        """End every stream now, visibly broken where its head went out."""
        for connection in list(self.connections):
            connection.end(Outcome.DRAINING)

    async def _all_closed(self, timeout: float) -> bool:
        assert self._empty is not None
        if self.connections:
            try:
                await asyncio.wait_for(self._empty.wait(), timeout)
            except TimeoutError:
                return False
        return True

    def close(self) -> None:
        """Leave nothing behind: connections at rest are closed, the watchdog stops."""
        self.pool.close()
        self.watchdog.close()
