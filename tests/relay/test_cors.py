"""Pages of other origins read what unbuffer itself answers, where their origin is named, and nothing else is opened."""

import pytest

from tests.peers import OK
from tests.relay.conftest import Relay, finished
from unbuffer.outcome import Outcome
from unbuffer.settings.model import CORS, Authorization, Limits, Settings, Upstream

PAGE = b"https://app.example"
ON = CORS(origins=(PAGE.decode(),))


def request(method: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join((b"%b / HTTP/1.1" % method, b"Host: a", *lines, b"", b""))


def preflight(origin: bytes = PAGE) -> bytes:
    return request(
        b"OPTIONS",
        b"Origin: " + origin,
        b"Access-Control-Request-Method: POST",
        b"Access-Control-Request-Headers: authorization,content-type",
    )


async def down(relay: Relay, port: int, cors: CORS) -> None:
    await relay.serve(Settings(upstream=Upstream(url=f"http://127.0.0.1:{port}"), cors=cors))


async def head_for(relay: Relay, sent: bytes) -> bytes:
    client = await relay.client()
    await client.send(sent)
    return await client.head()


async def test_a_named_origin_may_read_the_answer(relay: Relay, closed_port: int) -> None:
    await down(relay, closed_port, ON)
    head = await head_for(relay, request(b"GET", b"Origin: " + PAGE))
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nAccess-Control-Allow-Origin: https://app.example\r\n" in head
    assert b"\r\nAccess-Control-Allow-Credentials: true\r\n" in head
    assert b"\r\nAccess-Control-Expose-Headers: Proxy-Status, Retry-After, WWW-Authenticate\r\n" in head
    assert b"\r\nVary: Origin\r\n" in head
    await finished(relay, Outcome.UPSTREAM_REFUSED, 503, "cannot connect")


@pytest.mark.parametrize(
    ("cors", "lines", "vary"),
    [
        (CORS(), [b"Origin: " + PAGE], False),
        (ON, [b"Origin: https://other.example"], True),
        (ON, [b"Origin: null"], True),
        (ON, [b"Origin: " + PAGE, b"Origin: " + PAGE], True),
        (ON, [], True),
    ],
)
async def test_nobody_else_may(relay: Relay, closed_port: int, cors: CORS, lines: list[bytes], vary: bool) -> None:
    await down(relay, closed_port, cors)
    head = await head_for(relay, request(b"GET", *lines))
    assert b"Access-Control-" not in head
    assert (b"\r\nVary: Origin\r\n" in head) is vary
    await finished(relay, Outcome.UPSTREAM_REFUSED, 503, "cannot connect")


async def test_an_answer_of_the_application_is_its_own(relay: Relay) -> None:
    await relay.start(cors=ON)
    client, upstream, _ = await relay.exchange(request(b"GET", b"Origin: " + PAGE))
    await upstream.send(OK)
    head = await client.head()
    assert b"Access-Control-" not in head
    assert b"Vary" not in head
    await finished(relay, Outcome.COMPLETED, 200)


async def test_401_and_413_are_read_as_well(relay: Relay) -> None:
    await relay.start(
        cors=ON, limits=Limits(body=1), authorization=Authorization(required=True, tokens=("opensesame",))
    )
    origin = b"Origin: " + PAGE
    for lines, status, outcome in (
        ([origin], 401, Outcome.UNAUTHORIZED),
        ([origin, b"Authorization: Bearer opensesame", b"Content-Length: 2"], 413, Outcome.REQUEST_TOO_LARGE),
    ):
        head = await head_for(relay, request(b"POST", *lines))
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nAccess-Control-Allow-Origin: https://app.example\r\n" in head
        assert (await relay.record()).outcome is outcome


async def test_a_preflight_reaches_the_application_without_a_token(relay: Relay) -> None:
    await relay.start(cors=ON, authorization=Authorization(required=True, tokens=("opensesame",)))
    client, upstream, head = await relay.exchange(preflight())
    assert head.startswith(b"OPTIONS / HTTP/1.1\r\n")
    await upstream.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (await client.head()).startswith(b"HTTP/1.1 204 ")
    await finished(relay, Outcome.COMPLETED, 204)


@pytest.mark.parametrize(
    "sent",
    [
        preflight(b"https://other.example"),
        request(b"OPTIONS", b"Origin: " + PAGE),
        preflight().replace(b"OPTIONS", b"DELETE"),
        preflight().replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n"),
    ],
    ids=["another origin", "no preflight", "another method", "a body"],
)
async def test_nothing_else_does(relay: Relay, sent: bytes) -> None:
    await relay.start(cors=ON, authorization=Authorization(required=True, tokens=("opensesame",)))
    assert (await head_for(relay, sent)).startswith(b"HTTP/1.1 401 ")
    await finished(relay, Outcome.UNAUTHORIZED, 401)
    assert not relay.upstream.untaken


async def test_a_preflight_lets_the_request_come_that_is_told_the_reason(relay: Relay, closed_port: int) -> None:
    await down(relay, closed_port, ON)
    head = await head_for(relay, preflight())
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nAccess-Control-Allow-Origin: https://app.example\r\n" in head
    assert b"\r\nAccess-Control-Allow-Methods: POST\r\n" in head
    assert b"\r\nAccess-Control-Allow-Headers: authorization,content-type\r\n" in head
    assert b"\r\nAccess-Control-Max-Age: 0\r\n" in head
    await finished(relay, Outcome.UPSTREAM_REFUSED, 200, "cannot connect")


async def test_a_preflight_of_others_is_refused(relay: Relay, closed_port: int) -> None:
    await down(relay, closed_port, ON)
    assert (await head_for(relay, preflight(b"https://other.example"))).startswith(b"HTTP/1.1 503 ")
    await finished(relay, Outcome.UPSTREAM_REFUSED, 503, "cannot connect")
