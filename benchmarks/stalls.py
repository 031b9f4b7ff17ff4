"""`python -m benchmarks.stalls`: how often silences are taken for a blocked upstream, and the other way round.

Streams of a simulated upstream pause as models do: tokens, silences in which a model thinks or a tool runs, an end and
a new beginning. Now and then its event loop is blocked, and what would be written waits until it is free again.
"""

import argparse
import heapq
import sys
from random import Random

from unbuffer.record import Record
from unbuffer.relay.silences import SILENCE, Silences
from unbuffer.rhythm import Rhythm
from unbuffer.totals import Totals

SECONDS = 3600.0
"""Simulated, for each row."""


def _pause(random: Random, silent: float) -> float:
    if random.random() < silent:
        return random.uniform(1.0, 20.0)
    return random.lognormvariate(-3.2, 0.6)  # a median of 40 ms


def _run(random: Random, streams: int, silent: float, blocked: float) -> tuple[int, int, int]:
    """An hour. blocked: how many times in it. Returns blocks that hit a stream, upstream silences, stream silences."""
    totals = Totals()
    records: list[Record] = []
    silences = Silences(totals, lambda: records)
    blocks = sorted(random.uniform(0.0, SECONDS) for _ in range(round(blocked)))
    hit: set[float] = set()
    due: list[tuple[float, int]] = []
    for number in range(streams):
        record = Record(0.0, "GET", "/", "1.1", "", "default")
        record.rhythm = Rhythm("sse")
        records.append(record)
        heapq.heappush(due, (random.uniform(0.0, 5.0), number))
    now = 0.0
    while now < SECONDS:
        now, number = heapq.heappop(due)
        while blocks and blocks[0] + 2.0 <= now:
            blocks.pop(0)
        if blocks and now >= blocks[0]:  # nothing moves for two seconds; then all of it comes, one after another
            hit.add(blocks[0])
            heapq.heappush(due, (blocks[0] + 2.0 + number * 0.0002, number))
            continue
        record = records[number]
        if record.last_at and now - record.last_at >= SILENCE:
            silences.over(record, record.last_at, now)
        record.last_at = now
        if random.random() < 0.003:  # an answer has some 300 tokens; the next one begins a little later
            silences.ended_at = now
            record.last_at = 0.0
            heapq.heappush(due, (now + random.uniform(0.1, 5.0), number))
        else:
            heapq.heappush(due, (now + _pause(random, silent), number))
    return len(hit), totals.upstream_silences["upstream"], totals.upstream_silences["stream"]


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
                hit, upstream, stream = _run(random, streams, silent, blocked)
                print(f"| {streams} | {silent:.0%} of the tokens | {hit} | {upstream} | {stream} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
