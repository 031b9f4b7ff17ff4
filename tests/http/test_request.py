"""What a request head says: one reading or a refusal, never a guess."""

import pytest

from unbuffer.http.framing import CHUNKED
from unbuffer.http.request import BadRequest, Fields, RequestHead, list_members, request_line

HOST = (b"Host", b"a")


def read(
    target: bytes = b"/", method: bytes = b"GET", http11: bool = True, fields: Fields | None = None
) -> RequestHead:
    return RequestHead(method, target, http11, [HOST] if fields is None else fields)


def with_fields(*fields: tuple[bytes, bytes], http11: bool = True) -> RequestHead:
    return read(http11=http11, fields=[HOST, *fields])


def refused(status: int, target: bytes = b"/", method: bytes = b"GET", fields: Fields | None = None) -> None:
    with pytest.raises(BadRequest) as caught:
        read(target, method, fields=fields)
    assert caught.value.status == status
    assert str(caught.value)


# -- the request line


@pytest.mark.parametrize("method", [b"GET", b"get", b"M-SEARCH", b"QUERY", b"FOO", b"!#$%&'*+-.^_`|~09azAZ"])
@pytest.mark.parametrize("target", [b"/", b"/a?b?", b"//x", b"/%2F..;", b"*", b"a:1", b"http://a/", b'/"<>\\^`{|}~!'])
def test_a_request_line_is_any_token_and_any_visible_bytes(method: bytes, target: bytes) -> None:
    for _ in range(2):  # as it came first, and from memory
        line = request_line(b"%b %b HTTP/1.0" % (method, target))
        assert line
        assert (line.method, line.target, line.http11, line.spoken) == (method, target, False, True)


@pytest.mark.parametrize(
    "line",
    [
        b" GET / HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET\t/ HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET /a\tb HTTP/1.1",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r",
        b"GET / HTTP/11",
        b"GET / HTTP/1.10",
        b"GET / HTTP/1",
        b"GET / http/1.1",
        b"GET /",
        b" / HTTP/1.1",
        b"G(T / HTTP/1.1",
        b"G\xc3\x84T / HTTP/1.1",
        b"GET /\xc3\xa4 HTTP/1.1",
        b"GET /\x00 HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
        b"\nGET / HTTP/1.1",
        b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1",
    ],
)
def test_nothing_else_is_a_request_line(line: bytes) -> None:
    assert request_line(line) is None


# -- the target


@pytest.mark.parametrize(
    "target", [b"/", b"/?", b"/a?b?", b"//x", b"//", b"/%2F..;", b"/../a", b"/a//b/./..", b"/http://x/", b"/*", b"/a@b"]
)
def test_a_path_is_kept_byte_for_byte(target: bytes) -> None:
    head = read(target)
    assert (head.target, head.host) == (target, b"a")


@pytest.mark.parametrize(
    ("given", "host", "target"),
    [
        (b"http://b/x?y?", b"b", b"/x?y?"),
        (b"http://b:81//x", b"b:81", b"//x"),
        (b"HTTPS://B", b"B", b"/"),
        (b"http://b?q", b"b", b"/?q"),
        (b"http://b/http://c/@d", b"b", b"/http://c/@d"),
        (b"http://b?u@c", b"b", b"/?u@c"),
        (b"http://[::1]:8/x", b"[::1]:8", b"/x"),
    ],
)
def test_the_authority_of_a_url_replaces_host(given: bytes, host: bytes, target: bytes) -> None:
    head = read(given)
    assert (head.host, head.target) == (host, target)


@pytest.mark.parametrize(
    "target",
    [
        b"a",
        b"a:80",
        b"?a",
        b"http:/a",
        b"http://",
        b"http:///a",
        b"http://:80/a",
        b"http://a,b/",
        b"http://?a",
        b"http://u@a/",
        b"http://u:p@a/",
        b"http://a:80@b/",
        b"http://a:b/",
        b"http://a\\b/",
        b"ftp://a/",
        b"ws://a/",
        b"*",
        b"*a",
    ],
)
def test_a_target_that_is_no_path_and_no_url_is_refused(target: bytes) -> None:
    refused(400, target)


@pytest.mark.parametrize("target", [b"/#", b"/a#b", b"/a?b#c", b"http://a/#b", b"http://a#b"])
def test_a_fragment_is_refused(target: bytes) -> None:
    refused(400, target)


def test_an_asterisk_is_for_options() -> None:
    assert read(b"*", b"OPTIONS").target == b"*"
    refused(400, b"*", b"GET")
    refused(400, b"*", b"options")


def test_options_for_a_whole_server_by_url_becomes_an_asterisk() -> None:
    """RFC 9112, section 3.2.4: what the last proxy sends for a URL with neither path nor query."""
    head = read(b"http://b:81", b"OPTIONS")
    assert (head.host, head.target) == (b"b:81", b"*")
    assert read(b"http://b:81/", b"OPTIONS").target == b"/"


@pytest.mark.parametrize("target", [b"b:443", b"[::1]:443", b"*", b"http://b/", b"/", b"/x"])
def test_connect_is_not_spoken_in_any_form(target: bytes) -> None:
    """A successful answer to CONNECT has no end: it must not share a connection with other requests."""
    refused(501, target, b"CONNECT")


# -- Host


@pytest.mark.parametrize(
    "host",
    [b"", b"a", b"A.b-c_d:80", b"a:", b"127.0.0.1:65535", b"[::1]", b"[2001:db8::1]:80", b"%C3%A4", b"a;b"],
)
def test_a_host_is_kept_as_it_came(host: bytes) -> None:
    assert read(fields=[(b"hOsT", host)]).host == host


@pytest.mark.parametrize(
    "host",
    [
        b"a b",
        b"a,b",
        b":80",
        b"a/b",
        b"a@b",
        b"a?b",
        b"a#b",
        b"a\\b",
        b'a"b',
        b"a:b",
        b"a:1:2",
        b"a:123456",
        b"::1",
        b"[::1",
        b"[::1]a",
        b"[a]b:80",
        b"[::1%25eth0]",
        b"\xc3\xa4",
        b"a\x00",
        b"a\n",
        b"a ",
    ],
)
def test_a_host_that_is_no_name_and_no_address_is_refused(host: bytes) -> None:
    refused(400, fields=[(b"Host", host)])


def test_exactly_one_host_in_http_1_1_and_at_most_one_before() -> None:
    refused(400, fields=[])
    refused(400, fields=[HOST, HOST])
    refused(400, fields=[HOST, (b"HOST", b"b")])
    refused(400, b"http://b/", fields=[])
    assert read(http11=False, fields=[]).host == b""
    with pytest.raises(BadRequest, match="more than one Host"):
        read(http11=False, fields=[HOST, HOST])


# -- framing: the table stands in test_framing


def test_the_body_is_framed_by_its_fields_whatever_their_case() -> None:
    assert with_fields().framing == 0
    length = with_fields((b"CONTENT-length", b"5"))
    assert (length.framing, length.states_length) == (5, True)
    empty = with_fields((b"Content-Length", b"0"))
    assert (empty.framing, empty.states_length) == (0, True)
    chunked = with_fields((b"transfer-ENCODING", b"chunked"))
    assert (chunked.framing, chunked.states_length) == (CHUNKED, False)


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (400, [(b"Content-Length", b"1"), (b"content-length", b"1")]),
        (400, [(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")]),
        (501, [(b"Transfer-Encoding", b"gzip, chunked")]),
        (501, [(b"Transfer-Encoding", b"gzip"), (b"Transfer-Encoding", b"chunked")]),
    ],
)
def test_ambiguous_framing_is_refused(status: int, fields: Fields) -> None:
    refused(status, fields=[HOST, *fields])


# -- Connection, Upgrade, TE, traceparent


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (b"", []),
        (b" , ,", []),
        (b"Close", [b"close"]),
        (b" a ,\tB,,c d ", [b"a", b"b", b"c d"]),
    ],
)
def test_members_of_a_list(value: bytes, members: list[bytes]) -> None:
    assert list_members(value) == members


def test_the_options_of_all_connection_fields_count() -> None:
    head = with_fields((b"Connection", b"X-A, upgrade"), (b"connection", b"Keep-Alive"), (b"Connection", b""))
    assert list(head.connection) == [b"x-a", b"upgrade", b"keep-alive"]
    assert list(with_fields().connection) == []


@pytest.mark.parametrize(
    ("http11", "connection", "stays"),
    [
        (True, b"", True),
        (True, b"keep-alive", True),
        (True, b"x, Close", False),
        (True, b"close, keep-alive", False),
        (False, b"", False),
        (False, b"Keep-Alive", True),
        (False, b"keep-alive, close", False),
    ],
)
def test_whether_the_connection_stays_open(http11: bool, connection: bytes, stays: bool) -> None:
    fields = [(b"Connection", connection)] if connection else []
    assert with_fields(*fields, http11=http11).keep_alive is stays


@pytest.mark.parametrize(
    ("values", "offered"),
    [
        ([b"websocket"], [b"websocket"]),
        ([b"WebSocket"], [b"WebSocket"]),
        ([b"h2c"], []),
        ([b"H2C"], []),
        ([b"h2c, websocket"], [b"websocket"]),
        ([b"websocket, h2c"], [b"websocket"]),
        ([b"h2c", b"websocket"], [b"websocket"]),
        ([b"h2c,h2c ,\th2c"], []),
        ([b"foo/2", b"bar"], [b"foo/2", b"bar"]),
        ([b""], []),
    ],
)
def test_upgrades_are_offered_without_h2c(values: list[bytes], offered: list[bytes]) -> None:
    upgrade = with_fields(*((b"Upgrade", value) for value in values), (b"Connection", b"Upgrade")).upgrade
    assert [protocol.strip() for protocol in upgrade.split(b",")] == (offered or [b""])


def test_an_upgrade_counts_only_with_connection_and_in_http_1_1() -> None:
    upgrade = (b"Upgrade", b"websocket")
    assert not with_fields(upgrade).upgrade
    assert not with_fields(upgrade, (b"Connection", b"keep-alive")).upgrade
    assert not with_fields(upgrade, (b"Connection", b"upgrade"), http11=False).upgrade
    assert with_fields(upgrade, (b"Connection", b"keep-alive, Upgrade")).upgrade


@pytest.mark.parametrize(
    ("values", "wants"),
    [
        ([], False),
        ([b""], False),
        ([b"deflate"], False),
        ([b"trailers"], True),
        ([b"deflate;q=0.5, Trailers"], True),
        ([b"deflate", b"trailers"], True),
        ([b"trailers", b"deflate"], True),
        ([b"xtrailers"], False),
    ],
)
def test_trailers_are_wanted_if_any_te_says_so(values: list[bytes], wants: bool) -> None:
    assert with_fields(*((b"TE", value) for value in values)).wants_trailers is wants


TRACE = b"0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("value", "trace"),
    [
        (b"00-%b-b7ad6b7169203331-01" % TRACE, TRACE),
        (b"cc-%b-b7ad6b7169203331-01-later-versions" % TRACE, TRACE),
        (b"00-%b-b7ad6b7169203331" % TRACE, b""),
        (b"00-%b-b7ad6b7169203331-01" % TRACE.upper(), b""),
        (b"00-%b0-b7ad6b7169203331-01" % TRACE, b""),
        (b'"', b""),
    ],
)
def test_the_trace_id_is_read_where_it_is_one(value: bytes, trace: bytes) -> None:
    assert with_fields((b"TraceParent", value)).trace == trace.decode()
