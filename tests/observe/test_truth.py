"""Streams of which everything is known, when each chunk comes and how large it is: /metrics says just that."""

from collections.abc import Sequence
from itertools import pairwise

import pytest

from benchmarks.unwired import Unwired
from tests.deploy.queries import BOUNDS
from tests.observe.test_metrics import Samples, flat, histogram, one, scrape
from unbuffer.observe.verdict import judge
from unbuffer.outcome import Outcome

Reads = Sequence[tuple[float, bytes]]

EVENT = b"data: 12345\n\n"
SCRIPT: tuple[tuple[str, float, Reads], ...] = (
    # Kind, seconds to the head, and the reads of the body: seconds since the request, and what each one brings. No gap
    # is on a boundary: on which side of it the difference of two such times falls is a matter of rounding.
    ("sse", 0.03, [(0.13, EVENT), (0.153, EVENT * 2), (0.1537, EVENT), (0.21, EVENT), (2.31, EVENT * 8), (2.6, EVENT)]),
    ("sse", 0.7, [(0.71, EVENT)]),
    ("sse", 0.013, [(0.016, EVENT * 90), (0.9, EVENT), (1.11, EVENT * 3), (1.6, EVENT), (1.91, EVENT)]),
    ("ndjson", 0.63, [(0.93, b'{"n":1}\n' * 10)]),
    ("stream", 0.03, [(0.13, b"x" * 70_000), (0.133, b"x" * 5_000), (0.1337, b"x")]),
)


def of_kind(kind: str) -> Samples:
    """What the exposition has to say of the streams of one kind."""
    labels = {"route": "default", "kind": kind}
    streams = [(head, reads) for k, head, reads in SCRIPT if k == kind]
    bodies = [[data for _, data in reads] for _, reads in streams]
    gaps = [later - at for _, reads in streams for (at, _), (later, _) in pairwise(reads)]
    measured: dict[str, Sequence[float]] = {
        "unbuffer_upstream_ttfb_seconds": [head for head, _ in streams],
        "unbuffer_time_to_first_chunk_seconds": [reads[0][0] for _, reads in streams],
        "unbuffer_inter_chunk_gap_seconds": gaps,
        "unbuffer_stream_chunks": [len(body) for body in bodies],
        "unbuffer_chunk_size_bytes": [len(data) for body in bodies for data in body],
    }
    expected: Samples = {}
    for name, values in measured.items():
        expected |= histogram(name, BOUNDS[name], values, **labels)
    return (
        expected
        | one("unbuffer_streams_total", len(streams), outcome="completed", **labels)
        | one("unbuffer_active_streams", 0, **labels)
        | one("unbuffer_response_body_bytes_total", sum(len(b"".join(body)) for body in bodies), **labels)
    )


async def test_the_exposition_equals_the_script(relay: Unwired) -> None:
    verdicts = []
    for kind, head_at, reads in SCRIPT:
        judgement = judge(relay.play(kind, head_at, list(reads)))
        assert judgement is not None
        verdicts.append(judgement.verdict.value)
    assert verdicts == ["streamed", "short", "streamed", "lump", "short"]
    samples = flat(await scrape(relay.totals))
    expected: Samples = {}
    for kind in ("sse", "ndjson", "stream"):
        expected |= of_kind(kind)
        # Head and end of the body are written as well.
        writes = sum(len(reads) + 2 for k, _, reads in SCRIPT if k == kind)
        assert samples["unbuffer_relay_delay_seconds_count", frozenset({("kind", kind)})] == writes
    expected |= one("unbuffer_requests_total", 5, route="default", method="GET", code="200")
    expected |= one("unbuffer_upstream_connection_reuse_total", 4)
    # Of the silences one has a second: the third stream's longest has 0.884 s.
    expected |= one("unbuffer_upstream_stalls_total", 1, scope="stream")
    expected |= one("unbuffer_upstream_stalls_total", 0, scope="upstream")
    assert {key: samples[key] for key in expected} == pytest.approx(expected, abs=0.05)


async def test_a_stream_that_runs_is_in_the_scrape(relay: Unwired) -> None:
    exchange, asked = relay.begin()
    relay.head("sse", asked + 0.03)
    relay.push(b"d\r\n%b\r\n" % EVENT, asked + 0.13)
    exchange.answer.downstream_full()
    samples = flat(await scrape(relay.totals))
    of = frozenset({("route", "default"), ("kind", "sse")})
    assert samples["unbuffer_active_streams", of] == 1
    assert samples["unbuffer_response_body_bytes_total", of] == len(EVENT)
    assert samples["unbuffer_time_to_first_chunk_seconds_count", of] == 1
    assert samples["unbuffer_backpressured_streams", of] == 1
    assert samples["unbuffer_client_backpressure_events_total", of] == 1
    held = samples["unbuffer_client_backpressure_seconds_total", of]
    assert held > 0
    exchange.answer.downstream_has_room()
    later = flat(await scrape(relay.totals))
    assert later["unbuffer_backpressured_streams", of] == 0
    assert later["unbuffer_client_backpressure_seconds_total", of] == exchange.record.stalled >= held


async def test_a_stream_that_ends_while_its_client_is_held_back_is_held_back_no_more(relay: Unwired) -> None:
    exchange, asked = relay.begin()
    relay.head("sse", asked + 0.03)
    relay.push(b"d\r\n%b\r\n" % EVENT, asked + 0.13)
    exchange.answer.downstream_full()
    exchange.finish(Outcome.CLIENT_STALL_TIMEOUT)
    samples = flat(await scrape(relay.totals))
    of = frozenset({("route", "default"), ("kind", "sse")})
    assert samples["unbuffer_backpressured_streams", of] == 0
    assert samples["unbuffer_client_backpressure_seconds_total", of] == exchange.record.stalled > 0
