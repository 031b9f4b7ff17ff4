"""One process that serves: listeners, data plane and admin port, from start to the end of the drain."""

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack

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
from unbuffer.server import open_files, resuming
from unbuffer.server.admin import build_admin
from unbuffer.server.advice import Advice
from unbuffer.server.child import Child
from unbuffer.server.drain import delay, drain
from unbuffer.server.health import DataPortHealth
from unbuffer.server.lifecycle import Lifecycle, State
from unbuffer.server.listeners import AdminListener, Listeners
from unbuffer.server.live_page import add_live_page
from unbuffer.server.openapi import TemplateReader
from unbuffer.server.reload import Reloader
from unbuffer.server.signals import Signals
from unbuffer.server.tls import naming_upstream
from unbuffer.server.tracing import durations_for, push_to, spans_to
from unbuffer.server.upstream_check import UpstreamCheck
from unbuffer.server.watch import Watch
from unbuffer.settings.model import Settings
from unbuffer.totals import Totals

log = logging.getLogger("unbuffer")


async def serve(
    settings: Settings, read: Callable[[], Settings], advice: Advice, watch: Watch, command: Sequence[str]
) -> int:
    """From the start to the end of the drain. Returns the process's exit code. For the arguments see `process.run`;
    read is for reloads. Raises SettingsError and StartError."""
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
    upstream = UpstreamCheck(dialer)
    reached = asyncio.Event()
    plane = Plane(
        settings,
        totals,
        loop,
        Observer(totals, access_log, recent, spans, durations).ended,
        dialer=dialer,
        on_upstream=reached.set,
        health=DataPortHealth(lifecycle, upstream) if settings.listen.health else None,
        resumption=resuming.kept_for,
    )
    listeners = Listeners(plane)
    # The application that is started has its address.
    reloader = Reloader(read, advice, plane, upstream, listeners, watch, fixed=("upstream.url",) if command else ())
    exposition = Exposition(totals, lifecycle, upstream, reloader, plane.clients.buffered)
    push = push_to(settings, exposition.snapshot, durations)
    loop_lag = LoopLag(totals, loop)
    pages = build_admin(lifecycle, upstream, exposition, reloader.reload)
    add_live_page(pages, Live(totals, recent, plane.clients), lifecycle, upstream)
    admin = AdminListener(pages)
    child = Child(command, on_end=lifecycle.drain)
    async with AsyncExitStack() as at_the_end:  # the last one that is named is closed first
        # As long as this one answers, the process is there.
        at_the_end.push_async_callback(admin.close)
        at_the_end.callback(access_log.close)
        if push is not None:
            at_the_end.push_async_callback(push.close)
        if spans is not None:
            at_the_end.callback(spans.close)
        at_the_end.callback(loop_lag.close)
        at_the_end.callback(child.kill)
        at_the_end.push_async_callback(resuming.finish, plane)
        at_the_end.callback(plane.close)
        at_the_end.push_async_callback(listeners.close)
        at_the_end.callback(watch.close)

        def beside(task: Coroutine[object, object, None]) -> None:
            at_the_end.callback(asyncio.ensure_future(task).cancel)

        beside(TemplateReader(plane, reached).run())
        await admin.open(settings.admin.address)
        await resuming.start(plane)
        await listeners.open(settings)
        if command:
            child.start(plane.pool.target, os.environ)
        beside(reloader.run(signals.hangup))
        watch.apply(settings)
        beside(reloader.run_watching())
        if not lifecycle.draining:
            lifecycle.move(State.READY)
        log.info("unbuffer %s: upstream %s (compiled: %s)", __version__, settings.upstream.url, YES_OR_NO)
        advice.tell()
        beside(advice.ask_child(upstream) if command else advice.ask(upstream))
        # What exists by now stays: looking through it would only make the garbage collector's pauses longer.
        gc.collect()
        gc.freeze()
        loop_lag.start()
        if push is not None:
            push.start()
        await lifecycle.ending.wait()
        plane.clients.announce_end()
        await delay(plane.settings.drain.delay, signals.hurry, child.ended)
        log.info("draining: running streams have up to %gs (drain.timeout)", plane.settings.drain.timeout)
        await drain(listeners, plane, signals)
        await child.stop(plane.settings.exec.grace, signals.hurry)
        lifecycle.move(State.STOPPED)
        log.info("stopped")
        return signals.code or (0 if child.ended_as_told else child.code)
