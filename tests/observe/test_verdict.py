"""Verdicts on streams whose reads are known: one for each way to come, and none on streams that only look like it."""

from collections.abc import Sequence
from itertools import accumulate

import pytest

from benchmarks.unwired import Unwired
from unbuffer.judgement import Judgement, Verdict
from unbuffer.observe.verdict import ADVICE, judge
from unbuffer.record import Record

EVENT = b'data: {"choices":[{"delta":{"content":"token"}}]}\n\n'
LINE = b'{"token":"value"}\n'
# Pauses of a model, in seconds, without a pattern.
PAUSES = (0.031, 0.018, 0.044, 0.027, 0.062, 0.022, 0.035, 0.081, 0.019, 0.04, 0.025, 0.053, 0.03, 0.071, 0.02)

Reads = Sequence[tuple[float, bytes]]


def paced(data: bytes, first: float = 0.4, pauses: Sequence[float] = PAUSES) -> list[tuple[float, bytes]]:
    """A read of `data` at `first`, and one after each pause."""
    return [(at, data) for at in accumulate(pauses, initial=first)]


def verdict(relay: Unwired, reads: Reads, kind: str = "sse", head_at: float = 0.01) -> Verdict:
    judgement = judge(relay.play(kind, head_at, list(reads)))
    assert judgement is not None
    return judgement.verdict


@pytest.mark.parametrize("kind", ["sse", "ndjson", "stream"])
def test_what_comes_as_it_is_made_is_streamed(relay: Unwired, kind: str) -> None:
    assert verdict(relay, paced(EVENT if kind == "sse" else LINE), kind) is Verdict.STREAMED


@pytest.mark.parametrize(
    ("kind", "reads"),
    [
        ("sse", [(0.9, EVENT * 30)]),
        ("sse", [(0.9, EVENT.replace(b"\n", b"\r\n") * 30)]),
        ("ndjson", [(0.9, LINE * 5)]),
        ("sse", [(0.9 + n * 0.0001, EVENT) for n in range(30)]),
        # What a compressor sends ahead is no content.
        ("sse", [(0.1, EVENT), (0.9, EVENT * 30)]),
        ("stream", [(0.9 + n * 0.0001, b"word ") for n in range(30)]),
    ],
)
def test_what_comes_at_once_after_a_wait_is_a_lump(relay: Unwired, kind: str, reads: Reads) -> None:
    assert verdict(relay, reads, kind) is Verdict.LUMP


@pytest.mark.parametrize(
    ("kind", "reads"),
    [
        # Nobody waited for it.
        ("sse", [(0.3, EVENT * 30)]),
        # So few may have been written at once.
        ("sse", [(0.9, EVENT * 4)]),
        # A thousand tokens a second, made so fast.
        ("sse", [(0.9 + n * 0.001, EVENT) for n in range(30)]),
        # A page of text, written at once.
        ("stream", [(0.9, b"A whole page.\n" * 1000)]),
        ("stream", [(0.9 + n * 0.001, b"x" * 65536) for n in range(5)]),
        # Half of it was there before.
        ("sse", [(0.1, EVENT * 10), (0.9, EVENT * 10)]),
    ],
)
def test_what_may_have_been_made_like_that_is_no_lump(relay: Unwired, kind: str, reads: Reads) -> None:
    assert verdict(relay, reads, kind) is Verdict.SHORT


def test_blocks_of_one_size_are_bursts_and_the_size_is_told(relay: Unwired) -> None:
    text = EVENT * 2000
    blocks = [text[at : at + 16384] for at in range(0, len(text), 16384)]
    reads = [(at, block) for (at, _), block in zip(paced(b"", pauses=[p * 10 for p in PAUSES]), blocks, strict=False)]
    judgement = judge(relay.play("sse", 0.01, reads))
    assert judgement == Judgement(Verdict.BURSTS, "16384 bytes at a time")


def test_clumps_on_a_beat_are_bursts_and_the_beat_is_told(relay: Unwired) -> None:
    late = (0.0, 0.004, -0.003, 0.006, -0.005)
    reads = [(0.4 + n * 0.2 + late[n % 5], EVENT * (4 + n % 3)) for n in range(21)]
    assert judge(relay.play("sse", 0.01, reads)) == Judgement(Verdict.BURSTS, "every 200 ms")


@pytest.mark.parametrize(
    "reads",
    [
        # One or two events at a time, on a timer of the application's own.
        [(0.4 + n * 0.2, EVENT * 2) for n in range(20)],
        # Speculative decoding: steps of 40 ms, each of up to seven tokens.
        [(0.4 + n * 0.04, EVENT * (1 + n * 5 % 7)) for n in range(40)],
        # A model of 300 tokens a second, read in clumps.
        [(0.4 + n * 0.0333, EVENT * 10) for n in range(40)],
        # Results of a tool in between.
        [*paced(EVENT), (4.0, EVENT * 60)],
        # Large events, each as large as the other.
        paced(b"data: " + b"x" * 16384 + b"\n\n", pauses=[p * 10 for p in PAUSES]),
    ],
)
def test_what_a_model_may_do_is_no_burst(relay: Unwired, reads: Reads) -> None:
    assert verdict(relay, reads) is Verdict.STREAMED


def test_clumps_behind_a_slow_client_are_its_own_doing(relay: Unwired) -> None:
    record = relay.play("sse", 0.01, [(0.4 + n * 0.2, EVENT * 400) for n in range(20)])
    judgement = judge(record)
    assert judgement is not None
    assert judgement.verdict is Verdict.BURSTS
    record.stalls = 1
    assert judge(record) == Judgement(Verdict.STREAMED)


def test_a_head_that_comes_with_the_first_chunk_was_withheld(relay: Unwired) -> None:
    assert verdict(relay, paced(EVENT, 0.8), head_at=0.799) is Verdict.HEADERS_WITHHELD


@pytest.mark.parametrize(("head_at", "first"), [(0.3, 0.301), (0.7, 0.8)])
def test_a_head_that_is_early_or_alone_was_not(relay: Unwired, head_at: float, first: float) -> None:
    assert verdict(relay, paced(EVENT, first), head_at=head_at) is Verdict.STREAMED


def test_the_wait_begins_when_the_request_has_been_sent(relay: Unwired) -> None:
    # A large upload, or an application that is still starting, is no wait for the answer.
    record = relay.play("sse", 0.7, [(0.7, EVENT * 30)])
    record.sent_at += 0.5
    assert judge(record) == Judgement(Verdict.SHORT)
    record = relay.play("sse", 0.7, paced(EVENT, 0.7))
    record.sent_at = 0.0  # the answer came first
    assert judge(record) == Judgement(Verdict.STREAMED)


@pytest.mark.parametrize("reads", [[(0.4, EVENT)], paced(EVENT, pauses=PAUSES[:2]), [(0.4, EVENT * 100)]])
def test_too_little_is_too_little(relay: Unwired, reads: Reads) -> None:
    assert verdict(relay, reads) is Verdict.SHORT


def test_an_event_of_several_lines_is_one(relay: Unwired) -> None:
    event = b"event: delta\nid: 1\n" + EVENT
    assert verdict(relay, [(0.4 + n * 0.2, event * 2) for n in range(20)]) is Verdict.STREAMED


def text(relay: Unwired, head_at: float, fields: bytes = b"", rest: float = 0.0) -> Judgement | None:
    """The verdict on plain text of a known length; rest: seconds until its second half."""
    exchange, asked = relay.begin()
    half = b"It was a dark and stormy night. " * 20
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n%b\r\n"
    relay.push(head % (2 * len(half), fields) + half, asked + head_at)
    relay.push(half, asked + head_at + rest)
    return judge(exchange.record)


def test_text_that_comes_with_its_length_after_a_wait_is_whole_and_nobody_is_blamed(relay: Unwired) -> None:
    assert text(relay, 1.2) == Judgement(Verdict.WHOLE, "after 1.2 s")


@pytest.mark.parametrize(
    ("head_at", "fields", "rest"),
    [
        (0.2, b"", 0.0),
        # Its end was not there yet, or it lay in a file.
        (1.2, b"", 0.3),
        (1.2, b'ETag: "1"\r\n', 0.0),
        (1.2, b"Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n", 0.0),
    ],
)
def test_text_that_nobody_can_have_held_has_no_verdict(
    relay: Unwired, head_at: float, fields: bytes, rest: float
) -> None:
    assert text(relay, head_at, fields, rest) is None


def test_who_was_stopped_together_with_others_twice_met_a_blocked_loop(relay: Unwired) -> None:
    record = relay.play("sse", 0.01, paced(EVENT))
    assert record.rhythm is not None
    record.rhythm.stills = 1
    assert judge(record) == Judgement(Verdict.STREAMED)
    record.rhythm.stills = 2
    assert judge(record) == Judgement(Verdict.BLOCKED_LOOP, "2 times together with others")


def test_what_is_no_stream_has_no_verdict() -> None:
    assert judge(Record(1.0, "GET", "/", "1.1", "", "default")) is None


def test_every_verdict_has_advice() -> None:
    assert ADVICE.keys() == set(Verdict)


def test_two_whole_pages_are_a_buffers_already(relay: Unwired) -> None:
    text = EVENT * 400
    reads = [(0.9, text[:8192]), (2.2, text[8192:16384]), (2.9, text[16384:18000])]
    assert judge(relay.play("sse", 0.01, reads)) == Judgement(Verdict.BURSTS, "8192 bytes at a time")


def test_what_shares_its_buffer_with_the_head_may_be_smaller(relay: Unwired) -> None:
    text = EVENT * 400
    cuts = (0, 3901, 7997, 12093, 16189, 18000)
    times = (1.2, 2.5, 3.6, 4.4, 4.9)
    reads = [(at, text[cuts[n] : cuts[n + 1]]) for n, at in enumerate(times)]
    assert judge(relay.play("sse", 1.199, reads)) == Judgement(Verdict.BURSTS, "4096 bytes at a time")


def test_the_longest_pause_of_many_makes_no_timer_unsteady(relay: Unwired) -> None:
    times = list(accumulate((0.2, 0.21, 0.2, 0.19, 0.7, 0.2, 0.21, 0.2, 0.2, 0.19), initial=0.4))
    reads = [(at, EVENT * (5 + n % 3)) for n, at in enumerate(times)]
    assert judge(relay.play("sse", 0.01, reads)) == Judgement(Verdict.BURSTS, "every 200 ms")


def test_speculative_decoding_is_no_timer(relay: Unwired) -> None:
    reads = [(0.4 + n * 0.12, EVENT * (2 + n * 7 % 4)) for n in range(40)]
    assert judge(relay.play("sse", 0.01, reads)) == Judgement(Verdict.STREAMED)


def test_a_beginning_that_waits_for_enough_bytes_is_told_from_one_that_is_large(relay: Unwired) -> None:
    count = -(-4096 // len(EVENT))
    judgement = judge(relay.play("sse", 0.01, [(1.4, EVENT * count), *paced(EVENT, 1.43)]))
    assert judgement == Judgement(Verdict.FIRST_BYTES_HELD, f"{count * len(EVENT)} bytes for 1.4 s")
    # A history of a chat, and then what is new.
    assert verdict(relay, [(1.4, EVENT * 70), *paced(EVENT, 1.43)]) is Verdict.STREAMED
    assert verdict(relay, [(0.2, EVENT * count), *paced(EVENT, 0.23)]) is Verdict.STREAMED
