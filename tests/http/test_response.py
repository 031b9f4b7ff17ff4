"""What a response head says."""

import pytest

from unbuffer.http.framing import CHUNKED, UNTIL_CLOSE, FramingError
from unbuffer.http.request import Fields
from unbuffer.http.response import ResponseHead, is_fresh_text, maker

Field = tuple[bytes, bytes]

LENGTH = (b"Content-Length", b"5")
CHUNKS = (b"Transfer-Encoding", b"chunked")


def read(*fields: Field, status: int = 200, http11: bool = True, head_request: bool = False) -> ResponseHead:
    return ResponseHead(status, b"OK", http11, list(fields), head_request)


@pytest.mark.parametrize(
    ("media", "framed", "kind"),
    [
        (b"text/event-stream", LENGTH, "sse"),
        (b"Text/Event-Stream;charset=utf-8", CHUNKS, "sse"),
        (b"text/event-stream ; a=b", CHUNKS, "sse"),
        (b"text/event-streams", LENGTH, "plain"),
        (b"application/x-ndjson", LENGTH, "ndjson"),
        (b"application/jsonl", CHUNKS, "ndjson"),
        (b"application/stream+json", CHUNKS, "ndjson"),
        (b"text/html", CHUNKS, "stream"),
        (b"text/html", None, "stream"),
        (b"", CHUNKS, "stream"),
        (b"text/html", LENGTH, "plain"),
        (b"", LENGTH, "plain"),
    ],
)
def test_a_stream_is_a_streaming_type_or_a_body_of_unknown_length(
    media: bytes, framed: Field | None, kind: str
) -> None:
    head = read((b"content-TYPE", media), *([framed] if framed else []))
    assert head.kind == kind
    assert head.streams is (kind != "plain")


def test_an_answer_without_a_body_is_no_stream_for_its_framing() -> None:
    assert read(CHUNKS, head_request=True).kind == "plain"
    assert read(status=304).kind == "plain"


@pytest.mark.parametrize(
    ("fields", "framing", "length"),
    [
        ([LENGTH], 5, 5),
        ([(b"content-length", b"0")], 0, 0),
        ([CHUNKS], CHUNKED, -1),
        ([], UNTIL_CLOSE, -1),
    ],
)
def test_the_framing_and_the_length_it_states(fields: Fields, framing: int, length: int) -> None:
    head = read(*fields)
    assert (head.framing, head.length) == (framing, length)


@pytest.mark.parametrize(("status", "head_request"), [(200, True), (304, False)])
def test_a_length_may_be_stated_for_a_body_that_is_not_sent(status: int, head_request: bool) -> None:
    head = read(LENGTH, status=status, head_request=head_request)
    assert (head.framing, head.length) == (0, 5)
    assert read(CHUNKS, status=status, head_request=head_request).length == -1
    assert read(status=status, head_request=head_request).length == -1


@pytest.mark.parametrize(
    "fields",
    [
        [LENGTH, LENGTH],
        [LENGTH, CHUNKS],
        [(b"Transfer-Encoding", b"gzip, chunked")],
        [(b"Content-Length", b"-1")],
    ],
)
def test_ambiguous_framing_is_an_error(fields: Fields) -> None:
    with pytest.raises(FramingError):
        read(*fields)


@pytest.mark.parametrize(
    ("http11", "fields", "stays"),
    [
        (True, [LENGTH], True),
        (True, [CHUNKS], True),
        (True, [LENGTH, (b"Connection", b"x, Close")], False),
        (True, [LENGTH, (b"Connection", b"x"), (b"connection", b"close")], False),
        (True, [], False),
        (False, [LENGTH], False),
        (False, [LENGTH, (b"Connection", b"keep-alive")], False),
    ],
)
def test_whether_the_upstream_may_be_used_again(http11: bool, fields: Fields, stays: bool) -> None:
    assert read(*fields, http11=http11).keep_alive is stays


def test_codings_of_all_fields_in_the_order_they_were_applied() -> None:
    assert read((b"Content-Encoding", b"GZip"), LENGTH, (b"content-encoding", b"br, identity")).codings == (
        "gzip",
        "br",
    )
    assert read(LENGTH).codings == ()


def test_the_fields_are_kept_as_they_came() -> None:
    fields = [(b"X-b", b"1"), LENGTH, (b"x-A", b""), (b"X-b", b"\xe4")]
    head = read(*fields)
    assert head.fields == fields
    assert (head.status, head.reason) == (200, b"OK")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], (b"", False)),
        ([(b"SERVER", b"gunicorn/asgi"), (b"Vary", b"Origin")], (b"gunicorn/asgi", False)),
        ([(b"server", b"x" * 1000), (b"vary", b"Origin, Accept-Encoding"), (b"Vary", b"Origin")], (b"x" * 64, True)),
    ],
)
def test_who_made_it(fields: Fields, expected: tuple[bytes, bool]) -> None:
    assert maker(fields) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([(b"Content-Type", b"text/plain")], True),
        ([(b"content-type", b"Text/Plain; charset=utf-8"), (b"Server", b"x")], True),
        ([(b"Content-Type", b"text/plain; version=0.0.4; charset=utf-8")], False),
        ([(b"Content-Type", b"text/html")], False),
        ([(b"Content-Type", b"text/plain"), (b"ETag", b'"1"')], False),
        ([(b"last-modified", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"Content-Type", b"text/plain")], False),
        ([], False),
    ],
)
def test_text_that_was_made_for_this_request(fields: Fields, expected: bool) -> None:
    assert is_fresh_text(fields) is expected
