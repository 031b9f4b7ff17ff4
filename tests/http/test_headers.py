"""The heads that go out: what is stripped, what is forced, and that all the rest keeps its order, case and bytes."""

import re
import time
from email.utils import formatdate, parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers import DATE, timeless
from unbuffer.http.date import date_at, date_line
from unbuffer.http.framing import CHUNKED, UNTIL_CLOSE
from unbuffer.http.headers import (
    Delivery,
    Peer,
    informational_to_downstream,
    own_answer,
    plain_answer,
    request_to_upstream,
    response_to_downstream,
    trailers_to_downstream,
)
from unbuffer.http.request import Fields, RequestHead, _meanings
from unbuffer.http.response import ResponseHead

Field = tuple[bytes, bytes]

STRANGER = Peer("192.0.2.7", secure=False, trusted=False, rfc7239=False)

_PLAIN = {"framing": 5, "length": 5, "close": False, "changed": False, "http11": True, "trailers": False}


def plain(**changes: Any) -> Delivery:
    return Delivery(**_PLAIN | changes)


def stream(**changes: Any) -> Delivery:
    return plain(**{"framing": CHUNKED, "length": -1} | changes)


PLAIN = plain()
STREAM = stream()

NOSNIFF = (b"X-Content-Type-Options", b"nosniff")
UNBUFFERED = (b"X-Accel-Buffering", b"no")
LENGTH = (b"Content-Length", b"5")
CHUNKS = (b"Transfer-Encoding", b"chunked")
SSE = (b"Content-Type", b"text/event-stream")

# As end-to-end as a field can be: no name that has a meaning here.
others = st.lists(
    st.tuples(
        st.from_regex(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True).map(lambda name: b"q" + name),
        st.from_regex(
            rb"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]{0,12}[\x21-\x7e\x80-\xff])?)?", fullmatch=True
        ),
    ),
    max_size=8,
)


def parse(head: bytes) -> tuple[bytes, Fields]:
    """The first line of a head and its fields; fails on anything that is not a head."""
    assert head.endswith(b"\r\n\r\n")
    line, *rest = head[:-4].split(b"\r\n")
    pairs = [re.fullmatch(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ([\t\x20-\x7e\x80-\xff]*)", text) for text in rest]
    assert all(pairs), rest
    return line, [(pair[1], pair[2]) for pair in pairs if pair]


def up(
    *fields: Field,
    peer: Peer = STRANGER,
    method: bytes = b"GET",
    target: bytes = b"/",
    host: bytes = b"a",
    http11: bool = True,
) -> Fields:
    """The fields that the upstream sees of a request with these, Host left out."""
    head = RequestHead(method, target, http11, [(b"Host", host), *fields])
    line, out = parse(request_to_upstream(head, peer))
    assert line == b"%b %b HTTP/1.1" % (method, target)
    assert out[0] == (b"Host", host)
    return out[1:]


def down(*fields: Field, delivery: Delivery = PLAIN, status: int = 200, reason: bytes = b"OK") -> Fields:
    """The fields that the client sees of a response with these."""
    head = ResponseHead(status, reason, True, list(fields), head_request=False)
    line, out = parse(response_to_downstream(head, delivery))
    assert line == b"HTTP/1.1 %d %b" % (status, reason)
    return out


def values(fields: Fields, name: bytes) -> list[bytes]:
    return [value for key, value in fields if key.lower() == name.lower()]


# -- both ways


@settings(deadline=None)
@given(others)
def test_all_other_fields_of_a_request_keep_order_case_repetitions_and_bytes(fields: Fields) -> None:
    assert up(*fields)[: len(fields)] == fields


@settings(deadline=None)
@given(others)
def test_all_other_fields_of_a_response_keep_order_case_repetitions_and_bytes(fields: Fields) -> None:
    assert down(*fields, LENGTH)[: len(fields)] == fields
    assert down(*fields, SSE, CHUNKS, delivery=STREAM)[: len(fields)] == fields


HOP_BY_HOP = [
    b"Keep-Alive",
    b"PROXY-AUTHENTICATE",
    b"proxy-authorization",
    b"Proxy-Connection",
    b"TE",
    b"Trailer",
    b"Upgrade",
    b"X-Named",
    b"x-nAMED-too",
]


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_hop_by_hop_fields_and_those_that_connection_names_are_gone(name: bytes) -> None:
    fields = [
        (b"X-Before", b"1"),
        (b"Connection", b"x-named"),
        (name, b"gone"),
        (b"connection", b"close, X-Named-Too"),
        (name.swapcase(), b"gone"),
        (b"X-After", b"2"),
    ]
    for out in (up(*fields), down(*fields, LENGTH)):
        assert out[:2] == [(b"X-Before", b"1"), (b"X-After", b"2")]
        assert not values(out, name)
        assert b"gone" not in [value for _, value in out]
        assert not values(out, b"connection")


def test_host_is_never_a_field_to_strip() -> None:
    assert up((b"Connection", b"host, close"), host=b"b:80")  # `up` looks for it


def test_no_field_can_be_stripped_by_naming_what_is_forced() -> None:
    named = (b"Connection", b"X-Content-Type-Options, x-accel-buffering, cache-control, incremental, content-length")
    out = down(named, (b"Cache-Control", b"private"), SSE, CHUNKS, delivery=STREAM)
    assert values(out, b"x-content-type-options") == [b"nosniff"]
    assert values(out, b"x-accel-buffering") == [b"no"]
    assert values(out, b"cache-control") == [b"no-transform"]
    assert values(out, b"incremental") == [b"?1"]
    forwarded = up((b"Connection", b"X-Forwarded-For, X-Forwarded-Proto, Via, Accept-Encoding, Content-Length"), LENGTH)
    assert values(forwarded, b"x-forwarded-for") == [b"192.0.2.7"]
    assert values(forwarded, b"via") == [b"1.1 unbuffer"]
    assert values(forwarded, b"accept-encoding") == [b"identity"]
    assert values(forwarded, b"content-length") == [b"5"]


# -- up


def test_a_bare_request_gets_exactly_this() -> None:
    assert request_to_upstream(RequestHead(b"GET", b"/a?b?", True, [(b"host", b"a:80")]), STRANGER) == (
        b"GET /a?b? HTTP/1.1\r\n"
        b"Host: a:80\r\n"
        b"X-Forwarded-For: 192.0.2.7\r\n"
        b"X-Forwarded-Proto: http\r\n"
        b"X-Forwarded-Host: a:80\r\n"
        b"Accept-Encoding: identity\r\n"
        b"Via: 1.1 unbuffer\r\n"
        b"\r\n"
    )


def test_identity_is_asked_for_once() -> None:
    out = up((b"accept-encoding", b"gzip"), (b"ACCEPT-ENCODING", b"br"), (b"Accept", b"*/*"))
    assert values(out, b"accept-encoding") == [b"identity"]
    assert values(out, b"accept") == [b"*/*"]


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        ([], []),
        ([LENGTH], [LENGTH]),
        ([(b"content-length", b"007")], [(b"Content-Length", b"7")]),
        ([(b"Content-Length", b"0")], [(b"Content-Length", b"0")]),
        ([(b"transfer-encoding", b"chunked")], [CHUNKS]),
    ],
)
def test_the_framing_of_a_request_is_rebuilt(fields: Fields, framing: Fields) -> None:
    out = up(*fields, method=b"POST")
    assert [field for field in out if field[0].lower() in (b"content-length", b"transfer-encoding")] == framing


def test_an_upgrade_is_passed_on_without_h2c() -> None:
    settings_field = (b"HTTP2-Settings", b"AAMAAABkAAQCAAAAAAIAAAAA")
    connection = (b"Connection", b"Upgrade, HTTP2-Settings")
    out = up((b"Upgrade", b"h2c, websocket"), connection, settings_field)
    assert values(out, b"upgrade") == [b"websocket"]
    assert values(out, b"connection") == [b"Upgrade"]
    assert not values(out, b"http2-settings")
    out = up((b"Upgrade", b"h2c"), connection, settings_field)
    assert not values(out, b"upgrade")
    assert not values(out, b"connection")
    assert not values(out, b"http2-settings")
    assert not values(up(settings_field), b"http2-settings")


def test_te_says_trailers_and_nothing_else() -> None:
    out = up((b"TE", b"deflate;q=0.5, trailers"), (b"Connection", b"TE"))
    assert values(out, b"te") == [b"trailers"]
    assert values(out, b"connection") == [b"TE"]
    assert not values(up((b"TE", b"deflate"), (b"Connection", b"TE")), b"te")


def test_the_upstream_hears_of_incremental_and_of_the_trace() -> None:
    fields = [(b"incremental", b"?1"), (b"Traceparent", b"00-x"), (b"Expect", b"100-continue")]
    assert up(*fields)[:3] == fields


@pytest.mark.parametrize(("http11", "via"), [(True, b"1.1 unbuffer"), (False, b"1.0 unbuffer")])
def test_via_is_added_after_those_that_came(http11: bool, via: bytes) -> None:
    """Each states the version in which the message was received (RFC 9110, section 7.6.3)."""
    assert values(up((b"via", b"1.0 x"), (b"Via", b"2 y"), http11=http11), b"via") == [b"1.0 x", b"2 y", via]


CLAIMED = [
    (b"X-Forwarded-For", b"10.0.0.1"),
    (b"x-forwarded-proto", b"https"),
    (b"X-Forwarded-Host", b"claimed"),
    (b"X-Forwarded-Port", b"443"),
    (b"X-FORWARDED-FOR", b"10.0.0.2"),
    (b"Forwarded", b"for=10.0.0.1"),
    (b"forwarded", b"for=10.0.0.2"),
]
FORWARDING = (b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"forwarded")


@pytest.mark.parametrize(
    ("peer", "claimed", "seen"),
    [
        (STRANGER, False, [[b"192.0.2.7"], [b"http"], [b"a"], [], []]),
        (STRANGER, True, [[b"192.0.2.7"], [b"http"], [b"a"], [], []]),
        (Peer("192.0.2.7", True, False, False), False, [[b"192.0.2.7"], [b"https"], [b"a"], [], []]),
        (
            Peer("192.0.2.7", False, False, True),
            True,
            [[b"192.0.2.7"], [b"http"], [b"a"], [], [b'for=192.0.2.7;proto=http;host="a"']],
        ),
        (
            Peer("192.0.2.7", False, True, False),
            True,
            [
                [b"10.0.0.1, 10.0.0.2, 192.0.2.7"],
                [b"https"],
                [b"claimed"],
                [b"443"],
                [b"for=10.0.0.1, for=10.0.0.2"],
            ],
        ),
        (
            Peer("192.0.2.7", True, True, True),
            True,
            [
                [b"10.0.0.1, 10.0.0.2, 192.0.2.7"],
                [b"https"],
                [b"claimed"],
                [b"443"],
                [b'for=10.0.0.1, for=10.0.0.2, for=192.0.2.7;proto=https;host="a"'],
            ],
        ),
        (Peer("192.0.2.7", False, True, False), False, [[b"192.0.2.7"], [b"http"], [b"a"], [], []]),
        (
            Peer("2001:db8::1", False, False, True),
            False,
            [[b"2001:db8::1"], [b"http"], [b"a"], [], [b'for="[2001:db8::1]";proto=http;host="a"']],
        ),
        (Peer("", False, False, True), True, [[], [b"http"], [b"a"], [], [b'for=unknown;proto=http;host="a"']]),
        (
            Peer("", False, True, False),
            True,
            [[b"10.0.0.1, 10.0.0.2"], [b"https"], [b"claimed"], [b"443"], [b"for=10.0.0.1, for=10.0.0.2"]],
        ),
    ],
    ids=[
        "stranger",
        "stranger-claims",
        "stranger-over-tls",
        "stranger-claims-rfc7239",
        "trusted",
        "trusted-rfc7239",
        "trusted-claims-nothing",
        "ipv6",
        "unix-stranger",
        "unix-trusted",
    ],
)
def test_what_the_upstream_learns_of_the_client(peer: Peer, claimed: bool, seen: list[list[bytes]]) -> None:
    out = up(*(CLAIMED if claimed else ()), peer=peer)
    assert [values(out, name) for name in FORWARDING] == seen


def test_a_request_without_host_gets_the_upstreams_and_tells_none() -> None:
    head = RequestHead(b"GET", b"/", False, [])
    out = request_to_upstream(head, Peer("192.0.2.7", False, False, True), b"app:8000")
    assert b"\r\nHost: app:8000\r\n" in out
    assert b"X-Forwarded-Host" not in out
    assert b"Forwarded: for=192.0.2.7;proto=http\r\n" in out


# -- down


def test_a_bare_response_gets_exactly_this() -> None:
    head = ResponseHead(200, b"Fine", True, [(b"content-type", b"text/html"), (b"content-length", b"5")], False)
    assert timeless(response_to_downstream(head, PLAIN)) == (
        b"HTTP/1.1 200 Fine\r\n"
        b"content-type: text/html\r\n" + DATE + b"\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"X-Accel-Buffering: no\r\n"
        b"Content-Length: 5\r\n"
        b"\r\n"
    )


def test_a_stream_gets_exactly_this() -> None:
    head = ResponseHead(200, b"OK", True, [SSE, (b"cache-control", b"private"), CHUNKS], False)
    assert timeless(response_to_downstream(head, STREAM)) == (
        b"HTTP/1.1 200 OK\r\n"
        b"Content-Type: text/event-stream\r\n"
        b"cache-control: private, no-transform\r\n"
        b"Incremental: ?1\r\n" + DATE + b"\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"X-Accel-Buffering: no\r\n"
        b"Transfer-Encoding: chunked\r\n"
        b"\r\n"
    )


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [NOSNIFF, UNBUFFERED],
        [(b"x-content-TYPE-options", b"sniff"), (b"x-accel-buffering", b"yes")],
        [UNBUFFERED, (b"X-Accel-Buffering", b"yes"), (b"x-ACCEL-buffering", b""), NOSNIFF, NOSNIFF],
    ],
)
@pytest.mark.parametrize(("status", "framed"), [(200, LENGTH), (200, CHUNKS), (404, LENGTH), (304, None), (204, None)])
def test_forced_fields_are_there_exactly_once(sent: Fields, status: int, framed: Field | None) -> None:
    out = down(*sent, *([framed] if framed else []), status=status)
    assert [field for field in out if field[0].lower() == NOSNIFF[0].lower()] == [NOSNIFF]
    assert [field for field in out if field[0].lower() == UNBUFFERED[0].lower()] == [UNBUFFERED]


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ([], [b"no-transform"]),
        ([b"private"], [b"private, no-transform"]),
        ([b"No-Transform"], [b"No-Transform"]),
        ([b"private", b"max-age=5"], [b"private", b"max-age=5, no-transform"]),
        ([b"no-transform", b"max-age=5"], [b"no-transform", b"max-age=5"]),
    ],
)
def test_no_transform_is_added_to_streams_and_replaces_nothing(sent: list[bytes], seen: list[bytes]) -> None:
    fields = [(b"cAche-control", value) for value in sent]
    assert values(down(*fields, CHUNKS, delivery=STREAM), b"cache-control") == seen
    assert values(down(*fields, SSE, LENGTH), b"cache-control") == seen
    assert values(down(*fields, LENGTH), b"cache-control") == sent


@pytest.mark.parametrize("sent", [[], [b"?1"], [b"?0"]])
def test_incremental_is_added_to_streams_that_do_not_say(sent: list[bytes]) -> None:
    fields = [(b"incremental", value) for value in sent]
    assert values(down(*fields, CHUNKS, delivery=STREAM), b"incremental") == (sent or [b"?1"])
    assert values(down(*fields, LENGTH), b"incremental") == sent


CODED = [
    (b"Content-Encoding", b"gzip"),
    (b"content-encoding", b"br"),
    (b"Content-MD5", b"x"),
    (b"Content-Digest", b"x"),
    (b"Repr-Digest", b"y"),
    (b"ETag", b'"tag"'),
]


def test_statements_about_coded_bytes_go_with_the_coding() -> None:
    out = down(*CODED, CHUNKS, delivery=stream(changed=True))
    for name in (b"content-encoding", b"content-md5", b"content-digest"):
        assert not values(out, name)
    assert values(out, b"etag") == [b'W/"tag"']


def test_statements_about_coded_bytes_stay_with_the_coding() -> None:
    assert down(*CODED, CHUNKS, delivery=STREAM)[: len(CODED)] == CODED


def test_a_weak_or_broken_tag_is_left_alone() -> None:
    for tag in (b'W/"tag"', b"tag", b""):
        assert values(down((b"ETag", tag), CHUNKS, delivery=stream(changed=True)), b"etag") == [tag]


@pytest.mark.parametrize(
    ("delivery", "framing", "connection"),
    [
        (PLAIN, [LENGTH], []),
        (plain(close=True), [LENGTH], [b"close"]),
        (plain(http11=False), [LENGTH], [b"keep-alive"]),
        (plain(http11=False, close=True), [LENGTH], [b"close"]),
        (plain(framing=0, length=0), [(b"Content-Length", b"0")], []),
        (plain(framing=0), [LENGTH], []),
        (plain(framing=0, length=-1), [], []),
        (STREAM, [CHUNKS], []),
        (stream(framing=UNTIL_CLOSE, http11=False, close=True), [], [b"close"]),
    ],
)
def test_framing_and_connection_are_those_of_the_delivery(
    delivery: Delivery, framing: Fields, connection: list[bytes]
) -> None:
    for came in ((b"content-length", b"77"), (b"transfer-encoding", b"CHUNKED")):
        out = down(came, (b"Connection", b"x"), delivery=delivery)
        assert [field for field in out if field[0].lower() in (b"content-length", b"transfer-encoding")] == framing
        assert values(out, b"connection") == connection


def test_trailer_is_announced_where_trailers_are_delivered() -> None:
    announced = (b"trailer", b"X-Sum")
    assert announced in down(announced, CHUNKS, delivery=stream(trailers=True))
    for delivery in (STREAM, plain(trailers=True), stream(framing=UNTIL_CLOSE, trailers=True)):
        assert not values(down(announced, CHUNKS, delivery=delivery), b"trailer")


@pytest.mark.parametrize("close", [False, True])
def test_a_declined_upgrade_says_which_one_it_wants(close: bool) -> None:
    """RFC 9110, section 15.5.22; and a connection that ends says so (RFC 9112, section 9.6)."""
    out = down((b"Upgrade", b"foo/1"), (b"Connection", b"upgrade"), LENGTH, status=426, delivery=plain(close=close))
    assert values(out, b"upgrade") == [b"foo/1"]
    options = b",".join(values(out, b"connection")).lower().replace(b" ", b"").split(b",")
    assert options == [b"upgrade", b"close"] if close else options == [b"upgrade"]


@pytest.mark.parametrize("reason", [b"", b"Fine and dandy", b"gr\xc3\xbcn", b"\xe4\t\xf6"])
def test_the_reason_phrase_is_kept(reason: bytes) -> None:
    assert down(LENGTH, reason=reason)  # `down` compares the line


# -- informational heads, trailers, own answers


def test_an_informational_head_is_passed_on_without_hop_by_hop_fields() -> None:
    fields = [(b"Link", b"</a>; rel=preload"), (b"link", b"</b>"), (b"Connection", b"x-hop"), (b"X-Hop", b"1"), LENGTH]
    head = ResponseHead(103, b"Early Hints", True, fields, False)
    assert parse(informational_to_downstream(head)) == (b"HTTP/1.1 103 Early Hints", fields[:2])


def test_switching_protocols_keeps_upgrade_and_is_forced_like_every_answer() -> None:
    fields = [
        (b"upgrade", b"websocket"),
        (b"Connection", b"upgrade, X-Hop"),
        (b"X-Hop", b"1"),
        (b"Sec-WebSocket-Accept", b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        (b"x-accel-buffering", b"yes"),
    ]
    line, out = parse(informational_to_downstream(ResponseHead(101, b"Switching Protocols", True, fields, False)))
    assert line == b"HTTP/1.1 101 Switching Protocols"
    assert out == [fields[3], NOSNIFF, UNBUFFERED, (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")]


@pytest.mark.parametrize(
    "name",
    [
        b"Content-Length",
        b"transfer-encoding",
        b"TRAILER",
        b"Host",
        b"Connection",
        b"Set-Cookie",
        b"Authorization",
        b"Cache-Control",
        b"Content-Encoding",
        b"content-type",
        b"Content-Range",
        b"X-Content-Type-Options",
        b"x-accel-buffering",
    ],
)
def test_a_trailer_cannot_say_what_only_a_head_may(name: bytes) -> None:
    assert (
        trailers_to_downstream([(b"X-A", b"1"), (name, b"x"), (b"x-B", b"\xe4")]) == b"0\r\nX-A: 1\r\nx-B: \xe4\r\n\r\n"
    )
    assert trailers_to_downstream([(name, b"x")]) == b"0\r\n\r\n"


def test_an_own_answer_is_whole_marked_and_forced() -> None:
    answer = own_answer(502, "connection_terminated", 'It said "no".', close=True, extra=b"X-Extra: 1\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    line, fields = parse(head + b"\r\n\r\n")
    assert line == b"HTTP/1.1 502 Bad Gateway"
    assert NOSNIFF in fields
    assert UNBUFFERED in fields
    assert (b"Cache-Control", b"no-store") in fields
    assert (b"X-Extra", b"1") in fields
    assert (b"Connection", b"close") in fields
    assert values(fields, b"content-length") == [b"%d" % len(body)]
    assert values(fields, b"proxy-status") == [
        b"unbuffer; error=connection_terminated; details=\"It said 'no'.\"",
    ]
    assert b'It said "no".' in body


def test_an_own_answer_to_head_has_the_length_of_its_body_only() -> None:
    whole = own_answer(504, "", "Late.", close=False)
    head = own_answer(504, "", "Late.", close=False, head_only=True)
    assert whole.startswith(head)
    assert head.endswith(b"\r\n\r\n")
    assert not values(parse(head)[1], b"connection")
    assert not values(parse(head)[1], b"proxy-status")


@settings(deadline=None)
@given(st.text(max_size=40))
def test_no_text_can_add_a_line_to_an_own_answer(text: str) -> None:
    """The detail of an error may quote a library or a peer; details are a string of RFC 9651, section 3.3.3."""
    head, _, body = own_answer(502, "http_protocol_error", text, close=False).partition(b"\r\n\r\n")
    _, fields = parse(head + b"\r\n\r\n")
    (status,) = values(fields, b"proxy-status")
    assert re.fullmatch(rb'unbuffer; error=http_protocol_error; details="[\x20\x21\x23-\x5b\x5d-\x7e]*"', status)
    assert values(fields, b"content-length") == [b"%d" % len(body)]
    assert len(fields) == 7


# -- Date


STATED = (b"dAte", b"Sun, 06 Nov 1994 08:49:37 GMT")


@pytest.mark.parametrize("status", [200, 204, 206, 304, 404, 500, 999])
def test_a_response_without_a_date_gets_that_of_now(status: int) -> None:
    """RFC 9110, section 6.6.1. One that has a date keeps it, whatever it says, where it stands."""
    before = int(time.time())
    (value,) = values(down(LENGTH, status=status), b"date")
    assert before <= parsedate_to_datetime(value.decode()).timestamp() <= time.time()
    for stated in (STATED, (b"Date", b"yesterday")):
        out = down((b"A", b"b"), stated, LENGTH, status=status)
        assert out[1] == stated
        assert len(values(out, b"date")) == 1


def test_a_date_that_is_named_by_connection_is_of_that_hop_only() -> None:
    (value,) = values(down((b"Connection", b"date"), STATED, LENGTH), b"date")
    assert value != STATED[1]


def test_an_informational_head_gets_no_date() -> None:
    for status in (103, 101):
        head = informational_to_downstream(ResponseHead(status, b"x", True, [(b"Upgrade", b"x")], False))
        assert b"date" not in head.lower()


@pytest.mark.parametrize("head_only", [False, True])
def test_an_own_answer_has_a_date(head_only: bool) -> None:
    for answer in (own_answer(503, "", "No.", True, head_only=head_only), plain_answer(200, b"ok", False)):
        assert (b"Date", DATE[6:]) in parse(timeless(answer).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")[1]


@given(st.integers(0, 253402300799))
def test_a_date_is_that_of_the_standard_library(second: int) -> None:
    assert date_at(second) == b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()


def test_a_date_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    seen = []
    for at in (1.0, 1.999, 2.0, 1.5):  # a clock may be set back
        now[0] = at
        seen.append(date_line())
    assert seen == [date_at(1), date_at(1), date_at(2), date_at(1)]
    assert seen[0] is seen[1]


# -- other spellings of what is managed here

MANAGED = [
    b"X-Forwarded-For",
    b"X-Forwarded-Proto",
    b"X-Forwarded-Client-Cert",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Accept-Encoding",
    b"Keep-Alive",
    b"Proxy-Authorization",
    b"HTTP2-Settings",
]
TRUSTED = Peer("192.0.2.7", secure=False, trusted=True, rfc7239=False)


def as_a_variable(name: bytes) -> bytes:
    """RFC 3875, section 4.1.18, as PHP reads it: there a dot becomes an underscore, too."""
    return re.sub(rb"[^A-Z0-9]", b"_", name.upper())


@pytest.mark.parametrize("managed", MANAGED)
@pytest.mark.parametrize("other", b"_.!#$%&'*+^`|~", ids=chr)
def test_another_spelling_of_what_is_managed_here_is_for_those_who_are_trusted(managed: bytes, other: int) -> None:
    for name in (managed.replace(b"-", bytes([other])), managed.replace(b"-", bytes([other]), 1).lower()):
        for stranger in (STRANGER, Peer("192.0.2.7", secure=False, trusted=False, rfc7239=True)):
            sent = [(b"Q_A", b"1"), (name, b"forged"), (b"q.b", b"2")]
            assert up(*sent, peer=stranger) == up(sent[0], sent[2], peer=stranger)
        assert (name, b"forged") in up((name, b"forged"), peer=TRUSTED)


@settings(deadline=None)
@given(
    st.sampled_from(MANAGED)
    .flatmap(
        lambda name: st.lists(st.sampled_from(b"-_.!#$%&'*+^`|~"), min_size=3, max_size=3).map(
            lambda marks: bytes(marks.pop() if code == ord("-") else code for code in name)
        )
    )
    .filter(lambda name: name not in MANAGED),
    st.booleans(),
)
def test_nothing_of_a_stranger_can_be_taken_for_what_is_written_here(name: bytes, lower: bool) -> None:
    out = up((name.lower() if lower else name, b"5"), peer=STRANGER)
    written = [as_a_variable(seen) for seen, _ in out]
    assert len(set(written)) == len(written)
    assert b"5" not in dict(out).values()


def test_names_without_end_are_not_remembered() -> None:
    for n in range(2000):
        up((b"q%d" % n, b""), (b"q%d" % n + b"q" * 1000, b""))
    assert len(_meanings) <= 256
    assert max(map(len, _meanings)) <= 40
    assert values(up((b"X_Forwarded_For", b"forged")), b"x_forwarded_for") == []
