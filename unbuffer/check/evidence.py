"""What the head of a response tells of the hops that it came through. Nobody is named without such a field."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from unbuffer.check.observation import Observation


@dataclass(frozen=True, slots=True)
class Hop:
    """Somebody on the way. vendor: as a `Signature` names it. field: what says so, `Server: nginx/1.22`."""

    vendor: str
    field: str


_SERVERS = (
    ("nginx", "nginx"), ("openresty", "nginx"), ("tengine", "nginx"), ("envoy", "Envoy"), ("istio-envoy", "Envoy"),
    ("caddy", "Caddy"), ("apache", "Apache httpd"), ("lighttpd", "lighttpd"), ("varnish", "Varnish"),
    ("haproxy", "HAProxy"), ("traefik", "Traefik"), ("cloudflare", "Cloudflare"), ("cloudfront", "CloudFront"),
    ("google frontend", "Google Frontend"), ("awselb", "AWS ALB"), ("akamai", "Akamai"), ("litespeed", "LiteSpeed"),
    ("microsoft-iis", "IIS"), ("microsoft-azure-application-gateway", "Azure Application Gateway"),
)  # fmt: skip
"""How the Server field begins of what stands in front of applications."""

_APPLICATION_SERVERS = (
    "uvicorn",
    "hypercorn",
    "granian",
    "gunicorn",
    "waitress",
    "werkzeug",
    "daphne",
    "cheroot",
    "wsgi",
)

# A field that only one of them sends, by its name.
_OWN_FIELDS = {
    "cf-ray": "Cloudflare",
    "x-amz-cf-id": "CloudFront",
    "x-varnish": "Varnish",
    "x-envoy-upstream-service-time": "Envoy",
    "x-litespeed-cache": "LiteSpeed",
    "x-fastly-request-id": "Fastly",
    "x-vercel-id": "Vercel",
    "x-azure-ref": "Azure Front Door",
    "fly-request-id": "Fly.io",
    "x-render-origin-server": "Render",
}
_VIA = (("caddy", "Caddy"), ("varnish", "Varnish"), ("google", "Google Cloud load balancer"), ("vegur", "Heroku"),
        ("envoy", "Envoy"), ("squid", "Squid"), ("cloudfront", "CloudFront"), ("nginx", "nginx"),
        ("apache", "Apache httpd"), ("haproxy", "HAProxy"), ("heroku", "Heroku"))  # fmt: skip


def hops(seen: Observation) -> tuple[Hop, ...]:
    """The hops that have left a trace, each once, in no order."""
    found: dict[str, Hop] = {}
    for hop in _traces(seen):
        found.setdefault(hop.vendor, hop)
    return tuple(found.values())


def server(seen: Observation) -> str:
    """The application server, if the Server field names one."""
    value = seen.value("server")
    return value if value.lower().startswith(_APPLICATION_SERVERS) else ""


def _traces(seen: Observation) -> Iterator[Hop]:
    for value in seen.all("server"):
        for begin, vendor in _SERVERS:
            if value.lower().startswith(begin):
                yield Hop(vendor, f"Server: {value}")
    for name in ("Via", "Proxy-Status", "X-Cache"):
        for value in seen.all(name.lower()):
            for word, vendor in _VIA:
                if word in value.lower():
                    yield Hop(vendor, f"{name}: {value[:80]}")
    for name, value in seen.fields:
        if vendor := _OWN_FIELDS.get(name.lower(), ""):
            yield Hop(vendor, f"{name}: {value[:40]}")


NOTED = ("server", "via", "x-cache", "cf-ray", "cf-cache-status", "age", "alt-svc", "proxy-status", "server-timing",
         "content-encoding", "content-length", "transfer-encoding", "content-type", "cache-control", "incremental",
         "x-content-type-options")  # fmt: skip
"""Fields that a report shows: what tells of hops and of what they do."""


def noted(seen: Observation) -> tuple[tuple[str, str], ...]:
    """The fields that tell something, and all of X-Accel-*."""
    return tuple(
        (name, value[:120])
        for name, value in seen.fields
        if name.lower() in NOTED or name.lower().startswith("x-accel-") or name.lower() in _OWN_FIELDS
    )


_SECRET = re.compile(r"(?:^|[&;])(?:[^=&]*(?:token|key|secret|password|passwd|auth|signature|credential)[^=&]*)=", re.I)


def carries_credentials(query: str) -> bool:
    """Whether a query looks as if it had a credential in it: every log on the way has it, too."""
    return bool(_SECRET.search(query))
