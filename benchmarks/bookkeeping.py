"""`python -m benchmarks.bookkeeping`: what measuring costs a chunk, in the relay's code alone, without a socket.

The way of a chunk through `Exchange.body`, less the same way without the numbers: framing and the call of write.
"""

import statistics
import sys
import time
from collections.abc import Callable

from benchmarks.unwired import Taker, Unwired
from unbuffer.http.framing import CHUNKED, LAST_CHUNK
from unbuffer.relay.exchange import Exchange

CHUNKS = 50_000
RUNS = 41
EVENT = b'data: {"choices":[{"delta":{"content":"token"}}]}\n\n'


class _Bare:
    """An exchange that counts nothing: what is left of it."""

    __slots__ = ("_decoding", "_framing", "_head_out", "_tail", "_transport")

    def __init__(self, transport: Taker) -> None:
        self._transport = transport
        self._decoding = self._tail = None
        self._framing = CHUNKED
        self._head_out = b""

    def body(self, data: bytes, now: float, last: bool) -> None:
        size = len(data)
        if self._decoding is not None or self._tail is not None:
            return
        if self._framing == CHUNKED:
            data = b"%x\r\n%b\r\n" % (size, data)
            if last:
                data += LAST_CHUNK
        self._write(data, now)

    def _write(self, data: bytes, now: float) -> None:
        if self._head_out:
            data = self._head_out + data
        transport = self._transport
        if data and not transport.is_closing():
            transport.write(data)


def _microseconds(body: Callable[[bytes, float, bool], None], gap: float) -> float:
    """For each chunk; so many seconds pass between two chunks, as far as the relay is told."""
    times = [time.monotonic() + 1.0 + n * gap for n in range(CHUNKS)]
    started = time.thread_time()
    for at in times:
        body(EVENT, at, False)
    return (time.thread_time() - started) / CHUNKS * 1e6


def main() -> int:
    """Print the cost for each kind of gap; returns the exit code."""
    print("| gap between chunks | µs with the numbers | µs without | µs for the numbers (lowest..highest) |")
    print("|---|---:|---:|---:|")
    with Unwired() as relay:
        for name, gap in (("0.1 ms: one clump", 0.0001), ("20 ms: a pause each", 0.02)):
            counted, bare = [], []
            for _ in range(RUNS):
                counted.append(_microseconds(_stream(relay).answer.body, gap))
                bare.append(_microseconds(_Bare(relay.taker).body, gap))
                relay.push(b"0\r\n\r\n", time.monotonic())
            costs = sorted(one - other for one, other in zip(counted, bare, strict=True))
            cost = f"{statistics.median(costs):.2f} ({costs[0]:.2f}..{costs[-1]:.2f})"
            print(f"| {name} | {statistics.median(counted):.2f} | {statistics.median(bare):.2f} | {cost} |")
    return 0


def _stream(relay: Unwired) -> Exchange:
    """A stream whose head is out and whose first chunks have been looked at."""
    exchange, asked = relay.begin()
    relay.head("sse", asked + 0.01)
    for n in range(10):
        exchange.answer.body(EVENT, asked + 0.02 + n / 100, False)
    return exchange


if __name__ == "__main__":
    sys.exit(main())
