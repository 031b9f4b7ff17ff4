"""The shape of the settings: every default stands here, once, with its reason.

What a single route may have of its own is in `route.py`. The annotated file config/unbuffer.yaml and the JSON Schema
are held to both by tests. Durations are seconds, sizes are bytes; 0 switches an optional deadline or limit off.
"""

from typing import Annotated, Literal

from msgspec import Meta

from unbuffer.settings.kinds import (
    Address,
    Collector,
    Decode,
    Duration,
    EventType,
    HeartbeatShape,
    Padding,
    Path,
    Section,
    Size,
    Token,
)
from unbuffer.settings.resume import Resume
from unbuffer.settings.route import Route


class ListenTLS(Section, frozen=True):
    """TLS for clients, on when a certificate is given."""

    certificate: Path = ""
    """PEM file with the certificate chain."""
    key: Path = ""
    """PEM file with the private key; empty = in the certificate file."""


class Listen(Section, frozen=True):
    """Where clients and load balancers connect."""

    address: tuple[Address, ...] = ("127.0.0.1:8080",)
    """One address or a list of them. `systemd` takes the sockets that a service manager passes (LISTEN_FDS)."""
    tls: ListenTLS = ListenTLS()
    http2: bool = True
    """Whether HTTP/2 is spoken beside HTTP/1.1: over TLS where the client asks for it (ALPN), in clear text to clients
    that begin with it (prior knowledge, as load balancers do). It costs nothing until one does. Browsers speak it over
    TLS only; there it lifts their limit of six connections per host."""
    backlog: Annotated[int, Meta(ge=1, le=65535)] = 1024
    """Connections the kernel queues before they are accepted, as many as it can (net.core.somaxconn); nginx has 511,
    HAProxy its maxconn."""
    half_close: bool = False
    """Whether a client that closes its sending side still waits for the answer. By default it has left, as with
    nginx and HAProxy: the upstream stops generating for nobody."""
    proxy_protocol: bool = False
    """Whether every connection begins with a PROXY header, version 1 or 2, that names the client. It is required then,
    never guessed at, and taken from `forwarded.trusted_proxies` only; everybody else is refused."""
    proxy_scheme: Literal["auto", "http", "https"] = "auto"
    """What such a client's scheme is: `auto` = what the header says (version 2, PP2_TYPE_SSL: `send-proxy-v2-ssl` of
    HAProxy), else https on `proxy_https_ports`, else http. A fixed one is for proxies that end TLS and do not tell: AWS
    NLB is one. Without it an application makes http:// links and redirects for clients that came over https."""
    proxy_https_ports: tuple[Annotated[int, Meta(ge=1, le=65535)], ...] = ()
    """Ports of the proxy on which it ends TLS, for a header that does not tell. Every header names the port that its
    client connected to. None: that 443 is https is likely, but a guess."""
    health: bool = False
    """Whether /livez and /readyz are answered here as well, for platforms that check the port of the application: App
    Engine flexible is one. The application never sees these two paths then."""


class Admin(Section, frozen=True):
    """Health, readiness, metrics and the live page, on a port of their own."""

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
    server_name: Annotated[str, Meta(extra={"form": "host"})] = ""
    """The name to ask for and to check; empty = the host in the URL."""


class Upstream(Section, frozen=True):
    """The application behind unbuffer."""

    url: Annotated[str, Meta(min_length=1, extra={"form": "upstream"})] = "http://127.0.0.1:8000"
    """`http://host:port`, `https://host:port`, or `unix:/path/to.sock`."""
    tls: UpstreamTLS = UpstreamTLS()
    wait: Duration = 0.0
    """How long a request is held while the upstream refuses connections; 0 = answer 503 at once."""
    wait_streams: Duration = 30.0
    """The same for a request that accepts an event-stream, where it is longer. A browser's EventSource comes back when
    its connection breaks, and never after a 503: held, it does not notice a restart of the application. A GET that
    still fails to reach it then has its connection broken, as without unbuffer; a POST gets its 503. 0 = both get the
    answer that all get, after `wait`."""
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
    tcp_user: Duration = 75.0
    """How long the host of a peer may acknowledge nothing until its connection is lost; without it Linux tries for 15
    minutes, and a silent connection lasts for ever. linkerd has 30 s for its TCP_USER_TIMEOUT. Here it is longer than
    client_stall: Linux counts a peer that is there and takes nothing as well."""


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
    body_rate: Size = 10
    """Bytes a second that a request body brings on average, once timeouts.request_body has passed and as long as the
    response has not begun (408); 0 = no limit. Ten times a byte a second, the drip of a slow sender; far below Kestrel
    (240) and Apache (500), for clients that send an event now and then."""
    streams: Annotated[int, Meta(ge=0)] = 0
    """Streams at the same time (503); 0 = no limit."""
    http2_streams: Annotated[int, Meta(ge=1, le=1000)] = 100
    """Streams at the same time on one connection of HTTP/2; further ones are refused unprocessed, which clients try
    again. RFC 9113 recommends 100 at least, and load balancers open as many connections as they need."""
    http2_frames: Annotated[int, Meta(ge=100)] = 500
    """Frames on one connection of HTTP/2 that carry nothing forward: resets, pings, settings, empty ones. So many at
    once and a tenth of them every second; whoever sends more is told to calm down (ENHANCE_YOUR_CALM) and cut. Clients
    that were tried send a few a minute; an attack (rapid reset, CONTINUATION flood) needs tens of thousands a second.
    The dearest, a stream that is opened and reset, takes 160 µs: 500 of them in one read keep the others for 80 ms."""
    connections: Annotated[int, Meta(ge=0)] = 10000
    """Client connections at the same time (503, then closed); 0 = no limit. Never more than half of the open files
    that the system allows: a stream has two connections."""


class Forwarded(Section, frozen=True):
    """What the upstream learns of the client."""

    trusted_proxies: tuple[Annotated[str, Meta(extra={"form": "network"})], ...] = ()
    """Addresses or networks (CIDR) of proxies in front whose X-Forwarded-* and Forwarded fields are kept and added to.
    Empty: nobody is trusted and the fields are replaced. `unix` trusts everyone who connects to a Unix socket."""
    rfc7239: bool = False
    """Also send `Forwarded` (RFC 7239)."""


class SSE(Section, frozen=True):
    """Event-streams: what is added, between two events and nowhere else, and what of them is no content."""

    heartbeat: Duration = 15.0
    """Time without an event or a keep-alive of the upstream's own after which something is sent that is no event.
    Azure Application Gateway cuts after 20 s, AWS ALB and nginx after 60."""
    heartbeat_shape: HeartbeatShape = "auto"
    """What is sent. No shape is read rightly by every library that is in use (tests/clients/test_heartbeat_shapes.py),
    hence auto: a comment to clients that ask for text/event-stream, two empty lines to others, and to them a comment
    as well once the stream has an `id:`."""
    heartbeat_padding: Padding = 0
    """Bytes that it is filled up to, 4 KiB at the most; 0 = as short as can be. For whoever in front passes
    nothing on until so many bytes are there."""
    opening: bool = False
    """Whether a heartbeat follows a head at once that comes before any byte of its body: it opens EventSource where a
    hop holds the head until then. Off: whoever sees the first byte takes it for the application's."""
    keepalive_events: tuple[EventType, ...] = ()
    """Types of events that are keep-alives although they have data, such as Anthropic's `ping`. Comments, empty lines
    and events without data always are."""
    error_event: bool = False
    """Whether an `error` event tells of a failure before the connection breaks; clients must expect it."""


class CORS(Section, frozen=True):
    """Pages of other origins that may read what unbuffer itself answers: a browser hides an answer without these fields
    from them, status and all. What the application answers is the application's to open. Answers that are given
    before the head was read (414, 431, 503 beyond limits.connections) have none, as nobody knows yet who asks."""

    origins: tuple[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+.-]*://[a-z0-9._\[\]:-]+$")], ...] = ()
    """As browsers write them in `Origin`. There is no `*`: named origins may read the answer to a request with
    credentials as well, and their preflights, which carry none, reach the application without a token."""


class Credentials(Section, frozen=True):
    """A query parameter that goes up as a header field: a browser's EventSource and WebSocket can set no field."""

    query: Annotated[str, Meta(pattern="^[A-Za-z0-9._~-]{0,64}$")] = ""
    """The name of the parameter, decoded; empty = none. It is taken out of the target, so that no log has it."""
    header: Annotated[str, Meta(pattern="^[A-Za-z0-9-]{1,64}$")] = "Authorization"
    """The field that the upstream gets its value in."""
    scheme: Annotated[str, Meta(pattern="^[A-Za-z0-9-]{0,64}$")] = "Bearer"
    """What stands before the value; empty = nothing."""


class Authorization(Section, frozen=True):
    """Bearer tokens that unbuffer itself asks for (RFC 6750); 401 without a valid one."""

    required: bool = False
    """Whether a request needs one of the tokens."""
    tokens: tuple[Token, ...] = ()
    """The tokens; several are valid at a time, so that they can be rotated. Made for the environment:
    UNBUFFER_AUTHORIZATION__TOKENS."""
    tokens_file: Path = ""
    """A file with more of them, one a line; # begins a comment."""
    forward: bool = False
    """Whether the upstream gets the token as well. It is the sidecar's, and what the upstream never has it cannot log;
    Envoy's jwt_authn takes it away, too."""


class Drain(Section, frozen=True):
    """The graceful end, on SIGTERM, SIGINT or `unbuffer drain`. A second signal ends at once."""

    delay: Duration = 0.0
    """How long new connections are still served, while readiness says no: for load balancers that need to notice. A
    native sidecar of Kubernetes is told last and needs none."""
    timeout: Duration = 30.0
    """How long running streams may go on. Kubernetes kills after 30 s unless told otherwise."""


class Exec(Section, frozen=True):
    """The application that `unbuffer exec` runs."""

    grace: Duration = 10.0
    """How long the application may take to end once the streams are over; then it is killed. Docker has 10 s, too."""


class Log(Section, frozen=True):
    """One line for every stream, at its end, to standard output; everything else to standard error."""

    format: Literal["json", "text", "off"] = "json"
    keys: Literal["otel", "ecs", "plain"] = "otel"
    """Whose names the keys of a JSON line have: OpenTelemetry's semantic conventions, the Elastic Common Schema, or
    short ones of unbuffer's own."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """Of the process log on standard error."""


class Metrics(Section, frozen=True):
    """What /metrics says and how much of it."""

    max_routes: Annotated[int, Meta(ge=1, le=1000)] = 50
    """Route names that become label values; what comes later counts as `_other`."""
    openapi: Annotated[str, Meta(pattern="^(off|/[!-~]*)$")] = "/openapi.json"
    """Where the upstream describes its paths (OpenAPI 3): a stream that no route matches has the path's template as
    its route name, `/chat/{id}`. `off` = it is not asked."""
    otlp: Collector = "off"
    """Where metrics are pushed, as OTLP over HTTP, for where nobody scrapes; `/v1/metrics` where the URL has no path.
    `env` = where OpenTelemetry's own variables say. Needs the extra `otel`."""
    otlp_interval: Duration = 0.0
    """Time between two pushes; 0 = as OTEL_METRIC_EXPORT_INTERVAL says, or a minute, OpenTelemetry's own default."""
    otlp_temporality: Literal["env", "cumulative", "delta", "lowmemory"] = "env"
    """Whether counts are all since the start, as Prometheus wants them, or those since the last push. `env` = as
    OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE says, or cumulative."""


class Tracing(Section, frozen=True):
    """A span of OpenTelemetry for every stream, at its end. `traceparent` goes to the upstream as it came, always."""

    otlp: Collector = "off"
    """Where spans are sent, as OTLP over HTTP; `/v1/traces` where the URL has no path. `env` = where OpenTelemetry's
    own variables say. Needs the extra `otel`."""


class Probe(Section, frozen=True):
    """A paced test stream that unbuffer answers itself, for `unbuffer check`: it crosses every hop in front of it."""

    enabled: bool = False
    """Whether there is one: to everybody who reaches `path`, unless a token is asked for."""
    path: Annotated[str, Meta(pattern=r"^/[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*$")] = "/_unbuffer/probe"
    """Where it is; the application never sees this path then."""
    tokens: tuple[Token, ...] = ()
    """The bearer tokens that it asks for, in place of those of `authorization`; empty = theirs, where they are asked
    for. Made for the environment: UNBUFFER_PROBE__TOKENS."""
    streams: Annotated[int, Meta(ge=1, le=1000)] = 8
    """Probe streams at the same time (503). A check runs five at a time; each lasts a minute and has 1 MiB at the
    most."""


class Settings(Section, frozen=True):
    """Everything a user may set."""

    listen: Listen = Listen()
    upstream: Upstream = Upstream()
    admin: Admin = Admin()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    decode: Decode = "streams"
    """Which responses that the upstream compressed, although it was asked not to, are decoded. `streams`: those of
    unknown length, without `no-transform` of the upstream, that are no files (an archive by Content-Type, an
    attachment); a body with a length is complete, so nothing in it is held back, and a download stays as it is.
    `always`, `never`."""
    sse: SSE = SSE()
    resume: Resume = Resume()
    server_timing: bool = False
    """Whether responses tell how long the upstream's head took (`Server-Timing`). Off: it is nobody else's business."""
    proxy_status_details: bool = False
    """Whether answers of unbuffer's own and error events tell clients what exactly happened between unbuffer and the
    upstream. Off: that has addresses in it, and the access log has it in any case."""
    forwarded: Forwarded = Forwarded()
    cors: CORS = CORS()
    credentials: Credentials = Credentials()
    authorization: Authorization = Authorization()
    drain: Drain = Drain()
    exec: Exec = Exec()
    log: Log = Log()
    metrics: Metrics = Metrics()
    tracing: Tracing = Tracing()
    reload: Literal["asked", "watch"] = "asked"
    """When the settings are read again: when somebody asks for it (SIGHUP, `unbuffer reload`), or also when a file that
    a reload reads has changed on disk. Not by itself: what is edited would be in force before it is finished."""
    probe: Probe = Probe()
    routes: tuple[Route, ...] = ()


SHORT_FORMS = {"listen": "address", "upstream": "url", "admin": "address", "resume.store": "url", "probe": "enabled"}
"""A section written as one plain value sets this field: `upstream: http://127.0.0.1:8000`."""
