"""What is measured: the loads, the numbers read off each, and the targets that unbuffer sets itself."""

import resource
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from benchmarks.samples import Sample


@dataclass(frozen=True, slots=True)
class Measure:
    """One column of a scene's table."""

    title: str
    of: Callable[[Sample], float]
    """0 where it does not apply (the CPU time of no proxy)."""
    digits: int = 0
    compared: bool = False
    """Whether the table also has the ratio of unbuffer to each peer."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One load. `options` are streamload's; its head explains them."""

    name: str
    shows: str
    options: str
    measures: tuple[Measure, ...]
    warm_up: float = 1.0
    """Seconds before the window opens."""
    open_streams: int = 0
    """Streams that must be open when the window opens; memory is read then. 0 = memory is not measured."""
    neighbour: bool = False
    """Whether the proxy shares its core with a process that could use all of it."""
    tls: bool = False
    """Whether clients speak TLS to the proxy."""
    streams: bool = True
    """Whether the answers are streams."""
    alone: bool = False
    """Whether unbuffer is measured alone, because its peers do something else."""


def _per_second(title: str, count: Callable[[Sample], float], *, compared: bool = False) -> Measure:
    return Measure(title, lambda sample: count(sample) / sample.load.seconds, compared=compared)


def _cpu_per(title: str, count: Callable[[Sample], float]) -> Measure:
    def cpu(sample: Sample) -> float:
        counted = count(sample)
        return sample.proxy_cpu * 1e6 / counted if counted else 0.0

    return Measure(f"CPU µs per {title}", cpu, digits=1, compared=True)


def _events(sample: Sample) -> float:
    return sample.load.events


def _answers(sample: Sample) -> float:
    return sample.load.streams


def _megabytes(sample: Sample) -> float:
    return sample.load.payload_bytes / 1e6


_CHUNKS = _per_second("chunks/s", _events)
_CPU_PER_CHUNK = _cpu_per("chunk", _events)
_DELAY_P50 = Measure("delay p50 µs", lambda sample: sample.load.delay_p50_us, compared=True)
_DELAY_P99 = Measure("delay p99 µs", lambda sample: sample.load.delay_p99_us, compared=True)
_DELAY_P999 = Measure("p99.9 µs", lambda sample: sample.load.delay_p999_us)
_MERGED = Measure("merged %", lambda sample: 100 * sample.load.merged / sample.load.events)
_FIRST_BYTE_P50 = Measure("first byte p50 µs", lambda sample: sample.load.first_byte_p50_us)
_FIRST_BYTE_P99 = Measure("first byte p99 µs", lambda sample: sample.load.first_byte_p99_us)
_REQUESTS = _per_second("requests/s", _answers, compared=True)
_STREAMS = _per_second("streams/s", _answers, compared=True)
_PROXY_CORE = Measure("proxy's core %", lambda sample: 100 * sample.proxy_cpu / sample.load.seconds)
_LOAD_CORE = Measure("load's core %", lambda sample: 100 * sample.load_cpu / sample.load.seconds)
_OTHERS = Measure("others %", lambda sample: 100 * sample.other_cpu / sample.load.seconds)
_BUSY = (_PROXY_CORE, _LOAD_CORE, _OTHERS)

_OPEN_STREAMS = 5000
_OPENED_PER_SECOND = 500


def _stream_bytes(sample: Sample) -> float:
    return (sample.open_bytes - sample.idle_bytes) / _OPEN_STREAMS


_CROWD = min(10_000, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 200) // 2)
"""As many as the limit of open files lets a proxy have, which has two for each."""
_CROWD_PER_SECOND = 2500

_MEGABYTES = _per_second("MB/s", _megabytes, compared=True)
_BYTES = (_MEGABYTES, _cpu_per("MB", _megabytes), *_BUSY)
_MEMORY = Measure("KB per open stream", lambda sample: _stream_bytes(sample) / 1000, digits=1, compared=True)
_IDLE_MEMORY = Measure("MB when idle", lambda sample: sample.idle_bytes / 1e6, digits=1)

_SHORT = Scene(
    "short",
    "50 connections, one stream of 3 chunks after the other: the price of beginning and ending a stream.",
    "-c 50 -n 3 -g 0 -s 64",
    (_STREAMS, _cpu_per("stream", _answers), _FIRST_BYTE_P50, _FIRST_BYTE_P99, *_BUSY),
)
_SHARED = replace(
    _SHORT,
    name="shared",
    shows="As in short, while a busy process has half of the proxy's core, as the application beside a sidecar may.",
    neighbour=True,
)

SCENES = (
    Scene(
        "paced",
        "200 streams, a chunk of 64 bytes each 10 ms: many clients read the answers of a language model.",
        "-c 200 -n 500 -g 10000 -s 64",
        (_CPU_PER_CHUNK, _DELAY_P50, _DELAY_P99, _DELAY_P999, _CHUNKS, _MERGED, *_BUSY),
    ),
    Scene(
        "heavy",
        "400 such streams: the price of a chunk when every wake-up of the proxy brings work.",
        "-c 400 -n 500 -g 10000 -s 64",
        (_CPU_PER_CHUNK, _DELAY_P50, _DELAY_P99, _DELAY_P999, _CHUNKS, _MERGED, *_BUSY),
    ),
    Scene(
        "tls",
        "150 such streams, over TLS between client and proxy.",
        "-c 150 -n 500 -g 10000 -s 64 -T",
        (_CPU_PER_CHUNK, _DELAY_P50, _DELAY_P99, _DELAY_P999, _CHUNKS, *_BUSY),
        tls=True,
    ),
    Scene(
        "gzip",
        "As paced, from an upstream that compresses each event though it was asked not to: unbuffer undoes it.",
        "-c 200 -n 500 -g 10000 -s 64 -z",
        (_CPU_PER_CHUNK, _DELAY_P50, _DELAY_P99, _DELAY_P999, _CHUNKS, *_BUSY),
        alone=True,
    ),
    Scene(
        "crowd",
        f"{_CROWD:,} streams, a chunk each 500 ms: as many chunks as in paced, from fifty times as many clients.",
        f"-c {_CROWD} -o {_CROWD_PER_SECOND} -n 1000 -g 500000 -s 64",
        (_CPU_PER_CHUNK, _DELAY_P50, _DELAY_P99, _DELAY_P999, _CHUNKS, *_BUSY),
        warm_up=_CROWD / _CROWD_PER_SECOND + 3,
    ),
    Scene(
        "light",
        "20 streams, a chunk each 20 ms: the delay of a proxy that has little to do.",
        "-c 20 -n 500 -g 20000 -s 64",
        (_DELAY_P50, _DELAY_P99, _DELAY_P999, _CPU_PER_CHUNK, _CHUNKS, *_BUSY),
    ),
    Scene(
        "flood",
        "50 streams of 2,000 chunks, sent without a pause: what it does when it cannot keep up.",
        "-c 50 -n 2000 -g 0 -s 64",
        (_per_second("chunks/s", _events, compared=True), _CPU_PER_CHUNK, _MERGED, *_BUSY),
    ),
    Scene(
        "bulk",
        "10 streams of 200 chunks of 64 KiB: bytes.",
        "-c 10 -n 200 -g 0 -s 65536",
        _BYTES,
    ),
    Scene(
        "large",
        "4 streams of 20 chunks of 1 MiB: bytes in pieces that no buffer holds whole.",
        "-c 4 -n 20 -g 0 -s 1048576",
        _BYTES,
    ),
    Scene(
        "uploads",
        "10 connections, one POST of 100 pieces of 64 KiB after the other: bytes, the other way.",
        "-c 10 -u -n 100 -s 65536",
        _BYTES,
        streams=False,
    ),
    Scene(
        "requests",
        "50 connections, one GET of 1 KiB after the other: the price of an ordinary request.",
        "-c 50 -p -s 1024",
        (_REQUESTS, _cpu_per("request", _answers), _FIRST_BYTE_P50, _FIRST_BYTE_P99, *_BUSY),
        streams=False,
    ),
    _SHORT,
    _SHARED,
    Scene(
        "open",
        f"{_OPEN_STREAMS:,} open streams, a chunk each 2 s: the memory that a waiting stream holds.",
        f"-c {_OPEN_STREAMS} -o {_OPENED_PER_SECOND} -n 1000 -g 2000000 -s 64",
        (_MEMORY, _IDLE_MEMORY, _CPU_PER_CHUNK, *_BUSY),
        warm_up=_OPEN_STREAMS / _OPENED_PER_SECOND + 3,
        open_streams=_OPEN_STREAMS,
    ),
)


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a number of unbuffer: on its ratio to a peer's, to its own of another scene, or on itself."""

    scene: str
    measure: Measure
    against: str
    """A peer, another scene, or empty."""
    relation: Literal[">=", "<=", "<"]
    bound: float


_PEERS = ("nginx", "haproxy", "envoy", "caddy")
TARGETS = (
    Target("requests", _REQUESTS, "nginx", ">=", 0.55),
    Target("requests", _REQUESTS, "envoy", ">=", 1.9),
    Target("requests", _REQUESTS, "caddy", ">=", 4.0),
    Target("short", _STREAMS, "envoy", ">=", 1.25),
    Target("short", _STREAMS, "caddy", ">=", 2.7),
    Target("shared", _STREAMS, "envoy", ">=", 1.25),
    Target("shared", _STREAMS, "caddy", ">=", 2.7),
    Target("heavy", _CPU_PER_CHUNK, "nginx", "<=", 1.35),
    Target("heavy", _CPU_PER_CHUNK, "envoy", "<=", 0.8),
    Target("heavy", _CPU_PER_CHUNK, "caddy", "<=", 0.75),
    *(Target("paced", _DELAY_P99, peer, "<", 1.0) for peer in _PEERS),
    Target("bulk", _MEGABYTES, "nginx", ">=", 1.0),
    Target("bulk", _MEGABYTES, "haproxy", ">=", 0.95),
    Target("uploads", _MEGABYTES, "nginx", ">=", 1.0),
    Target("uploads", _MEGABYTES, "haproxy", ">=", 0.95),
    Target("tls", _CPU_PER_CHUNK, "nginx", "<=", 1.1),
    Target("gzip", _CPU_PER_CHUNK, "paced", "<=", 1.5),
    Target("crowd", _DELAY_P99, "paced", "<", 5.0),
    Target("open", _MEMORY, "", "<=", 5.0),
)
