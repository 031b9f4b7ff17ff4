"""One process that serves: listeners, data plane and admin port, from start to the end of the drain."""

import asyncio
import contextlib
import logging
import os
import signal
import ssl
import sys
from dataclasses import dataclass

from aiohttp import web

from unbuffer import __version__
from unbuffer.observe.access_log import AccessLog
from unbuffer.observe.metrics import Exposition
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.plane import Plane
from unbuffer.server.admin import build_admin
from unbuffer.server.lifecycle import Lifecycle, State
from unbuffer.server.probe import UpstreamProbe
from unbuffer.settings.addresses import TCPAddress, UnixAddress, parse_address
from unbuffer.settings.model import ListenTLS, Settings
from unbuffer.totals import Totals

log = logging.getLogger("unbuffer")


class ListenError(Exception):
    """An address cannot be listened on; the text says which and why."""


class DataServer(web.Server):
    """aiohttp's low-level server with our protocol: it owns the listeners and calls the hooks of the drain."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(_unused_handler)
        self._plane = plane

    def __call__(self) -> DownstreamConnection:  # type: ignore[override]
        return DownstreamConnection(self._plane)

    def pre_shutdown(self) -> None:
        self._plane.drain()

    async def shutdown(self, timeout: float | None = None) -> None:
        await self._plane.shutdown(timeout or 0.0)


async def _unused_handler(request: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError("DataServer makes its own protocol; aiohttp's request handler never runs")


@dataclass(slots=True)
class Signals:
    """SIGTERM and SIGINT: the first one drains, a second one ends at once."""

    first: asyncio.Event
    second: asyncio.Event
    code: int = 0

    def received(self, number: int) -> None:
        """Note one signal."""
        if self.first.is_set():
            self.code = 128 + number
            self.second.set()
        self.first.set()

    @classmethod
    def install(cls, loop: asyncio.AbstractEventLoop) -> "Signals":
        """Handle both signals from now on."""
        signals = cls(asyncio.Event(), asyncio.Event())
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, signals.received, number)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda n, _: loop.call_soon_threadsafe(signals.received, n))
        return signals


def run(settings: Settings) -> int:
    """Serve until a signal. Returns the process's exit code; raises ListenError."""
    # Errors of the event loop's own machinery go where ours go.
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.log.level.upper(),
        format="%(asctime)s %(levelname)s %(message)s",
    )
    try:
        import uvloop
    except ImportError:
        log.info("uvloop is not available here: running on asyncio's own event loop, which is slower")
        factory = asyncio.new_event_loop
    else:
        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(_serve(settings))


async def _serve(settings: Settings) -> int:
    loop = asyncio.get_running_loop()
    signals = Signals.install(loop)
    lifecycle = Lifecycle()
    totals = Totals()
    access_log = AccessLog(settings.log.format, sys.stdout.buffer)
    plane = Plane(settings, totals, loop, access_log.log)
    probe = UpstreamProbe(plane.pool.target, settings.timeouts.connect)
    exposition = Exposition(totals, lifecycle, probe)
    data = web.ServerRunner(DataServer(plane), shutdown_timeout=settings.drain.timeout)
    admin = web.AppRunner(build_admin(lifecycle, probe, exposition), access_log=None)
    try:
        await _listen_admin(admin, settings.admin.address)
        await _listen(data, settings)
        log.info("unbuffer %s: upstream %s", __version__, settings.upstream.url)
        lifecycle.move(State.READY)
        await signals.first.wait()
        log.info("draining: running streams have up to %gs (drain.timeout)", settings.drain.timeout)
        lifecycle.move(State.DRAINING)
        await _drain(data, plane, signals)
        lifecycle.move(State.STOPPED)
        log.info("stopped")
        return signals.code
    finally:
        await data.cleanup()
        plane.close()
        await admin.cleanup()
        access_log.close()
        _remove_sockets(settings)


async def _drain(data: web.ServerRunner, plane: Plane, signals: Signals) -> None:
    """Stop listening and wait for the streams; a second signal ends them."""
    drained = asyncio.ensure_future(data.cleanup())
    hurried = asyncio.ensure_future(signals.second.wait())
    await asyncio.wait((drained, hurried), return_when=asyncio.FIRST_COMPLETED)
    if not drained.done():
        log.info("second signal: ending every stream now")
        plane.end_streams()
    hurried.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await hurried
    await drained


async def _listen(runner: web.ServerRunner, settings: Settings) -> None:
    await runner.setup()
    context = _tls_context(settings.listen.tls)
    scheme = "https" if context else "http"
    for text in settings.listen.address:
        site = _site(runner, parse_address(text), settings.listen.backlog, context)
        await _start(site, text)
    for address in runner.addresses:
        log.info("unbuffer %s: listening on %s", __version__, _shown(address, scheme))


async def _listen_admin(runner: web.AppRunner, text: str) -> None:
    if text == "off":
        return
    await runner.setup()
    await _start(_site(runner, parse_address(text), 128, None), text)
    for address in runner.addresses:
        log.info("unbuffer %s: admin on %s", __version__, _shown(address, "http"))


def _site(
    runner: web.BaseRunner, address: TCPAddress | UnixAddress, backlog: int, context: ssl.SSLContext | None
) -> web.BaseSite:
    if isinstance(address, UnixAddress):
        return web.UnixSite(runner, address.path, ssl_context=context, backlog=backlog)
    return web.TCPSite(runner, address.host or None, address.port, ssl_context=context, backlog=backlog)


async def _start(site: web.BaseSite, text: str) -> None:
    try:
        await site.start()
    except OSError as error:
        raise ListenError(f"cannot listen on {text}: {error.strerror or error}") from None


def _tls_context(tls: ListenTLS) -> ssl.SSLContext | None:
    if not tls.certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(tls.certificate, tls.key or None)
    except (OSError, ssl.SSLError) as error:
        raise ListenError(f"listen.tls: cannot use {tls.certificate}: {error}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _shown(address: object, scheme: str) -> str:
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    return f"unix:{address}"


def _remove_sockets(settings: Settings) -> None:
    for text in (*settings.listen.address, settings.admin.address):
        if text != "off" and isinstance(address := parse_address(text), UnixAddress):
            with contextlib.suppress(OSError):
                os.unlink(address.path)
