"""One stream of HTTP/2 is the same stream: its chunks leave at once, and its end is told as it is."""

import gc
import re
import zlib
from base64 import b64encode
from hashlib import sha1

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, RstStreamFrame

from tests.http2.client import Client, request
from tests.http2.conftest import Connect
from tests.peers import GET, LAST, OK, STREAM, chunk
from tests.relay.conftest import Relay, finished
from unbuffer.http.websocket import GOING_AWAY
from unbuffer.outcome import Outcome
from unbuffer.relay.exchange import Exchange
from unbuffer.relay.http2.client_stream import Http2Stream
from unbuffer.relay.http2.connection import Http2Connection
from unbuffer.relay.http2.writer import StreamWriter
from unbuffer.settings.model import SSE, Credentials, Forwarded, Limits, Listen

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, CANCEL, STREAM_CLOSED = 0, 1, 2, 8, 5


async def test_chunks_pass_in_lock_step_a_frame_each(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    await client.request(1)
    upstream = await relay.upstream.accept()
    assert (await upstream.head()).startswith(b"GET / HTTP/1.1\r\nHost: a\r\n")
    await upstream.send(STREAM)
    head, ended = await client.head(1)
    assert (head[b":status"], head[b"content-type"], ended) == (b"200", b"text/event-stream", False)
    assert not {b"transfer-encoding", b"connection"} & head.keys()
    for number in range(5):
        await upstream.send(chunk(b"data: %d\n\n" % number))
        assert (await client.frame(DataFrame, 1)).data == b"data: %d\n\n" % number
    await upstream.send(LAST)
    last = await client.frame(DataFrame, 1)
    assert (last.data, set(last.flags)) == (b"", {"END_STREAM"})
    record = await finished(relay, Outcome.COMPLETED, 200)
    assert (record.version, record.kind, record.chunks, record.bytes_down) == ("2", "sse", 5, 45)
    assert relay.totals.http2_connections == relay.totals.client_connections == 1


async def test_a_small_answer_is_one_head_and_one_last_frame(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    for stream in (1, 3):
        await client.request(stream)
    for _ in range(2):
        upstream = await relay.upstream.accept()
        await upstream.head()
        await upstream.send(OK)
    for stream in (1, 3):
        head, _ = await client.head(stream)
        assert head[b"content-length"] == b"2"
        frame = await client.frame(DataFrame, stream)
        assert (frame.data, "END_STREAM" in frame.flags) == (b"ok", True)
        await finished(relay, Outcome.COMPLETED, 200)


@pytest.mark.parametrize(
    ("method", "answer", "status"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"200"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"204"),
        (b"GET", b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n', b"304"),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"200"),
    ],
    ids=["head", "204", "304", "empty"],
)
async def test_without_a_body_the_head_ends_the_stream(
    relay: Relay, http2: Connect, method: bytes, answer: bytes, status: bytes
) -> None:
    await relay.start()
    client = await http2()
    await client.request(1, request(method=method))
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(answer)
    head, ended = await client.head(1)
    assert (head[b":status"], ended) == (status, True)
    await finished(relay, Outcome.COMPLETED, int(status))


async def test_informational_heads_pass(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    await client.request(1)
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert await client.head(1) == ({b":status": b"103", b"link": b"</a>"}, False)
    await upstream.send(OK)
    assert (await client.answer(1))[1] == b"ok"


@pytest.mark.parametrize("asked", [True, False])
async def test_trailers_go_to_who_asked_for_them(relay: Relay, http2: Connect, asked: bool) -> None:
    await relay.start()
    client = await http2()
    await client.request(1, request(*[(b"te", b"trailers")] * asked))
    upstream = await relay.upstream.accept()
    assert (b"\r\nTE: trailers\r\n" in await upstream.head()) == asked
    await upstream.send(STREAM + chunk(b"data: x\n\n") + b"0\r\nX-Sum: 1\r\n\r\n")
    await client.head(1)
    if asked:
        frame = await client.frame(DataFrame, 1)
        assert (frame.data, set(frame.flags)) == (b"data: x\n\n", set())
        assert await client.head(1) == ({b"x-sum": b"1"}, True)
    else:
        assert await client.body(1) == b"data: x\n\n"
    await finished(relay, Outcome.COMPLETED, 200)


async def test_bodies_go_up_in_lock_step(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    await client.request(1, request(method=b"POST"), end=False)
    upstream = await relay.upstream.accept()
    assert b"\r\nTransfer-Encoding: chunked\r\n" in await upstream.head()
    for part in (b"one", b"two"):
        await client.data(1, part)
        assert await upstream.chunk() == part
    # Trailer fields are dropped.
    await client.send(client.section(1, [(b"x-sum", b"1")]))
    assert await upstream.until(b"\r\n\r\n") == LAST
    await upstream.send(OK)
    assert (await client.answer(1))[1] == b"ok"
    assert (await finished(relay, Outcome.COMPLETED, 200)).bytes_up == 6


async def test_cookies_are_joined_and_the_length_is_kept(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    fields = ((b"cookie", b"a=1"), (b"content-length", b"2"), (b"cookie", b"b=2"))
    await client.request(1, request(*fields, method=b"POST"), end=False)
    await client.data(1, b"hi", end=True)
    upstream = await relay.upstream.accept()
    head = await upstream.head()
    assert b"\r\ncookie: a=1; b=2\r\n" in head
    assert b"\r\nContent-Length: 2\r\n" in head
    assert b"\r\nVia: 2 unbuffer\r\n" in head
    assert await upstream.read(2) == b"hi"


# -- endings


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_broken_answer_is_reset_after_what_had_come(relay: Relay, http2: Connect, how: str) -> None:
    await relay.start()
    client = await http2()
    await client.request(1)
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(STREAM + chunk(b"data: 1\n\n"))
    await client.head(1)
    assert (await client.frame(DataFrame, 1)).data == b"data: 1\n\n"
    if how == "close":
        await upstream.close()
    else:
        upstream.reset()
    assert await client.reset(1) == INTERNAL_ERROR
    await client.ping()
    record = await relay.record()
    assert (record.outcome, record.status) == (Outcome.UPSTREAM_DISCONNECT, 200)


async def test_an_error_event_comes_before_the_reset(relay: Relay, http2: Connect) -> None:
    await relay.start(sse=SSE(error_event=True))
    client = await http2()
    await client.request(1)
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(STREAM + chunk(b"data: 1\n\n"))
    await client.head(1)
    await client.frame(DataFrame, 1)
    await upstream.close()
    assert b"event: error\n" in (await client.frame(DataFrame, 1)).data
    assert await client.reset(1) == INTERNAL_ERROR


@pytest.mark.parametrize("begun", [True, False])
async def test_a_client_that_resets_has_its_upstream_closed(relay: Relay, http2: Connect, begun: bool) -> None:
    await relay.start()
    client = await http2()
    await client.request(1)
    upstream = await relay.upstream.accept()
    await upstream.head()
    if begun:
        await upstream.send(STREAM)
        await client.head(1)
    await client.send(RstStreamFrame(1, CANCEL))
    await upstream.ended()
    await finished(relay, Outcome.CLIENT_DISCONNECT, 200 if begun else 0, "RST_STREAM(CANCEL)")
    await client.ping()


async def test_a_connection_that_is_lost_takes_its_streams_with_it(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    upstreams = []
    for stream in (1, 3):
        await client.request(stream)
        upstreams.append(await relay.upstream.accept())
        await upstreams[-1].head()
    client.peer.reset()
    for upstream in upstreams:
        await upstream.ended()
        assert await relay.outcome() is Outcome.CLIENT_DISCONNECT


async def test_an_early_answer_ends_without_a_reset_and_the_rest_is_dropped(relay: Relay, http2: Connect) -> None:
    await relay.start(limits=Limits(body=4))
    client = await http2()
    await client.request(1, request(method=b"POST"), end=False)
    await client.data(1, b"x" * 5)
    head, body = await client.answer(1)
    assert (head[b":status"], body[:3]) == (b"413", b"413")
    await finished(relay, Outcome.REQUEST_TOO_LARGE, 413, "limits.body")
    # More than any window has room for: what is dropped opens it again.
    for _ in range(64):
        await client.data(1, b"x" * 16384)
    await client.data(1, b"", end=True)
    await client.ping()


async def test_a_failure_before_the_head_is_answered(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    await client.request(1)
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.close()
    head, body = await client.answer(1)
    assert (head[b":status"], body[:3]) == (b"502", b"502")
    assert head[b"proxy-status"].startswith(b"unbuffer; error=connection_terminated")


async def test_who_comes_back_has_its_stream_reset_while_the_application_restarts(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    await client.request(1, request((b"accept", b"text/event-stream")))
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.close()
    assert await client.reset(1) == INTERNAL_ERROR
    await finished(relay, Outcome.UPSTREAM_DISCONNECT, 0, "closed the connection before a response head")


async def test_it_can_be_switched_off(relay: Relay) -> None:
    await relay.start(listen=Listen(http2=False))
    client = await relay.client()
    await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert (await client.head()).startswith(b"HTTP/1.1 505 ")
    await finished(relay, Outcome.REQUEST_MALFORMED, 505, "only HTTP/1.1 and HTTP/1.0 are spoken here")


async def test_the_preface_may_come_byte_by_byte_but_not_after_a_request(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    whole = client.section(1, request()).serialize()
    for byte in whole:
        await client.peer.send(bytes([byte]))
    upstream = await relay.upstream.accept()
    await upstream.head()
    other, upstream, _ = await relay.exchange(GET)
    await upstream.send(OK)
    await other.until(b"ok")
    await other.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert (await other.head()).startswith(b"HTTP/1.1 505 ")


# -- WebSocket


def switching(head: bytes) -> bytes:
    """What a server that knows WebSocket answers to this request."""
    (key,) = re.findall(rb"\r\nsec-websocket-key: (\S+)\r\n", head)
    accept = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    fields = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n" % accept
    return b"HTTP/1.1 101 Switching Protocols\r\n" + fields


@pytest.mark.parametrize("told", ["nothing", "another", "twice"])
async def test_who_has_not_read_the_key_gets_no_tunnel(relay: Relay, http2: Connect, told: str) -> None:
    """The client has sent no key, so that nobody but unbuffer can tell (RFC 6455, section 4.1)."""
    await relay.start()
    client = await http2()
    await client.request(1, [*request(method=b"CONNECT"), (b":protocol", b"websocket")], end=False)
    upstream = await relay.upstream.accept()
    *lines, accept, _, _ = switching(await upstream.head()).split(b"\r\n")
    accepts = {"nothing": [], "another": [b"Sec-WebSocket-Accept: x"], "twice": [accept] * 2}[told]
    await upstream.send(b"\r\n".join([*lines, *accepts, b"", b"\x81\x02hi"]))
    head, _ = await client.answer(1)
    assert head[b":status"] == b"502"
    await upstream.ended()
    await finished(relay, Outcome.UPSTREAM_PROTOCOL_ERROR, 502, "Sec-WebSocket-Accept")


async def test_a_websocket_is_tunnelled(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    assert client.settings[8] == 1
    await client.request(1, [*request(method=b"CONNECT"), (b":protocol", b"websocket")][:5], end=False)
    upstream = await relay.upstream.accept()
    head = await upstream.head()
    assert head.startswith(b"GET / HTTP/1.1\r\nHost: a\r\n")
    assert b"\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" in head
    assert b"\r\nsec-websocket-key: " in head
    await client.data(1, b"early")
    await upstream.send(switching(head) + b"\x81\x02hi")
    head2, ended = await client.head(1)
    assert (head2[b":status"], ended) == (b"200", False)
    assert b"sec-websocket-accept" not in head2
    assert (await client.frame(DataFrame, 1)).data == b"\x81\x02hi"
    assert await upstream.read(5) == b"early"
    await client.data(1, b"late", end=True)
    assert await upstream.rest() == b"late"
    await upstream.send(b"bye")
    await upstream.close()
    assert await client.body(1) == b"bye"
    record = await finished(relay, Outcome.COMPLETED, 101)
    assert record.kind == "upgrade"


async def test_a_websocket_that_its_server_has_closed_is_over(relay: Relay, http2: Connect) -> None:
    """The WebSocket of Node.js 26.7 (undici) then waits for the end of both directions, and does not end its own."""
    await relay.start()
    client = await http2()
    await client.request(1, [*request(method=b"CONNECT"), (b":protocol", b"websocket")], end=False)
    upstream = await relay.upstream.accept()
    await upstream.send(switching(await upstream.head()))
    await client.head(1)
    await client.data(1, b"\x88\x82\0\0\0\0\x03\xe8")
    assert await upstream.read(8) == b"\x88\x82\0\0\0\0\x03\xe8"
    await upstream.send(b"\x88\x02\x03\xe8")
    upstream.eof()
    assert await client.body(1) == b"\x88\x02\x03\xe8"
    assert (await client.frame(RstStreamFrame, 1)).error_code == NO_ERROR
    await upstream.ended()
    await finished(relay, Outcome.COMPLETED, 101)


@pytest.mark.parametrize("key", [b"dGhlIHNhbXBsZSBub25jZQ==", b"none", b""])
async def test_a_client_that_sends_a_key_is_told_what_it_looks_for(relay: Relay, http2: Connect, key: bytes) -> None:
    """RFC 8441, section 5, has no key. undici sends one, and gives up if nothing answers it."""
    await relay.start()
    client = await http2()
    asks = [*request(method=b"CONNECT"), (b":protocol", b"websocket"), (b"sec-websocket-key", key)]
    await client.request(1, asks, end=False)
    upstream = await relay.upstream.accept()
    head = await upstream.head()
    assert head.count(b"sec-websocket-key") == 1
    await upstream.send(switching(head))
    accept = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # as RFC 6455, section 1.3, has it for that key
    assert (await client.head(1))[0].get(b"sec-websocket-accept") == (accept if len(key) == 24 else None)


async def test_a_success_that_is_no_tunnel_is_none(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    await client.request(1, [*request(method=b"CONNECT"), (b":protocol", b"websocket")], end=False)
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(OK)
    head, _ = await client.answer(1)
    assert head[b":status"] == b"502"


# -- the client's GOAWAY, and ours


async def test_a_client_that_says_goaway_has_its_streams_finished(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    await client.request(1)
    upstream = await relay.upstream.accept()
    await upstream.head()
    await client.send(GoAwayFrame(0, 0, NO_ERROR))
    await upstream.send(STREAM + chunk(b"data: 1\n\n"))
    await client.head(1)
    assert (await client.frame(DataFrame, 1)).data == b"data: 1\n\n"
    await upstream.send(LAST)
    assert await client.body(1) == b""
    await client.goaway()
    await client.ended()


async def test_a_drain_says_goaway_where_no_stream_is_left(
    relay: Relay, http2: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unbuffer.relay.patience.CROSSING", 0.0)  # the watchdog takes its time anyway
    await relay.start()
    idle, busy = await http2(), await http2()
    await busy.request(1)
    upstream = await relay.upstream.accept()
    await upstream.head()
    relay.plane.clients.drain()
    first = await idle.goaway()
    assert (first.last_stream_id, first.error_code) == (2**31 - 1, NO_ERROR)
    # What was on its way is served.
    await idle.request(1)
    late = await relay.upstream.accept()
    await late.head()
    await late.send(OK)
    assert (await idle.answer(1))[1] == b"ok"
    assert (await idle.goaway()).last_stream_id == 1
    await idle.ended()
    # A stream that runs hears nothing until it has ended.
    await upstream.send(OK)
    assert isinstance(await busy.any(1), HeadersFrame)
    assert isinstance(await busy.any(1), DataFrame)
    assert (await busy.goaway()).last_stream_id == 2**31 - 1
    assert (await busy.goaway()).last_stream_id == 1
    await busy.ended()


# -- what is the listener's business


async def test_the_preface_may_follow_a_proxy_header(relay: Relay) -> None:
    await relay.start(
        listen=Listen(proxy_protocol=True),
        forwarded=Forwarded(trusted_proxies=("127.0.0.0/8",)),
    )
    peer = await relay.client()
    await peer.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 443\r\n")
    client = Client(peer)
    await client.greet()
    await client.request(1)
    upstream = await relay.upstream.accept()
    assert b"\r\nX-Forwarded-For: 192.0.2.1\r\n" in await upstream.head()
    await upstream.send(OK)
    assert (await client.answer(1))[1] == b"ok"
    assert (await finished(relay, Outcome.COMPLETED, 200)).client == "192.0.2.1"


async def test_health_is_answered_without_a_stream_of_the_upstream(relay: Relay, http2: Connect) -> None:
    await relay.start()
    relay.plane.health = lambda path, give: give(200, path)
    client = await http2()
    await client.request(1, request(path=b"/readyz"))
    head, body = await client.answer(1)
    assert (head[b":status"], body) == (b"200", b"/readyz")
    assert not relay.totals.series


async def test_a_credential_in_the_query_is_moved(relay: Relay, http2: Connect) -> None:
    await relay.start(credentials=Credentials(query="key"))
    client = await http2()
    await client.request(1, request(path=b"/a?key=secret&x=1"))
    upstream = await relay.upstream.accept()
    head = await upstream.head()
    assert head.startswith(b"GET /a?x=1 HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer secret\r\n" in head


async def test_compressed_streams_are_decoded_and_heartbeats_sent(relay: Relay, http2: Connect) -> None:
    await relay.start(sse=SSE(opening=True))
    client = await http2()
    await client.request(1, request((b"accept", b"text/event-stream")))
    upstream = await relay.upstream.accept()
    await upstream.head()
    coding = b"Content-Encoding: gzip\r\n\r\n"
    await upstream.send(STREAM.removesuffix(b"\r\n") + coding)
    head, _ = await client.head(1)
    assert b"content-encoding" not in head
    assert (await client.frame(DataFrame, 1)).data.startswith(b":")
    gzip = zlib.compressobj(wbits=31)
    for number in range(3):
        event = b"data: %d\n\n" % number
        await upstream.send(chunk(gzip.compress(event) + gzip.flush(zlib.Z_SYNC_FLUSH)))
        assert (await client.frame(DataFrame, 1)).data == event
    record = relay.plane.clients.running().__next__()
    assert (record.decoded, record.heartbeats, record.version) == ("gzip", 1, "2")


async def test_a_websocket_hears_that_the_server_leaves(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    await client.request(1, [*request(method=b"CONNECT"), (b":protocol", b"websocket")], end=False)
    upstream = await relay.upstream.accept()
    await upstream.send(switching(await upstream.head()))
    await client.head(1)
    relay.plane.clients.drain()
    assert (await client.frame(DataFrame, 1)).data == GOING_AWAY
    relay.plane.clients.end_streams()
    assert (await client.goaway()).error_code == NO_ERROR
    assert await relay.outcome() is Outcome.DRAINING


async def test_nothing_is_left_for_the_garbage_collector(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    gc.collect()
    gc.disable()
    try:
        for number in (1, 3, 5):
            await client.request(number)
            upstream = await relay.upstream.accept()
            await upstream.head()
            if number == 5:
                await client.send(RstStreamFrame(5, CANCEL))
                await upstream.ended()
            else:
                await upstream.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                await client.answer(number)
            await relay.record()
        await client.ping()
        assert not [one for one in gc.get_objects() if isinstance(one, Http2Stream | StreamWriter | Exchange)]
    finally:
        gc.enable()


async def test_the_rest_of_a_request_that_has_its_answer_is_not_waited_for_without_end(
    relay: Relay, http2: Connect
) -> None:
    await relay.start(limits=Limits(body=4))
    client = await http2()
    await client.request(1, request(method=b"POST"), end=False)
    await client.data(1, b"x" * 5)
    await client.answer(1)
    (connection,) = relay.plane.clients.connections
    assert isinstance(connection, Http2Connection)
    stream = connection.streams[1]
    assert stream.look(stream._drop_since + 4.9)
    assert not stream.look(stream._drop_since + 5.1)
    assert await client.reset(1) == NO_ERROR
    assert not connection.streams
