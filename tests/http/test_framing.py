"""Where a body ends: RFC 9112, section 6.3, as tables; and the stops between which a parser is asked."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unbuffer.http.framing import (
    CHUNKED,
    UNTIL_CLOSE,
    FramingError,
    chunk,
    next_stop,
    request_framing,
    response_framing,
)


@pytest.mark.parametrize(
    ("http11", "lengths", "codings", "framing"),
    [
        # Step 4: the final coding is chunked.
        (True, [], [b"chunked"], CHUNKED),
        # Step 6: a valid length.
        (True, [b"0"], [], 0),
        (True, [b"5"], [], 5),
        (True, [b"0005"], [], 5),
        (True, [b"9" * 18], [], 10**18 - 1),
        (False, [b"5"], [], 5),
        # Section 7: the case of a coding means nothing.
        (True, [], [b"Chunked"], CHUNKED),
        (True, [], [b"CHUNKED"], CHUNKED),
        # Step 7: a request without either has no body.
        (True, [], [], 0),
        (False, [], [], 0),
    ],
)
def test_how_long_a_request_is(http11: bool, lengths: list[bytes], codings: list[bytes], framing: int) -> None:
    assert request_framing(http11, lengths, codings) == framing


BAD_LENGTHS = [[b""], [b"+1"], [b"-1"], [b"1,1"], [b"1 1"], [b"0x1"], [b"1_0"], [b"\xb2"], [b"1" * 19], [b"5", b"5"]]
BAD_CODINGS = [
    [b""],
    [b"identity"],
    [b"gzip"],
    [b"gzip, chunked"],
    [b"chunked, gzip"],
    [b"chunked, chunked"],
    [b"chunked,"],
    [b"chunked;a=b"],
    [b"\x0bchunked"],
    [b"xchunked"],
    [b"gzip", b"chunked"],
    [b"chunked", b"chunked"],
]


@pytest.mark.parametrize("lengths", BAD_LENGTHS)
def test_a_length_in_doubt_is_refused(lengths: list[bytes]) -> None:
    """Step 5."""
    with pytest.raises(FramingError) as caught:
        request_framing(True, lengths, [])
    assert caught.value.status == 400
    with pytest.raises(FramingError):
        response_framing(200, False, True, lengths, [])


@pytest.mark.parametrize("codings", BAD_CODINGS)
def test_a_coding_other_than_chunked_is_refused(codings: list[bytes]) -> None:
    """Step 4, and section 6.1: 501 for a transfer coding that is not understood."""
    with pytest.raises(FramingError) as caught:
        request_framing(True, [], codings)
    assert caught.value.status == 501
    if codings == [b"identity"]:
        assert response_framing(200, False, True, [], codings) == UNTIL_CLOSE
        return
    with pytest.raises(FramingError):
        response_framing(200, False, True, [], codings)


@pytest.mark.parametrize("coding", [b"chunked", b"Chunked", b"gzip", b"identity"])
def test_a_length_beside_a_coding_is_refused(coding: bytes) -> None:
    """Step 3: it may be an attempt at smuggling."""
    with pytest.raises(FramingError) as caught:
        request_framing(True, [b"5"], [coding])
    assert caught.value.status == 400
    with pytest.raises(FramingError):
        response_framing(200, False, True, [b"5"], [coding])


def test_http_1_0_has_no_transfer_codings() -> None:
    """Section 6.1: such a message has faulty framing."""
    with pytest.raises(FramingError) as caught:
        request_framing(False, [], [b"chunked"])
    assert caught.value.status == 400
    with pytest.raises(FramingError):
        response_framing(200, False, False, [], [b"chunked"])


@pytest.mark.parametrize(
    ("status", "head_request", "http11", "lengths", "codings", "framing"),
    [
        # Step 1: no body, whatever the fields say.
        (200, True, True, [b"5"], [], 0),
        (200, True, True, [], [b"chunked"], 0),
        (404, True, False, [], [], 0),
        (100, False, True, [b"5"], [], 0),
        (101, False, True, [], [b"chunked"], 0),
        (199, False, True, [], [], 0),
        (204, False, True, [b"5"], [], 0),
        (304, False, True, [], [b"chunked"], 0),
        (304, False, True, [b"5"], [], 0),
        # Step 4.
        (200, False, True, [], [b"chunked"], CHUNKED),
        (500, False, True, [], [b"CHUNKED"], CHUNKED),
        # Step 6.
        (200, False, True, [b"5"], [], 5),
        (200, False, False, [b"5"], [], 5),
        (205, False, True, [b"0"], [], 0),
        # Step 8: until the connection is closed.
        (200, False, True, [], [], UNTIL_CLOSE),
        (200, False, False, [], [], UNTIL_CLOSE),
    ],
)
def test_how_long_a_response_is(
    status: int, head_request: bool, http11: bool, lengths: list[bytes], codings: list[bytes], framing: int
) -> None:
    assert response_framing(status, head_request, http11, lengths, codings) == framing


@pytest.mark.parametrize(
    ("data", "framed"),
    [(b"a", b"1\r\na\r\n"), (b"0123456789abcdef", b"10\r\n0123456789abcdef\r\n"), (b"\r\n", b"2\r\n\r\n\r\n")],
)
def test_a_chunk(data: bytes, framed: bytes) -> None:
    assert chunk(data) == framed


def stops(data: bytes) -> list[int]:
    found = [0]
    while found[-1] < len(data):
        found.append(next_stop(data, found[-1]))
    return found[1:]


@settings(deadline=None)
@given(st.text("a\r\n", max_size=30).map(str.encode))
def test_no_empty_line_is_passed_over_and_every_stop_goes_on(data: bytes) -> None:
    found = stops(data)
    assert found == sorted(set(found))
    assert not data or found[-1] == len(data)
    assert {match.end(1) for match in re.finditer(rb"(?=(\n\r\n))", data)} <= set(found)


@settings(deadline=None)
@given(st.text("a\r\n", max_size=20).map(str.encode), st.text("a\r\n", max_size=20).map(str.encode))
def test_an_empty_line_may_come_in_two_reads(before: bytes, after: bytes) -> None:
    """However an empty line is cut, there is a stop after it: at its end or at the end of a read."""
    ends = {match.end(1) for match in re.finditer(rb"(?=(\n\r\n))", before + after)}
    found = {*stops(before), *(len(before) + stop for stop in stops(after))}
    assert ends <= found
