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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from unbuffer import __version__
from unbuffer.observe.access_log import AccessLog
from unbuffer.observe.live import Live, Recent
from unbuffer.observe.loop_lag import LoopLag
from unbuffer.observe.metrics import Exposition
from unbuffer.observe.observer import Observer
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.plane import Plane
from unbuffer.relay.tcp import SocketOptions, client_options, set_options
from unbuffer.server import open_files
from unbuffer.server.admin import build_admin
from unbuffer.server.advice import Advice, Read
from unbuffer.server.child import Child
from unbuffer.server.closing import close_listeners, remove_files, serve_accepted
from unbuffer.server.errors import StartError
from unbuffer.server.health import DataPortHealth
from unbuffer.server.lean import web
from unbuffer.server.lifecycle import Lifecycle, State
from unbuffer.server.live import add_live_page
from unbuffer.server.openapi import TemplateReader
from unbuffer.server.passed_sockets import take_passed
from unbuffer.server.probe import UpstreamProbe
from unbuffer.server.reload import Reloader
from unbuffer.server.tls import listen_context, naming_upstream
from unbuffer.settings.addresses import SYSTEMD, UnixAddress, parse_address
from unbuffer.settings.model import Settings
from unbuffer.settings.problems import Problem, SettingsError
from unbuffer.totals import Totals

if TYPE_CHECKING:
    from unbuffer.observe.spans import Spans

log = logging.getLogger("unbuffer")

EX_UNAVAILABLE = 69
"""Exit code where something is not installed (sysexits.h)."""

ADMIN_LAST_WORDS = 1.0
"""Seconds for an answer of the admin port that is being written when all else has ended."""


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
        # As long as the settings say now, not those of the start, which aiohttp was given.
        await self._plane.shutdown(self._plane.settings.drain.timeout)


async def _unused_handler(request: web.BaseRequest) -> web.StreamResponse:
    raise AssertionError("DataServer makes its own protocol; aiohttp's request handler never runs")


@dataclass(slots=True)
class Signals:
    """SIGTERM and SIGINT: the first one drains, a second one ends at once. SIGHUP reloads.

    A drain that `unbuffer drain` has begun goes on at the first signal: Kubernetes sends it behind every preStop hook.
    """

    lifecycle: Lifecycle
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    hangup: asyncio.Event = field(default_factory=asyncio.Event)
    code: int = 0
    first: bool = True

    def received(self, number: int) -> None:
        """Note one signal that ends."""
        if not self.first:
            self.code = 128 + number
            self.hurry.set()
        self.first = False
        self.lifecycle.drain()

    @classmethod
    def install(cls, loop: asyncio.AbstractEventLoop, lifecycle: Lifecycle) -> "Signals":
        """Handle the signals from now on."""
        signals = cls(lifecycle)
        if sys.platform != "win32":
            loop.add_signal_handler(signal.SIGHUP, signals.hangup.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, signals.received, number)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda n, _: loop.call_soon_threadsafe(signals.received, n))
        return signals


def run(read: Read, command: Sequence[str] = ()) -> int:
    """Serve until a signal, or until the application ends. Returns the process's exit code.

    read: reads the settings, now and at every reload. command: runs the application; none = it runs by itself.
    Raises SettingsError and StartError.
    """
    advice = Advice(read)
    settings = advice.read()
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
        limited = open_files.within_the_limit
        return runner.run(_serve(limited(settings), lambda: limited(advice.read()), advice, command))


async def _serve(settings: Settings, read: Callable[[], Settings], advice: Advice, command: Sequence[str]) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(open_files.Complaints().handle)
    lifecycle = Lifecycle()
    signals = Signals.install(loop, lifecycle)
    totals = Totals()
    spans = _spans(settings.tracing.otlp)
    access_log = AccessLog(settings.log.format, sys.stdout.buffer, settings.log.keys)
    recent = Recent()
    plane = _plane(settings, totals, loop, Observer(totals, access_log, recent, spans))
    templates = asyncio.ensure_future(TemplateReader(plane).run())
    probe = UpstreamProbe(plane.pool.target, settings.timeouts.connect)
    if settings.listen.health:
        plane.health = DataPortHealth(lifecycle, probe)
    exposition = Exposition(totals, lifecycle, probe, plane.buffered)
    loop_lag = LoopLag(totals, loop)
    data = web.ServerRunner(DataServer(plane))
    pages = build_admin(lifecycle, probe, exposition)
    add_live_page(pages, Live(totals, recent, plane), lifecycle)
    admin = web.AppRunner(pages, access_log=None, shutdown_timeout=ADMIN_LAST_WORDS)
    child = Child(command, on_end=lifecycle.drain)
    reloading: asyncio.Future[None] | None = None
    asking: asyncio.Future[None] | None = None
    try:
        await _listen_admin(admin, settings.admin.address)
        context = await _listen(data, settings)
        if command:
            child.start(plane.pool.target, os.environ)
        # The application that was started has its address.
        listeners = partial(set_listeners, data)
        fixed = ("upstream.url",) if command else ()
        reloader = Reloader(read, advice, plane, probe, context, listeners, fixed)
        reloading = asyncio.ensure_future(reloader.run(signals.hangup))
        if not lifecycle.draining:
            lifecycle.move(State.READY)
        log.info("unbuffer %s: upstream %s", __version__, settings.upstream.url)
        advice.tell()
        if not command:
            asking = asyncio.ensure_future(advice.ask(probe))
        # What exists by now stays: looking through it would only make the garbage collector's pauses longer.
        gc.collect()
        gc.freeze()
        loop_lag.start()
        await lifecycle.ending.wait()
        # From here on every response says that its connection ends behind it.
        plane.draining = True
        await _delay(plane.settings.drain.delay, signals.hurry, child.ended)
        log.info("draining: running streams have up to %gs (drain.timeout)", plane.settings.drain.timeout)
        await _drain(data, plane, context, signals)
        await child.stop(plane.settings.exec.grace, signals.hurry)
        lifecycle.move(State.STOPPED)
        log.info("stopped")
        return signals.code or (0 if child.ended_as_told else child.code)
    finally:
        templates.cancel()
        for task in (reloading, asking):
            if task is not None:
                task.cancel()
        await _close(data)
        plane.close()
        child.kill()
        loop_lag.close()
        if spans is not None:
            spans.close()
        access_log.close()
        # The last one: as long as it answers, this process is there.
        await _close(admin)


def _plane(settings: Settings, totals: Totals, loop: asyncio.AbstractEventLoop, observer: Observer) -> Plane:
    with naming_upstream(settings.upstream.tls):
        return Plane(settings, totals, loop, observer.ended)


def _spans(url: str) -> "Spans | None":
    if url == "off":
        return None
    try:
        from unbuffer.observe.spans import Spans

        return Spans.to(url)
    except ModuleNotFoundError as error:
        text = f"tracing.otlp needs OpenTelemetry, but {error.name} is not installed: pip install 'unbuffer[otel]'"
        raise StartError(text, EX_UNAVAILABLE) from None
    except ValueError as error:  # OpenTelemetry reads its variables, some of them when it is imported
        raise SettingsError([Problem("variables OTEL_... (tracing.otlp)", str(error))]) from None


async def _delay(seconds: float, *cut_short: asyncio.Event) -> None:
    """Go on serving all that comes, until the load balancers have noticed that this process is not ready."""
    if not seconds:
        return
    log.info("draining: new connections are served for %gs (drain.delay)", seconds)
    events = [asyncio.ensure_future(event.wait()) for event in cut_short]
    await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for event in events:
        event.cancel()


async def _drain(data: web.ServerRunner, plane: Plane, context: ssl.SSLContext | None, signals: Signals) -> None:
    """Stop listening and wait for the streams; a second signal ends them."""
    drained = asyncio.ensure_future(_finish(data, plane, context))
    hurried = asyncio.ensure_future(signals.hurry.wait())
    await asyncio.wait((drained, hurried), return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not drained.done():
        log.info("second signal: ending every stream now")
        drained.cancel()
        await plane.shutdown(0.0)
    with contextlib.suppress(asyncio.CancelledError):
        await drained


async def _finish(data: web.ServerRunner, plane: Plane, context: ssl.SSLContext | None) -> None:
    accepted = await close_listeners(data)
    # Behind the listeners: whoever then connects anew is refused, and knows.
    plane.drain()
    assert data.server is not None
    await serve_accepted(data.server, accepted, context)
    await data.cleanup()


async def _close(runner: web.BaseRunner) -> None:
    """Stop listening and wait for what runs."""
    remove_files(runner)
    await runner.cleanup()


async def _listen(runner: web.ServerRunner, settings: Settings) -> ssl.SSLContext | None:
    await runner.setup()
    context = listen_context(settings.listen.tls)
    scheme = "https" if context else "http"
    for text in settings.listen.address:
        await _start_all(runner, text, settings.listen.backlog, context)
    set_listeners(runner, client_options(settings))
    for address in runner.addresses:
        log.info("unbuffer %s: listening on %s", __version__, _shown(address, scheme))
    return context


def set_listeners(runner: web.BaseRunner, options: SocketOptions) -> None:
    """Give the listeners these options, which they hand on to what they accept."""
    for site in runner.sites:
        # aiohttp has no public way to the sockets of a site; its own `addresses` goes this one.
        for sock in getattr(site._server, "sockets", ()):
            set_options(sock, options)


async def _listen_admin(runner: web.AppRunner, text: str) -> None:
    if text == "off":
        return
    await runner.setup()
    try:
        await _start(runner, text, 128, None)
    except StartError as error:
        text = f"{error}; this is the admin port (admin.address): give another one with --admin, or off"
        raise StartError(text) from None
    for address in runner.addresses:
        log.info("unbuffer %s: admin on %s", __version__, _shown(address, "http"))


async def _start_all(
    runner: web.BaseRunner, text: str, backlog: int, context: ssl.SSLContext | None
) -> Sequence[web.BaseSite]:
    """One site for an address, and one for each socket that was passed."""
    if text != SYSTEMD:
        return [await _start(runner, text, backlog, context)]
    # For Unix sockets as well: a UnixSite would delete the file.
    sites = [web.SockSite(runner, sock, ssl_context=context, backlog=backlog) for sock in take_passed()]
    for site in sites:
        await site.start()
    return sites


async def _start(runner: web.BaseRunner, text: str, backlog: int, context: ssl.SSLContext | None) -> web.BaseSite:
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
    return site


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


def _shown(address: object, scheme: str) -> str:
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    return f"unix:{address}"
