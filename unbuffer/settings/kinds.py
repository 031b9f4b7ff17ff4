"""What settings are made of: the kinds of values, and the section that holds them.

Durations are seconds, sizes are bytes.
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

Collector = Annotated[str, Meta(pattern=r"^(off|env|https?://[^\s/?#@]+(/[^\s?#@]*)?)$")]
"""The URL of a collector of OpenTelemetry."""

HeartbeatShape = Literal["auto", "comment", "comment_block", "blank"]

Decode = Annotated[Literal["streams", "always", "never"], Meta(extra={"form": "decoding"})]
"""Which compressed responses are decoded. `true` is `always` and `false` is `never`, as it once was a switch."""

BEARER = "[A-Za-z0-9._~+/-]+=*"
"""The pattern of a bearer token (RFC 6750, section 2.1)."""

Token = Annotated[str, Meta(pattern=f"^{BEARER}$", extra={"secret": True})]

EventType = Annotated[str, Meta(pattern=r"^[^\x00-\x1f\x7f]{1,64}$")]
Padding = Annotated[int, Meta(ge=0, le=4096, extra={"form": "size"})]


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One block of the file. Immutable: a reload makes a new object."""
