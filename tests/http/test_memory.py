"""What is remembered of heads: it is the same as what is read, and bounded."""

from unbuffer.http import memory, request
from unbuffer.http.memory import LONGEST, MOST, lower_name, remember
from unbuffer.http.request import request_line


def test_a_full_memory_begins_anew() -> None:
    names: dict[bytes, bytes] = {}
    for number in range(3 * MOST + 1):
        assert remember(names, b"X-%d" % number, b"x") == b"x"
        assert len(names) <= MOST
    assert b"X-%d" % (3 * MOST) in names


def test_what_is_long_is_not_remembered() -> None:
    names: dict[bytes, bytes] = {}
    assert remember(names, b"X" * (LONGEST + 1), b"x") == b"x"
    assert not names


def test_names_are_told_apart_by_case_and_compare_without() -> None:
    for _ in range(2):
        assert {lower_name(name) for name in (b"Accept", b"ACCEPT", b"accept")} == {b"accept"}
    assert len(memory._lower) <= MOST


def test_no_credential_of_a_request_line_is_remembered() -> None:
    for target in (b"/a?key=SECRET", b"http://user:SECRET@host/", b"/http://user:SECRET@host"):
        line = request_line(b"GET %b HTTP/1.1" % target)
        assert line is not None
        assert line.target == target
    assert request_line(b"GET /kept HTTP/1.1") is request_line(b"GET /kept HTTP/1.1")
    assert not [line for line in request._lines if b"SECRET" in line]
