"""The live page on the admin port: its files from the package, and its updates as server-sent events.

The page runs no code and loads nothing but its own; what it is told is for this origin alone.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncGenerator
from functools import cache
from pathlib import Path

from unbuffer import __version__, observe
from unbuffer.observe.heatmap import COLUMN
from unbuffer.observe.live import HELLO, WATCHERS, Live, Watcher
from unbuffer.observe.news import event
from unbuffer.record import Record
from unbuffer.relay.silences import blocked
from unbuffer.server.lifecycle import Lifecycle
from unbuffer.server.pages import Answer, Page, Pages, Refused, Request
from unbuffer.server.upstream_check import UpstreamCheck

PAUSE = 1.0
"""Seconds between two updates."""

ANSWER = 0.1
"""Seconds that an update waits for the upstream to take a connection or refuse it. Later ones tell what came of it."""

_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_ASSETS = ("page.css", "page.js", "table.js", "picture.js", "heatmap.js", "filter.js", "format.js", "icon.svg")

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


def add_live_page(pages: Pages, live: Live, lifecycle: Lifecycle, upstream: UpstreamCheck) -> None:
    """Serve the page under /streams."""
    page = _LivePage(live, lifecycle, upstream)
    pages.add("/streams", _file("page.html"))
    pages.add("/streams/updates", page.updates, "GET")
    for name in _ASSETS:
        pages.add(f"/streams/{name}", _file(name))
    pages.beside.append(page.columns)


class _LivePage:
    """Its updates."""

    def __init__(self, live: Live, lifecycle: Lifecycle, upstream: UpstreamCheck) -> None:
        self._live = live
        self._lifecycle = lifecycle
        self._upstream = upstream
        self._why_not = ""
        """Why it takes no connections."""
        self._asking: asyncio.Task[None] | None = None
        self._hello = HELLO.of(socket.gethostname(), __version__, time.time())

    async def updates(self, request: Request) -> Answer:
        """An update at once and then one a second, until the page is closed or the process ends.

        ?stream= is the number of the stream whose picture is wanted.
        """
        # Another site's page could not read the updates, but it could take up the places of those who may.
        site = request.field(b"sec-fetch-site")
        if request.field(b"origin") is not None or site not in (None, "same-origin", "none"):
            raise Refused(403, "only for the page on this port")
        running = await self._live.newest()
        if self._live.full:
            raise Refused(503, f"{WATCHERS} pages are open already")
        number = request.query.get("stream", "")
        wanted = int(number) if number.isdecimal() and len(number) < 16 else 0
        return Answer(self._tell(wanted, running, request.over), content_type="text/event-stream", fields=_HEADERS)

    async def _tell(self, wanted: int, running: list[Record], over: asyncio.Event) -> AsyncGenerator[bytes, None]:
        # A page that reads nothing is left in the midst of it, and makes room for another.
        watcher = self._live.watch(wanted, running)
        try:
            yield event("hello", self._hello)
            while not over.is_set():
                yield await self._news(watcher)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), PAUSE)
        finally:
            self._live.leave(watcher)

    async def _news(self, watcher: Watcher) -> bytes:
        # An upstream that does not even refuse holds up no update.
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        await asyncio.wait([self._asking], timeout=ANSWER)
        running = await self._live.newest()
        now, state = time.monotonic(), self._lifecycle.state.value
        news = self._live.news(
            watcher,
            running,
            state,
            now,
            time.time() - now,
            upstream=self._why_not,
            blocked=blocked(running, now),
        )
        return event("news", news)

    async def _ask(self) -> None:
        """As /readyz asks, and no more often than once a second, whoever looks."""
        _, self._why_not = await self._upstream.check()

    async def columns(self) -> None:
        """Count the heatmap's columns for as long as the port is there."""
        try:
            while True:
                await asyncio.sleep(COLUMN)
                self._live.turn()
        finally:
            if self._asking is not None:
                self._asking.cancel()
                await asyncio.wait([self._asking])


def _file(name: str) -> Page:
    content_type = f"{_TYPES[name.rpartition('.')[2]]}; charset=utf-8"

    async def page(request: Request) -> Answer:
        return Answer(_read(name), content_type=content_type, fields=_HEADERS)

    return page


_PAGE = Path(observe.__file__).parent / "page"


@cache
def _read(name: str) -> bytes:
    return (_PAGE / name).read_bytes()
