"""A stream that ends cleanly without the last word of the others: counted, told, and relayed as it came."""

import gzip

import pytest

from tests.peers import LAST, Peer, chunk, response_head
from tests.relay.conftest import Relay
from unbuffer.outcome import Outcome
from unbuffer.record import MISSING, SAID, UNKNOWN, UNSAID, Record
from unbuffer.totals import FEW_ENDS, MANY_ENDS, Totals

CHUNKED = b"Transfer-Encoding: chunked"
EVENTS = b"Content-Type: text/event-stream"
DONE = b"data: [DONE]\n\n"


async def begin(relay: Relay, *lines: bytes, status: bytes = b"200 OK") -> tuple[Peer, Peer]:
    await relay.start()
    return await relay.stream(response_head(*lines, status=status))


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ([b"data: a\n\n", DONE], SAID),
        ([b"data: a\n\n" + DONE], SAID),
        ([b"data: a\n\n", b"data: [D", b"ONE]\n\n"], SAID),
        ([b"data: " + b"x" * 50_000 + b"\n\n" + DONE], SAID),
        ([b"data: a\n\n"], UNSAID),
        ([DONE, b"data: a\n\n", b"data: b\n\n"], UNSAID),
        ([], UNKNOWN),
    ],
)
async def test_the_end_is_looked_at(relay: Relay, reads: list[bytes], expected: int) -> None:
    client, upstream = await begin(relay, EVENTS, CHUNKED)
    for read in reads:
        await upstream.send(chunk(read))
        assert await client.chunks_of(len(read)) == read
    await upstream.send(LAST)
    assert await client.chunk() == b""
    assert (await relay.record()).last_word == expected


async def test_the_end_of_a_decoded_stream_is_looked_at(relay: Relay) -> None:
    client, upstream = await begin(relay, EVENTS, CHUNKED, b"Content-Encoding: gzip")
    text = b"data: a\n\n" + DONE
    await upstream.send(chunk(gzip.compress(text)) + LAST)
    assert await client.chunks_of(len(text)) == text
    assert (await relay.record()).last_word == SAID


@pytest.mark.parametrize(
    ("lines", "status"), [((b"Content-Type: text/plain", CHUNKED), b"200 OK"), ((EVENTS, CHUNKED), b"429 Slow Down")]
)
async def test_of_what_is_no_events_or_an_error_nothing_is_expected(
    relay: Relay, lines: tuple[bytes, ...], status: bytes
) -> None:
    client, upstream = await begin(relay, *lines, status=status)
    await upstream.send(chunk(DONE) + LAST)
    assert await client.chunks_of(len(DONE)) == DONE
    assert (await relay.record()).last_word == UNKNOWN


def end(totals: Totals, said: bool, route: str = "chat") -> int:
    """What a stream of this route is found to be at its end."""
    record = Record(1.0, "GET", "/", "1.1", "", route)
    record.kind, record.outcome, record.last_word = "sse", Outcome.COMPLETED, SAID if said else UNSAID
    totals.fold(record, totals.of(route, "sse"))
    return record.last_word


def test_it_is_missing_where_nearly_all_others_have_one_and_only_there() -> None:
    totals = Totals()
    assert [end(totals, said=number % 25 > 0) for number in range(FEW_ENDS)].count(MISSING) == 0
    assert end(totals, said=False) == MISSING
    assert end(totals, said=False, route="other") == UNSAID
    assert end(totals, said=True) == SAID
    assert (totals.of("chat", "sse").missing, totals.of("other", "sse").missing) == (1, 0)


def test_a_route_without_last_words_is_never_accused() -> None:
    totals = Totals()
    assert {end(totals, said=False) for _ in range(3 * MANY_ENDS)} == {UNSAID}
    assert {end(totals, said=number % 10 > 0) for number in range(3 * MANY_ENDS)} == {SAID, UNSAID}


def test_an_application_that_fails_often_is_told_of_and_one_that_has_changed_not_for_ever() -> None:
    totals = Totals()
    for _ in range(FEW_ENDS):
        end(totals, said=True)
    # Every third one fails from here on.
    found = [end(totals, said=number % 3 > 0) for number in range(3 * MANY_ENDS)]
    assert found.count(MISSING) == MANY_ENDS
    changed = [end(totals, said=False) for _ in range(2 * MANY_ENDS)]
    assert changed[0] == MISSING
    assert changed[-1] == UNSAID
