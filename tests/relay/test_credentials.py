"""Credentials on real connections: what the upstream, the client, the log and the metrics get to see of them."""

from pathlib import Path

import pytest

from tests.peers import OK, Peer
from tests.relay.conftest import Relay, finished, own_answer
from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.relay.policy import RouteTable
from unbuffer.settings.model import Authorization, Credentials, Limits, Settings
from unbuffer.settings.route import Route, RouteAuthorization, RouteCredentials

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
QUERY = Credentials(query="auth_key")
TOKENS = Authorization(required=True, tokens=("opensesame", "second-one"))


def get(target: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join((b"GET %b HTTP/1.1" % target, b"Host: a", *lines, b"", b""))


def texts(record: Record) -> str:
    """Everything that a record could tell a log."""
    return " ".join(str(getattr(record, name)) for name in dir(record))


# -- out of the query


async def test_the_credential_in_the_query_reaches_the_upstream_as_its_field_only(relay: Relay) -> None:
    await relay.start(credentials=QUERY)
    client, upstream, head = await relay.exchange(get(b"/events?auth_key=opensesame&a=1"))
    assert head.startswith(b"GET /events?a=1 HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer opensesame\r\n" in head
    assert head.count(b"opensesame") == 1
    await upstream.send(OK)
    await client.head()
    record = await finished(relay, Outcome.COMPLETED, 200)
    assert "opensesame" not in texts(record)
    assert record.path == "/events"


async def test_a_websocket_is_no_exception(relay: Relay) -> None:
    await relay.start(credentials=QUERY)
    client, upstream, head = await relay.exchange(
        get(b"/ws?auth_key=opensesame", b"Upgrade: websocket", b"Connection: Upgrade")
    )
    assert head.startswith(b"GET /ws HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer opensesame\r\n" in head
    assert b"\r\nUpgrade: websocket\r\n" in head
    await upstream.send(SWITCH)
    await client.head()
    await client.send(b"?auth_key=bytes of the tunnel are its own")
    assert await upstream.read(41) == b"?auth_key=bytes of the tunnel are its own"


async def test_by_default_queries_are_left_alone(relay: Relay) -> None:
    await relay.start()
    _, _, head = await relay.exchange(get(b"/?auth_key=opensesame&auth_key=2", b"Authorization: Bearer 3"))
    assert head.startswith(b"GET /?auth_key=opensesame&auth_key=2 HTTP/1.1\r\n")


async def test_an_ambiguous_credential_is_refused_and_the_connection_goes_on(relay: Relay) -> None:
    await relay.start(credentials=QUERY)
    client = await relay.client()
    await client.send(get(b"/?auth_key=opensesame", b"Authorization: Bearer 2") + get(b"/next"))
    await own_answer(client, 400, "http_request_error")
    record = await finished(relay, Outcome.REQUEST_MALFORMED, 400, "both in the query and in its field")
    assert "opensesame" not in texts(record)
    assert {reason: count for reason, count in relay.totals.rejected.items() if count} == {"bad_request": 1}
    upstream = await relay.upstream.accept()
    assert (await upstream.head()).startswith(b"GET /next HTTP/1.1\r\n")
    await upstream.send(OK)
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")


def test_a_route_inherits_what_it_does_not_say() -> None:
    table = RouteTable(
        Settings(
            credentials=Credentials(query="key", header="X-Key"),
            routes=(
                Route(name="own", prefix="/own", credentials=RouteCredentials(query="token", scheme="")),
                Route(name="off", prefix="/off", credentials=RouteCredentials(query="")),
            ),
        )
    )
    found = {}
    for path in (b"/", b"/own", b"/off"):
        guard = table.match(b"GET", path).guard
        query = guard and guard.query
        found[path] = query and (query.parameter, query.field, query.scheme)
    assert found == {b"/": (b"key", b"X-Key", b"Bearer"), b"/own": (b"token", b"X-Key", b""), b"/off": None}


# -- bearer tokens


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        ((), b""),
        ((b"Authorization: Basic b3BlbnNlc2FtZQ==",), b""),
        ((b"Authorization: Bearer wrong",), b', error="invalid_token"'),
    ],
)
async def test_without_a_valid_token_nothing_goes_up(relay: Relay, lines: tuple[bytes, ...], error: bytes) -> None:
    await relay.start(authorization=TOKENS)
    client = await relay.client()
    for _ in range(2):  # the connection goes on
        await client.send(get(b"/", *lines))
        head = await own_answer(client, 401, "http_request_denied")
        assert b'\r\nWWW-Authenticate: Bearer realm="unbuffer"%b\r\n' % error in head
        record = await finished(relay, Outcome.UNAUTHORIZED, 401, "the bearer token is not valid" if error else "")
        assert "wrong" not in texts(record)
    assert {reason: count for reason, count in relay.totals.rejected.items() if count} == {"unauthorized": 2}
    assert not relay.upstream.untaken


@pytest.mark.parametrize("forward", [False, True])
async def test_a_valid_token_opens_and_goes_up_only_if_asked_to(relay: Relay, forward: bool) -> None:
    await relay.start(authorization=Authorization(required=True, tokens=("opensesame",), forward=forward))
    client, upstream, head = await relay.exchange(get(b"/", b"Authorization: Bearer opensesame"))
    assert head.count(b"opensesame") == forward
    await upstream.send(OK)
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    assert "opensesame" not in texts(await finished(relay, Outcome.COMPLETED, 200))


async def test_a_token_in_the_query_is_moved_before_it_is_asked_for(relay: Relay) -> None:
    await relay.start(authorization=TOKENS, credentials=QUERY)
    _, _, head = await relay.exchange(get(b"/?auth_key=second-one"))
    assert head.startswith(b"GET / HTTP/1.1\r\n")
    assert b"second-one" not in head


async def upload(relay: Relay, client: Peer) -> None:
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nsome of it")
    head = await own_answer(client, 401, "http_request_denied")
    assert b"\r\nConnection: close\r\n" in head
    await finished(relay, Outcome.UNAUTHORIZED, 401)


async def test_while_a_body_still_comes_the_answer_gets_through(relay: Relay) -> None:
    await relay.start(authorization=TOKENS)
    client = await relay.client()
    await upload(relay, client)
    await client.send(b"x" * 500_000)  # read away: the connection is not reset under the answer
    client.eof()
    assert await client.rest() == b""
    assert not relay.upstream.untaken


async def test_a_client_without_a_token_learns_of_no_limit(relay: Relay) -> None:
    await relay.start(authorization=TOKENS, limits=Limits(body=5))
    await upload(relay, await relay.client())


async def test_a_route_may_be_open_to_preflight_requests(relay: Relay) -> None:
    preflight = Route(name="p", prefix="/", methods=("OPTIONS",), authorization=RouteAuthorization(required=False))
    await relay.start(authorization=TOKENS, routes=(preflight,))
    await relay.exchange(b"OPTIONS /a HTTP/1.1\r\nHost: a\r\nAccess-Control-Request-Method: POST\r\n\r\n")
    client = await relay.client()
    await client.send(get(b"/a"))
    await own_answer(client, 401, "http_request_denied")


async def test_no_other_spelling_of_a_path_leads_to_an_open_route(relay: Relay) -> None:
    public = Route(name="p", prefix="/public", authorization=RouteAuthorization(required=False))
    await relay.start(authorization=TOKENS, routes=(public,))
    client = await relay.client()
    for target in (b"/public/../admin", b"/public/%2e%2e/admin", b"/publican", b"//admin", b"http://a/admin"):
        await client.send(get(target))
        await own_answer(client, 401, "http_request_denied")


def test_the_tokens_of_a_route_replace_those_above(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# for one route\n\n  third  \nfourth==\n")
    settings = Settings(
        authorization=TOKENS,
        routes=(
            Route(name="own", prefix="/own", authorization=RouteAuthorization(tokens_file=str(file), forward=True)),
            Route(name="open", prefix="/open", authorization=RouteAuthorization(required=False)),
        ),
    )
    table = RouteTable(settings)
    tokens = {path: (guard := table.match(b"GET", path).guard) and guard.tokens for path in (b"/", b"/own", b"/open")}
    assert tokens[b"/open"] is None
    every = (b"opensesame", b"second-one", b"third", b"fourth==", b"# for one route", b"")
    opens = {path: [one for one in every if held and held.has(one)] for path, held in tokens.items()}
    assert opens == {b"/": [b"opensesame", b"second-one"], b"/own": [b"third", b"fourth=="], b"/open": []}
    assert [held.forward for held in tokens.values() if held] == [False, True]


def test_a_file_adds_to_the_tokens_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("third")
    authorization = Authorization(required=True, tokens=("first",), tokens_file=str(file))
    guard = RouteTable(Settings(authorization=authorization)).match(b"GET", b"/").guard
    assert guard is not None
    assert guard.tokens is not None
    assert [guard.tokens.has(one) for one in (b"first", b"third", b"second")] == [True, True, False]
