"""What is asked of a URL, and why: few requests, each of which tells two causes apart."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from unbuffer.http.probe import LONGEST, Plan

BROWSER = "gzip, deflate, br, zstd"
"""What browsers send as Accept-Encoding."""

SEVERAL = 3
"""Streams at once, to see whether one keeps the others waiting."""

AT_ONCE = 5
"""Requests of different kinds at the same time."""

SILENCE = LONGEST - 1
"""Seconds of the longest silence that is made: a probe lasts no longer."""

SMALL = Plan(count=30, gap=0.04, size=128, delay=0.3, uneven=True)
MEDIUM = Plan(count=64, gap=0.04, size=512, delay=0.1, uneven=True)
LARGE = Plan(count=48, gap=0.04, size=8192, delay=0.1, uneven=True)
BEATS = Plan(count=4, gap=0.8, size=128, delay=0.1, beat=0.16)


@dataclass(frozen=True, slots=True)
class Variant:
    """One request. encoding: its Accept-Encoding. method: empty = the user's. group: which of several at once, from 1
    on; 0 = alone."""

    name: str
    why: str
    encoding: str = "identity"
    plan: Plan | None = None
    method: str = ""
    http2: bool = False
    group: int = 0


FIRST = Variant("identity", "as curl asks: nothing compressed")
BROWSERS = Variant("browser", "as browsers ask: compressors begin only when they are asked", BROWSER)
BY_HTTP2 = Variant("http2", "by HTTP/2: another code in the same hop", http2=True)

OF_A_PROBE = (
    Variant("post", "POST: caches and buffers treat it differently", plan=SMALL, method="POST"),
    Variant(
        "plain", "text/plain: compressors and browsers' sniffing choose by type", plan=replace(SMALL, kind="plain")
    ),
    Variant("plain for browsers", "text/plain, as browsers ask", BROWSER, replace(SMALL, kind="plain")),
    Variant("ndjson", "NDJSON: a type that few lists of exceptions have", plan=replace(SMALL, kind="ndjson")),
    Variant("ndjson for browsers", "NDJSON, as browsers ask", BROWSER, replace(SMALL, kind="ndjson")),
    Variant("heartbeats", "comments in a silence: some hops pass data alone", plan=BEATS),
    Variant("medium", "events of 512 bytes: buffers of 4 and 8 KiB fill several times", plan=MEDIUM),
    Variant("large", "events of 8 KiB: buffers of 16 to 64 KiB fill several times", plan=LARGE),
)


def first(probe: bool) -> Variant:
    """The one that is asked alone, before all others."""
    return replace(FIRST, plan=SMALL) if probe else FIRST


def others(probe: bool, http2: bool, several: int) -> Iterator[tuple[Variant, ...]]:
    """The other ones, in groups that are asked at the same time. several: how many at once; below 2 = none."""
    more = [replace(BROWSERS, plan=SMALL if probe else None)]
    if http2:
        more.append(replace(BY_HTTP2, plan=SMALL if probe else None))
    if probe:
        more += OF_A_PROBE
    for begin in range(0, len(more), AT_ONCE):
        yield tuple(more[begin : begin + AT_ONCE])
    if several > 1:
        why = f"{several} at once: a blocked event loop lets them wait for one another"
        yield tuple(
            Variant("several", why, plan=SMALL if probe else None, group=number) for number in range(1, several + 1)
        )


def with_patience(seconds: float) -> tuple[Variant, ...]:
    """A silence of so many seconds, up to SILENCE, and the same time without one: idle and total time-outs are told
    apart."""
    seconds = min(seconds, SILENCE)
    return (
        Variant("silence", f"{seconds:g} s without a byte: idle time-outs", plan=Plan(count=2, gap=seconds)),
        Variant(
            "duration", f"an event a second for {seconds:g} s: time-outs of the whole", plan=Plan(int(seconds), 1.0)
        ),
    )
