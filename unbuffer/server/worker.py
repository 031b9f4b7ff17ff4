"""One process that serves: listeners, data plane and admin port, from start to the end of the drain."""

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Callable, Sequence

from unbuffer import __version__
from unbuffer.compiled import YES_OR_NO
from unbuffer.observe.access_log import AccessLog
from unbuffer.observe.exposition import Exposition
from unbuffer.observe.live import Live
from unbuffer.observe.loop_lag import LoopLag
from unbuffer.observe.observer import Observer
from unbuffer.observe.recent import Recent
from unbuffer.relay.dial import Dialer
from unbuffer.relay.plane import Plane
from unbuffer.relay.resumption import Resumption
from unbuffer.server import open_files
from unbuffer.server.admin import build_admin
from unbuffer.server.advice import Advice, Read
from unbuffer.server.child import Child
from unbuffer.server.drain import delay, drain
from unbuffer.server.errors import StartError
from unbuffer.server.health import DataPortHealth
from unbuffer.server.lifecycle import Lifecycle, State
from unbuffer.server.listeners import AdminListener, Listeners
from unbuffer.server.live_page import add_live_page
from unbuffer.server.malloc import keep_read_buffers
from unbuffer.server.openapi import TemplateReader
from unbuffer.server.reload import Reloader
from unbuffer.server.signals import Signals
from unbuffer.server.tls import naming_upstream
from unbuffer.server.tracing import durations_for, push_to, spans_to
from unbuffer.server.upstream_probe import UpstreamProbe
from unbuffer.server.watch import Watch
from unbuffer.settings.model import Settings
from unbuffer.totals import Totals

log = logging.getLogger("unbuffer")


def run(read: Read, file: str | None, command: Sequence[str] = ()) -> int:
    """Serve until a signal, or until the application ends. Returns the process's exit code.

    read: reads the settings, now and at every reload. file: that it reads, if there is one. command: runs the
    application; none = it runs by itself.
    Raises SettingsError and StartError.
    """
    watch, advice = Watch(file), Advice(read)

    def look_and_read() -> Settings:
        watch.reading()
        return advice.read()

    settings = look_and_read()
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
    keep_read_buffers()
    with asyncio.Runner(loop_factory=factory) as runner:
        limited = open_files.within_the_limit
        return runner.run(_serve(limited(settings), lambda: limited(look_and_read()), advice, watch, command))


async def _serve(
    settings: Settings, read: Callable[[], Settings], advice: Advice, watch: Watch, command: Sequence[str]
) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(open_files.Complaints().handle)
    lifecycle = Lifecycle()
    signals = Signals.install(loop, lifecycle)
    totals = Totals()
    spans = spans_to(settings)
    durations = durations_for(settings)
    access_log = AccessLog(settings.log.format, sys.stdout.buffer, settings.log.keys)
    recent = Recent()
    watch.using(settings)
    with naming_upstream(settings.upstream.tls):
        dialer = Dialer(settings)
    probe = UpstreamProbe(dialer)
    reached = asyncio.Event()
    plane = Plane(
        settings,
        totals,
        loop,
        Observer(totals, access_log, recent, spans, durations).ended,
        dialer=dialer,
        on_upstream=reached.set,
        health=DataPortHealth(lifecycle, probe) if settings.listen.health else None,
        resumption=_resumption,
    )
    templates = asyncio.ensure_future(TemplateReader(plane, reached).run())
    listeners = Listeners(plane)
    # The application that is started has its address.
    reloader = Reloader(read, advice, plane, probe, listeners, watch, fixed=("upstream.url",) if command else ())
    exposition = Exposition(totals, lifecycle, probe, reloader, plane.clients.buffered)
    push = push_to(settings, exposition.snapshot, durations)
    loop_lag = LoopLag(totals, loop)
    pages = build_admin(lifecycle, probe, exposition, reloader.reload)
    add_live_page(pages, Live(totals, recent, plane.clients), lifecycle, probe)
    admin = AdminListener(pages)
    child = Child(command, on_end=lifecycle.drain)
    reloading: asyncio.Future[None] | None = None
    watching: asyncio.Future[None] | None = None
    asking: asyncio.Future[None] | None = None
    try:
        await admin.open(settings.admin.address)
        if plane.resumption is not None:
            await _start(plane.resumption)
        await listeners.open(settings)
        if command:
            child.start(plane.pool.target, os.environ)
        reloading = asyncio.ensure_future(reloader.run(signals.hangup))
        watch.apply(settings)
        watching = asyncio.ensure_future(reloader.run_watching())
        if not lifecycle.draining:
            lifecycle.move(State.READY)
        log.info("unbuffer %s: upstream %s (compiled: %s)", __version__, settings.upstream.url, YES_OR_NO)
        advice.tell()
        asking = asyncio.ensure_future(advice.ask_child(probe) if command else advice.ask(probe))
        # What exists by now stays: looking through it would only make the garbage collector's pauses longer.
        gc.collect()
        gc.freeze()
        loop_lag.start()
        if push is not None:
            push.start()
        await lifecycle.ending.wait()
        # From here on every response says that its connection ends after it.
        plane.clients.draining = True
        await delay(plane.settings.drain.delay, signals.hurry, child.ended)
        log.info("draining: running streams have up to %gs (drain.timeout)", plane.settings.drain.timeout)
        await drain(listeners, plane, signals)
        await child.stop(plane.settings.exec.grace, signals.hurry)
        lifecycle.move(State.STOPPED)
        log.info("stopped")
        return signals.code or (0 if child.ended_as_told else child.code)
    finally:
        watch.close()
        templates.cancel()
        for task in (reloading, watching, asking):
            if task is not None:
                task.cancel()
        await listeners.close()
        plane.close()
        if plane.resumption is not None:
            await plane.resumption.finish()
        child.kill()
        loop_lag.close()
        if spans is not None:
            spans.close()
        if push is not None:
            await push.close()
        access_log.close()
        # The last one: as long as it answers, this process is there.
        await admin.close()


def _resumption(plane: Plane) -> Resumption:
    """What keeps resumable streams. Who has none need not have it in memory."""
    from unbuffer.resume.registry import Registry

    return Registry(plane)


async def _start(resumption: Resumption) -> None:
    from unbuffer.resume.store import StoreError

    try:
        await resumption.start()
    except StoreError as error:
        raise StartError(str(error)) from None
