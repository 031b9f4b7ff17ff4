"""What of a request is recorded, refused ones first of all: nothing that may hold a credential."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.relay.conftest import Relay, own_answer
from unbuffer.http.request import shown_path

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        (b"/a/b?key=s3cret", "/a/b"),
        (b"/a#s3cret", "/a"),
        (b"*", "*"),
        (b"http://h/x?s3cret", "/x"),
        (b"http://h", ""),
        (b"ftp://h:21/x", "/x"),
        (b"http://alice:s3cret@h/x", ""),
        (b"http://alice:s3/cret@h/x", ""),
        (b"alice:s3cret@h:443", ""),
        (b"s3cret:443", ""),
        (b"?s3cret", ""),
        (b"//alice:s3cret@h/x", ""),
        (b"//alice:s3cret%40h/x", ""),
        (b"/a/http://alice:s3cret@h/x", "/a/http:"),
        (b"/a/%2f%2Falice:s3cret@h/x", "/a"),
        (b"//a/b", "//a/b"),
        (b"/@alice/x", "/@alice/x"),
        (b"/alice@h//x", "/alice@h//x"),
        (b"", ""),
    ],
)
def test_of_a_target_the_path_is_shown(target: bytes, shown: str) -> None:
    assert shown_path(target) == shown


schemes = st.sampled_from([b"http", b"https", b"ftp", b"HTTP", b"x+y"])
places = st.sampled_from(
    [b"%b://%b@h/x", b"%b://u:%b@h", b"%b://h/x?%b", b"%b://h?%b", b"%b://h/x#%b", b"%b://%b:80", b"%b:%b@h:443"]
)
around = st.from_regex(rb"[!-~]{0,8}", fullmatch=True)


@given(schemes, places, around)
def test_no_place_for_a_secret_in_a_url_is_shown(scheme: bytes, place: bytes, more: bytes) -> None:
    assert SECRET not in shown_path(place % (scheme, SECRET.encode() + more))


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://alice:s3cret@h/x",
        b"GET /x?s3cret#",
        b"GET ftp://alice:s3cret@h/x",
        b"CONNECT s3cret@h:443",
        b"OPTIONS s3cret",
        b"GET http://h/x#s3cret",
    ],
)
async def test_a_refused_request_is_recorded_without_its_credentials(relay: Relay, line: bytes) -> None:
    await relay.start()
    client = await relay.client()
    await client.send(line + b" HTTP/1.1\r\nHost: a\r\nAuthorization: s3cret\r\n\r\n")
    status = 501 if line.startswith(b"CONNECT") else 400
    await own_answer(client, status, "http_request_error")
    record = await relay.record()
    assert SECRET not in f"{record.path} {record.detail} {record.method} {record.route}"
