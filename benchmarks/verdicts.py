"""`python -m benchmarks.verdicts`: how often a verdict is wrong, on simulated streams that go through the relay's code.

Honest streams are sent as they are made, with the pauses that models and networks have; a verdict that blames somebody
is wrong there. The others were collected by a buffer, a timer or a middleware; only its own verdict is right.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from benchmarks.unwired import Unwired
from unbuffer.judgement import Verdict
from unbuffer.observe.verdict import judge

Writes = list[tuple[float, bytes]]
"""When something was written, in seconds since the request, and what."""

BLAMES = (
    Verdict.LUMP, Verdict.BURSTS, Verdict.HEADERS_WITHHELD, Verdict.FIRST_BYTES_HELD, Verdict.BLOCKED_LOOP,
)  # fmt: skip
ONE_BREATH = 0.0004
"""Seconds within which two writes come in one read, as the event loop has its turn."""


@dataclass(frozen=True, slots=True)
class Stream:
    """What an upstream sends."""

    kind: str
    head_at: float
    writes: Writes


@dataclass(frozen=True, slots=True)
class Model:
    """Streams of one sort. right: the verdict they deserve; None = any that blames nobody."""

    name: str
    right: Verdict | None
    make: Callable[[Random], Stream]


# -- what is made


def _event(random: Random, kind: str) -> bytes:
    """A chat completion chunk with one token."""
    token = "x" * min(1 + int(random.expovariate(0.3)), 16)
    delta = {"index": 0, "delta": {"content": token}, "finish_reason": None}
    event = {"id": "chatcmpl-1f6e3c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [delta]}
    text = json.dumps(event, separators=(",", ":")).encode()
    return b"data: %b\n\n" % text if kind == "sse" else b"%b\n" % text


def _tokens(random: Random, first: float, pauses: Iterator[float], least: int = 20, most: int = 300) -> Stream:
    kind = random.choice(("sse", "sse", "ndjson"))
    times = accumulate((next(pauses) for _ in range(random.randint(least, most) - 1)), initial=first)
    return Stream(kind, random.uniform(0.002, 0.05), [(at, _event(random, kind)) for at in times])


def _first(random: Random) -> float:
    return 0.06 + random.lognormvariate(-0.7, 0.8)  # a median of half a second


def _forever(draw: Callable[[], float]) -> Iterator[float]:
    while True:
        yield draw()


def _lognormal(random: Random) -> Stream:
    mean, sigma = random.uniform(-4.8, -2.5), random.uniform(0.2, 0.9)  # medians of 8 to 80 ms
    return _tokens(random, _first(random), _forever(lambda: random.lognormvariate(mean, sigma)))


def _gamma(random: Random) -> Stream:
    mean, shape = random.uniform(0.008, 0.1), random.uniform(1.0, 12.0)
    return _tokens(random, _first(random), _forever(lambda: random.gammavariate(shape, mean / shape)))


def _metronome(random: Random) -> Stream:
    step, spread = random.uniform(0.004, 0.25), random.uniform(0.0, 0.1)
    return _tokens(random, _first(random), _forever(lambda: max(random.gauss(step, spread * step), 0.0)))


def _fast(random: Random) -> Stream:
    mean, shape = random.uniform(0.0004, 0.006), random.uniform(1.0, 12.0)
    return _tokens(random, _first(random), _forever(lambda: random.gammavariate(shape, mean / shape)), most=1500)


def _short(random: Random) -> Stream:
    mean = random.uniform(0.002, 0.06)
    pauses = _forever(lambda: random.gammavariate(4.0, mean / 4.0))
    return _tokens(random, _first(random) + random.uniform(0.0, 5.0), pauses, least=1, most=12)


def _thinking(random: Random) -> Stream:
    mean = random.uniform(-4.5, -3.0)

    def pause() -> float:
        silent = random.random() < 0.02
        return random.uniform(1.0, 20.0) if silent else random.lognormvariate(mean, 0.5)

    return _tokens(random, _first(random), _forever(pause))


def _speculative(random: Random) -> Stream:
    """Steps of one to so many accepted tokens, each written as an event of its own."""
    step, spread, most = random.uniform(0.012, 0.12), random.uniform(0.02, 0.3), random.randint(2, 4)

    def pauses() -> Iterator[float]:
        while True:
            yield max(random.gauss(step, spread * step), 0.002)
            for _ in range(random.randint(1, most) - 1):
                yield random.uniform(0.00003, 0.0002)

    return _tokens(random, _first(random), pauses())


def _batches(random: Random) -> Stream:
    """The same by a large model: two to five tokens every 120 ms."""

    def pauses() -> Iterator[float]:
        while True:
            yield random.gauss(0.12, 0.004)
            for _ in range(random.randint(2, 5) - 1):
                yield random.uniform(0.00003, 0.0002)

    return _tokens(random, _first(random), pauses())


def _tool_call(random: Random) -> Stream:
    """Words, a silence while a tool runs, and what it found, written in one go."""
    stream = _lognormal(random)
    found = stream.writes[-1][0] + random.uniform(0.3, 4.0)
    size = random.randint(1, len(stream.writes))
    result = [(found + n * random.uniform(0.00005, 0.0005), _event(random, stream.kind)) for n in range(size)]
    return Stream(stream.kind, stream.head_at, stream.writes + sorted(result, key=lambda write: write[0]))


def _progress(random: Random) -> Stream:
    """A job that reports on a timer, two or three lines at a time."""
    period, lines = random.choice((0.1, 0.2, 0.5, 1.0)), random.randint(1, 2)
    writes = [(n * period, b'data: {"done": %d}\n\n' % n * lines) for n in range(1, random.randint(5, 60))]
    return Stream("sse", 0.01, writes)


def _rows(random: Random) -> Stream:
    """Rows of a database, one for each read of its cursor; large ones."""
    mean, size = random.uniform(0.01, 0.1), random.randint(200, 4000)
    times = accumulate((random.gammavariate(3.0, mean / 3.0) for _ in range(random.randint(10, 200))), initial=0.1)
    return Stream("ndjson", 0.05, [(at, b"x" * int(random.gauss(size, 0.1 * size)) + b"\n") for at in times])


# -- what happens to it on the way


def _hiccups(random: Random) -> Stream:
    """A network that now and then holds everything for a while."""
    stream = random.choice((_lognormal, _gamma))(random)
    share, until, writes = random.uniform(0.01, 0.2), 0.0, []
    for at, data in stream.writes:
        if at > until and random.random() < share:
            until = at + random.uniform(0.01, 0.3)
        writes.append((max(at, until), data))
    return Stream(stream.kind, stream.head_at, writes)


def _collected(random: Random) -> Stream:
    """A middleware that reads everything and then sends it."""
    stream = _lognormal(random)
    end = stream.writes[-1][0]
    pause = random.choice((0.0, 0.00005, 0.00015))
    return Stream(stream.kind, end, [(end + n * pause, data) for n, (_, data) in enumerate(stream.writes)])


def _blocks(random: Random) -> Stream:
    """A buffer of fixed size."""
    stream = _lognormal(random)
    size, held, writes = random.choice((2048, 4096, 8192, 16384)), b"", []
    again = 1 + 6 * size // sum(len(data) for _, data in stream.writes)  # until it fills the buffer six times
    more = [(stream.writes[-1][0] * n + at, data) for n in range(again) for at, data in stream.writes]
    for at, data in more:
        held += data
        while len(held) >= size:
            writes.append((at, held[:size]))
            held = held[size:]
    return Stream(stream.kind, stream.head_at, [*writes, (more[-1][0], held or b"\n")])


def _few_blocks(random: Random) -> Stream:
    """A program that reads 8 KiB, and an answer that makes two or three of them and a rest."""
    stream = _tokens(random, _first(random), _forever(lambda: random.lognormvariate(-3.6, 0.4)))
    size, held = 8192, b""
    writes: Writes = []
    whole = size * random.randint(2, 3)
    again = 1 + whole // sum(len(data) for _, data in stream.writes)
    for at, data in [(stream.writes[-1][0] * n + at, data) for n in range(again) for at, data in stream.writes]:
        held += data
        while len(held) >= size and len(writes) * size < whole:
            writes.append((at, held[:size]))
            held = held[size:]
        if len(writes) * size >= whole:
            break
    return Stream(stream.kind, stream.head_at, [*writes, (writes[-1][0] + random.uniform(0.1, 1.0), held or b"\n")])


def _first_bytes(random: Random) -> Stream:
    """A hop that waits for so many bytes, and lets all that follows go."""
    stream = _tokens(random, _first(random), _forever(lambda: random.lognormvariate(-3.6, 0.4)), least=150)
    least, held, number = random.choice((2048, 4096, 8192)), b"", 0
    while len(held) < least:
        at, data = stream.writes[number]
        held, number = held + data, number + 1
    return Stream(stream.kind, stream.head_at, [(at, held), *stream.writes[number:]])


def _held_by_timer(random: Random) -> Stream:
    """A timer that begins with the first byte it holds: HAProxy's and Apache's."""
    mean, period = random.uniform(-4.8, -3.5), random.choice((0.207, 0.37))
    stream = _tokens(random, _first(random), _forever(lambda: random.lognormvariate(mean, 0.5)), least=100)
    due = 0.0
    writes: Writes = []
    for at, data in stream.writes:
        if at >= due:
            due = at + max(random.gauss(period, 0.003), 0.0)
        writes.append((due, data))
    return Stream(stream.kind, stream.head_at, writes)


def _timer(random: Random) -> Stream:
    """A flush on a beat."""
    mean, period = random.uniform(-4.8, -3.5), random.choice((0.1, 0.2, 0.25, 0.5, 1.0))
    stream = _tokens(random, _first(random), _forever(lambda: random.lognormvariate(mean, 0.5)), least=100)
    phase = random.uniform(0.0, period)
    writes = [((at - phase) // period * period + phase + period, data) for at, data in stream.writes]
    late = {at: random.gauss(0.0, 0.002) for at, _ in writes}
    return Stream(stream.kind, stream.head_at, [(at + late[at], data) for at, data in writes])


def _withheld(random: Random) -> Stream:
    """A head that waits for the first token."""
    stream = _lognormal(random)
    first = stream.writes[0][0] + 0.5
    writes = [(at + 0.5, data) for at, data in stream.writes]
    return Stream(stream.kind, first - 0.0003, writes)


MODELS = (
    Model("tokens, lognormal pauses", None, _lognormal),
    Model("tokens, gamma pauses", None, _gamma),
    Model("tokens at an even pace", None, _metronome),
    Model("tokens, 170 to 2,500 a second", None, _fast),
    Model("answers of 1 to 12 tokens", None, _short),
    Model("tokens with silences of 1 to 20 s", None, _thinking),
    Model("speculative decoding, 1 to 4 tokens a step", None, _speculative),
    Model("speculative decoding, 2 to 5 tokens each 120 ms", None, _batches),
    Model("tokens through a network with hiccups", None, _hiccups),
    Model("tokens, then a result in one go", None, _tool_call),
    Model("progress on a timer", None, _progress),
    Model("database rows", None, _rows),
    Model("collected to the end", Verdict.LUMP, _collected),
    Model("a buffer of 2 to 16 KiB", Verdict.BURSTS, _blocks),
    Model("8 KiB, two or three times", Verdict.BURSTS, _few_blocks),
    Model("a timer of 207 or 370 ms from the first byte on", Verdict.BURSTS, _held_by_timer),
    Model("a flush every 0.1 to 1 s", Verdict.BURSTS, _timer),
    Model("the first 2 to 8 KiB wait", Verdict.FIRST_BYTES_HELD, _first_bytes),
    Model("the head waits for the first token", Verdict.HEADERS_WITHHELD, _withheld),
)


def _reads(writes: Writes) -> list[tuple[float, bytes]]:
    """As the event loop reads them: what is written in one breath comes together, 64 KiB at a time."""
    reads: list[tuple[float, bytes]] = []
    for at, data in writes:
        if reads and at - reads[-1][0] < ONE_BREATH and len(reads[-1][1]) < 65536:
            reads[-1] = (reads[-1][0], reads[-1][1] + data)
        else:
            reads.append((at, data))
    return reads


def main() -> int:
    """Print a row for each model; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__)
    parser.add_argument("--streams", type=int, default=2000, help="of each sort; default 2000")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print("| streams | " + " | ".join(verdict.value for verdict in Verdict) + " | wrong |")
    print("|---|" + "---:|" * (len(Verdict) + 1))
    with Unwired() as relay:
        for model in MODELS:
            random = Random(f"{options.seed} {model.name}")
            seen: Counter[Verdict] = Counter()
            for _ in range(options.streams):
                stream = model.make(random)
                judgement = judge(relay.play(stream.kind, stream.head_at, _reads(stream.writes)))
                assert judgement is not None
                seen[judgement.verdict] += 1
            right = [model.right] if model.right else [verdict for verdict in Verdict if verdict not in BLAMES]
            wrong = 1.0 - sum(seen[verdict] for verdict in right) / options.streams
            print(f"| {model.name} | " + " | ".join(str(seen[v]) for v in Verdict) + f" | {wrong:.2%} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
