"""Connections to the upstream: those at rest, newest first, none older than keep_alive; else a new one, waited for."""

import asyncio
import time
from collections.abc import Callable

from unbuffer.outcome import Outcome
from unbuffer.relay.dial import ConnectError, Dialer
from unbuffer.relay.tcp import peer_options
from unbuffer.relay.upstream import Home, UpstreamConnection
from unbuffer.relay.watchdog import NOT_WATCHED, Watchdog
from unbuffer.settings.model import Settings
from unbuffer.totals import (
    CONNECT_DNS_ERROR,
    CONNECT_OTHER,
    CONNECT_REFUSED,
    CONNECT_TIMEOUT,
    CONNECT_TLS_ERROR,
    CONNECTED,
    NO_OPEN_FILES,
    Totals,
)

RETRY_PAUSE = 0.1
"""Seconds between two tries to connect while a request is held (`upstream.wait`)."""

_RESULTS = {
    Outcome.UPSTREAM_REFUSED: CONNECT_REFUSED,
    Outcome.CONNECT_TIMEOUT: CONNECT_TIMEOUT,
    Outcome.UPSTREAM_DNS_ERROR: CONNECT_DNS_ERROR,
    Outcome.UPSTREAM_TLS_ERROR: CONNECT_TLS_ERROR,
}


class Pool(Home):
    """The way to the one upstream."""

    def __init__(
        self,
        settings: Settings,
        dialer: Dialer,
        totals: Totals,
        loop: asyncio.AbstractEventLoop,
        watchdog: Watchdog,
        on_up: Callable[[], None] | None,
    ) -> None:
        """dialer: of these settings. on_up: called when a connection is made, the first one or the first since one
        failed."""
        self.dialer = dialer
        self.target = self.dialer.target
        self.name = self.target.authority
        self.host = self.target.host_field.encode("ascii")
        """The Host of a request that came without one."""
        self.oddities = totals.oddities
        gone = settings.timeouts.tcp_user
        self.socket_options = () if self.target.path else peer_options(gone, gone)
        self.watched_slot = NOT_WATCHED
        self._settings = settings
        self._keep_alive = settings.upstream.keep_alive
        self._most_resting = settings.upstream.idle_connections
        self._totals = totals
        self._loop = loop
        self._watchdog = watchdog
        self._on_up = on_up
        self._up = False
        self._turn = asyncio.Lock()
        """Whose turn it is to try, of the requests that wait for an upstream that refuses."""
        self._resting: list[UpstreamConnection] = []
        """Since when, in ascending order."""
        self._closed = False

    def take(self, now: float) -> UpstreamConnection | None:
        """The connection that came to rest last, if any is fresh enough to be used."""
        oldest = now - self._keep_alive
        while self._resting:
            connection = self._resting.pop()
            self._totals.upstream_idle = len(self._resting)
            if connection.rested_at > oldest and connection.quiet(now):
                return connection
            connection.close()
        return None

    def rest(self, connection: UpstreamConnection, now: float) -> None:
        """Keep a connection whose exchange is over."""
        if self._closed or not self._keep_alive or len(self._resting) >= self._most_resting:
            connection.close()
            return
        connection.rested_at = now
        self._resting.append(connection)
        self._totals.upstream_idle = len(self._resting)
        if self.watched_slot == NOT_WATCHED:
            self._watchdog.watch(self, now + self._keep_alive)

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection ended, at rest or not."""
        if connection.rested_at:
            try:
                self._resting.remove(connection)
            except ValueError:
                return
            self._totals.upstream_idle = len(self._resting)

    def look(self, now: float) -> float:
        """Close what has rested too long; the watchdog calls this."""
        while self._resting and self._resting[0].rested_at + self._keep_alive <= now:
            self._resting.pop(0).close()
        self._totals.upstream_idle = len(self._resting)
        return self._resting[0].rested_at + self._keep_alive if self._resting else 0.0

    def close(self) -> None:
        """Close every connection at rest; those in use close when they are done, and none is kept any more."""
        self._closed = True
        self._watchdog.forget(self)
        while self._resting:
            self._resting.pop().close()
        self._totals.upstream_idle = 0

    async def connect(self, events: bool, leaving: Callable[[], bool]) -> UpstreamConnection:
        """A new connection. While the upstream refuses, tries again until the wait that the settings give is over.

        events: whether the request accepts an event-stream. leaving: whether nobody may wait any more, as in a drain.
        Raises ConnectError.
        """
        upstream = self._settings.upstream
        wait = max(upstream.wait, upstream.wait_streams) if events else upstream.wait
        try:
            return await self._connect_once()
        except ConnectError as error:
            if error.outcome is not Outcome.UPSTREAM_REFUSED or not wait:
                raise
            refusal = error
        # One of those that wait tries, however many they are, and then the next one: a crowd that comes back to an
        # application in its restart makes no crowd of connections.
        try:
            async with asyncio.timeout(wait), self._turn:
                while not leaving():
                    if not self._up:
                        await asyncio.sleep(RETRY_PAUSE)
                    try:
                        return await self._connect_once()
                    except ConnectError as error:
                        if error.outcome is not Outcome.UPSTREAM_REFUSED:
                            raise
        except TimeoutError:
            pass
        raise refusal

    async def _connect_once(self) -> UpstreamConnection:
        started = time.monotonic()
        try:
            connection = await self.dialer.open(self._factory)
        except ConnectError as error:
            self._up = False
            if error.out_of_files is not None:
                self._totals.rejected[NO_OPEN_FILES] += 1
                what = {"message": "no connection to the upstream", "exception": error.out_of_files}
                self._loop.call_exception_handler(what)
            self._totals.connects[_RESULTS.get(error.outcome, CONNECT_OTHER)] += 1
            raise
        self._totals.connects[CONNECTED] += 1
        self._totals.connect_times.observe(time.monotonic() - started)
        if not self._up:
            self._up = True
            if self._on_up is not None:
                self._on_up()
        return connection

    def _factory(self) -> UpstreamConnection:
        return UpstreamConnection(self, self._settings.limits)
