"""What every stream of the data plane shares but for the way to the upstream: settings compiled into look-ups, totals,
clients, watchdog, observers."""

import asyncio
import time
from collections.abc import Callable

from unbuffer.outcome import Ending, Outcome
from unbuffer.record import Record
from unbuffer.relay.clients import Clients
from unbuffer.relay.policy import RouteTable
from unbuffer.relay.silences import Silences
from unbuffer.relay.templates import Templates
from unbuffer.relay.trust import Trust
from unbuffer.relay.watchdog import Watchdog
from unbuffer.settings.model import Settings
from unbuffer.totals import Totals

Health = Callable[[bytes, Callable[[int, bytes], None]], None]
"""Called with the path that was asked for and with what takes the answer, status and body: at once or later."""


class Shared:
    """See Plane, which has all of it."""

    def __init__(
        self,
        settings: Settings,
        totals: Totals,
        loop: asyncio.AbstractEventLoop,
        on_record: Callable[[Record], None],
        health: Health | None,
    ) -> None:
        """For on_record and health see Plane."""
        self.totals = totals
        self.loop = loop
        self.on_record = on_record
        self.health = health
        self.clients = Clients(totals)
        self.watchdog = Watchdog(loop, time.monotonic)
        self.silences = Silences(totals, self.clients.running)
        self._use(settings, None)

    def _use(self, settings: Settings, routes: RouteTable | None) -> None:
        """All that is made of the settings, in one turn of the loop. routes: those from before."""
        self.routes = RouteTable(settings, routes)  # may fail, over a file
        self.settings = settings
        self.origins = frozenset(origin.encode("ascii") for origin in settings.cors.origins)
        self.trust = Trust(settings)
        self.totals.name_routes(self.routes.labels)

    def know(self, templates: Templates) -> None:
        """Use these path templates of the application."""
        self.routes.know(templates)
        self.totals.name_routes(self.routes.labels)

    def failed(self, who: object, error: Exception) -> None:
        """A mistake of ours, for the log. who: what it has cost."""
        self.loop.call_exception_handler({"message": f"unbuffer failed on {who!r}", "exception": error})

    def told(self, outcome: Outcome, detail: str) -> str:
        """What a client is told of the end of its stream. What is wrong with its own request it hears exactly; what
        happened between here and the upstream is for the log, since it has addresses in it."""
        ending: Ending = outcome.value
        if not detail or (ending.status >= 500 and not self.settings.proxy_status_details):
            return ending.text
        return f"{ending.text} ({detail})"
