"""Which streams outlive the connection of their client, and for how long: for all routes, and for one."""

from typing import Annotated

from msgspec import Meta

from unbuffer.settings.kinds import Duration, Section

ResumeSize = Annotated[int, Meta(ge=4096, le=1 << 30, extra={"form": "size"})]
TotalSize = Annotated[int, Meta(ge=4096, extra={"form": "size"})]
CredentialField = Annotated[str, Meta(pattern="^[A-Za-z0-9-]{1,64}$")]


class Resume(Section, frozen=True):
    """Event-streams that outlive the connection of their client: whoever comes back goes on where it was lost."""

    window: Duration = 0.0
    """How long after its end a stream can be come back to; until its end it always can. 0 = off: the upstream is
    cancelled when its client leaves, and nothing is kept."""
    bytes: ResumeSize = 1 << 20
    """Bytes of the latest events of a stream that are kept. A token takes some 250 with the JSON and the id around
    it, so these are 4,000 tokens."""
    linger: Duration = 60.0
    """How long the upstream is read on when the last client has left, `bytes` ahead at the most; then it is cancelled.
    A phone that changes its network is back within seconds. 0 = it is cancelled at once."""
    store: Annotated[str, Meta(pattern="^memory$")] = "memory"
    """Where streams are kept: `memory` of this process."""
    credentials: tuple[CredentialField, ...] = ("Authorization", "Cookie")
    """The fields that whoever comes back must send as they came with the first request. The name of a stream alone
    opens nothing."""
    total: TotalSize = 256 << 20
    """Bytes that all streams of the process may hold together. Beyond that those are forgotten that ended longest ago,
    then those cancelled that were left longest ago."""


class RouteResume(Section, frozen=True):
    """Resumable streams of one route; what is missing is inherited."""

    window: Duration | None = None
    bytes: ResumeSize | None = None
    linger: Duration | None = None
    credentials: tuple[CredentialField, ...] | None = None
