"""The two waits of a drain, and what cuts each of them short."""

import asyncio
import contextlib
import logging

from unbuffer.relay.plane import Plane
from unbuffer.server.listeners import Listeners
from unbuffer.server.signals import Signals

log = logging.getLogger("unbuffer")


async def delay(seconds: float, *cut_short: asyncio.Event) -> None:
    """Go on serving all that comes, until the load balancers have noticed that this process is not ready."""
    if not seconds:
        return
    log.info("draining: new connections are served for %gs (drain.delay)", seconds)
    events = [asyncio.ensure_future(event.wait()) for event in cut_short]
    await asyncio.wait(events, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for event in events:
        event.cancel()


async def drain(listeners: Listeners, plane: Plane, signals: Signals) -> None:
    """Stop listening and wait for the streams; a second signal ends them."""
    drained = asyncio.ensure_future(listeners.drain())
    hurried = asyncio.ensure_future(signals.hurry.wait())
    await asyncio.wait((drained, hurried), return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not drained.done():
        log.info("second signal: ending every stream now")
        drained.cancel()
        await plane.clients.shutdown(0.0)
    with contextlib.suppress(asyncio.CancelledError):
        await drained
