"""What a read of a stream brings, content or a keep-alive: the same by a plain reading of the standard, however it is
split.
"""

from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unbuffer.http.content import EventReader, LineReader, content_reader

BOM = b"\xef\xbb\xbf"
NOTHING: tuple[bytes, ...] = ()
PING = (b"ping", b"keep")

examples = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)


# -- a plain reading: every byte of a whole stream is content or not


def lines_of(stream: bytes) -> Iterable[tuple[int, bytes, int]]:
    """Each line with the places where it begins and, its line end included, where it is over; the last one has none."""
    start = 0
    while start < len(stream):
        stop = start
        while stop < len(stream) and stream[stop] not in b"\r\n":
            stop += 1
        over = stop + (2 if stream[stop : stop + 2] == b"\r\n" else 1)
        yield start, stream[start:stop], min(over, len(stream))
        start = over


def content_of_events(stream: bytes, keepalives: tuple[bytes, ...]) -> list[bool]:
    """Of each byte. The LF of a CRLF says nothing that its CR has not said."""
    content = [False] * len(stream)
    begin = len(BOM) if stream.startswith(BOM) else 0
    kind, has_data = b"", False
    for start, line, over in lines_of(stream[begin:]):
        name, colon, value = line.partition(b":")
        whole = over > start + len(line)
        first = start
        if not line:
            says = has_data
            kind, has_data = b"", False
        elif line.startswith(b":"):
            says = False
        else:
            if name == b"event" and whole:
                kind = value.removeprefix(b" ")
            if name == b"data" and (colon or whole) and kind not in keepalives and not has_data:
                has_data = True
                first += len(b"data")
            says = has_data
        for place in range(first, min(start + len(line) + 1, over)):
            content[begin + place] = says
    return content


def content_of_lines(stream: bytes) -> list[bool]:
    """Of each byte: what follows a first character of a line that is no space, and that character."""
    content, said = [], False
    for byte in stream:
        said = said or not bytes([byte]).isspace()
        content.append(said)
        said = said and byte != 0x0A
    return content


def plainly(reads: list[bytes], keepalives: tuple[bytes, ...] | None) -> list[bool]:
    """Of each read. None: as NDJSON."""
    told, come = [], b""
    for read in reads:
        come += read
        # What has not come yet says nothing of what has.
        marks = content_of_lines(come) if keepalives is None else content_of_events(come, keepalives)
        told.append(any(marks[len(come) - len(read) :]))
    return told


def told(reads: Iterable[bytes], keepalives: tuple[bytes, ...] | None) -> list[bool]:
    reader = LineReader() if keepalives is None else EventReader(keepalives)
    return [reader.read(read) for read in reads]


LINES = (
    "data|data:|data: a|data:b: c|database: x| data: x|id: 1|id|retry: 5|: hm|:"
    "|event: e|event: ping|event:ping|event:  ping|event:|event|event: pingpong|event: keep"
)
lines = st.one_of(
    st.just(""),
    st.sampled_from(LINES.split("|")),
    st.text(st.sampled_from("dati: \u00fc\ufeff\0"), max_size=6),
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Lines that mean something and lines that do not, each with any of the three line ends, or one for all."""
    ends = st.sampled_from(["\n", "\r\n", "\r"])
    end = draw(st.none() | ends)
    text = "".join(draw(lines) + (end or draw(ends)) for _ in range(draw(st.integers(0, 14))))
    return (draw(st.sampled_from(["", "\ufeff"])) + text + draw(lines)).encode()


@st.composite
def split(draw: st.DrawFn, stream: bytes) -> list[bytes]:
    """A stream in reads, cut anywhere, or beside the ends of lines as a server writes them."""
    places = range(1, len(stream))
    chosen = [place for place in places if stream[place - 1] in b"\r\n"] if draw(st.booleans()) else places
    cuts = sorted(draw(st.sets(st.sampled_from(chosen)))) if chosen else []
    return [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True) if start < stop]


@examples
@given(st.data(), streams(), st.sampled_from([NOTHING, PING]))
def test_a_read_of_events_is_what_a_plain_reading_makes_of_it(
    data: st.DataObject, stream: bytes, keepalives: tuple[bytes, ...]
) -> None:
    reads = data.draw(split(stream)) if stream else []
    assert told(reads, keepalives) == plainly(reads, keepalives)


@examples
@given(st.data(), st.text('{"a\n\r \t', max_size=40))
def test_a_read_of_lines_is_what_a_plain_reading_makes_of_it(data: st.DataObject, text: str) -> None:
    reads = data.draw(split(text.encode()))
    assert told(reads, None) == plainly(reads, None)


# -- by name

TOKEN = b'data: {"choices":[{"delta":{"content":"token"}}]}\n\n'
PINGED = b'event: ping\ndata: {"type": "ping"}\n\n'


@pytest.mark.parametrize(
    "read",
    [
        b": ping\n\n",
        b": ping - 2026-11-20 15:20:59.101000+00:00\r\n\r\n",
        b":\n",
        b":\r",
        b"\n",
        b"\r\n",
        b": " + b"x" * 100_000 + b"\n\n",
        b": one\n\n: two\n\n: three\n\n",
        b"id: 7\n\n",
        b"retry: 3000\n\n",
        b"event: tick\n\n",
        b"event: tick\nid: 7\nretry: 3000\n\n",
        b"event: tick\n",
        b"database: x\n\n",
        b"dat",
        BOM,
        BOM + b": ping\n\n",
        b":data: x\n\n",
        b" data: x\n\n",
        b"id: data: x\n\n",
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1 << 20])
def test_what_reaches_no_listener_is_a_keep_alive(read: bytes, size: int) -> None:
    assert not any(told((read[start : start + size] for start in range(0, len(read), size)), NOTHING))


@pytest.mark.parametrize(
    "read",
    [
        TOKEN,
        b": ping\n\n" + TOKEN,
        TOKEN + b": ping\n\n",
        b"id: 7\nevent: tick\ndata: x\n\n",
        b"data\n\n",
        b"data:\n\n",  # the standard gives its listener an empty string: MCP begins its streams with one
        b"data:",
        b"data: half a l",
        BOM + TOKEN,
        b"event: tick\rdata: x\r\r",
        b"\r\n\r\n" + TOKEN,
    ],
)
@pytest.mark.parametrize("prefix", [b"", b": before\n\n", TOKEN, b"id: 1\n\n", b": cr\r"])
@pytest.mark.parametrize("keepalives", [NOTHING, PING])
def test_what_has_data_is_content(read: bytes, prefix: bytes, keepalives: tuple[bytes, ...]) -> None:
    if read.startswith(BOM):
        prefix = b""
    assert told([part for part in (prefix, read) if part], keepalives)[-1]


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ([b"data: a", b" and b", b"\n", b"\n", b"\n"], [True, True, True, True, False]),
        ([b"da", b"ta: a\n\n"], [False, True]),
        ([b"data: a\n", b": ping\n", b"id: 1\n", b"\n"], [True, False, True, True]),
        ([b"event: tick\n", b"data: a\n\n"], [False, True]),
        ([b"data: a\r\n\r", b"\n", b": ping\r\n"], [True, False, False]),
        ([b": a comm", b"ent\ndata: a\n\n"], [False, True]),
        ([b": a comm", b"data: a\n\n"], [False, False]),
        ([b"\xef", b"\xbb", b"\xbfdata: a\n\n"], [False, False, True]),
        ([TOKEN + b"data: ha", b"lf\n\n", b": ping\n\n", TOKEN], [True, True, False, True]),
        ([TOKEN + b": ha", b"lf\n\n"], [True, False]),
        ([b"data: a\r\n\r\ndata: b", b": ping\r\n\r\n", b": ping\r\n\r\n"], [True, True, False]),
    ],
)
def test_a_line_goes_on_in_the_next_read(reads: list[bytes], expected: list[bool]) -> None:
    assert told(reads, NOTHING) == expected
    assert plainly(reads, NOTHING) == expected


@pytest.mark.parametrize("cut", range(1, len(PINGED)))
def test_an_event_whose_type_is_a_keep_alive_is_one_wherever_it_is_cut(cut: int) -> None:
    reads = [TOKEN, PINGED[:cut], PINGED[cut:], TOKEN]
    assert told(reads, PING) == [True, False, False, True]
    assert any(told(reads, NOTHING)[1:3])


@pytest.mark.parametrize(
    ("event", "content"),
    [
        (b"event:ping\ndata: x\n\n", False),
        (b"event: ping\r\ndata: x\r\n\r\n", False),
        (b"event: ping\rdata: x\r\r", False),
        (b"id: 1\nevent: keep\nretry: 1\ndata: x\ndata: y\n\n", False),
        (b"event: ping\n\ndata: x\n\n", True),  # the empty line took the type with it
        (b"event:  ping\ndata: x\n\n", True),  # one space is dropped, not two
        (b"event: pings\ndata: x\n\n", True),
        (b"event: Ping\ndata: x\n\n", True),
        (b"event: ping\nevent: tick\ndata: x\n\n", True),
        (b"event: tick\nevent: ping\ndata: x\n\n", False),
        (b"data: x\nevent: ping\n\n", True),  # said before its type was known
        (b"event: ping\ndata: x\n\n" + TOKEN, True),
        (b"event: ping\rid: 1\ndata: x\n\n", False),
    ],
)
def test_the_type_is_that_of_the_standard(event: bytes, content: bool) -> None:
    for before in ([], [TOKEN], [b": ping\n\n"]):
        assert told([*before, event], PING)[-1] == content
    assert any(told((event[n : n + 1] for n in range(len(event))), PING)) == content


@pytest.mark.parametrize(
    ("reads", "expected"),
    [
        ([b'{"a":1}\n', b"\n", b"\r\n", b" \n", b'{"a":2}\n'], [True, False, False, False, True]),
        ([b'{"a":', b" ", b"1}", b"\n", b"\n"], [True, True, True, True, False]),
        ([b"\n\n\n", b'\n{"a":1}\n', b'{"a":2}\n\n', b"\n"], [False, True, True, False]),
    ],
)
def test_empty_lines_of_ndjson_are_keep_alives(reads: list[bytes], expected: list[bool]) -> None:
    assert told(reads, None) == expected


def test_other_kinds_are_not_read() -> None:
    assert isinstance(content_reader("sse", NOTHING), EventReader)
    assert isinstance(content_reader("ndjson", NOTHING), LineReader)
    assert content_reader("stream", NOTHING) is content_reader("plain", NOTHING) is None


@pytest.mark.parametrize("field", [b"", b":", b"event: ", b"event: ping", b"data: ", b"id: ", b"dat"])
def test_what_is_kept_of_a_line_is_bounded(field: bytes) -> None:
    reader = EventReader(PING)
    reader.read(field + b"x" * 1_000_000)
    for _ in range(10):
        reader.read(b"x" * 1_000_000)
        assert len(reader._line) < 16
