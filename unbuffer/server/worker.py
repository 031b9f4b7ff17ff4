"""One process that serves: listeners, data plane and admin port, from start to the end of the drain."""

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import socket
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
from unbuffer.settings.addresses import UnixAddress, parse_address
from unbuffer.settings.model import ListenTLS, Settings
from unbuffer.totals import Totals

log = logging.getLogger("unbuffer")

ADMIN_LAST_WORDS = 1.0
"""Seconds for an answer of the admin port that is being written when all else has ended."""


class StartError(Exception):
    """An address cannot be listened on, or a certificate cannot be used; the text says which and why."""


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
    """Serve until a signal. Returns the process's exit code; raises StartError."""
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
    plane = _plane(settings, totals, loop, access_log)
    probe = UpstreamProbe(plane.pool.target, settings.timeouts.connect)
    exposition = Exposition(totals, lifecycle, probe)
    data = web.ServerRunner(DataServer(plane), shutdown_timeout=settings.drain.timeout)
    admin = web.AppRunner(build_admin(lifecycle, probe, exposition), access_log=None, shutdown_timeout=ADMIN_LAST_WORDS)
    try:
        await _listen_admin(admin, settings.admin.address)
        await _listen(data, settings)
        log.info("unbuffer %s: upstream %s", __version__, settings.upstream.url)
        lifecycle.move(State.READY)
        # What exists by now stays: looking through it would only make the garbage collector's pauses longer.
        gc.collect()
        gc.freeze()
        await signals.first.wait()
        log.info("draining: running streams have up to %gs (drain.timeout)", settings.drain.timeout)
        lifecycle.move(State.DRAINING)
        await _drain(data, plane, signals)
        lifecycle.move(State.STOPPED)
        log.info("stopped")
        return signals.code
    finally:
        await _close(data)
        plane.close()
        await _close(admin)
        access_log.close()


def _plane(settings: Settings, totals: Totals, loop: asyncio.AbstractEventLoop, access_log: AccessLog) -> Plane:
    try:
        return Plane(settings, totals, loop, access_log.log)
    except ssl.SSLError as error:
        tls = settings.upstream.tls
        files = " and ".join(filter(None, (tls.ca, tls.certificate, tls.key)))
        raise StartError(f"upstream.tls: cannot use {files}: {error}") from None


async def _drain(data: web.ServerRunner, plane: Plane, signals: Signals) -> None:
    """Stop listening and wait for the streams; a second signal ends them."""
    drained = asyncio.ensure_future(_close(data))
    hurried = asyncio.ensure_future(signals.second.wait())
    await asyncio.wait((drained, hurried), return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not drained.done():
        log.info("second signal: ending every stream now")
        drained.cancel()
        await plane.shutdown(0.0)
    with contextlib.suppress(asyncio.CancelledError):
        await drained


async def _close(runner: web.BaseRunner) -> None:
    """Stop listening and wait for what runs. The files of sockets go first: later another process may have its own
    there."""
    for address in runner.addresses:
        if isinstance(address, str):
            with contextlib.suppress(OSError):
                os.unlink(address)
    await runner.cleanup()


async def _listen(runner: web.ServerRunner, settings: Settings) -> None:
    await runner.setup()
    context = _tls_context(settings.listen.tls)
    scheme = "https" if context else "http"
    for text in settings.listen.address:
        await _start(runner, text, settings.listen.backlog, context)
    for address in runner.addresses:
        log.info("unbuffer %s: listening on %s", __version__, _shown(address, scheme))


async def _listen_admin(runner: web.AppRunner, text: str) -> None:
    if text == "off":
        return
    await runner.setup()
    await _start(runner, text, 128, None)
    for address in runner.addresses:
        log.info("unbuffer %s: admin on %s", __version__, _shown(address, "http"))


async def _start(runner: web.BaseRunner, text: str, backlog: int, context: ssl.SSLContext | None) -> None:
    address = parse_address(text)
    site: web.BaseSite
    try:
        if isinstance(address, UnixAddress):
            _refuse_to_steal(address.path)
            site = web.UnixSite(runner, address.path, ssl_context=context, backlog=backlog)
        else:
            site = web.TCPSite(runner, address.host or None, address.port, ssl_context=context, backlog=backlog)
        await site.start()
    except OSError as error:
        # The event loops put the address into their text once more; a failed look-up has no number of the system.
        system = error.errno if not isinstance(error, socket.gaierror) else None
        why = os.strerror(system) if system else error.strerror or error
        raise StartError(f"cannot listen on {text}: {why}") from None


def _refuse_to_steal(path: str) -> None:
    """Raises OSError if somebody listens on this Unix socket: an event loop deletes the file without asking."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return
        except BlockingIOError:
            pass  # its queue is full
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))


def _tls_context(tls: ListenTLS) -> ssl.SSLContext | None:
    if not tls.certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Without a password OpenSSL would ask the terminal for the one of an encrypted key.
        context.load_cert_chain(tls.certificate, tls.key or None, password="")
    except OSError as error:
        files = " and ".join(filter(None, (tls.certificate, tls.key)))
        raise StartError(f"listen.tls: cannot use {files}: {error}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _shown(address: object, scheme: str) -> str:
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    return f"unix:{address}"
