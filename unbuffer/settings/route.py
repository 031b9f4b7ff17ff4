"""A route, and what it may have in place of what all others have."""

from typing import Annotated

from msgspec import Meta

from unbuffer.settings.kinds import Decode, Duration, EventType, HeartbeatShape, Padding, Path, Section, Size
from unbuffer.settings.resume import RouteResume


class RouteTimeouts(Section, frozen=True):
    """Deadlines of one route; a missing one is inherited."""

    request_body: Duration | None = None
    response_head: Duration | None = None
    silence: Duration | None = None
    client_stall: Duration | None = None


class RouteLimits(Section, frozen=True):
    """Limits of one route; a missing one is inherited."""

    body: Size | None = None
    body_rate: Size | None = None


class RouteSSE(Section, frozen=True):
    """Event-streams of one route; what is missing is inherited."""

    heartbeat: Duration | None = None
    heartbeat_shape: HeartbeatShape | None = None
    heartbeat_padding: Padding | None = None
    opening: bool | None = None
    keepalive_events: tuple[EventType, ...] | None = None
    """In place of those above."""
    error_event: bool | None = None


class RouteCredentials(Section, frozen=True):
    """Credentials in the query on one route; what is missing is inherited."""

    query: Annotated[str, Meta(pattern="^[A-Za-z0-9._~-]{0,64}$")] | None = None
    header: Annotated[str, Meta(pattern="^[A-Za-z0-9-]{1,64}$")] | None = None
    scheme: Annotated[str, Meta(pattern="^[A-Za-z0-9-]{0,64}$")] | None = None


class RouteAuthorization(Section, frozen=True):
    """Bearer tokens of one route; what is missing is inherited."""

    required: bool | None = None
    tokens_file: Path | None = None
    """In place of all tokens above."""
    forward: bool | None = None


class Route(Section, frozen=True):
    """A named class of requests. The first one that matches is taken.

    Exactly one of `prefix` and `glob` is given. A prefix matches whole path segments: `/v1` matches `/v1` and
    `/v1/chat` but not `/v10`. In a glob `*` stands for anything inside a segment and `**` for anything. Both are
    written as in a URL; a slash at the end makes no difference.
    """

    name: Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.:/{}-]{0,63}$")]
    prefix: Annotated[str, Meta(pattern="^/")] | None = None
    glob: Annotated[str, Meta(pattern="^/")] | None = None
    methods: tuple[Annotated[str, Meta(pattern="^[A-Z-]+$")], ...] = ()
    """Empty = every method."""
    timeouts: RouteTimeouts = RouteTimeouts()
    limits: RouteLimits = RouteLimits()
    decode: Decode | None = None
    """Which compressed responses are decoded on this route; missing = as `decode` says."""
    credentials: RouteCredentials = RouteCredentials()
    authorization: RouteAuthorization = RouteAuthorization()
    sse: RouteSSE = RouteSSE()
    resume: RouteResume = RouteResume()
    terminal_marker: Annotated[str, Meta(pattern=r"^[^\r\n]{0,256}$")] = ""
    """What the last line of every stream of this route contains, such as `data: [DONE]`, or with `event: NAME` the name
    of its last event; one that ends without it is counted as `unterminated`. Empty = not looked at."""
    server_timing: bool | None = None
    """Whether responses of this route tell the upstream's time; missing = as `server_timing` says."""
