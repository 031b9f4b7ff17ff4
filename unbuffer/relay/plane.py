"""What every stream of the data plane shares: settings compiled into look-ups, totals, pool, watchdog, observers."""

import asyncio
import time
from collections.abc import Callable

from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.relay.clients import Clients
from unbuffer.relay.dial import Dialer
from unbuffer.relay.policy import RouteTable
from unbuffer.relay.pool import Pool
from unbuffer.relay.probe import ProbePool
from unbuffer.relay.stalls import Stalls
from unbuffer.relay.tcp import client_options
from unbuffer.relay.templates import Templates
from unbuffer.relay.trust import Trust
from unbuffer.relay.watchdog import Watchdog
from unbuffer.settings.model import Settings
from unbuffer.totals import Totals

Health = Callable[[bytes, Callable[[int, bytes], None]], None]
"""Called with the path that was asked for and with what takes the answer, status and body: at once or later."""


class Plane:
    """The data plane of one process."""

    def __init__(
        self,
        settings: Settings,
        totals: Totals,
        loop: asyncio.AbstractEventLoop,
        on_record: Callable[[Record], None],
        *,
        dialer: Dialer | None = None,
        on_upstream: Callable[[], None] | None = None,
        health: Health | None = None,
    ) -> None:
        """The observers are called on the event loop: they must neither block nor raise.

        on_record: called once for every stream, at its end. on_upstream: called when the upstream takes a connection,
        the first one, also since a reload, or since one failed. health: answers /livez and /readyz on the data port;
        None = the application does. dialer: of these settings, where the caller has one already.
        """
        self.totals = totals
        self.loop = loop
        self.on_record = on_record
        self.health = health
        self.clients = Clients(totals)
        self.watchdog = Watchdog(loop, time.monotonic)
        self.stalls = Stalls(totals, self.clients.running)
        self._on_upstream = on_upstream
        self._use(settings, self._pool(settings, dialer or Dialer(settings)), None)

    def reload(self, settings: Settings) -> None:
        """Put other settings in force for the requests to come; what runs keeps those it began with.

        Raises ssl.SSLError or OSError, and nothing has changed, if the files of upstream.tls cannot be used.
        """
        old, new = self.pool, self._pool(settings, Dialer(settings))
        other_options = client_options(settings) != client_options(self.settings)
        self._use(settings, new, self.routes)
        old.close()
        self.clients.reload(other_options)

    def _pool(self, settings: Settings, dialer: Dialer) -> Pool:
        return Pool(settings, dialer, self.totals, self.loop, self.watchdog, self._on_upstream)

    def _use(self, settings: Settings, pool: Pool, routes: RouteTable | None) -> None:
        """All that is made of the settings, in one turn of the loop. routes: those from before."""
        self.routes = RouteTable(settings, routes)  # may fail, over a file
        self.settings = settings
        self.pool = pool
        self.origins = frozenset(origin.encode("ascii") for origin in settings.cors.origins)
        self.trust = Trust(settings)
        self.probe: Pool = pool
        """The way of requests for the probe."""
        if settings.probe.enabled:
            self.probe = ProbePool(settings, self.totals, self.loop, self.watchdog)
        self.totals.name_routes(self.routes.labels)

    def know(self, templates: Templates) -> None:
        """Use these path templates of the application."""
        self.routes.know(templates)
        self.totals.name_routes(self.routes.labels)

    def told(self, outcome: Outcome, detail: str) -> str:
        """What a client is told of the end of its stream. What is wrong with its own request it hears exactly; what
        happened between here and the upstream is for the log, since it has addresses in it."""
        ending = outcome.value
        if not detail or (ending.status >= 500 and not self.settings.proxy_status_details):
            return ending.text
        return f"{ending.text} ({detail})"

    def close(self) -> None:
        """Leave nothing behind: connections at rest are closed, the watchdog stops."""
        self.pool.close()
        self.watchdog.close()
