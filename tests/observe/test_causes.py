"""What made a stream come collected, by the heads and the habits of those around it."""

import pytest

from unbuffer.judgement import Judgement, Verdict
from unbuffer.observe.causes import MOST_CAUSES, REMEDIES, Cause, explained, note
from unbuffer.record import Record
from unbuffer.totals import Totals

COLLECTED = (
    Verdict.HEADERS_WITHHELD, Verdict.LUMP, Verdict.BURSTS, Verdict.FIRST_BYTES_HELD, Verdict.BLOCKED_LOOP,
    Verdict.WHOLE,
)  # fmt: skip


def a_record(route: str = "chat", kind: str = "sse", server: bytes = b"uvicorn", varies: bool = False) -> Record:
    """A stream whose head and first chunk came together."""
    record = Record(100.0, "GET", "/", "1.1", "", route)
    record.kind, record.server, record.varies = kind, server, varies
    record.head_at = record.first_at = 101.0
    return record


def saw(totals: Totals, verdict: Verdict, route: str, kind: str = "sse", head_alone: bool = False) -> None:
    """Another stream has ended, that came so."""
    record = a_record(route, kind)
    if head_alone:
        record.head_at = 100.01
    note(record, verdict, totals)


def causes(record: Record, verdict: Verdict, totals: Totals, seen: str = "") -> list[str]:
    judgement = explained(Judgement(verdict, seen), record, totals)
    assert judgement is not None
    assert (judgement.verdict, judgement.seen) == (verdict, seen)
    return list(judgement.causes)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (a_record(), [Cause.FIRST_ITEM, Cause.APPLICATION_SERVER, Cause.HOP_OR_APPLICATION]),
        (a_record(kind="stream"), [Cause.FIRST_ITEM, Cause.COMPRESSION, Cause.APPLICATION_SERVER]),
        # What these two do with a head is known.
        (a_record(server=b"gunicorn/asgi"), [Cause.APPLICATION_SERVER, Cause.HOP_OR_APPLICATION, Cause.FIRST_ITEM]),
        (a_record(server=b"waitress"), [Cause.APPLICATION_SERVER, Cause.HOP_OR_APPLICATION, Cause.FIRST_ITEM]),
        (a_record(server=b"granian"), [Cause.FIRST_ITEM, Cause.APPLICATION_SERVER, Cause.HOP_OR_APPLICATION]),
        (
            a_record(server=b"granian", kind="stream"),
            [Cause.APPLICATION_SERVER, Cause.HOP_OR_APPLICATION, Cause.FIRST_ITEM],
        ),
        # Starlette's GZipMiddleware says that it was there, whatever the client accepts.
        (a_record(kind="stream", varies=True), [Cause.COMPRESSION, Cause.FIRST_ITEM, Cause.APPLICATION_SERVER]),
        (a_record(varies=True), [Cause.FIRST_ITEM, Cause.APPLICATION_SERVER, Cause.HOP_OR_APPLICATION]),
        (a_record(server=b"nginx/1.22.1"), [Cause.PROXY, Cause.HOP_OR_APPLICATION, Cause.FIRST_ITEM]),
        (a_record(server=b""), [Cause.HOP_OR_APPLICATION, Cause.FIRST_ITEM, Cause.APPLICATION_SERVER]),
    ],
)
def test_a_withheld_head_by_what_the_head_says(record: Record, expected: list[Cause]) -> None:
    assert causes(record, Verdict.HEADERS_WITHHELD, Totals()) == expected


def test_where_every_route_withholds_it_is_the_server() -> None:
    totals = Totals()
    saw(totals, Verdict.HEADERS_WITHHELD, "other")
    assert causes(a_record(), Verdict.HEADERS_WITHHELD, totals)[:2] == [Cause.APPLICATION_SERVER, Cause.FIRST_ITEM]


def test_where_other_routes_let_their_heads_go_it_is_the_route() -> None:
    totals = Totals()
    saw(totals, Verdict.HEADERS_WITHHELD, "other")
    saw(totals, Verdict.STREAMED, "third", head_alone=True)
    assert causes(a_record(), Verdict.HEADERS_WITHHELD, totals) == [Cause.FIRST_ITEM]


def test_where_event_streams_alone_let_their_heads_go_it_is_a_compressor() -> None:
    totals = Totals()
    saw(totals, Verdict.STREAMED, "other", head_alone=True)
    expected = [Cause.COMPRESSION, Cause.FIRST_ITEM, Cause.APPLICATION_SERVER]
    assert causes(a_record(kind="stream"), Verdict.HEADERS_WITHHELD, totals) == expected


def test_the_latest_stream_of_a_route_counts_and_a_fast_one_tells_nothing() -> None:
    totals = Totals()
    saw(totals, Verdict.HEADERS_WITHHELD, "other")
    # Head and first chunk together, but at once: either may be.
    saw(totals, Verdict.STREAMED, "other")
    assert causes(a_record(), Verdict.HEADERS_WITHHELD, totals)[0] is Cause.APPLICATION_SERVER
    saw(totals, Verdict.SHORT, "other", head_alone=True)
    assert causes(a_record(), Verdict.HEADERS_WITHHELD, totals) == [Cause.FIRST_ITEM]


def test_what_the_route_itself_did_before_tells_nothing_of_the_others() -> None:
    totals = Totals()
    saw(totals, Verdict.HEADERS_WITHHELD, "chat")
    assert causes(a_record(), Verdict.HEADERS_WITHHELD, totals)[0] is Cause.FIRST_ITEM


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (a_record(), [Cause.HOP_OR_APPLICATION, Cause.MIDDLEWARE, Cause.COMPRESSION]),
        (a_record(varies=True), [Cause.COMPRESSION, Cause.HOP_OR_APPLICATION, Cause.MIDDLEWARE]),
        (a_record(server=b"cloudflare"), [Cause.PROXY, Cause.HOP_OR_APPLICATION, Cause.MIDDLEWARE]),
    ],
)
def test_a_lump_by_what_the_head_says(record: Record, expected: list[Cause]) -> None:
    assert causes(record, Verdict.LUMP, Totals()) == expected


def test_a_lump_that_came_compressed_was_compressed() -> None:
    record = a_record()
    record.decoded = "gzip"
    assert causes(record, Verdict.LUMP, Totals())[0] is Cause.COMPRESSION


def test_a_lump_among_lumps_is_of_what_they_share_and_one_among_streams_its_own() -> None:
    totals = Totals()
    saw(totals, Verdict.LUMP, "other")
    assert causes(a_record(), Verdict.LUMP, totals)[:2] == [Cause.HOP_OR_APPLICATION, Cause.MIDDLEWARE]
    saw(totals, Verdict.STREAMED, "third")
    assert causes(a_record(), Verdict.LUMP, totals)[:2] == [Cause.MADE_AT_ONCE, Cause.MIDDLEWARE]


def test_whose_it_is_that_a_text_comes_whole_is_said_where_a_proxy_says_so_and_else_left_open() -> None:
    assert causes(a_record(kind="plain"), Verdict.WHOLE, Totals())[0] is Cause.HOP_OR_APPLICATION
    assert causes(a_record(kind="plain", server=b"nginx"), Verdict.WHOLE, Totals())[0] is Cause.PROXY


def test_who_waited_for_his_turn_waited_for_a_blocking_call() -> None:
    assert causes(a_record(), Verdict.BLOCKED_LOOP, Totals(), "for 1.5 s") == [Cause.BLOCKING_CALL]


@pytest.mark.parametrize(
    ("record", "seen", "expected"),
    [
        (a_record(), "16384 bytes at a time", [Cause.BLOCK_SIZE, Cause.HOP_OR_APPLICATION, Cause.COMPRESSION]),
        (a_record(), "every 200 ms", [Cause.TIMER, Cause.HOP_OR_APPLICATION, Cause.COMPRESSION]),
        (a_record(varies=True), "every 200 ms", [Cause.COMPRESSION, Cause.TIMER, Cause.HOP_OR_APPLICATION]),
        (a_record(server=b"Envoy"), "every 200 ms", [Cause.PROXY, Cause.TIMER, Cause.HOP_OR_APPLICATION]),
    ],
)
def test_bursts(record: Record, seen: str, expected: list[Cause]) -> None:
    assert causes(record, Verdict.BURSTS, Totals(), seen) == expected


def test_what_was_not_collected_has_no_cause() -> None:
    for verdict in set(Verdict) - set(COLLECTED):
        assert causes(a_record(), verdict, Totals()) == []
    assert explained(None, a_record(), Totals()) is None


def test_every_cause_says_what_to_do_and_no_list_is_long() -> None:
    assert REMEDIES.keys() == set(Cause)
    for verdict in COLLECTED:
        for kind in ("sse", "ndjson", "stream"):
            found = causes(a_record(kind=kind, server=b"nginx", varies=True), verdict, Totals())
            assert 0 < len(found) <= MOST_CAUSES
