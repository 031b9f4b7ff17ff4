"""The admin port: health, readiness, metrics and the live page.

What changes something takes POST from this machine, as with Envoy and Linkerd.
"""

import ipaddress
from collections.abc import Awaitable, Callable

from unbuffer import __version__
from unbuffer.observe.exposition import Exposition
from unbuffer.relay.trust import address_of
from unbuffer.server.health import readiness
from unbuffer.server.lifecycle import Lifecycle
from unbuffer.server.pages import Answer, Pages, Refused, Request
from unbuffer.server.upstream_check import UpstreamCheck

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


def build_admin(lifecycle: Lifecycle, upstream: UpstreamCheck, exposition: Exposition, reload: Reload) -> Pages:
    """The pages of the admin port. Probes and scrapes come every few seconds: none has a line in a log."""
    admin, pages = _Admin(lifecycle, upstream, exposition, reload), Pages(refuse_rebinding)
    pages.add("/", admin.index)
    pages.add("/livez", admin.livez)
    pages.add("/healthz", admin.livez)
    pages.add("/readyz", admin.readyz)
    pages.add("/metrics", admin.metrics)
    pages.add("/drain", admin.drain, "POST")
    pages.add("/reload", admin.reload, "POST")
    return pages


class _Admin:
    """What the paths answer."""

    def __init__(self, lifecycle: Lifecycle, upstream: UpstreamCheck, exposition: Exposition, reload: Reload) -> None:
        self._lifecycle = lifecycle
        self._upstream = upstream
        self._exposition = exposition
        self._reload = reload

    async def index(self, request: Request) -> Answer:
        return Answer(_INDEX.encode())

    async def livez(self, request: Request) -> Answer:
        """Whether the event loop turns. The upstream plays no part: restarting unbuffer would not mend it."""
        return Answer(b"ok\n")

    async def readyz(self, request: Request) -> Answer:
        """Whether to send requests here."""
        ready, text = await readiness(self._lifecycle, self._upstream, reasons=True)
        if ready and "verbose" not in request.query:
            text = "ok\n"
        return Answer(text.encode(), 200 if ready else 503)

    async def metrics(self, request: Request) -> Answer:
        body, content_type = self._exposition.render(request.field(b"accept") or "")
        return Answer(body, content_type=content_type)

    async def drain(self, request: Request) -> Answer:
        """Begin the graceful end. From this answer on the process is not ready; whoever asks again changes nothing."""
        _only_from_here(request, "drain")
        self._lifecycle.drain()
        return Answer(b"draining\n")

    async def reload(self, request: Request) -> Answer:
        """Read the settings again; the answer comes when they are in force, or says why they are not."""
        _only_from_here(request, "reload")
        well, text = await self._reload()
        return Answer(f"{text}\n".encode(), 200 if well else 500)


def _only_from_here(request: Request, to: str) -> None:
    """Raises Refused for other machines and for web pages."""
    # A web page can send a POST to any address, and its browser then says where the page came from.
    if not _is_local(request.peer) or request.field(b"origin") is not None:
        raise Refused(403, f"only a program on this machine may {to}")


def refuse_rebinding(request: Request) -> None:
    """Keep web pages out that made a name of their own resolve to this machine (DNS rebinding). Raises Refused.

    A browser sends such a page's name as Host; an IP address and `localhost` cannot be such a name. Only a loopback
    peer is looked at: a browser on this machine, or at the other end of `kubectl port-forward`. Whoever comes over the
    network, as Prometheus and the kubelet do, may call this host what it likes.
    """
    host = request.field(b"host")
    if host is not None and _is_loopback(request.peer) and not _cannot_be_rebound(host):
        raise Refused(421, "on this machine, call the admin port localhost or by its IP address")


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
