"""The readers: the same messages however the bytes are split, and nothing but their own errors from garbage."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.peers import GET, LAST
from unbuffer.http.request import BadRequest, Fields
from unbuffer.relay.request_reader import RequestReader
from unbuffer.relay.response_reader import BadResponse, ResponseReader
from unbuffer.settings.model import Limits
from unbuffer.totals import Totals

LIMITS = Limits()

examples = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

# -- messages as bytes, and what a reader must make of them

names = st.from_regex(rb"x-[A-Za-z0-9!#$%&'*+.^_`|~-]{1,10}", fullmatch=True)
texts = st.from_regex(
    rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]{0,10}[\x21-\x7e\x80-\xff])?)?", fullmatch=True
)
fields = st.lists(st.tuples(names, texts), max_size=4)
# Bodies that look like what stands around them.
lookalikes = st.sampled_from(
    [b"\r\n", b"\r\n\r\n", LAST, b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"\n\r\n", b"\r"]
)
contents = st.lists(st.one_of(st.binary(min_size=1, max_size=12), lookalikes), min_size=1, max_size=4).map(b"".join)
extensions = st.sampled_from([b"", b";a", b";a=b", b';a="b;c"'])
odd_extensions = st.sampled_from([b" ", b"\t ", b" ; a", b";\ta = b ", b' ; a="b ;\\"c" ;d'])
spaces = st.sampled_from([b"", b" ", b"\t", b" \t "])


@st.composite
def field_lines(draw: st.DrawFn, pairs: Fields) -> bytes:
    """Fields with optional white space around their values (RFC 9112, section 5)."""
    lines = []
    for name, value in pairs:
        # llhttp takes no tab after a transfer coding: see the test of that.
        after = b"" if name == b"Transfer-Encoding" else draw(spaces)
        lines.append(b"%b:%b%b%b\r\n" % (name, draw(spaces), value, after))
    return b"".join(lines)


@st.composite
def chunked_bodies(draw: st.DrawFn, of_response: bool = False) -> tuple[bytes, bytes, Fields]:
    """The bytes of a chunked body, its content, and its trailer fields. A response's may have white space in the lines
    of its sizes, in any of them, and before the colons of its trailers."""
    pieces = draw(st.lists(contents, max_size=3))
    after = extensions | odd_extensions if of_response else extensions
    trailers = draw(fields)
    lines = draw(field_lines(trailers))
    if of_response and draw(st.booleans()):
        lines = re.sub(rb"(?m)^[^:\r\n]+", rb"\g<0> \t", lines)
    coded = b"".join(
        b"%b%x%b\r\n%b\r\n" % (draw(st.sampled_from([b"", b"00"])), len(piece), draw(after), piece) for piece in pieces
    )
    coded += b"%b%b\r\n%b\r\n" % (draw(st.sampled_from([b"0", b"000"])), draw(after), lines)
    return coded, b"".join(pieces), trailers


@dataclass
class Request:
    """What a reader made of a request."""

    method: bytes
    target: bytes
    http11: bool
    fields: Fields
    body: bytes = b""


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, Request]:
    """The bytes of a valid request, and what they say."""
    method = draw(st.sampled_from([b"GET", b"POST", b"M-SEARCH", b"QUERY", b"PRI", b"OPTIONS", b"!"]))
    target = draw(st.sampled_from([b"/", b"/a?b?", b"//x", b"/%2F..;", b"/" + b"x" * 300]))
    pairs = draw(fields)
    form = draw(st.sampled_from(["none", "none 1.0", "length", "length 1.0", "chunked", "upgrade", "upgrade chunked"]))
    body = coded = b""
    if "upgrade" in form:
        pairs += [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
    if "length" in form:
        body = coded = draw(st.one_of(st.just(b""), contents))
        pairs += [(b"Content-Length", b"%d" % len(body))]
    if "chunked" in form:
        coded, body, _ = draw(chunked_bodies())
        pairs += [(b"Transfer-Encoding", b"chunked")]
    pairs = draw(st.permutations([*pairs, (b"Host", b"a")]))
    http11 = "1.0" not in form
    line = b"%b%b %b HTTP/1.%d\r\n" % (b"\r\n" * draw(st.integers(0, 4)), method, target, http11)
    head = b"%b%b\r\n" % (line, draw(field_lines(pairs)))
    return head + coded, Request(method, target, http11, pairs, body)


@dataclass
class Response:
    """What a reader made of a response, 1xx heads before it included."""

    heads: list[tuple[int, bytes, Fields]]
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    over: bool = True
    ends_with_connection: bool = False
    surplus: bool = False
    damage: str = ""


@st.composite
def responses(draw: st.DrawFn) -> tuple[bytes, bool, Response]:
    """The bytes of a valid response, whether it answers HEAD, and what they say."""
    data = b""
    heads: list[tuple[int, bytes, Fields]] = []
    for status in draw(st.lists(st.sampled_from([100, 102, 103, 199]), max_size=3)):
        reason, pairs = draw(texts), draw(fields)
        data += b"HTTP/1.1 %d %b\r\n%b\r\n" % (status, reason, draw(field_lines(pairs)))
        heads.append((status, reason, pairs))
    form = draw(st.sampled_from(["length", "chunked", "until close", "HEAD", "HEAD chunked", "204", "304"]))
    status = int(form) if form.isdigit() else draw(st.sampled_from([200, 206, 404, 503, 999]))
    upgrade = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]
    reason, pairs = draw(texts), draw(fields) + draw(st.sampled_from([[], upgrade]))
    made = Response(heads, ends_with_connection=form == "until close", over=form != "until close")
    coded = b""
    if form in ("length", "until close"):
        made.body = coded = draw(contents)
    if form in ("length", "HEAD", "304"):
        pairs.append((b"Content-Length", b"%d" % (len(coded) if form == "length" else 7)))
    if "chunked" in form:
        pairs.append((b"Transfer-Encoding", b"chunked"))
    if form == "chunked":
        coded, made.body, made.trailers = draw(chunked_bodies(of_response=True))
    heads.append((status, reason, pairs))
    # A server may leave out the space before a reason that is not there.
    space = b"" if not reason and draw(st.booleans()) else b" "
    data += b"HTTP/1.1 %d%b%b\r\n%b\r\n%b" % (status, space, reason, draw(field_lines(pairs)), coded)
    return data, form.startswith("HEAD"), made


@st.composite
def cuts(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """`data` in pieces: one, single bytes, or cut at a few places."""
    how = draw(st.integers(0, 3))
    if how == 0:
        return [data]
    if how == 1:
        return [data[i : i + 1] for i in range(len(data))]
    at = [0, *sorted(draw(st.sets(st.integers(0, len(data)), max_size=6))), len(data)]
    return [data[start:stop] for start, stop in pairwise(at) if start < stop]


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with a few of its bytes changed, doubled, removed or replaced by what means something."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        drop = draw(st.integers(0, 3))
        spice = [
            b"",
            b"\r",
            b"\n",
            b"\r\n",
            b"\r\n\r\n",
            b" ",
            b"\t",
            b":",
            b",",
            b"\0",
            b"\x7f",
            b"\xff",
            b"0",
            b"f",
            b";",
        ]
        fill = draw(st.one_of(st.sampled_from(spice), st.binary(max_size=3)))
        data = data[:at] + fill + data[at + drop :]
    return data


# -- reading, as the connections do it


def read_requests(pieces: Iterable[bytes]) -> tuple[list[Request], Request | None]:
    """The requests that are whole, and one that has a head but is not. Raises BadRequest."""
    whole: list[Request] = []
    reader = RequestReader(LIMITS)
    made: Request | None = None
    for data in pieces:
        while data:
            before = len(data)
            if made is None:
                data = reader.read_head(data)
                if (head := reader.head) is not None:
                    assert (reader.method, reader.target) == (head.method, head.target)
                    made = Request(head.method, head.target, head.http11, head.fields)
            else:
                body, data = reader.read_body(data)
                made.body += body
            assert len(data) < before or reader.whole, "no progress"
            if reader.whole:
                assert made is not None
                whole.append(made)
                reader, made = RequestReader(LIMITS), None
    return whole, made


def read_response(pieces: Iterable[bytes], head_request: bool) -> Response:
    """One response. Raises BadResponse."""
    reader = ResponseReader(LIMITS, head_request, Totals().oddities)
    made = Response([])
    for data in filter(None, pieces):
        if reader.damage:
            break
        if reader.over:
            reader.surplus = True
            break
        if not reader.begun:
            while not reader.begun:
                head, data = reader.read_head(data)
                if head is None:
                    break
                made.heads.append((head.status, head.reason, head.fields))
            if reader.over:
                reader.surplus = bool(data)
                continue
            if not data or not reader.begun:
                continue
            if made.heads[-1][0] == 101:
                made.body += data
                continue
        made.body += reader.read_body(data)
    made.trailers, made.over, made.surplus, made.damage = reader.trailers, reader.over, reader.surplus, reader.damage
    made.ends_with_connection = reader.ends_with_connection
    return made


# -- requests


@examples
@given(st.data(), st.lists(requests(), min_size=1, max_size=3))
def test_pipelined_requests_are_the_same_wherever_they_are_split(
    data: st.DataObject, sent: list[tuple[bytes, Request]]
) -> None:
    """Bodies, extensions and trailer fields of one request appear nowhere in another."""
    stream = b"".join(coded for coded, _ in sent)
    assert read_requests(data.draw(cuts(stream))) == ([request for _, request in sent], None)


def test_two_requests_may_be_cut_at_every_byte() -> None:
    first = b"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n\r\n0\r\n0\r\nX-T: 1\r\n\r\n"
    stream = first + b"GET /2 HTTP/1.1\r\nHost: b\r\n\r\n"
    expected = [
        Request(b"POST", b"/1", True, [(b"Host", b"a"), (b"Transfer-Encoding", b"chunked")], b"\r\n0"),
        Request(b"GET", b"/2", True, [(b"Host", b"b")]),
    ]
    for at in range(len(stream) + 1):
        assert read_requests([stream[:at], stream[at:]]) == (expected, None)


def verdict(pieces: Iterable[bytes]) -> tuple[list[Request], Request | None] | int:
    """What became of the bytes: requests, or the status of a refusal."""
    try:
        return read_requests(pieces)
    except BadRequest as error:
        return error.status


@examples
@given(st.data(), st.lists(requests(), min_size=1, max_size=2))
def test_damaged_requests_are_refused_or_read_alike_wherever_they_are_split(
    data: st.DataObject, sent: list[tuple[bytes, Request]]
) -> None:
    """A split that changes the reading would let a request be smuggled past whoever sees it whole."""
    stream = data.draw(mutated(b"".join(coded for coded, _ in sent)))
    assert verdict(data.draw(cuts(stream))) == verdict([stream])


@examples
@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_bad_request(garbage: bytes) -> None:
    verdict([garbage])
    verdict([b"GET / HTTP/1.1\r\n", garbage])
    verdict([b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", garbage])


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (505, b"GET / HTTP/2.0\r\n"),
        (505, b"GET / HTTP/0.9\r\n"),
        (505, b"GET / HTTP/1.2\r\n"),
        (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        (400, b"GET /\r\n"),
        (400, b"\nGET / HTTP/1.1\r\n"),
        (400, b"GET / HTTP/1.1\nHost: a\n\n"),
        (400, b"HTTP/1.1 200 OK\r\n"),
        (400, b"\r\n" * 5),
        (400, b" "),
    ],
)
def test_what_is_not_http_1_is_refused_at_its_first_line(status: int, line: bytes) -> None:
    assert verdict([line]) == status
    assert verdict([line[i : i + 1] for i in range(len(line))]) == status


BAD_FIELDS = [
    b"X-A: 1\r\n X-B: folded\r\n",
    b"X-A: 1\r\n\tfolded\r\n",
    b"X-A : 1\r\n",
    b" X-A: 1\r\n",
    b"X A: 1\r\n",
    b"X-A\r\n",
    b": 1\r\n",
    b"X\x00A: 1\r\n",
    b"X\xe4: 1\r\n",
    b"X-A: 1\nX-B: 2\r\n",
    b"X-A: 1\rX-B: 2\r\n",
    b"X-A: 1\x00\r\n",
    b"X-A: \x01\r\n",
    b"X-A: \x7f\r\n",
    b"X-A: 1\n\r\n",
    b"X-A: 1\r\r\n",
]


@pytest.mark.parametrize("lines", BAD_FIELDS)
def test_a_field_that_could_become_two_is_refused(lines: bytes) -> None:
    assert verdict([b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n"]) == 400
    response = [b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 0\r\n\r\n"]
    if lines == b"X-A : 1\r\n":
        # RFC 9112, section 5.1: of a response a proxy removes the space.
        assert read_response(response, False).heads[0][2] == [(b"X-A", b"1"), (b"Content-Length", b"0")]
        return
    with pytest.raises(BadResponse):
        read_response(response, False)


@pytest.mark.parametrize(
    "body",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"-1\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"\r\n5\r\nhello\r\n0\r\n\r\n",
        b"5;\nhello\r\n0\r\n\r\n",
        b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"g\r\n",
        b"0\r\nX-A: 1\n\r\n",
        b"0\r\n X-A: 1\r\n\r\n",
        b"0\n\r\n",
    ],
)
def test_chunked_coding_in_doubt_is_refused(body: bytes) -> None:
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert verdict([head + body]) == 400
    assert verdict([head, *(body[i : i + 1] for i in range(len(body)))]) == 400
    if body == b"5 \r\nhello\r\n0\r\n\r\n":
        return  # a response is read so, and counted
    made = read_response([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body], False)
    assert made.damage
    assert not made.over


CODED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("response", "oddity"),
    [
        (CODED + b"1\r\nx\r\n0\r\n\r\n", ""),
        (CODED + b'1;a="b c"\r\nx\r\n0\r\n\r\n', ""),
        (CODED + b"6\r\nx\n0 \r\n\r\n0\r\n\r\n", ""),
        (CODED + b"1 \r\nx\r\n0\r\n\r\n", "space_after_chunk_size"),
        (CODED + b"1 \r\nx\r\n0 \r\n\r\n", "space_after_chunk_size"),
        (CODED + b"1 ; a=b\r\nx\r\n0\r\n\r\n", "space_after_chunk_size"),
        (CODED + b"0 \r\n\r\n", "space_after_chunk_size"),
        (CODED + b"1\r\nx\r\n1 ; a=b\r\nx\r\n1 \r\nx\r\n0\r\n\r\n", "space_after_chunk_size"),
        (CODED + b"1\r\nx\r\n1\r\nx\r\n0;a =b\r\n\r\n", "space_after_chunk_size"),
        (CODED + b"1\r\nx\r\n0\r\nA : b\r\nB\t:c\r\n\r\n", "space_before_colon"),
        (b"HTTP/1.1 200 OK\r\nA : b\r\nB : c\r\nContent-Length: 1\r\n\r\nx", "space_before_colon"),
        (b"HTTP/1.1 200 OK\r\nA: b : c\r\nContent-Length: 1\r\n\r\nx", ""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nx", "identity"),
    ],
)
def test_what_is_tolerated_of_a_response_is_counted_once_however_it_is_split(response: bytes, oddity: str) -> None:
    for size in range(1, len(response) + 1):
        reader, counts = response_reader()
        for at in range(0, len(response), size):
            data = response[at : at + size]
            while data and not reader.begun:
                _, data = reader.read_head(data)
            if data:
                reader.read_body(data)
        assert not reader.damage
        assert reader.over or reader.ends_with_connection
        assert {name for name, count in counts.items() if count} == ({oddity} if oddity else set())
        assert sum(counts.values()) == bool(oddity)


@pytest.mark.parametrize(
    "body",
    [
        b"1\r\nx\r\n 1\r\nx\r\n0\r\n\r\n",
        b"1\r\nx\r\n1 x\r\nx\r\n0\r\n\r\n",
        b"1\r\nx\r\n1;a b\r\nx\r\n0\r\n\r\n",
        b"1\r\nx\r\n1\n",
        b"1\r\nx\n",
        b"1\r\nx\rx",
        b"1\r\nxx\r\n",
        b"0\r\n A: b\r\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\nA B: c\r\n\r\n",
        b"0\r\nA: b\n",
        b"0\r\nA\r\n\r\n",
        b"0\r\n\n",
        b"10000000000000000\r\n",
        b"-1\r\n",
        b"0x1\r\nx",
        b"1_0\r\n",
        b"\r\n",
        b"g\r\n",
    ],
)
def test_what_else_is_odd_in_a_chunked_response_is_damage_however_it_is_split(body: bytes) -> None:
    for size in range(1, len(body) + 1):
        reader, _ = response_reader()
        reader.read_head(CODED)
        for at in range(0, len(body), size):
            if not reader.damage:
                reader.read_body(body[at : at + size])
        assert reader.damage
        assert not reader.over


def test_what_is_kept_of_a_line_is_bounded() -> None:
    for begin in (b"1;a=", b"0\r\nA: "):
        reader, _ = response_reader()
        reader.read_head(CODED)
        reader.read_body(begin)
        for _ in range(LIMITS.head // 1000 + 1):
            assert not reader.damage
            reader.read_body(b"x" * 1000)
        assert "limits.head" in reader.damage


def response_reader() -> tuple[ResponseReader, dict[str, int]]:
    counts = Totals().oddities
    return ResponseReader(LIMITS, False, counts), counts


@pytest.mark.parametrize("space", [b"", b" ", b"\t", b" \t ", b"\t\t"])
def test_white_space_after_a_transfer_coding_changes_no_framing(space: bytes) -> None:
    """Chunked or refused: one who takes the chunk framing for content would relay it as such."""
    fields = b"Transfer-Encoding: chunked%b\r\n\r\n1\r\nx\r\n0\r\n\r\n" % space
    made = verdict([b"POST / HTTP/1.1\r\nHost: a\r\n" + fields])
    assert made == 400 or (isinstance(made, tuple) and made[0][0].body == b"x")
    response = response_verdict([b"HTTP/1.1 200 OK\r\n" + fields], head_request=False)
    assert response is None or response[1:] == (b"x", True, False)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 30\r\n\r\n%b", b"Transfer-Encoding: chunked\r\n\r\n1e\r\n%b\r\n0\r\n\r\n"]
)
def test_a_request_that_asks_for_an_upgrade_has_its_body_all_the_same(framing: bytes) -> None:
    """Clients with HTTP/2 offer h2c on any request. What is in the body must never be read as a request."""
    inner = b"GET /x HTTP/1.1\r\nHost: abc\r\n\r\n"
    outer = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n" + framing % inner
    whole, rest = read_requests([outer * 2])
    assert rest is None
    assert [(request.method, request.body) for request in whole] == [(b"POST", inner)] * 2


def test_trailer_fields_never_become_header_fields() -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-Admin: 1\r\n\r\n"
    whole, rest = read_requests([chunked * 2])
    assert rest is None
    assert [request.fields for request in whole] == [[(b"Host", b"a"), (b"Transfer-Encoding", b"chunked")]] * 2


def test_empty_lines_alone_are_no_request() -> None:
    reader = RequestReader(LIMITS)
    assert reader.read_head(b"\r\n\r\n") == b""
    assert not reader.started
    assert reader.read_head(b"G") == b""
    assert reader.started


# -- responses


@examples
@given(st.data(), responses())
def test_a_response_is_the_same_wherever_it_is_split(data: st.DataObject, sent: tuple[bytes, bool, Response]) -> None:
    stream, head_request, expected = sent
    assert read_response(data.draw(cuts(stream)), head_request) == expected


def test_a_response_may_be_cut_at_every_byte() -> None:
    stream = (
        b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;x=y\r\n\r\n0\r\n0\r\nX-T: 1\r\n\r\n"
    )
    heads = [(103, b"Early", [(b"Link", b"</a>")]), (200, b"OK", [(b"Transfer-Encoding", b"chunked")])]
    for at in range(len(stream) + 1):
        assert read_response([stream[:at], stream[at:]], False) == Response(heads, b"\r\n0", [(b"X-T", b"1")])


@examples
@given(
    st.data(), responses(), st.sampled_from([b"\0", b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"\r\nX"])
)
def test_bytes_after_a_response_are_noticed_and_change_nothing(
    data: st.DataObject, sent: tuple[bytes, bool, Response], after: bytes
) -> None:
    """The connection must not be used again: what came may be meant as somebody else's answer."""
    stream, head_request, expected = sent
    made = read_response(data.draw(cuts(stream + after)), head_request)
    if expected.over:
        expected.surplus = True
    else:
        expected.body += after
    assert made == expected


def response_verdict(pieces: Iterable[bytes], head_request: bool) -> tuple[object, ...] | None:
    """What became of the bytes, None for a refusal. A damaged body stands as far as it was read: compare that it is."""
    try:
        made = read_response(pieces, head_request)
    except BadResponse:
        return None
    return (made.heads, "damaged") if made.damage else (made.heads, made.body, made.over, made.ends_with_connection)


@examples
@given(st.data(), responses())
def test_a_damaged_response_is_refused_or_read_alike_wherever_it_is_split(
    data: st.DataObject, sent: tuple[bytes, bool, Response]
) -> None:
    stream, head_request, _ = sent
    stream = data.draw(mutated(stream))
    assert response_verdict(data.draw(cuts(stream)), head_request) == response_verdict([stream], head_request)


@examples
@given(st.binary(max_size=200))
def test_garbage_raises_nothing_but_bad_response(garbage: bytes) -> None:
    for before in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
        response_verdict([before, garbage], head_request=False)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/0.9 200 OK\r\n\r\n",
        b"HTTP/1.1 099 Low\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 O\x00K\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_is_no_response_is_refused(head: bytes) -> None:
    with pytest.raises(BadResponse):
        read_response([head], False)


def test_switching_protocols_ends_the_reading() -> None:
    """Whatever stands after the head belongs to the tunnel, also when the head pretends to have a body."""
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n%b\r\n"
    for extra in (b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"):
        made = read_response([head % extra + b"\x00HTTP"], False)
        assert (made.heads[0][0], made.body, made.over, made.damage) == (101, b"\x00HTTP", False, "")


def test_a_chunked_body_that_goes_on_is_not_over() -> None:
    made = read_response([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"], False)
    assert (made.body, made.over, made.damage, made.ends_with_connection) == (b"hello", False, "", False)


def test_a_few_empty_lines_before_a_request_are_ignored_and_no_more() -> None:
    request = GET
    for lines in range(5):
        reader = RequestReader(LIMITS)
        for byte in b"\r\n" * lines:
            assert reader.read_head(bytes((byte,))) == b""
            assert reader.started == (byte == ord("\r"))  # it may be half an empty line, or the first byte of garbage
        assert reader.read_head(request) == b""
        assert reader.head is not None
    with pytest.raises(BadRequest):
        RequestReader(LIMITS).read_head(b"\r\n" * 5 + request)
