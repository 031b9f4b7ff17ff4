"""The admin port: health, readiness, metrics and the live page.

What changes something takes POST from this machine, as with Envoy and Linkerd.
"""

import ipaddress
from collections.abc import Awaitable, Callable

from unbuffer import __version__
from unbuffer.observe.exposition import Exposition
from unbuffer.relay.trust import address_of
from unbuffer.server.aiohttp_server import Handler, web
from unbuffer.server.health import readiness
from unbuffer.server.lifecycle import Lifecycle
from unbuffer.server.upstream_probe import UpstreamProbe

_INDEX = f"""\
unbuffer {__version__}

/livez    200 while the process runs; also as /healthz
/readyz   200 when it listens, the upstream takes connections and no drain has begun; ?verbose shows each check
/metrics  for Prometheus, as text or OpenMetrics
/streams  the streams as they run, for a browser
/drain    POST from this machine begins the graceful end of the process, as SIGTERM does
/reload   POST from this machine reads the settings again, as SIGHUP does; 500 with the reasons when nothing has changed
"""


Reload = Callable[[], Awaitable[tuple[bool, str]]]
"""Reads the settings again. Whether they are in force, and what there is to say of it."""


def build_admin(lifecycle: Lifecycle, probe: UpstreamProbe, exposition: Exposition, reload: Reload) -> web.Application:
    """The application of the admin port."""
    pages = _Pages(lifecycle, probe, exposition, reload)
    # Probes and scrapes come every few seconds: a line for each would bury the log of the streams.
    admin = web.Application(middlewares=[_refuse_rebinding], handler_args={"access_log": None})
    admin.on_response_prepare.append(_add_headers)
    admin.router.add_get("/", pages.index)
    admin.router.add_get("/livez", pages.livez)
    admin.router.add_get("/healthz", pages.livez)
    admin.router.add_get("/readyz", pages.readyz)
    admin.router.add_get("/metrics", pages.metrics)
    admin.router.add_post("/drain", pages.drain)
    admin.router.add_post("/reload", pages.reload)
    return admin


class _Pages:
    """What the paths answer."""

    def __init__(self, lifecycle: Lifecycle, probe: UpstreamProbe, exposition: Exposition, reload: Reload) -> None:
        self._lifecycle = lifecycle
        self._probe = probe
        self._exposition = exposition
        self._reload = reload

    async def index(self, request: web.Request) -> web.Response:
        return web.Response(text=_INDEX)

    async def livez(self, request: web.Request) -> web.Response:
        """Whether the event loop turns. The upstream plays no part: restarting unbuffer would not mend it."""
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        """Whether to send requests here."""
        ready, text = await readiness(self._lifecycle, self._probe, reasons=True)
        if ready and "verbose" not in request.query:
            text = "ok\n"
        return web.Response(text=text, status=200 if ready else 503)

    async def metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._exposition.render(", ".join(request.headers.getall("Accept", ())))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def drain(self, request: web.Request) -> web.Response:
        """Begin the graceful end. From this answer on the process is not ready; who asks again changes nothing."""
        _only_from_here(request, "drain")
        self._lifecycle.drain()
        return web.Response(text="draining\n")

    async def reload(self, request: web.Request) -> web.Response:
        """Read the settings again; the answer comes when they are in force, or says why they are not."""
        _only_from_here(request, "reload")
        well, text = await self._reload()
        return web.Response(text=f"{text}\n", status=200 if well else 500)


def _only_from_here(request: web.Request, to: str) -> None:
    """Raises HTTPForbidden for other machines and for web pages."""
    # A web page can send a POST to any address, and its browser then says where the page came from.
    if not _is_local(_peer(request)) or "Origin" in request.headers:
        raise web.HTTPForbidden(text=f"403: only a program on this machine may {to}\n")


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = "no-store"


@web.middleware
async def _refuse_rebinding(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Keep web pages out that made a name of their own resolve to this machine (DNS rebinding).

    A browser sends such a page's name as Host; an IP address and `localhost` cannot be such a name. Only a loopback
    peer is looked at: a browser on this machine, or at the other end of `kubectl port-forward`. Whoever comes over the
    network, as Prometheus and the kubelet do, may call this host what it likes.
    """
    peer = _peer(request)
    host = request.headers.get("Host")
    if host is not None and _is_loopback(peer) and not _cannot_be_rebound(host):
        raise web.HTTPMisdirectedRequest(
            text="421: on this machine, call the admin port localhost or by its IP address\n"
        )
    return await handler(request)


def _peer(request: web.Request) -> object:
    """The other side as the transport tells it: a tuple for TCP."""
    return request.transport.get_extra_info("peername") if request.transport else None


def _is_local(peer: object) -> bool:
    """Whether the peer runs on this machine. The file's permissions say who may use a Unix socket."""
    return peer is not None and (not isinstance(peer, tuple) or _is_loopback(peer))


def _is_loopback(peer: object) -> bool:
    """No browser speaks to a Unix socket."""
    return isinstance(peer, tuple) and address_of(peer).is_loopback


def _cannot_be_rebound(host: str) -> bool:
    """Whether this Host value, port or not, holds an IP address or `localhost`."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
