"""Which streams outlive the connection of their client, and for how long: for all routes, and for one."""

from typing import Annotated

from msgspec import Meta

from unbuffer.settings.kinds import Duration, Path, Section

ResumeSize = Annotated[int, Meta(ge=4096, le=1 << 30, extra={"form": "size"})]
TotalSize = Annotated[int, Meta(ge=4096, extra={"form": "size"})]
CredentialField = Annotated[str, Meta(pattern="^[A-Za-z0-9-]{1,64}$")]


class ResumeStore(Section, frozen=True):
    """Where streams are kept beside the memory of the process that serves them, so that a client may come back to
    another replica: a server of Valkey (7.2 or newer) or Redis (6.2 or newer). Needs the extra `resume`."""

    url: Annotated[str, Meta(extra={"form": "store"})] = "memory"
    """`memory` = nowhere else. `redis://host:6379/0`, `rediss://` with TLS, `unix:/path/to.sock`; `valkey://` and
    `valkeys://` mean the same."""
    user: Annotated[str, Meta(pattern=r"^[^\s\x00-\x1f\x7f]{0,256}$")] = ""
    """The user of its access control list; empty = the default one."""
    password: Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{0,1024}$", extra={"secret": True})] = ""
    """Made for the environment: UNBUFFER_RESUME__STORE__PASSWORD."""
    password_file: Path = ""
    """A file that has it."""
    ca: Path = ""
    """PEM file with the certificate authorities to trust; empty = the system's."""
    prefix: Annotated[str, Meta(pattern=r"^[!-~]{0,128}$")] = "unbuffer:"
    """What the names of all keys begin with. Replicas of one service have the same; others that use the same server
    have another one."""
    lost_after: Annotated[float, Meta(ge=1, le=3600, extra={"form": "duration"})] = 10.0
    """How long nothing has been heard of a replica until the streams that it served are taken for broken, where they
    are read on another one. A pause of its process or network that is shorter does nobody harm."""


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
    store: ResumeStore = ResumeStore()
    credentials: tuple[CredentialField, ...] = ("Authorization", "Cookie")
    """The fields that whoever comes back must send as they came with the first request. The name of a stream alone
    opens nothing."""
    total: TotalSize = 256 << 20
    """Bytes that all streams of the process may hold together, in memory and once more in a store. Beyond that those
    are forgotten that ended longest ago, then those cancelled that were left longest ago."""


class RouteResume(Section, frozen=True):
    """Resumable streams of one route; what is missing is inherited."""

    window: Duration | None = None
    bytes: ResumeSize | None = None
    linger: Duration | None = None
    credentials: tuple[CredentialField, ...] | None = None
