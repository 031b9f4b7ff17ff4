"""`python -m benchmarks.stalls`: how often silences are taken for a blocked upstream, and the other way round.

Streams of a simulated upstream pause as models do: tokens, silences in which a model thinks or a tool runs, an end and
a new beginning. Now and then its event loop is blocked, and what would be written waits until it is free again. The
second table has short blocks in a row, as a neighbour makes them, and what becomes of the verdicts.
"""

import argparse
import heapq
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from unbuffer.observe.verdict import STILLS, was_stopped
from unbuffer.record import Record
from unbuffer.relay.silences import LOOK, Silences
from unbuffer.rhythm import PAUSE, Rhythm
from unbuffer.totals import Totals

SECONDS = 3600.0
"""Simulated, for each row."""


@dataclass(slots=True)
class Load:
    """What comes. thinks: share of the tokens before which the model is silent, and for how long, seconds. blocks: when
    the loop is blocked, for `lasts` seconds each."""

    streams: int
    thinks: float
    silence: tuple[float, float] = (1.0, 20.0)
    blocks: list[float] = field(default_factory=list)
    lasts: float = 2.0

    def pause(self, random: Random) -> float:
        """Seconds to the next token."""
        if random.random() < self.thinks:
            return random.uniform(*self.silence)
        return random.lognormvariate(-3.2, 0.6)  # a median of 40 ms


@dataclass(slots=True)
class Found:
    """hit: blocks that stopped a stream. upstream, stream: silences by scope. answers: streams that ended; held: those
    that were stopped twice or more, and blamed: those that the verdict says this of."""

    hit: int = 0
    upstream: int = 0
    stream: int = 0
    answers: int = 0
    held: int = 0
    held_and_blamed: int = 0
    blamed: int = 0


def _fresh(record: Record) -> None:
    record.rhythm = Rhythm("sse")
    record.last_at = 0.0
    record.chunks = 0


def _run(random: Random, load: Load) -> Found:
    """An hour."""
    totals, found = Totals(), Found()
    records = [Record(0.0, "GET", "/", "1.1", "", "default") for _ in range(load.streams)]
    silences = Silences(totals, lambda: records)
    blocks = sorted(load.blocks)
    hit: set[float] = set()
    stopped: dict[int, set[float]] = {number: set() for number in range(load.streams)}
    due: list[tuple[float, int]] = []
    for number, record in enumerate(records):
        _fresh(record)
        heapq.heappush(due, (random.uniform(0.0, 5.0), number))
    now = 0.0
    while now < SECONDS:
        now, number = heapq.heappop(due)
        while blocks and blocks[0] + load.lasts <= now:
            blocks.pop(0)
        record = records[number]
        if blocks and now >= blocks[0]:  # nothing moves meanwhile; then all of it comes, one after another
            hit.add(blocks[0])
            if record.last_at:
                stopped[number].add(blocks[0])
            heapq.heappush(due, (blocks[0] + load.lasts + number * 0.0002, number))
            continue
        _speaks(silences, record, now)
        if random.random() >= 0.003:  # an answer has some 300 tokens; the next one begins a little later
            heapq.heappush(due, (now + load.pause(random), number))
            continue
        silences.ended_at = now
        assert record.rhythm is not None
        held, blamed = len(stopped[number]) >= STILLS, was_stopped(record.rhythm)
        found.answers += 1
        found.held += held
        found.blamed += blamed
        found.held_and_blamed += held and blamed
        stopped[number].clear()
        _fresh(record)
        heapq.heappush(due, (now + random.uniform(0.1, 5.0), number))
    found.hit, found.upstream, found.stream = len(hit), *reversed(totals.upstream_silences.values())
    return found


def _speaks(silences: Silences, record: Record, now: float) -> None:
    """As the relay has it."""
    gap = now - record.last_at
    if record.last_at and gap >= LOOK:
        silences.over(record, record.last_at, now)
    if record.last_at and gap >= PAUSE:
        assert record.rhythm is not None
        record.rhythm.pause(gap, 0, now)
    record.last_at = now
    record.chunks += 1


def _told_to_all(random: Random, readers: int, pause: Callable[[], float]) -> tuple[int, int, int]:
    """An hour of events that all readers get. Returns how many events there were, how many silences counted for the
    upstream, and how many readers are said to have met a blocked loop."""
    totals = Totals()
    records = [Record(0.0, "GET", "/", "1.1", "", "default") for _ in range(readers)]
    for record in records:
        _fresh(record)
    silences = Silences(totals, lambda: records)
    now, events = 0.0, 0
    while now < SECONDS:
        now += pause()
        events += 1
        at = now
        for record in records:
            at += random.lognormvariate(-9.2, 0.5)  # a median of 0.1 ms for each, and sometimes a busy machine
            at += random.random() < 0.0005 and random.uniform(0.005, 0.05)
            _speaks(silences, record, at)
    blamed = sum(record.rhythm is not None and was_stopped(record.rhythm) for record in records)
    return events, totals.upstream_silences["upstream"], blamed


def main() -> int:
    """Print a row for each load; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stalls", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    random = Random(parser.parse_args().seed)
    print("| streams | silences of a model | upstream blocked | counted as upstream | counted as stream |")
    print("|---:|---:|---:|---:|---:|")
    for streams in (1, 2, 3, 5, 10, 30, 100):
        for silent in (0.0, 0.02, 0.1):
            for blocked in (0, 60):
                blocks = [random.uniform(0.0, SECONDS) for _ in range(blocked)]
                found = _run(random, Load(streams, silent, blocks=blocks))
                row = (streams, f"{silent:.0%} of the tokens", found.hit, found.upstream, found.stream)
                print("| " + " | ".join(map(str, row)) + " |", flush=True)
    print("\n| streams | silences of 0.5 to 1 s | blocks of 0.7 s | answers | stopped twice | seen | blamed wrongly |")
    print("|---:|---:|---|---:|---:|---:|---:|")
    for streams in (2, 3, 5, 10):
        for silent in (0.0, 0.02, 0.1):
            for every in (0.0, 1.6):
                blocks = [number * every for number in range(int(SECONDS / every))] if every else []
                found = _run(random, Load(streams, silent, (0.5, 1.0), blocks, 0.7))
                cells = (
                    streams, f"{silent:.0%} of the tokens", f"every {every} s" if every else "none", found.answers,
                    found.held, found.held_and_blamed, found.blamed - found.held_and_blamed,
                )  # fmt: skip
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    kinds: dict[str, Callable[[], float]] = {
        "a tick every 2 s": lambda: 2.0,
        "news, every 2 s on average": lambda: random.expovariate(0.5),
        "a model's answer, 2% silences": lambda: Load(1, 0.02).pause(random),
    }
    print("\n| all readers get | readers | events | counted as upstream | readers blamed wrongly |")
    print("|---|---:|---:|---:|---:|")
    for kind, pause in kinds.items():
        for readers in (2, 3, 10, 30, 100):
            print(f"| {kind} | {readers} | " + " | ".join(map(str, _told_to_all(random, readers, pause))) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
