"""Credentials out of queries, and bearer tokens: what moves, what stays, what is refused, and what is never shown."""

from hashlib import sha256
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unbuffer.http.credentials import BearerTokens, Guard, QueryCredential, challenge, take_parameter
from unbuffer.http.headers import Peer, request_to_upstream
from unbuffer.http.request import BadRequest, Fields, RequestHead

BEARER = QueryCredential(b"auth_key", b"Authorization", b"Bearer")
PEER = Peer("192.0.2.1", False, False, False)
SECRETS = ("opensesame", "second-one")


def head(target: bytes = b"/", *fields: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead(b"GET", target, True, [(b"Host", b"a"), *fields])


def moved(target: bytes, *fields: tuple[bytes, bytes], query: QueryCredential = BEARER) -> tuple[bytes, Fields]:
    """The target that goes up, and the fields that the upstream gets beside Host and the usual ones."""
    request = head(target, *fields)
    Guard(query, None).admit(request)
    line, *rest = request_to_upstream(request, PEER).split(b"\r\n")
    passed = [(name, value) for name, _, value in (one.partition(b": ") for one in rest[1:-2])]
    usual = (b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"Accept-Encoding", b"Via")
    return line.split(b" ")[1], [field for field in passed if field[0] not in usual]


@pytest.mark.parametrize(
    ("target", "goes_up"),
    [
        (b"/?auth_key=X", b"/"),
        (b"/a/b?auth_key=X", b"/a/b"),
        (b"/?auth_key=X&a=1&b=2", b"/?a=1&b=2"),
        (b"/?a=1&auth_key=X&b=2", b"/?a=1&b=2"),
        (b"/?a=1&b=2&auth_key=X", b"/?a=1&b=2"),
        (b"/?a=%41+%zz&auth_key=X&a=;?/:@'\"&&b", b"/?a=%41+%zz&a=;?/:@'\"&&b"),
        (b"/?auth%5Fkey=X", b"/"),
        (b"/?%61%75th_key=X&a", b"/?a"),
        (b"/?a?auth_key=Y&auth_key=X", b"/?a?auth_key=Y"),
        (b"/?&auth_key=X", b"/"),
        (b"/?a&&auth_key=X", b"/?a&"),
        (b"http://b/c?auth_key=X&d", b"/c?d"),
        (b"http://b?auth_key=X", b"/"),
    ],
)
def test_the_parameter_becomes_the_field_and_the_rest_keeps_its_bytes(target: bytes, goes_up: bytes) -> None:
    assert moved(target) == (goes_up, [(b"Authorization", b"Bearer X")])


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"/?",
        b"/?a=auth_key",
        b"/?a=1&auth_keys=X",
        b"/?xauth_key=X",
        b"/?Auth_key=X",
        b"/?auth%255Fkey=X",
        b"/?auth+key=X",
        b"/?a;auth_key=X",
        b"/auth_key=X",
        b"/%3Fauth_key=X",
    ],
)
def test_any_other_parameter_is_left_alone(target: bytes) -> None:
    own = (b"Authorization", b"Basic YTpi")
    assert moved(target, own) == (target, [own])


@pytest.mark.parametrize("target", [b"/?auth_key=", b"/?auth_key", b"/?a&auth_key=", b"/?auth_key=&a"])
def test_an_empty_one_is_taken_away_and_no_credential(target: bytes) -> None:
    own = (b"Authorization", b"Basic YTpi")
    goes_up = b"/?a" if b"a&" in target or b"&a" in target else b"/"
    assert moved(target) == (goes_up, [])
    assert moved(target, own) == (goes_up, [own])


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        (b"a.b-c_d~e/f==", b"a.b-c_d~e/f=="),
        (b"a%2Bb", b"a+b"),
        (b"%41%42", b"AB"),
        (b"a%2525", b"a%25"),
        (b"a%zz", b"a%zz"),
        (b"a=b", b"a=b"),
    ],
)
def test_the_value_is_decoded_once(value: bytes, decoded: bytes) -> None:
    assert moved(b"/?auth_key=" + value) == (b"/", [(b"Authorization", b"Bearer " + decoded)])


@pytest.mark.parametrize(
    "value",
    [b"a+b", b"a%20b", b"%0D%0AHost:%20evil", b"a%0a", b"a%00b", b"%7F", b"a%09b", b"%C3%A4", b"%80", b"+", b"%20"],
)
def test_a_value_that_no_field_should_hold_is_refused(value: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        moved(b"/?auth_key=secret" + value)
    assert caught.value.status == 400
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "target",
    [b"/?auth_key=X&auth_key=X", b"/?auth_key=X&auth%5fkey=Y", b"/?auth_key=X&auth_key=", b"/?auth_key&auth_key"],
)
def test_more_than_one_is_refused(target: bytes) -> None:
    with pytest.raises(BadRequest, match="more than one") as caught:
        moved(target)
    assert caught.value.status == 400


@pytest.mark.parametrize("name", [b"Authorization", b"authorization", b"AUTHORIZATION"])
def test_one_beside_its_field_is_refused(name: bytes) -> None:
    with pytest.raises(BadRequest, match="both") as caught:
        moved(b"/?auth_key=X", (name, b"Bearer Y"))
    assert caught.value.status == 400


def test_any_field_and_scheme_may_be_asked_for() -> None:
    query = QueryCredential(b"key", b"X-API-Key", b"")
    own = (b"Authorization", b"Basic YTpi")
    assert moved(b"/?key=X", own, query=query) == (b"/", [own, (b"X-API-Key", b"X")])


def test_what_connection_names_is_stripped_before() -> None:
    assert moved(b"/?auth_key=X", (b"Connection", b"authorization")) == (b"/", [(b"Authorization", b"Bearer X")])


TEXT = st.text(st.characters(codec="utf-8"), max_size=8)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), max_size=5), TEXT)
def test_what_a_browser_writes_is_read_back(pairs: list[tuple[str, str]], value: str) -> None:
    others = [pair for pair in pairs if pair[0] != "auth_key"]
    query = urlencode([*others, ("auth_key", value)]).encode()
    target, values = take_parameter(b"/?" + query, b"auth_key")
    assert values == [value.encode()]
    assert parse_qsl(target.partition(b"?")[2].decode(), keep_blank_values=True) == others


@settings(deadline=None)
@given(st.text("ab=&%_+;?#1fF", max_size=30))
def test_every_other_piece_stays_where_it_was(query: str) -> None:
    given = query.encode().split(b"&")
    target, values = take_parameter(b"/?" + query.encode(), b"a")
    if not values:
        assert target == b"/?" + query.encode()
        return
    rest = target.partition(b"?")[2]
    kept = rest.split(b"&") if rest else []
    assert len(values) + len(kept) == len(given) or not rest
    there = iter(given)
    assert all(piece in there for piece in kept), "the order is another one"


# -- bearer tokens


def checked(*fields: tuple[bytes, bytes], forward: bool = False, tokens: tuple[str, ...] = SECRETS) -> bytes:
    """The head that goes up."""
    request = head(b"/", *fields)
    Guard(None, BearerTokens.of(tokens, forward)).admit(request)
    return request_to_upstream(request, PEER)


def bearer(token: bytes) -> tuple[bytes, bytes]:
    return b"Authorization", b"Bearer " + token


@pytest.mark.parametrize("token", [b"opensesame", b"second-one"])
@pytest.mark.parametrize("scheme", [b"Bearer ", b"bearer ", b"BEARER ", b"Bearer   "])
def test_each_of_the_tokens_opens(scheme: bytes, token: bytes) -> None:
    checked((b"authorization", scheme + token))


@pytest.mark.parametrize("forward", [False, True])
def test_the_token_goes_up_only_where_that_is_asked_for(forward: bool) -> None:
    goes_up = checked((b"A", b"1"), bearer(b"opensesame"), (b"B", b"2"), forward=forward)
    assert (b"Authorization: Bearer opensesame\r\n" in goes_up) == forward
    assert (b"opensesame" in goes_up) == forward
    assert b"A: 1\r\n" in goes_up
    assert b"B: 2\r\n" in goes_up


@pytest.mark.parametrize(
    "token",
    [b"", b"opensesam", b"opensesame1", b"Opensesame", b"opensesame second-one", b"opensesame,second-one", b"\xff"],
)
def test_a_wrong_token_is_refused_with_a_reason(token: bytes) -> None:
    with pytest.raises(BadRequest) as caught:
        checked(bearer(token))
    assert caught.value.status == 401
    assert str(caught.value) == "the bearer token is not valid"


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"Authorization", b"Basic b3BlbnNlc2FtZQ==")],
        [(b"Authorization", b"opensesame")],
        [(b"Authorization", b"Bearer\topensesame")],
        [(b"Authorization", b"")],
        [(b"Proxy-Authorization", b"Bearer opensesame")],
    ],
)
def test_no_token_is_refused_without_a_reason(fields: Fields) -> None:
    with pytest.raises(BadRequest) as caught:
        checked(*fields)
    assert (caught.value.status, str(caught.value)) == (401, "")


def test_two_authorizations_are_refused() -> None:
    with pytest.raises(BadRequest) as caught:
        checked(bearer(b"opensesame"), bearer(b"opensesame"))
    assert caught.value.status == 400


def test_without_tokens_nothing_opens() -> None:
    with pytest.raises(BadRequest):
        checked(bearer(b""), tokens=())


def test_a_token_from_the_query_opens_too_and_goes_no_further() -> None:
    request = head(b"/?auth_key=opensesame&a")
    Guard(BEARER, BearerTokens.of(SECRETS, False)).admit(request)
    goes_up = request_to_upstream(request, PEER)
    assert goes_up.startswith(b"GET /?a HTTP/1.1\r\n")
    assert b"opensesame" not in goes_up


def test_every_token_is_compared_whichever_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr("unbuffer.http.credentials.hmac.compare_digest", compare)
    assert BearerTokens.of(SECRETS, False).has(b"opensesame")
    assert compared == [sha256(secret.encode()).digest() for secret in SECRETS]


def test_neither_tokens_nor_their_digests_are_in_a_repr() -> None:
    guard = Guard(BEARER, BearerTokens.of(SECRETS, False))
    for secret in SECRETS:
        assert secret not in repr(guard)
        assert repr(sha256(secret.encode()).digest()) not in repr(guard)


def test_the_challenge_names_an_error_only_for_a_token_that_came() -> None:
    assert challenge(invalid=False) == b'WWW-Authenticate: Bearer realm="unbuffer"\r\n'
    assert challenge(invalid=True) == b'WWW-Authenticate: Bearer realm="unbuffer", error="invalid_token"\r\n'


API_KEY = QueryCredential(b"key", b"X-API-Key", b"")


@pytest.mark.parametrize("name", [b"X_API_Key", b"x.api.key", b"X-Api_Key", b"x-api~key"])
@pytest.mark.parametrize("target", [b"/?key=K", b"/?other=K", b"/"])
def test_another_spelling_of_the_field_goes_with_nobody(name: bytes, target: bytes) -> None:
    """Where names become variables, it would be a second value of the same one (RFC 3875, section 4.1.18)."""
    sent = [(b"X_API_Key_2", b"1"), (name, b"forged"), (b"X_API", b"2")]
    seen = [(b"X_API_Key_2", b"1"), (b"X_API", b"2")]
    assert moved(target, *sent, query=API_KEY)[1] == [*seen, *([(b"X-API-Key", b"K")] if b"?key" in target else [])]
    assert moved(b"/", (b"X-API-Key", b"own"), query=API_KEY)[1] == [(b"X-API-Key", b"own")]
