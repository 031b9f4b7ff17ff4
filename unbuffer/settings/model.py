"""The shape of the settings: every default stands here, once, with its reason.

The annotated file config/unbuffer.yaml and the JSON Schema are held to this module by tests. Durations are seconds,
sizes are bytes; 0 switches an optional deadline or limit off.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Duration = Annotated[float, Meta(ge=0, extra={"form": "duration"})]
"""Seconds; written as `15s`, `250ms`, `2m`, `1h`, or 0."""

Size = Annotated[int, Meta(ge=0, extra={"form": "size"})]
"""Bytes; written as `64KiB`, `1MiB`, `2GiB`, or a plain number."""

Address = Annotated[str, Meta(min_length=1, extra={"form": "address"})]
"""`host:port`, `[::1]:port`, `:port` (all interfaces), or `unix:/path/to.sock`."""

Path = Annotated[str, Meta(extra={"form": "path"})]
"""A file on this machine; empty = not set."""


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One block of the file. Immutable: a reload makes a new object."""


class ListenTLS(Section, frozen=True):
    """TLS for clients, on when a certificate is given."""

    certificate: Path = ""
    """PEM file with the certificate chain."""
    key: Path = ""
    """PEM file with the private key; empty = in the certificate file."""


class Listen(Section, frozen=True):
    """Where clients and load balancers connect."""

    address: tuple[Address, ...] = ("127.0.0.1:8080",)
    """One address or a list of them."""
    tls: ListenTLS = ListenTLS()
    backlog: Annotated[int, Meta(ge=1)] = 1024
    """Connections the kernel queues before they are accepted; nginx has 511, HAProxy its maxconn."""
    half_close: bool = False
    """Whether a client that closes its sending side still waits for the answer. By default it has left, as with
    nginx and HAProxy: the upstream stops generating for nobody."""


class Admin(Section, frozen=True):
    """Health, readiness and metrics, on a port of their own."""

    address: Address = "127.0.0.1:4198"
    """`off` switches the admin port off."""


class UpstreamTLS(Section, frozen=True):
    """TLS towards an https:// upstream."""

    verify: bool = True
    """Check the certificate and its name. Switch off only for a test."""
    ca: Path = ""
    """PEM file with the certificate authorities to trust; empty = the system's."""
    certificate: Path = ""
    """PEM file with the client certificate to present."""
    key: Path = ""
    """PEM file with its private key; empty = in the certificate file."""
    server_name: str = ""
    """The name to ask for and to check; empty = the host in the URL."""


class Upstream(Section, frozen=True):
    """The application behind unbuffer."""

    url: Annotated[str, Meta(min_length=1, extra={"form": "upstream"})] = "http://127.0.0.1:8000"
    """`http://host:port`, `https://host:port`, or `unix:/path/to.sock`."""
    tls: UpstreamTLS = UpstreamTLS()
    wait: Duration = 0.0
    """How long a request is held while the upstream refuses connections; 0 = answer 503 at once."""
    keep_alive: Duration = 4.0
    """How long a connection at rest is kept. Below uvicorn's 5 s, so that it never closes under a request."""
    idle_connections: Annotated[int, Meta(ge=0)] = 1024
    """Connections kept at rest at the most."""


class Timeouts(Section, frozen=True):
    """Deadlines, each counted from the last activity of its kind. None limits a stream's total time."""

    connect: Duration = 5.0
    """To reach the upstream, TLS handshake included. A sidecar's neighbour answers in microseconds."""
    request_head: Duration = 15.0
    """From the first byte of a request to the end of its head: slow senders are cut."""
    request_body: Duration = 60.0
    """Silence of the client inside a request body; nginx has 60 s."""
    response_head: Duration = 0.0
    """From the request's end to the response head. Off: a reasoning model may think for minutes."""
    silence: Duration = 0.0
    """Silence of the upstream inside a response body. Off for the same reason."""
    client_stall: Duration = 60.0
    """How long a client may take nothing of what waits for it; nginx's send_timeout has 60 s."""
    keep_alive: Duration = 620.0
    """How long an idle client connection is kept. Longer than any load balancer in front: AWS ALB keeps 60 s, Google
    Cloud's 600 s, and the side that gives up first must be theirs."""


class Limits(Section, frozen=True):
    """Bounds that answer with a status of their own. 0 = no limit, where that is said."""

    head: Annotated[int, Meta(ge=1024, le=1 << 20, extra={"form": "size"})] = 32768
    """Bytes of a request or response head, trailers too (431, or 502 for the upstream's)."""
    target: Annotated[int, Meta(ge=256, le=1 << 20, extra={"form": "size"})] = 8192
    """Bytes of a request target (414). RFC 9112, section 3, asks for 8000 at least."""
    headers: Annotated[int, Meta(ge=1)] = 100
    """Header fields of a head (431, or 502 for the upstream's)."""
    body: Size = 0
    """Bytes of a request body (413); 0 = no limit: uploads are streamed and cost no memory."""
    streams: Annotated[int, Meta(ge=0)] = 0
    """Streams at the same time (503); 0 = no limit."""
    connections: Annotated[int, Meta(ge=0)] = 10000
    """Client connections at the same time (503, then closed); 0 = no limit."""


class Forwarded(Section, frozen=True):
    """What the upstream learns of the client."""

    trusted_proxies: tuple[Annotated[str, Meta(extra={"form": "network"})], ...] = ()
    """Addresses or networks (CIDR) of proxies in front whose X-Forwarded-* and Forwarded fields are kept and added to.
    Empty: nobody is trusted and the fields are replaced. `unix` trusts everyone who connects to a Unix socket."""
    rfc7239: bool = False
    """Also send `Forwarded` (RFC 7239)."""


class Drain(Section, frozen=True):
    """The graceful end, on SIGTERM or SIGINT. A second signal ends at once."""

    timeout: Duration = 30.0
    """How long running streams may go on. Kubernetes kills after 30 s unless told otherwise."""


class Log(Section, frozen=True):
    """One line for every stream, at its end, to standard output; everything else to standard error."""

    format: Literal["json", "text", "off"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Of the process log on standard error."""


class Metrics(Section, frozen=True):
    """What /metrics says and how much of it."""

    max_routes: Annotated[int, Meta(ge=1, le=1000)] = 50
    """Route names that become label values; what comes later counts as `_other`."""


class RouteTimeouts(Section, frozen=True):
    """Deadlines of one route; a missing one is inherited."""

    request_body: Duration | None = None
    response_head: Duration | None = None
    silence: Duration | None = None
    client_stall: Duration | None = None


class RouteLimits(Section, frozen=True):
    """Limits of one route; a missing one is inherited."""

    body: Size | None = None


class Route(Section, frozen=True):
    """A named class of requests. The first one that matches is taken.

    Exactly one of `prefix` and `glob` is given. A prefix matches whole path segments: `/v1` matches `/v1` and
    `/v1/chat` but not `/v10`. In a glob `*` stands for anything inside a segment and `**` for anything.
    """

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.:/{}-]{0,63}$")]
    prefix: Annotated[str, Meta(pattern="^/")] | None = None
    glob: Annotated[str, Meta(pattern="^/")] | None = None
    methods: tuple[Annotated[str, Meta(pattern="^[A-Z-]+$")], ...] = ()
    """Empty = every method."""
    timeouts: RouteTimeouts = RouteTimeouts()
    limits: RouteLimits = RouteLimits()
    decode: bool | None = None
    """Whether compressed responses are decoded on this route; missing = as `decode` says."""


class Settings(Section, frozen=True):
    """Everything a user may set."""

    listen: Listen = Listen()
    upstream: Upstream = Upstream()
    admin: Admin = Admin()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    decode: bool = True
    """Decode responses that the upstream compressed although it was asked not to."""
    forwarded: Forwarded = Forwarded()
    drain: Drain = Drain()
    log: Log = Log()
    metrics: Metrics = Metrics()
    routes: tuple[Route, ...] = ()


SHORT_FORMS = {"listen": "address", "upstream": "url", "admin": "address"}
"""A section written as one plain value sets this field: `upstream: http://127.0.0.1:8000`."""
