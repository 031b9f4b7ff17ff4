"""Each deadline ends what it is for, and nothing else: whoever keeps moving, however slowly, is not cut.

A test either waits for a cut, however late it comes, or has time pass for a stream that keeps moving."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable

import pytest

from tests.peers import GET, GET10, LAST, LONG_POST, OK, STREAM, Peer, eventually, read_again, soon, stop_reading
from tests.relay.conftest import Relay, finished, long_ago, narrow_client, own_answer
from unbuffer.outcome import Outcome
from unbuffer.settings.model import SSE, Limits, Settings, Timeouts, Upstream
from unbuffer.settings.route import Route, RouteTimeouts

CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\nContent-Length: 1099511627776\r\n\r\n"

CUT = 0.3
"""A deadline that a test waits for."""
LONG = 0.8
TICK = 0.05
STEP = 0.02


@pytest.fixture(autouse=True)
def _fine_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog looks more often, so that nobody waits long for what is overdue."""
    monkeypatch.setattr("unbuffer.relay.watchdog.TICK", TICK)


def long_enough() -> "asyncio.Task[None]":
    """Done after several deadlines."""
    return asyncio.create_task(asyncio.sleep(LONG))


def pass_time(relay: Relay, seconds: float) -> None:
    """Look at the deadlines of the only connection as if so many seconds had passed."""
    relay.connection().look(time.monotonic() + seconds)


@contextlib.asynccontextmanager
async def dripping(peer: Peer, data: bytes) -> AsyncIterator[None]:
    """`peer` sends `data` again and again, far more often than any deadline."""

    async def drip() -> None:
        while True:
            peer.writer.write(data)
            await asyncio.sleep(STEP)

    task = asyncio.create_task(drip())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


# -- the request


async def test_request_head(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(request_head=CUT))
    client = await relay.client()
    await client.send(GET[:-2])
    head = await own_answer(client, 408, "http_request_error")
    assert b"Connection: close\r\n" in head
    assert b"timeouts.request_head" in head
    assert await client.rest() == b""
    record = await finished(relay, Outcome.REQUEST_HEAD_TIMEOUT, 408)
    assert (record.method, record.path) == ("GET", "/")
    assert relay.upstream.untaken == 0


async def test_request_head_counts_from_its_first_byte(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(request_head=CUT))
    client = await relay.client()
    await client.send(GET[:-2] + b"X: ")
    async with dripping(client, b"y"):
        await own_answer(client, 408, "http_request_error")
    await finished(relay, Outcome.REQUEST_HEAD_TIMEOUT, 408)


async def test_request_head_of_a_later_request(relay: Relay) -> None:
    """The time of the exchange before it does not count."""
    await relay.start(timeouts=Timeouts(request_head=CUT))
    client, upstream, _ = await relay.exchange(GET)
    await long_enough()
    await upstream.send(OK)
    await client.head()
    assert await client.read(2) == b"ok"
    await finished(relay, Outcome.COMPLETED, 200)
    await client.send(GET[:-2])
    await own_answer(client, 408, "http_request_error")
    await finished(relay, Outcome.REQUEST_HEAD_TIMEOUT, 408)


@pytest.mark.parametrize("served", [False, True], ids=["fresh", "served"])
async def test_keep_alive_closes_in_silence(relay: Relay, served: bool) -> None:
    await relay.start(timeouts=Timeouts(keep_alive=60.0 if served else CUT))
    client = await relay.client()
    if served:
        await client.send(GET)
        upstream = await relay.upstream.accept()
        await upstream.head()
        await upstream.send(OK)
        await client.head()
        assert await client.read(2) == b"ok"
        await finished(relay, Outcome.COMPLETED, 200)
        pass_time(relay, 60.0)
    assert await client.rest() == b""
    await eventually(lambda: not relay.plane.clients.connections)
    outcomes = [series.outcomes for series in relay.totals.series.values()]
    assert outcomes == ([{Outcome.COMPLETED: 1}] if served else [])


async def test_keep_alive_counts_although_a_longer_deadline_was_there_before(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(keep_alive=60.0, response_head=600.0, silence=600.0))
    client, upstream, _ = await relay.exchange(GET)
    connection, watchdog = relay.connection(), relay.plane.watchdog
    # As the watchdog does, when it looks during the exchange.
    watchdog.forget(connection)
    watchdog.watch(connection, connection.look(time.monotonic()))
    looks_at = connection.watched_slot
    await upstream.send(OK)
    await client.head()
    assert await client.read(2) == b"ok"
    await finished(relay, Outcome.COMPLETED, 200)
    assert connection.watched_slot < looks_at
    assert connection.watched_slot <= (time.monotonic() + 60.0) / TICK + 1
    pass_time(relay, 60.0)
    assert await client.rest() == b""


async def test_request_body(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(request_body=60.0))
    client, upstream, _ = await relay.exchange(LONG_POST)
    await client.send(b"12345")
    assert await upstream.read(5) == b"12345"
    pass_time(relay, 60.0)
    assert b"Connection: close\r\n" in await own_answer(client, 408, "http_request_error")
    assert await client.rest() == b""
    await upstream.ended()
    assert (await finished(relay, Outcome.REQUEST_BODY_TIMEOUT, 408)).bytes_up == 5


async def test_request_body_breaks_a_response_that_has_begun(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(request_body=60.0))
    client, upstream, _ = await relay.exchange(LONG_POST)
    await upstream.send(STREAM + b"3\r\none\r\n")
    await client.head()
    assert await client.chunk() == b"one"
    pass_time(relay, 60.0)
    assert await client.rest() == b""
    await upstream.ended()
    await finished(relay, Outcome.REQUEST_BODY_TIMEOUT, 200)


async def test_a_request_body_that_drips_is_not_cut(relay: Relay) -> None:
    long = long_ago()
    timeouts = Timeouts(request_body=long, request_head=long, keep_alive=long, response_head=long)
    await relay.start(timeouts=timeouts, limits=Limits(body_rate=0))
    client, upstream, _ = await relay.exchange(CHUNKED_POST)
    connection = relay.connection()
    connection._since -= long
    for _ in range(3):
        connection.read_at -= long
        await client.send(b"1\r\nx\r\n")
        assert await upstream.chunk() == b"x"
        connection.look(time.monotonic())
        assert relay.totals.streams == 1
    # The deadline was there all the time.
    connection.read_at -= long
    connection.look(time.monotonic())
    await own_answer(client, 408, "http_request_error")
    await upstream.ended()
    await finished(relay, Outcome.REQUEST_BODY_TIMEOUT, 408)


async def test_request_body_does_not_count_while_the_upstream_reads_nothing(relay: Relay) -> None:
    """The client may not send then. As soon as it may, the deadline is there again."""
    await relay.start(timeouts=Timeouts(request_body=60.0))
    client, upstream, _ = await relay.exchange(LONG_POST)
    stop_reading(upstream)
    client.writer.write(bytes(16 << 20))
    connection = relay.connection()
    await eventually(lambda: connection.reading_paused)
    later = time.monotonic() + 1000.0
    assert connection.look(later) == later + 60.0
    assert relay.totals.streams == 1
    read_again(upstream)
    await upstream.read(16 << 20)
    await eventually(lambda: not connection.reading_paused)
    connection.look(time.monotonic() + 60.0)
    await own_answer(client, 408, "http_request_error")
    await upstream.ended()
    await finished(relay, Outcome.REQUEST_BODY_TIMEOUT, 408)


async def test_request_body_does_not_count_while_the_upstream_is_waited_for(relay: Relay, closed_port: int) -> None:
    upstream_settings = Upstream(url=f"http://127.0.0.1:{closed_port}", wait=60.0)
    await relay.serve(Settings(upstream=upstream_settings, timeouts=Timeouts(request_body=CUT)))
    client = await relay.client()
    await client.send(LONG_POST + b"12345")
    await long_enough()
    assert relay.totals.streams == 1
    relay.upstream.port = closed_port
    await relay.upstream.start()
    upstream = await relay.upstream.accept()
    await upstream.head()
    await own_answer(client, 408, "http_request_error")
    await upstream.ended()
    await finished(relay, Outcome.REQUEST_BODY_TIMEOUT, 408)


# -- the response


async def test_response_head(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(response_head=CUT))
    client, upstream, _ = await relay.exchange(GET)
    assert b"Connection: close" not in await own_answer(client, 504, "http_response_timeout")
    await upstream.ended()
    await finished(relay, Outcome.RESPONSE_HEAD_TIMEOUT, 504)
    # The request was complete: the client's connection goes on.
    await client.send(GET)
    await (await relay.upstream.accept()).head()


async def test_response_head_counts_from_the_end_of_the_request(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(response_head=CUT))
    client, upstream, _ = await relay.exchange(CHUNKED_POST)
    async with dripping(client, b"1\r\nx\r\n"):
        await long_enough()
        assert relay.totals.streams == 1
    await client.send(LAST)
    await own_answer(client, 504, "http_response_timeout")
    await upstream.ended()
    await finished(relay, Outcome.RESPONSE_HEAD_TIMEOUT, 504)


async def test_response_head_is_not_met_by_half_a_head_or_an_informational_one(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(response_head=60.0))
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nX: ")
    assert (await client.head()).startswith(b"HTTP/1.1 103 ")
    pass_time(relay, 60.0)
    await own_answer(client, 504, "http_response_timeout")
    await finished(relay, Outcome.RESPONSE_HEAD_TIMEOUT, 504)


async def test_no_deadline_is_set_for_a_slow_answer_by_default(relay: Relay) -> None:
    """A reasoning model may think for minutes, before the head and after it; those of the client do not apply."""
    timeouts = Timeouts(request_head=60.0, request_body=60.0, keep_alive=60.0, client_stall=60.0)
    await relay.start(timeouts=timeouts, sse=SSE(heartbeat=0.0))
    client, upstream, _ = await relay.exchange(GET)
    connection = relay.connection()
    assert connection.look(time.monotonic() + 3600.0) == 0.0
    await upstream.send(STREAM)
    await client.head()
    assert connection.look(time.monotonic() + 3600.0) == 0.0
    await upstream.send(b"3\r\none\r\n")
    assert await client.chunk() == b"one"
    await upstream.send(LAST)
    assert await client.chunk() == b""
    await finished(relay, Outcome.COMPLETED, 200)


@pytest.mark.parametrize("content", [b"", b"one"], ids=["after-the-head", "after-a-chunk"])
async def test_silence_breaks_the_body(relay: Relay, content: bytes) -> None:
    await relay.start(timeouts=Timeouts(silence=CUT))
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(STREAM + (b"3\r\none\r\n" if content else b""))
    await client.head()
    assert await client.rest() == (b"3\r\none\r\n" if content else b"")
    await upstream.ended()
    assert (await finished(relay, Outcome.SILENCE_TIMEOUT, 200)).bytes_down == len(content)


async def test_silence_resets_an_http10_client(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(silence=60.0))
    client, upstream, _ = await relay.exchange(GET10)
    await upstream.send(STREAM + b"3\r\none\r\n")
    await client.head()
    assert await client.read(3) == b"one"
    pass_time(relay, 60.0)
    with pytest.raises(ConnectionResetError):
        await client.rest()
    await upstream.ended()
    await finished(relay, Outcome.SILENCE_TIMEOUT, 200)


async def test_a_stream_that_keeps_talking_is_not_cut(relay: Relay) -> None:
    long = long_ago()
    await relay.start(timeouts=Timeouts(silence=long, request_head=long, response_head=long, keep_alive=long))
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(STREAM)
    await client.head()
    connection = relay.connection()
    (record,) = relay.plane.clients.running()
    connection._since -= long
    record.sent_at -= long
    record.head_at -= long
    for _ in range(3):
        record.last_at -= long
        await upstream.send(b"9\r\ndata: x\n\n\r\n")
        assert await client.chunk() == b"data: x\n\n"
        connection.look(time.monotonic())
        assert relay.totals.streams == 1
    # The deadline was there all the time.
    record.last_at -= long
    connection.look(time.monotonic())
    assert await client.rest() == b""
    await upstream.ended()
    await finished(relay, Outcome.SILENCE_TIMEOUT, 200)


@pytest.mark.parametrize("client_stall", [0.0, 60.0])
async def test_silence_does_not_count_while_the_client_reads_nothing(relay: Relay, client_stall: float) -> None:
    """The upstream may not send then. As soon as it may, the deadline is there again."""
    await relay.start(timeouts=Timeouts(silence=10.0, client_stall=client_stall))
    client, upstream, _ = await relay.exchange(GET)
    stop_reading(client)
    upstream.writer.write(ENDLESS + bytes(16 << 20))
    connection = relay.connection()
    (record,) = relay.plane.clients.running()
    await eventually(lambda: record.paused_at)
    later = time.monotonic() + 30.0
    assert later < connection.look(later) <= later + 60.0
    assert relay.totals.streams == 1
    read_again(client)
    await client.head()
    await client.read(16 << 20)
    await eventually(lambda: not record.paused_at)
    connection.look(time.monotonic() + 10.0)
    assert await client.rest() == b""
    await upstream.ended()
    assert (await finished(relay, Outcome.SILENCE_TIMEOUT, 200)).bytes_down == 16 << 20


# -- the client that reads


async def read_to_the_end(client: socket.socket) -> None:
    """Read until the connection ends; a reset raises ConnectionError."""
    while await soon(asyncio.get_running_loop().sock_recv(client, 65536)):
        pass


async def test_client_stall(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(client_stall=CUT))
    client, upstream, _ = await relay.exchange(GET)
    stop_reading(client)
    upstream.writer.write(ENDLESS + bytes(16 << 20))
    await upstream.ended()
    record = await finished(relay, Outcome.CLIENT_STALL_TIMEOUT, 200)
    assert record.stalls == 1
    assert record.stalled > 0
    await eventually(lambda: not relay.plane.clients.connections)


async def test_client_stall_never_looks_like_the_end_of_an_http10_body(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(client_stall=CUT))
    client, upstream, _ = await relay.exchange(GET10)
    stop_reading(client)
    upstream.writer.write(STREAM + b"1000000\r\n" + bytes(16 << 20))
    await upstream.ended()
    await finished(relay, Outcome.CLIENT_STALL_TIMEOUT, 200)
    read_again(client)
    with pytest.raises(ConnectionResetError):
        await client.rest()


async def test_client_stall_after_the_end_of_an_http10_body_does_not_look_like_it_either(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response is relayed, but a part of it still waits in the relay when the client is given up."""
    monkeypatch.setattr("unbuffer.relay.patience.LINGER", CUT)
    await relay.start(timeouts=Timeouts(client_stall=CUT))
    with await narrow_client(relay) as client:
        loop = asyncio.get_running_loop()
        await soon(loop.sock_sendall(client, GET10))
        upstream = await relay.upstream.accept()
        await upstream.head()
        # Below the mark at which the upstream is paused, and above what the narrow way holds.
        await upstream.send(b"HTTP/1.1 200 OK\r\n\r\n" + bytes(60000))
        await upstream.close()
        await finished(relay, Outcome.COMPLETED, 200)
        connection = relay.connection()
        assert connection.transport.get_write_buffer_size()
        await eventually(lambda: not relay.plane.clients.connections)
        with pytest.raises(ConnectionResetError):
            await read_to_the_end(client)


async def test_an_early_answer_waits_for_a_slow_client_as_long_as_any_other(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection only lingers for its rest, but the answer counts as taken only when it is."""
    monkeypatch.setattr("unbuffer.relay.patience.LINGER", CUT)
    monkeypatch.setattr("unbuffer.relay.patience.LINGER_TOTAL", CUT)
    await relay.start(timeouts=Timeouts(client_stall=60.0))
    with await narrow_client(relay) as client:
        loop = asyncio.get_running_loop()
        await soon(loop.sock_sendall(client, LONG_POST))
        upstream = await relay.upstream.accept()
        await upstream.head()
        await upstream.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 60000\r\n\r\n" + bytes(60000))
        await finished(relay, Outcome.COMPLETED, 413)
        connection = relay.connection()
        assert connection.transport.get_write_buffer_size()
        await long_enough()
        answer = b""
        while data := await soon(loop.sock_recv(client, 65536)):
            answer += data
        assert answer.endswith(b"\r\n\r\n" + bytes(60000))


async def test_a_client_that_reads_slowly_is_not_cut(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(client_stall=60.0))
    with await narrow_client(relay) as client:
        loop = asyncio.get_running_loop()
        await soon(loop.sock_sendall(client, GET))
        upstream = await relay.upstream.accept()
        upstream.writer.write(ENDLESS + bytes(64 << 20))
        await eventually(lambda: relay.totals.of("default", "plain").stalls)
        connection, now = relay.connection(), time.monotonic()
        for _ in range(4):
            # So little that the buffer does not drain, and the upstream is not read.
            waiting = connection.transport.get_write_buffer_size()
            while connection.transport.get_write_buffer_size() == waiting:
                await soon(loop.sock_recv(client, 1024))
            now += 40.0
            connection.look(now)
            assert relay.totals.streams == 1
        assert relay.totals.of("default", "plain").stalls == 1
        # The deadline was there all the time.
        while relay.totals.streams:
            now += 60.0
            connection.look(now)
            await asyncio.sleep(0)
        await upstream.ended()
        await finished(relay, Outcome.CLIENT_STALL_TIMEOUT, 200)


# -- settings of a route


@pytest.mark.parametrize(
    ("timeouts", "request_head", "response", "outcome", "status"),
    [
        (RouteTimeouts(request_body=CUT), LONG_POST, b"", Outcome.REQUEST_BODY_TIMEOUT, 408),
        (RouteTimeouts(response_head=CUT), GET, b"", Outcome.RESPONSE_HEAD_TIMEOUT, 504),
        (RouteTimeouts(silence=CUT), GET, STREAM, Outcome.SILENCE_TIMEOUT, 200),
        (RouteTimeouts(client_stall=CUT), GET, ENDLESS + bytes(16 << 20), Outcome.CLIENT_STALL_TIMEOUT, 200),
    ],
    ids=["request_body", "response_head", "silence", "client_stall"],
)
async def test_a_route_has_deadlines_of_its_own(
    relay: Relay, timeouts: RouteTimeouts, request_head: bytes, response: bytes, outcome: Outcome, status: int
) -> None:
    await relay.start(routes=(Route(name="short", prefix="/short", timeouts=timeouts),))
    spared, spared_upstream, _ = await relay.exchange(request_head)
    cut, upstream, _ = await relay.exchange(request_head.replace(b" / ", b" /short "))
    for client, peer in ((spared, spared_upstream), (cut, upstream)):
        stop_reading(client)
        peer.writer.write(response)
    await upstream.ended()
    assert (await finished(relay, outcome, status)).route == "short"
    assert relay.totals.streams == 1
    spared.reset()
    await spared_upstream.ended()


@pytest.mark.parametrize(
    ("timeouts", "own", "request_head", "response"),
    [
        (Timeouts(request_body=CUT), RouteTimeouts(request_body=0.0), LONG_POST, b""),
        (Timeouts(response_head=CUT), RouteTimeouts(response_head=0.0), GET, b""),
        (Timeouts(silence=CUT), RouteTimeouts(silence=0.0), GET, STREAM),
        (Timeouts(client_stall=CUT), RouteTimeouts(client_stall=0.0), GET, ENDLESS + bytes(16 << 20)),
    ],
    ids=["request_body", "response_head", "silence", "client_stall"],
)
async def test_a_route_may_have_no_deadline(
    relay: Relay, timeouts: Timeouts, own: RouteTimeouts, request_head: bytes, response: bytes
) -> None:
    await relay.start(timeouts=timeouts, routes=(Route(name="long", prefix="/long", timeouts=own),))
    spared, spared_upstream, _ = await relay.exchange(request_head.replace(b" / ", b" /long "))
    cut, upstream, _ = await relay.exchange(request_head)
    for client, peer in ((spared, spared_upstream), (cut, upstream)):
        stop_reading(client)
        peer.writer.write(response)
    await upstream.ended()
    assert (await relay.record()).route == "default"
    assert relay.totals.streams == 1
    spared.reset()
    await spared_upstream.ended()


async def test_a_health_check_that_takes_its_time_is_no_slow_head(relay: Relay) -> None:
    await relay.start()
    answers: list[Callable[[int, bytes], None]] = []
    relay.plane.health = lambda path, answer: answers.append(answer)
    client = await relay.client()
    await client.send(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
    await eventually(lambda: answers)
    connection = relay.connection()
    assert connection.look(time.monotonic() + 3600) == 0.0
    answers[0](200, b"ok\n")
    assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
    assert await client.read(3) == b"ok\n"
