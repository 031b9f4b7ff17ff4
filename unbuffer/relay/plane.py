"""The data plane of one process: what its streams share, and the way to the upstream."""

import asyncio
from collections.abc import Callable

from unbuffer.record import Record
from unbuffer.relay.dial import Dialer
from unbuffer.relay.pool import Pool
from unbuffer.relay.probe_pool import ProbePool
from unbuffer.relay.resumption import Resumption
from unbuffer.relay.shared import Health, Shared
from unbuffer.relay.tcp import client_options
from unbuffer.settings.model import Settings
from unbuffer.totals import Totals


class Plane(Shared):
    """The observers are called on the event loop: they must neither block nor raise."""

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
        resumption: "Callable[[Plane], Resumption] | None" = None,
    ) -> None:
        """on_record: called once for every stream, at its end. on_upstream: called when the upstream takes a
        connection, the first one, also since a reload, or since one failed. health: answers /livez and /readyz on the
        data port; None = the application does. dialer: of these settings, where the caller has one already. resumption:
        makes what keeps resumable streams, once a route has `resume`; None = nothing does.
        """
        super().__init__(settings, totals, loop, on_record, health)
        self._make_resumption = resumption
        self.resumption: Resumption | None = None
        self._on_upstream = on_upstream
        self._go_by(self._pool(settings, dialer or Dialer(settings)))
        self._keep_streams()

    def reload(self, settings: Settings) -> None:
        """Put other settings in force for the requests to come; what runs keeps those it began with.

        Raises ssl.SSLError or OSError, and nothing has changed, if the files of upstream.tls cannot be used.
        """
        old, new = self.pool, self._pool(settings, Dialer(settings))
        other_options = client_options(settings) != client_options(self.settings)
        self._use(settings, self.routes)
        self._go_by(new)
        self._keep_streams()
        old.close()
        self.clients.reload(other_options)

    def _pool(self, settings: Settings, dialer: Dialer) -> Pool:
        return Pool(settings, dialer, self.totals, self.loop, self.watchdog, self._on_upstream)

    def _go_by(self, pool: Pool) -> None:
        """The ways up, by the settings in force. probe: of the requests for the probe."""
        self.pool = self.probe = pool
        if self.settings.probe.enabled:
            self.probe = ProbePool(self.settings, self.totals, self.loop, self.watchdog)

    def _keep_streams(self) -> None:
        """Where no route has `resume`, nothing that it needs is there. What was kept before a reload is kept on."""
        if self.resumption is None and self._make_resumption is not None and self.routes.resumes:
            self.resumption = self.clients.unattended = self._make_resumption(self)

    def close(self) -> None:
        """Leave nothing behind: connections at rest are closed, the watchdog stops."""
        if self.resumption is not None:
            self.resumption.close()
        self.pool.close()
        self.watchdog.close()
