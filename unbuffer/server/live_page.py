"""The live page on the admin port: its files from the package, and its updates as server-sent events.

The page runs no code and loads nothing but its own; what it is told is for this origin alone.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

from unbuffer import __version__, observe
from unbuffer.observe.heatmap import COLUMN
from unbuffer.observe.live import HELLO, WATCHERS, Live, Watcher
from unbuffer.observe.news import event
from unbuffer.relay.silences import blocked
from unbuffer.server.aiohttp_server import web
from unbuffer.server.lifecycle import Lifecycle
from unbuffer.server.upstream_probe import UpstreamProbe

PAUSE = 1.0
"""Seconds between two updates."""

ANSWER = 0.1
"""Seconds that an update waits for the upstream to take a connection or refuse it. Later ones tell what came of it."""

PATIENCE = 10.0
"""Seconds for a page to take an update. One that does not is closed, and makes room for another."""

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


def add_live_page(admin: web.Application, live: Live, lifecycle: Lifecycle, probe: UpstreamProbe) -> None:
    """Serve the page under /streams."""
    page = _LivePage(live, lifecycle, probe)
    admin.router.add_get("/streams", page.index)
    admin.router.add_get("/streams/updates", page.updates, allow_head=False)
    admin.router.add_get(r"/streams/{name:[a-z]+\.[a-z]+}", page.asset)
    admin.cleanup_ctx.append(page.columns)
    admin.on_shutdown.append(page.end)


class _LivePage:
    """What the paths answer."""

    def __init__(self, live: Live, lifecycle: Lifecycle, probe: UpstreamProbe) -> None:
        self._live = live
        self._lifecycle = lifecycle
        self._probe = probe
        self._upstream = ""
        """Why it takes no connections."""
        self._asking: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self._hello = HELLO.of(socket.gethostname(), __version__, time.time())

    async def index(self, request: web.Request) -> web.Response:
        return _file("page.html")

    async def asset(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in _ASSETS:
            raise web.HTTPNotFound
        return _file(name)

    async def updates(self, request: web.Request) -> web.StreamResponse:
        """An update at once and then one a second, until the page is closed or the process ends.

        ?stream= is the number of the stream whose picture is wanted.
        """
        # Another site's page could not read the updates, but it could take up the places of those who may.
        if "Origin" in request.headers or request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise web.HTTPForbidden(text="403: only for the page on this port\n")
        running = await self._live.newest()
        if self._live.full:
            raise web.HTTPServiceUnavailable(text=f"503: {WATCHERS} pages are open already\n")
        number = request.query.get("stream", "")
        watcher = self._live.watch(int(number) if number.isdecimal() and len(number) < 16 else 0, running)
        try:
            return await self._tell(request, watcher)
        finally:
            self._live.leave(watcher)

    async def _tell(self, request: web.Request, watcher: Watcher) -> web.StreamResponse:
        response = web.StreamResponse(headers=_HEADERS | {"Content-Type": "text/event-stream"})
        # A page that is gone, or that reads nothing.
        with contextlib.suppress(ConnectionError, TimeoutError):
            await response.prepare(request)
            await _write(response, event("hello", self._hello))
            while not self._ending.is_set():
                await _write(response, await self._news(watcher))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), PAUSE)
        return response

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
            upstream=self._upstream,
            blocked=blocked(running, now),
        )
        return event("news", news)

    async def _ask(self) -> None:
        """As /readyz asks, and no more often than once a second, whoever looks."""
        _, self._upstream = await self._probe.check()

    async def columns(self, admin: web.Application) -> AsyncIterator[None]:
        """Count the heatmap's columns for as long as the port is there."""

        async def count() -> None:
            while True:
                await asyncio.sleep(COLUMN)
                self._live.turn()

        task = asyncio.create_task(count())
        yield
        task.cancel()
        asked = [] if self._asking is None else [self._asking]
        for asking in asked:
            asking.cancel()
        await asyncio.wait([task, *asked])

    async def end(self, admin: web.Application) -> None:
        """The port closes: no page may hold it."""
        self._ending.set()


async def _write(response: web.StreamResponse, data: bytes) -> None:
    async with asyncio.timeout(PATIENCE):
        await response.write(data)


def _file(name: str) -> web.Response:
    content_type = _TYPES[name.rpartition(".")[2]]
    return web.Response(body=_read(name), content_type=content_type, charset="utf-8", headers=_HEADERS)


_PAGE = Path(observe.__file__).parent / "page"


@cache
def _read(name: str) -> bytes:
    return (_PAGE / name).read_bytes()
