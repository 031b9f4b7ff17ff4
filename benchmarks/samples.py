"""The values that one measurement yields."""

from dataclasses import dataclass

import msgspec


class Opened(msgspec.Struct, frozen=True):
    """What streamload prints when its window opens."""

    open: int
    """Answers whose head has come."""


class Load(msgspec.Struct, frozen=True):
    """What streamload prints when its window closes. All numbers but the errors are of the window alone."""

    seconds: float
    streams: int
    """Answers that came to their end."""
    events: int
    """Chunks of the source that the sink read; 0 for plain answers."""
    merged: int
    """Those that came in one read after another chunk of their stream."""
    payload_bytes: int
    errors: int
    """Answers that were not exactly as asked for, during the warm-up too."""
    first_error: str
    delay_p50_us: float
    """From the source's write to the sink's read of a chunk."""
    delay_p99_us: float
    delay_p999_us: float
    first_byte_p50_us: float
    """From the request to the first chunk, or to the head of a plain answer."""
    first_byte_p99_us: float
    own_cpu: float
    """Seconds of CPU time of the sink."""
    cpu: list[float]
    """Seconds of CPU time of the processes that it was told to watch, in that order."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one proxy, or of none (the direct line)."""

    load: Load
    proxy_cpu: float
    """Seconds inside the window, of all its processes and threads; 0 without a proxy."""
    load_cpu: float
    """The same of source and sink."""
    other_cpu: float
    """Seconds in which the two cores did something else. More than a trace, and the sample is spoilt."""
    idle_bytes: int
    """The proxy's memory after its first answer, before the load; 0 = not measured."""
    open_bytes: int
    """The proxy's memory while the streams are open; 0 = not measured."""
