"""`python -m benchmarks.bookkeeping`: what measuring costs a chunk, in the relay's code alone, without a socket.

The way of a chunk through `Answer.body`, less the same way without the numbers: framing and the call of write. Where a
stream may have keep-alives, telling them apart from content is a part of it.
"""

import statistics
import sys
import time
from collections.abc import Callable

from benchmarks.unwired import Taker, Unwired
from unbuffer.http.framing import CHUNKED, LAST_CHUNK
from unbuffer.relay.exchange import Exchange
from unbuffer.settings.model import Settings

CHUNKS = 20_000
RUNS = 31
EVENT = b'data: {"choices":[{"delta":{"content":"token"}}]}\n\n'
CLUMP, PAUSES = 0.0001, 0.02
"""Seconds between two chunks: back to back, and with a pause before each."""

SCENES = (
    ("text", "stream", CLUMP, EVENT),
    ("text, a pause before each", "stream", PAUSES, EVENT),
    ("events: `data`", "sse", CLUMP, EVENT),
    ("events: `data`, a pause before each", "sse", PAUSES, EVENT),
    ("events: `event`, `data`", "sse", CLUMP, b"event: content_block_delta\n" + EVENT),
    ("events: `id`, `data`", "sse", CLUMP, b"id: 1764268800\n" + EVENT),
    ("events: `data`, with CRLF", "sse", CLUMP, EVENT.replace(b"\n", b"\r\n")),
    ("JSON lines", "ndjson", CLUMP, b'{"model":"llama","response":"token","done":false}\n'),
)


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


def _microseconds(body: Callable[[bytes, float, bool], None], gap: float, data: bytes) -> float:
    """For each chunk; so many seconds pass between two chunks, as far as the relay is told."""
    times = [time.monotonic() + 1.0 + n * gap for n in range(CHUNKS)]
    started = time.thread_time()
    for at in times:
        body(data, at, False)
    return (time.thread_time() - started) / CHUNKS * 1e6


def main() -> int:
    """Print the cost for each kind of stream; returns the exit code."""
    print("| stream | µs with the numbers | µs without | µs for the numbers (lowest..highest) |")
    print("|---|---:|---:|---:|")
    with Unwired(Settings()) as relay:
        for name, kind, gap, data in SCENES:
            counted, bare = [], []
            for _ in range(RUNS):
                counted.append(_microseconds(_stream(relay, kind, data).answer.body, gap, data))
                bare.append(_microseconds(_Bare(relay.taker).body, gap, data))
                relay.push(b"0\r\n\r\n", time.monotonic())
            costs = sorted(one - other for one, other in zip(counted, bare, strict=True))
            cost = f"{statistics.median(costs):.2f} ({costs[0]:.2f}..{costs[-1]:.2f})"
            print(f"| {name} | {statistics.median(counted):.2f} | {statistics.median(bare):.2f} | {cost} |")
    return 0


def _stream(relay: Unwired, kind: str, data: bytes) -> Exchange:
    """A stream whose head is out and whose first chunks have been looked at."""
    exchange, asked = relay.begin()
    relay.head(kind, asked + 0.01)
    for n in range(10):
        exchange.answer.body(data, asked + 0.02 + n / 100, False)
    return exchange


if __name__ == "__main__":
    sys.exit(main())
