"""The name of a stream alone opens nothing: a stranger gets, byte for byte, what he gets for a name that never was."""

import pytest

from tests.peers import LAST, eventually, timeless
from tests.relay.conftest import Relay
from tests.resume.streams import POST, body_of, chunk, event, field, last_id
from tests.resume.test_coming_back import ON, back, begun, with_id
from unbuffer.outcome import Outcome
from unbuffer.settings.model import Authorization
from unbuffer.settings.resume import Resume, RouteResume
from unbuffer.settings.route import Route

UNKNOWN = b"A" * 22
MINE = b"Authorization: Bearer me\r\nCookie: a=b\r\n"
STRANGERS = [
    b"Authorization: Bearer you\r\nCookie: a=b\r\n",
    b"Authorization: Bearer me\r\nCookie: a=c\r\n",
    b"Authorization: Bearer me\r\n",
    b"Cookie: a=b\r\n",
    b"Cookie: a=b\r\nAuthorization: Bearer me, Bearer you\r\n",
    b"",
]


def request(method: bytes, target: bytes, fields: bytes) -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n%b\r\n" % (method, target, fields)


@pytest.mark.parametrize("fields", STRANGERS)
async def test_with_other_credentials_nothing_is_found(relay: Relay, fields: bytes) -> None:
    await relay.start(resume=Resume(window=60.0))
    _, upstream, head, first = await begun(relay, request(b"POST", b"/chat", MINE), event("secret"))
    name = field(head, b"Unbuffer-Stream")
    answers = []
    for one in (name, UNKNOWN):
        mark = b"Last-Event-ID: ub.%b.0\r\n" % one
        url = b"/chat?unbuffer-stream=%b" % one
        for asked in (
            request(b"POST", b"/chat", fields + mark),
            request(b"GET", url, fields),
            request(b"DELETE", url, fields),
        ):
            client, answer = await back(relay, asked)
            body = await client.read(int(field(answer, b"Content-Length")))
            answers.append(timeless(answer) + body)
            record = await relay.record()
            answers[-1] += f"{record.outcome} {record.detail} {record.status} {record.route}".encode()
    assert answers[:3] == answers[3:]
    assert all(answer.startswith(b"HTTP/1.1 404 ") for answer in answers)
    assert relay.totals.resume_attaches["foreign"] == relay.totals.resume_attaches["unknown"] == 3
    assert relay.upstream.untaken == 0
    assert first
    await upstream.send(LAST)


@pytest.mark.parametrize(
    "other", [(b"POST", b"/chats"), (b"POST", b"/chat/"), (b"PUT", b"/chat")], ids=["path", "slash", "method"]
)
async def test_another_path_or_method_finds_nothing(relay: Relay, other: tuple[bytes, bytes]) -> None:
    await relay.start(resume=Resume(window=60.0))
    _, upstream, _, first = await begun(relay, request(b"POST", b"/chat", MINE), event("secret"))
    method, path = other
    _, answer = await back(relay, request(method, path, MINE + b"Last-Event-ID: %b\r\n" % last_id(first)))
    assert answer.startswith(b"HTTP/1.1 404 ")
    await upstream.send(LAST)


async def test_a_get_by_a_stranger_begins_anew_like_any_other(relay: Relay) -> None:
    await relay.start(resume=Resume(window=60.0))
    _, upstream, _, first = await begun(relay, request(b"GET", b"/chat", MINE), event("secret"))
    heads = []
    for one in (last_id(first), b"ub.%b.1" % UNKNOWN):
        client = await relay.client()
        await client.send(request(b"GET", b"/chat", b"Last-Event-ID: %b\r\n" % one))
        heads.append(await (await relay.upstream.accept()).head())
    assert heads[0] == heads[1]
    assert b"Last-Event-ID" not in heads[0]
    await upstream.send(LAST)


async def test_where_a_token_opens_the_route_it_belongs_to_the_stream(relay: Relay) -> None:
    """Even if the settings name no field to compare."""
    await relay.start(
        resume=Resume(window=60.0, credentials=()), authorization=Authorization(required=True, tokens=("one", "two"))
    )
    one, two = (b"Authorization: Bearer %b\r\n" % token for token in (b"one", b"two"))
    client, upstream, head, first = await begun(relay, request(b"POST", b"/chat", one), event("1"))
    mark = b"Last-Event-ID: %b\r\n" % last_id(first)
    _, answer = await back(relay, request(b"POST", b"/chat", two + mark))
    assert answer.startswith(b"HTTP/1.1 404 ")
    again, answer = await back(relay, request(b"POST", b"/chat", one + mark))
    assert answer.startswith(b"HTTP/1.1 200 ")
    await upstream.send(chunk(event("2")) + LAST)
    assert b"data: 2\n" in await body_of(again)
    assert head
    client.reset()


async def test_a_route_may_name_fields_of_its_own(relay: Relay) -> None:
    resume = RouteResume(window=60.0, credentials=("X-API-Key",))
    await relay.start(routes=(Route(name="chat", prefix="/chat", resume=resume),))
    _, upstream, _, first = await begun(relay, request(b"POST", b"/chat", b"x-api-key: k\r\nCookie: a\r\n"), event("1"))
    mark = b"Last-Event-ID: %b\r\n" % last_id(first)
    _, answer = await back(relay, request(b"POST", b"/chat", b"X-API-Key: k\r\nCookie: b\r\n" + mark))
    assert answer.startswith(b"HTTP/1.1 200 ")
    _, answer = await back(relay, request(b"POST", b"/chat", b"X-API-Key: l\r\nCookie: a\r\n" + mark))
    assert answer.startswith(b"HTTP/1.1 404 ")
    await upstream.send(LAST)


async def test_ids_of_the_application_are_looked_for_only_with_credentials(relay: Relay) -> None:
    """Such an id is easily guessed: of a client that shows nothing only the application knows what is his."""
    await relay.start(resume=Resume(window=60.0))
    _, upstream, _, _ = await begun(relay, request(b"GET", b"/feed", b""), b"id: 1\ndata: 1\n\n")
    client = await relay.client()
    await client.send(request(b"GET", b"/feed", b"Last-Event-ID: 1\r\n"))
    assert b"\r\nLast-Event-ID: 1\r\n" in await (await relay.upstream.accept()).head()
    await upstream.send(LAST)


@pytest.mark.parametrize("query", [b"unbuffer-stream=", b"unbuffer-stream=x&unbuffer-stream=y", b"unbuffer-stream=%00"])
async def test_a_name_that_is_none_is_unknown(relay: Relay, query: bytes) -> None:
    await relay.start(resume=Resume(window=60.0))
    _, answer = await back(relay, request(b"GET", b"/chat?" + query, MINE))
    assert answer.startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("query", [b"after=x", b"after=", b"after=-1", b"after=1&after=2", b"after=%s" % (b"1" * 16)])
async def test_after_what_is_no_number_is_refused_with_what_is_wanted(relay: Relay, query: bytes) -> None:
    """Whoever's stream it is."""
    await relay.start(resume=Resume(window=60.0))
    _, upstream, head, _ = await begun(relay, request(b"POST", b"/chat", MINE), event("secret"))
    for name in (field(head, b"Unbuffer-Stream"), UNKNOWN):
        for fields in (MINE, b""):
            url = b"/chat?unbuffer-stream=%b&%b" % (name, query)
            client, answer = await back(relay, request(b"GET", url, fields))
            assert answer.startswith(b"HTTP/1.1 400 ")
            assert await client.read(int(field(answer, b"Content-Length"))) == (
                b"400 Bad Request: The request is not valid. (after must be the number of the last event that the "
                b"client has; after=0 asks for all)\n"
            )
    assert relay.upstream.untaken == 0
    await upstream.send(LAST)


async def test_the_refusal_is_one_sentence_that_says_what_to_do(relay: Relay) -> None:
    await relay.start(resume=Resume(window=60.0))
    client, answer = await back(relay, request(b"GET", b"/chat?unbuffer-stream=%b" % UNKNOWN, MINE))
    assert await client.read(int(field(answer, b"Content-Length"))) == (
        b"404 Not Found: This stream is not kept here any more, or belongs to other credentials: begin a new request.\n"
    )


async def test_a_client_that_has_reset_its_connection_is_answered_without_complaint(relay: Relay) -> None:
    """Its request came in one read, body and all, and the answer found the connection gone."""
    await relay.start(resume=ON)
    client = await relay.client()
    await eventually(lambda: relay.totals.client_connections == 1)
    connection = relay.connection()
    connection.transport.abort()
    connection.data_received(with_id(POST, b"ub.%b.1" % (22 * b"A")))
    await eventually(lambda: relay.totals.client_connections == 0)
    assert await relay.outcome() is Outcome.STREAM_UNKNOWN
    await client.close()
