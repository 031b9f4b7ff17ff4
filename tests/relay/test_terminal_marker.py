"""The terminal marker of a route: a stream that ends without it was cut, and counts as such. Its client sees the end as
it came."""

import pytest

from tests.peers import GET, LAST, OK, Peer, chunk, response_head
from tests.relay.conftest import Relay, finished
from tests.relay.test_identity import Coder, codings
from unbuffer.outcome import Outcome
from unbuffer.settings.kinds import Decode
from unbuffer.settings.model import SSE
from unbuffer.settings.route import Route

CHUNKED = b"Transfer-Encoding: chunked"
EVENTS = b"Content-Type: text/event-stream"

MARKER = "data: [DONE]"
DONE = b"data: [DONE]\n\n"


async def begin(
    relay: Relay, *lines: bytes, marker: str = MARKER, status: bytes = b"200 OK", decode: Decode = "streams"
) -> tuple[Peer, Peer]:
    """Both ends of a response on a route with a marker."""
    sse, routes = SSE(keepalive_events=("ping",)), (Route(name="marked", prefix="/", terminal_marker=marker),)
    await relay.start(decode=decode, sse=sse, routes=routes)
    return await relay.stream(response_head(*lines, status=status))


async def ended(relay: Relay, complete: bool, status: int = 200) -> None:
    await finished(relay, Outcome.COMPLETED if complete else Outcome.UNTERMINATED, status)


ENDINGS = [
    pytest.param([b"data: a\n\n", DONE], True, id="marker"),
    pytest.param([b"data: a\n\n", b"data: [", b"DO", b"NE]", b"\n\n"], True, id="over chunks"),
    pytest.param([DONE, b": farewell\n\n", b"\r\n"], True, id="comments after it"),
    pytest.param([b"data: [DONE]"], True, id="an open line"),
    pytest.param(
        [b"data: [DONE]" + b"x" * 50_000, b"x" * 50_000 + b"\n\n"], True, id="at the beginning of a long line"
    ),
    pytest.param([b"data: a\n\n"], False, id="none"),
    pytest.param([], False, id="an empty body"),
    pytest.param([DONE, b"id: 1\n\n", b"event: a\n\n"], True, id="events without data after it"),
    pytest.param([DONE, b"event: ping\nda", b"ta: {}\n\n"], True, id="a keep-alive after it"),
    pytest.param([DONE + b"event: ping\ndata: {}\n\n"], True, id="a keep-alive in the same read"),
    pytest.param([b"data: a\n\n", b"event: ping\ndata: [DONE]\n\n" + b"data: a\n\n"], False, id="a keep-alive's"),
    pytest.param([DONE, b"data: a\n\n"], False, id="not last"),
    pytest.param([b": data: [DONE]\n\n"], False, id="in a comment"),
    pytest.param([b"data: [DONE\n\n"], False, id="cut"),
]


@pytest.mark.parametrize(("reads", "complete"), ENDINGS)
async def test_a_stream_of_events(relay: Relay, reads: list[bytes], complete: bool) -> None:
    client, upstream = await begin(relay, EVENTS, CHUNKED)
    for read in reads:
        await upstream.send(chunk(read))
        assert await client.chunks_of(len(read)) == read
    await upstream.send(LAST)
    assert await client.chunk() == b""
    await ended(relay, complete)


@pytest.mark.parametrize(
    ("reads", "complete"),
    [
        pytest.param([b"event: content\ndata: a\n\n", b'event: message_stop\ndata: {"a": 1}\n\n'], True, id="last"),
        pytest.param([b"event: message", b"_stop\r", b"\ndata: a\r\n\r\n"], True, id="over chunks"),
        pytest.param([b"event: message_stop\ndata: a\n\n", b": farewell\n\n"], True, id="a comment after it"),
        pytest.param([b"event: content\ndata: message_stop\n\n"], False, id="in its data"),
        pytest.param([b"event: message_stop\ndata: a\n\n", b"data: b\n\n"], False, id="not last"),
    ],
)
async def test_the_name_of_the_last_event(relay: Relay, reads: list[bytes], complete: bool) -> None:
    client, upstream = await begin(relay, EVENTS, CHUNKED, marker="event: message_stop")
    for read in reads:
        await upstream.send(chunk(read))
        assert await client.chunks_of(len(read)) == read
    await upstream.send(LAST)
    assert await client.chunk() == b""
    await ended(relay, complete)


@pytest.mark.parametrize("complete", [True, False])
async def test_both_connections_go_on_as_after_any_clean_end(relay: Relay, complete: bool) -> None:
    client, upstream = await begin(relay, EVENTS, CHUNKED)
    body = DONE if complete else b"data: a\n\n"
    await upstream.send(chunk(body) + LAST)
    assert await client.until(LAST) == chunk(body) + LAST
    await ended(relay, complete)
    assert relay.totals.upstream_idle == 1
    await client.send(GET)
    await upstream.head()
    await upstream.send(OK)
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert await client.read(2) == b"ok"
    await finished(relay, Outcome.COMPLETED, 200)


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("http11", [True, False], ids=["1.1", "1.0"])
async def test_a_body_that_ends_with_the_connection(relay: Relay, http11: bool, complete: bool) -> None:
    """A clean end stays one, for an HTTP/1.0 client too: no reset."""
    await relay.start(routes=(Route(name="marked", prefix="/", terminal_marker=MARKER),))
    client, upstream, _ = await relay.exchange(GET if http11 else GET.replace(b"1.1", b"1.0"))
    body = DONE if complete else b"data: a\n\n"
    await upstream.send(response_head(EVENTS) + body)
    await upstream.close()
    await client.head()
    if http11:
        assert await client.until(LAST) == chunk(body) + LAST
    else:
        assert await client.rest() == body
    await ended(relay, complete)


@codings
@pytest.mark.parametrize("complete", [True, False])
async def test_a_decoded_stream(relay: Relay, coding: str, complete: bool) -> None:
    client, upstream = await begin(relay, EVENTS, CHUNKED, b"Content-Encoding: " + coding.encode())
    coder = Coder(coding)
    await upstream.send(chunk(coder.add(b"data: a\n\ndata: [DO")))
    await upstream.send(chunk(coder.add(b"NE]\n\n" if complete else b"\n\n")))
    await upstream.send(chunk(coder.end()) + LAST)
    await client.until(LAST)
    await ended(relay, complete)


@pytest.mark.parametrize("media", [b"application/x-ndjson", b"application/jsonl", b"text/plain"])
@pytest.mark.parametrize("complete", [True, False])
async def test_lines_of_any_stream(relay: Relay, media: bytes, complete: bool) -> None:
    client, upstream = await begin(relay, b"Content-Type: " + media, CHUNKED, marker='"done":true')
    last = b'{"response":"","done":%b,"context":[%b]}\n' % (b"true" if complete else b"false", b"1234," * 5000)
    await upstream.send(chunk(b'{"response":"a","done":false}\n'))
    await upstream.send(chunk(last) + LAST)
    await client.until(LAST)
    await ended(relay, complete)


async def test_a_marker_may_be_any_text(relay: Relay) -> None:
    client, upstream = await begin(relay, EVENTS, CHUNKED, marker="fin: \u00fc")
    await upstream.send(chunk("data: fin: \u00fc\n\n".encode()) + LAST)
    await client.until(LAST)
    await ended(relay, True)


# -- what is not looked at


@pytest.mark.parametrize("decode", ["streams", "always"])
@pytest.mark.parametrize("coding", [b"", b"Content-Encoding: gzip"], ids=["identity", "gzip"])
async def test_a_response_of_known_length(relay: Relay, coding: bytes, decode: Decode) -> None:
    """Its length says whether it is whole, and that is so of a body that goes out decoded, too."""
    body = b"data: a\n\n"
    sent = body
    if coding:
        coder = Coder("gzip")
        sent = coder.add(body) + coder.end()
    lines = [EVENTS, b"Content-Length: %d" % len(sent), *([coding] if coding else [])]
    client, upstream = await begin(relay, *lines, decode=decode)
    await upstream.send(sent)
    if coding and decode == "always":
        assert await client.chunks_of(len(body)) == body
    else:
        assert await client.read(len(sent)) == sent
    await ended(relay, True)


@pytest.mark.parametrize("status", [300, 404, 500])
async def test_an_answer_that_is_no_success(relay: Relay, status: int) -> None:
    client, upstream = await begin(relay, EVENTS, CHUNKED, status=b"%d Whatever" % status)
    await upstream.send(chunk(b"data: a\n\n") + LAST)
    await client.until(LAST)
    await ended(relay, True, status)


async def test_an_answer_without_a_body(relay: Relay) -> None:
    await begin(relay, EVENTS, status=b"204 No Content")
    await ended(relay, True, 204)


async def test_a_body_that_stays_coded(relay: Relay) -> None:
    client, upstream = await begin(relay, EVENTS, CHUNKED, b"Content-Encoding: compress")
    await upstream.send(chunk(b"coded") + LAST)
    await client.until(LAST)
    await ended(relay, True)


async def test_other_routes(relay: Relay) -> None:
    await relay.start(routes=(Route(name="marked", prefix="/chat", terminal_marker=MARKER),))
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(response_head(EVENTS, CHUNKED) + chunk(b"data: a\n\n") + LAST)
    await client.until(LAST)
    await ended(relay, True)


async def test_a_tunnel(relay: Relay) -> None:
    await relay.start(routes=(Route(name="marked", prefix="/", terminal_marker=MARKER),))
    upgrade = GET.replace(b"\r\n\r\n", b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    client, upstream, _ = await relay.exchange(upgrade)
    await upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    await client.head()
    await upstream.close()
    assert await client.rest() == b""
    await client.close()
    await ended(relay, True, 101)


# -- streams that break


async def test_a_stream_that_breaks_has_its_own_outcome(relay: Relay) -> None:
    """With the marker or without: what its framing does not call complete is no clean end."""
    client, upstream = await begin(relay, EVENTS, CHUNKED)
    await upstream.send(chunk(DONE))
    assert await client.chunk() == DONE
    await upstream.close()
    assert await client.rest() == b""
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 200, "closed")


async def test_a_missing_marker_is_no_error_to_tell_of(relay: Relay) -> None:
    await relay.start(sse=SSE(error_event=True), routes=(Route(name="marked", prefix="/", terminal_marker=MARKER),))
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(response_head(EVENTS, CHUNKED) + chunk(b"data: a\n\n") + LAST)
    await client.head()
    assert await client.until(LAST) == chunk(b"data: a\n\n") + LAST
    await ended(relay, False)
    relay.plane.clients.drain()
    assert await client.rest() == b""
