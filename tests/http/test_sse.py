"""What is added to a stream of events changes none of them, and its last line is found however it is split.

Two parsers judge, neither of them ours: one that follows the HTML standard, section 9.2.6, step by step, and httpx-sse.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unbuffer.http.sse import (
    AUTO,
    BLANK,
    COMMENT,
    COMMENT_BLOCK,
    Tail,
    _LastEvent,
    _LastLine,
    error_event,
    reads_events,
    unmarked,
)

BOM = b"\xef\xbb\xbf"
MARK = b"[DONE]"

ends = pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
examples = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)


@dataclass(frozen=True, slots=True)
class Event:
    """What a script in a page is given."""

    type: str
    data: str
    last_id: str


def standard(stream: bytes) -> tuple[list[Event], str]:
    """The events of a stream as the HTML standard dispatches them, and the reconnection time that it sets."""
    text = stream.decode(errors="replace").removeprefix("\ufeff")
    *lines, _ = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")  # the last one is not complete
    events: list[Event] = []
    data, kind, last_id, retry = "", "", "", ""
    for line in lines:
        field, colon, value = line.partition(":")
        value = value.removeprefix(" ") if colon else ""
        if not line:
            if data:
                events.append(Event(kind or "message", data.removesuffix("\n"), last_id))
            data, kind = "", ""
        elif field == "event":
            kind = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\0" not in value:
            last_id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            retry = value
    return events, retry


def httpx_sse(reads: Iterable[bytes]) -> list[tuple[str, str, str, int | None]]:
    """The events of a stream as httpx-sse gives them."""
    response = httpx.Response(200, headers={"Content-Type": "text/event-stream"}, content=iter(reads))
    return [(event.event, event.data, event.id, event.retry) for event in EventSource(response).iter_sse()]


# -- heartbeats


def with_heartbeats(reads: Iterable[bytes], beats: Iterable[bool], shape: str = COMMENT) -> list[bytes]:
    """The reads with a heartbeat before each one that has a beat, wherever one may stand."""
    tail, written, begun = Tail(b"", shape), list[bytes](), False
    for read, beat in zip(reads, beats, strict=True):
        if beat and tail.at_event_boundary:
            written.append(tail.heartbeat)
        if not begun and written:
            read = unmarked(read)
        begun = True
        tail.feed(read)
        written.append(read)
    return written


lines = st.one_of(
    st.just(""),
    st.sampled_from(["data", "data:", "data: a", "data:b: c", "event: e", "id: 1", "id", "retry: 5", ": hm", ":"]),
    st.text(st.sampled_from("dati: \u00fc\ufeff\0"), max_size=6),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Lines that mean something and lines that do not, each with any of the three line ends, or one for all."""
    ends = st.sampled_from(["\n", "\r\n", "\r"])
    end = draw(st.none() | ends)
    text = "".join(draw(lines) + (end or draw(ends)) for _ in range(draw(st.integers(0, 12))))
    return (draw(st.sampled_from(["", "\ufeff"])) + text + draw(lines)).encode()


@st.composite
def split(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """A stream in reads, many of them cut beside a line end; none is inside a byte order mark, which comes in one."""
    places = range(3 if stream.startswith(BOM) else 1, len(stream))
    beside = [place for place in places if stream[place - 1] in b"\r\n"]
    chosen = beside if draw(st.booleans()) else places
    cuts = sorted(draw(st.sets(st.sampled_from(chosen)))) if chosen else []
    pieces = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    return [piece for piece in pieces if piece]


@pytest.mark.parametrize("shape", [AUTO, COMMENT, COMMENT_BLOCK, BLANK])
@examples
@given(st.data(), streams())
def test_heartbeats_change_no_event(shape: str, data: st.DataObject, stream: bytes) -> None:
    reads = data.draw(split(stream))
    every = st.just([True] * len(reads))
    beats = data.draw(every | st.lists(st.booleans(), min_size=len(reads), max_size=len(reads)))
    written = with_heartbeats(reads, beats, shape)
    assert standard(b"".join(written)) == standard(stream)
    # httpx-sse takes a byte order mark for a part of the first field's name, so it gets none;
    # and an empty line it takes for an event once there was an id.
    if shape in (AUTO, COMMENT) and not stream.startswith(BOM):
        assert httpx_sse(written) == httpx_sse(reads)


@ends
@pytest.mark.parametrize(
    ("shape", "beat", "lines"), [(AUTO, b"", 2), (COMMENT, b":", 1), (COMMENT_BLOCK, b":", 2), (BLANK, b"", 2)]
)
def test_a_heartbeat_ends_its_lines_as_the_stream_does(shape: str, beat: bytes, lines: int, end: bytes) -> None:
    tail = Tail(b"", shape)
    assert tail.heartbeat == beat + b"\n" * lines
    tail.feed(b"data: a" + end + end)
    assert tail.heartbeat == beat + end * lines


@ends
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 100])
@pytest.mark.parametrize(
    ("lines", "seen"),
    [
        ([b"id: 1"], True),
        ([b"id:"], True),
        ([b"id"], True),
        ([b"data: a", b"id: 1"], True),
        ([b"data: a", b"", b"retry: 5", b"id"], True),
        ([b"data: id: 1"], False),
        ([b"idle: 1", b"identity"], False),
        ([b"data: i", b"d: 1", b"i", b"d"], False),
        ([b" id: 1"], False),
        ([b": id: 1"], False),
    ],
)
def test_an_id_is_seen_however_it_is_split(lines: list[bytes], seen: bool, size: int, end: bytes) -> None:
    stream = end.join([*lines, b"", b""])
    tail = Tail(b"", AUTO)
    for start in range(0, len(stream), size):
        tail.feed(stream[start : start + size])
    assert tail.heartbeat == (b":" + end if seen else end + end)
    tail.feed(b"data: b" + end + end)
    assert tail.heartbeat == (b":" + end if seen else end + end)


@pytest.mark.parametrize(
    ("fields", "reads"),
    [
        ([], False),
        ([(b"Accept", b"*/*")], False),
        ([(b"Accept", b"application/json")], False),
        ([(b"Content-Type", b"text/event-stream")], False),
        ([(b"Accept", b"text/event-stream")], True),
        ([(b"accept", b"application/json, Text/Event-Stream;q=0.5")], True),
        ([(b"Accept", b"application/json"), (b"ACCEPT", b"text/event-stream")], True),
    ],
)
def test_a_client_that_asks_for_events_by_name(fields: list[tuple[bytes, bytes]], reads: bool) -> None:
    assert reads_events(fields) is reads


@ends
def test_every_event_is_followed_by_a_boundary_and_nothing_else_is(end: bytes) -> None:
    event = b"id: 1" + end + b"data: a" + end + end
    tail = Tail(b"")
    for _ in range(3):
        assert tail.at_event_boundary
        for n in range(len(event)):
            tail.feed(event[n : n + 1])
            assert tail.at_event_boundary == (n == len(event) - 1)


@pytest.mark.parametrize(
    "read",
    [
        b"data: a",
        b"data: a\n",
        b"data: a\r",
        b"data: a\r\n",
        b"data: a\r\n\r",
        b"data: a\n\r",
        b"\r",
        b"\n",
        b":",
        b"a\nb",
    ],
)
def test_what_may_still_go_on_is_no_boundary(read: bytes) -> None:
    tail = Tail(b"")
    tail.feed(b"data: before\n\n")
    tail.feed(read)
    assert tail.at_event_boundary == (read == b"\n")  # one more empty line after an event


@pytest.mark.parametrize("reads", [[b"data: a\r\r", b"\ndata: b\r\r"], [b"id: 1\r", b"\r", b"\n", b"data: b\r\n\r\n"]])
def test_a_heartbeat_may_part_a_cr_from_its_lf(reads: list[bytes]) -> None:
    """After CR CR nobody knows whether a LF is to come."""
    written = with_heartbeats(reads, [True] * len(reads))
    assert standard(b"".join(written)) == standard(b"".join(reads))
    assert httpx_sse(written) == httpx_sse(reads)


def test_a_byte_order_mark_after_a_heartbeat_costs_no_field() -> None:
    stream = BOM + b"data: a\n\n"
    written = with_heartbeats([stream], [True])
    assert written[0] == b":\n"
    assert len(written[1]) == len(stream)
    assert standard(b"".join(written)) == standard(stream) == ([Event("message", "a", "")], "")


# -- terminal markers


def terminated(reads: Iterable[bytes], marker: bytes = MARK, keepalives: tuple[bytes, ...] | None = None) -> bool:
    tail = Tail(marker, keepalives=keepalives)
    for read in reads:
        tail.feed(read)
    return tail.terminated


def last_line_has(stream: bytes, marker: bytes) -> bool:
    said = [line for line in stream.replace(b"\r", b"\n").split(b"\n") if line and not line.startswith(b":")]
    return bool(said) and marker in said[-1]


@pytest.mark.parametrize(
    "stream",
    [
        b"data: [DONE]\n\n",
        b"data: [DONE]",
        b"data: a\r\n\r\ndata: [DONE]\r\n\r\n",
        b"data: [DONE]\r\r",
        b"data: [DONE]\n\n: farewell\n\n:\n\n\r\n",
        b"data: [DONE]\n\n:" + b"x" * 100_000 + b"\n\n",
        b"data: [DONE]\n\n" + b": padding\n\n" * 10_000,
        b"[DONE]" + b"x" * 100_000 + b"\n",
        b"x" * 100_000 + b"[DONE]",
        b": [DO\n[DONE]",
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5, 1000, 1 << 20])
@pytest.mark.parametrize("keepalives", [None, ()], ids=["lines", "events"])
def test_the_marker_in_the_last_line_is_found(stream: bytes, size: int, keepalives: tuple[bytes, ...] | None) -> None:
    reads = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert terminated(reads, keepalives=keepalives)


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\n\n",
        b"data: a\n\n",
        b": [DONE]\n\n",
        b"data: [DO\nNE]\n\n",
        b"data: [DO\rNE]\n\n",
        b"data: [DONE]\n\ndata: a\n\n",
        b"data: [DONE]\n\ndata: a",
        b"data: [DONE]\n\nd",
        b"data: [DONE]\n\ndata: " + b"x" * 100_000,
        b"data: [DONE" + b"x" * 100_000 + b"]\n\n",
        b": a comment" + b"x" * 100_000 + b"[DONE]",
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5, 1000, 1 << 20])
@pytest.mark.parametrize("keepalives", [None, ()], ids=["lines", "events"])
def test_a_marker_anywhere_else_is_none(stream: bytes, size: int, keepalives: tuple[bytes, ...] | None) -> None:
    reads = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert not terminated(reads, keepalives=keepalives)


def last_event_has(stream: bytes, marker: str) -> bool:
    """Of a stream of whole events: by the events that the standard dispatches."""
    events = [event for event in standard(stream)[0] if event.type != "ping"]
    return bool(events) and marker in f"data: {events[-1].data}"


whole_events = st.lists(
    st.sampled_from(
        [
            b"data: [DONE]",
            b"data: a",
            b"event: b\ndata: [DONE]",
            b"event: ping\ndata: a",
            b"event:ping\nid: 1\ndata: b",
            b"event: ping",
            b"event: pings\ndata: a",
            b"event: pings",
            b"id: 1",
            b"retry: 5",
            b": [DONE]",
            b"",
        ]
    ),
    max_size=8,
)


@examples
@given(st.data(), whole_events, st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_an_event_that_no_listener_gets_is_not_the_last(data: st.DataObject, events: list[bytes], end: bytes) -> None:
    stream = b"".join(event + b"\n\n" for event in events).replace(b"\n", end)
    reads = data.draw(split(stream))
    assert terminated(reads, b"data: [DONE]", (b"ping",)) == last_event_has(stream, "data: [DONE]")


@pytest.mark.parametrize(
    ("after", "marked"),
    [
        (b"event: ping", False),
        (b"event: ping\n", True),
        (b"event: ping\ndata: {}", True),
        (b"event: ping\ndata: {}\n\n", True),
        (b"event: message_delta\n\n", True),
        (b"event: message_delta\n", False),
        (b"event: message_delta\ndata: {}\n\n", False),
        (b"event: pi", False),
        (b"{}\n\n", False),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_what_counts_after_the_event_with_the_name(after: bytes, marked: bool, size: int) -> None:
    stream = b"event: message_stop\ndata: {}\n\n" + after
    reads = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert terminated(reads, b"event: message_stop", (b"ping",)) is marked


@pytest.mark.parametrize("keepalives", [(), (b"end",)])
def test_the_marker_counts_in_whatever_event_it_is(keepalives: tuple[bytes, ...]) -> None:
    assert terminated([b"data: a\n\nevent: end\n\n"], b"event: end", keepalives)
    assert terminated([b"data: a\n\nevent: end\nid: over\n\n"], b"id: over", keepalives)


@examples
@given(st.data(), st.text("ab:[\n\r", max_size=40), st.sampled_from(["a", "ab", "aab", "[a]", ":", "a:", "aa"]))
def test_the_last_line_is_the_same_wherever_it_is_split(data: st.DataObject, text: str, marker: str) -> None:
    stream = text.encode()
    expected = last_line_has(stream, marker.encode())
    assert terminated(data.draw(split(stream)), marker.encode()) == expected


def test_without_a_marker_every_end_is_one() -> None:
    assert terminated([b"data: a\n\n", b"data: b"], b"")


def test_what_is_kept_of_a_body_is_bounded() -> None:
    tail = Tail(MARK)
    for read in (b"x" * 1_000_000, b":" * 1_000_000, b"\n:" + b"y" * 1_000_000, b"z\n" * 500_000):
        tail.feed(read)
        assert isinstance(tail._last, _LastLine)
        assert len(tail.last_bytes) + len(tail._last._line) < 16


# -- the name of the last event


@ends
@pytest.mark.parametrize("size", [1, 2, 5, 1000, 1 << 20])
@pytest.mark.parametrize(
    ("lines", "marked"),
    [
        ([b"event: message_stop", b'data: {"type": "message_stop"}', b""], True),
        ([b"data: a", b"", b"event:message_stop", b"data: b", b""], True),
        ([b"data: a", b"id: 1", b"event: message_stop", b"data: " + b"x" * 100_000, b""], True),
        ([b"event: message_stop", b"data: a", b"", b": farewell", b"", b"", b":"], True),
        ([b"event: message_stop", b"data: a"], True),
        ([b"event: a", b"event: message_stop", b"data: a", b""], True),
        ([b"event: message_stop", b"event: a", b"data: a", b""], False),
        ([b"event: message_stop", b"data: a", b"", b"data: b", b""], False),
        ([b"event: message_stop", b"data: a", b"", b"d"], False),
        ([b"event: message_stopped", b"data: a", b""], False),
        ([b"event: message_sto", b"data: a", b""], False),
        ([b"data: event: message_stop", b""], False),
        ([b": event: message_stop", b"data: a", b""], False),
        ([b"event", b"data: message_stop", b""], False),
        ([b"data: a", b""], False),
        ([b""], False),
        ([], False),
    ],
)
def test_the_last_event_has_the_name_or_not(lines: list[bytes], marked: bool, size: int, end: bytes) -> None:
    stream = b"".join(line + end for line in lines)
    reads = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert terminated(reads, b"event: message_stop") == marked


@pytest.mark.parametrize("marker", [b"event: message_stop", MARK])
def test_what_is_kept_of_an_event_is_bounded(marker: bytes) -> None:
    tail = Tail(marker, keepalives=(b"ping",))
    for read in (b"x" * 1_000_000, b":" * 1_000_000, b"\n:" + b"y" * 1_000_000, b"z\n" * 500_000):
        tail.feed(read)
        assert isinstance(tail._last, _LastEvent)
        assert len(tail._last._line) + len(tail._last._end) < 40


# -- error events


@pytest.mark.parametrize(("status", "code"), [(502, 502), (0, None)])
def test_an_error_event_is_one_event_whatever_its_message(status: int, code: int | None) -> None:
    message = 'it said "no"\r\n\r\ndata: \u00fc\u2028 \\'
    stream = error_event("upstream_disconnect", status, message)
    assert stream.isascii()
    (_, event), _ = standard(b"data: before\n\n" + stream)
    assert event.type == "error"
    assert json.loads(event.data) == {"error": {"message": message, "type": "upstream_disconnect", "code": code}}
