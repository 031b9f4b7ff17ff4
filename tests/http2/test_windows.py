"""Flow control (RFC 9113, section 5.2): a stream that its client does not read stands still alone."""

import asyncio

import pytest
from hyperframe.frame import DataFrame, RstStreamFrame, SettingsFrame

from tests.http2.client import Client, request
from tests.http2.conftest import Connect
from tests.peers import LAST, STREAM, Peer, eventually
from tests.relay.conftest import Relay, finished
from unbuffer.outcome import Outcome
from unbuffer.relay.http2.connection import Http2Connection
from unbuffer.relay.http2.session import WINDOW
from unbuffer.settings.model import Limits

CANCEL = 8


def connection(relay: Relay) -> Http2Connection:
    (found,) = relay.plane.clients.connections
    assert isinstance(found, Http2Connection)
    return found


async def opened(relay: Relay, client: Client, stream: int) -> Peer:
    """A stream whose head is there."""
    await client.request(stream)
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(STREAM)
    await client.head(stream)
    return upstream


async def filled(relay: Relay, client: Client, stream: int) -> tuple[Peer, int]:
    """A stream of which the client takes nothing more. Returns its upstream, and the bytes that came."""
    upstream = await opened(relay, client, stream)
    await upstream.send(b"20000\r\n" + b"x" * 0x20000)
    await eventually(lambda: connection(relay).streams[stream].stalled)
    return upstream, await taken(client, stream)


async def taken(client: Client, stream: int) -> int:
    """The bytes of DATA that have come of a stream so far."""
    await client.ping()
    size = 0
    for frame in [f for f in client._kept if isinstance(f, DataFrame) and f.stream_id == stream]:
        client._kept.remove(frame)
        size += len(frame.data)
    return size


async def test_a_stream_that_is_not_read_holds_up_no_other(relay: Relay, http2: Connect) -> None:
    """Both windows are 65,535 bytes, as those of Node's http2 are: one stream could take all of the connection's."""
    await relay.start()
    client = await http2()
    _, size = await filled(relay, client, 1)
    assert 49152 <= size < 65535
    others = [await opened(relay, client, stream) for stream in range(3, 201, 2)]
    for number in range(3):
        for stream, upstream in zip(range(3, 201, 2), others, strict=True):
            await upstream.send(b"8\r\ndata: %d\n\r\n" % number)
            assert (await client.frame(DataFrame, stream)).data == b"data: %d\n" % number
    assert relay.totals.of("default", "sse").stalls == 1


async def test_a_second_one_leaves_something_as_well(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    sizes = [(await filled(relay, client, stream))[1] for stream in (1, 3, 5, 7)]
    assert sum(sizes) < 65535
    other = await opened(relay, client, 9)
    await other.send(b"8\r\ndata: 1\n\r\n")
    assert (await client.frame(DataFrame, 9)).data == b"data: 1\n"


async def test_its_upstream_is_paused_and_read_again(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2(initial_window_size=10)
    upstream = await opened(relay, client, 1)
    await upstream.send(b"c\r\nhello, there\r\n")
    assert (await client.frame(DataFrame, 1)).data == b"hello, the"
    await eventually(lambda: relay.totals.of("default", "sse").stalls)
    await client.open_window(1, 1)
    assert (await client.frame(DataFrame, 1)).data == b"r"
    await client.open_window(1, 3)
    assert (await client.frame(DataFrame, 1)).data == b"e"
    await upstream.send(b"2\r\nhi\r\n0\r\n\r\n")
    assert await client.body(1) == b"hi"
    assert (await finished(relay, Outcome.COMPLETED, 200)).stalls == 1


async def test_what_waits_for_a_window_is_memory_that_is_told_of(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2(initial_window_size=10)
    upstream = await opened(relay, client, 1)
    assert sum(relay.plane.clients.buffered()) == 0
    await upstream.send(b"20\r\n" + b"x" * 0x20 + b"\r\n")
    assert len((await client.frame(DataFrame, 1)).data) == 10
    assert sum(relay.plane.clients.buffered()) == 22
    await client.open_window(1, 100)
    assert len((await client.frame(DataFrame, 1)).data) == 22
    assert sum(relay.plane.clients.buffered()) == 0
    await upstream.send(LAST)
    assert await client.body(1) == b""


async def test_the_end_waits_for_the_window_too(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2(initial_window_size=2)
    await client.request(1, request((b"te", b"trailers")))
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(STREAM + b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
    await client.head(1)
    assert (await client.frame(DataFrame, 1)).data == b"ab"
    await finished(relay, Outcome.COMPLETED, 200)
    await client.send(SettingsFrame(0, settings={4: 3}))
    assert (await client.frame(DataFrame, 1)).data == b"c"
    assert await client.head(1) == ({b"x-sum": b"1"}, True)


async def test_what_waits_when_the_upstream_breaks_is_delivered_first(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2(initial_window_size=2)
    await client.request(1)
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(STREAM + b"3\r\nabc\r\n")
    await client.head(1)
    assert (await client.frame(DataFrame, 1)).data == b"ab"
    await upstream.close()
    await client.open_window(1, 100)
    assert (await client.frame(DataFrame, 1)).data == b"c"
    assert await client.reset(1) == 2


async def test_a_client_that_takes_nothing_of_a_stream_loses_it_alone(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    upstream, _ = await filled(relay, client, 1)
    waiting, _ = await filled(relay, client, 3)
    streams = connection(relay).streams
    # The other one waits for the connection's window: that is no fault of its own.
    assert streams[3].look(streams[3]._stall_at + 61.0)
    assert streams[1].look(streams[1]._stall_at + 59.0)
    streams[1].look(streams[1]._stall_at + 61.0)
    assert await client.reset(1) == CANCEL
    await upstream.ended()
    await finished(relay, Outcome.CLIENT_STALL_TIMEOUT, 200)
    await client.open_window(0, 50000)
    await client.open_window(3, 50000)
    assert (await client.frame(DataFrame, 3)).data
    await waiting.close()


async def test_who_never_opens_the_connections_window_takes_nothing_at_all(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2(initial_window_size=1 << 20)
    for stream in (1, 3):
        await filled(relay, client, stream)
    held = connection(relay)
    assert held._look(held.output.waits_since + 59.0)
    held._look(held.output.waits_since + 61.0)
    for stream in (1, 3):
        assert await client.reset(stream) == CANCEL
        await finished(relay, Outcome.CLIENT_STALL_TIMEOUT, 200, "the connection's window")


async def test_an_upload_stands_still_alone(relay: Relay, http2: Connect) -> None:
    """Each stream has its share of the connection's window: what one upstream does not take, no other waits for."""
    await relay.start()
    client = await http2()
    await client.request(1, request(method=b"POST"), end=False)
    stuck = await relay.upstream.accept()
    stuck.writer.transport.pause_reading()  # type: ignore[attr-defined]
    exchange = connection(relay).streams[1].exchange
    assert exchange is not None
    exchange.client.pause_reading()
    for _ in range(WINDOW // 16384):
        await client.data(1, b"x" * 16384)
    await client.request(3, request(method=b"POST"), end=False)
    other = await relay.upstream.accept()
    await other.head()
    for _ in range(100):
        await client.data(3, b"y" * 16384)
        assert len(await other.chunk()) == 16384
    await client.ping()
    assert not [frame for frame in client._kept if frame.stream_id == 1]
    exchange.client.resume_reading()
    await client.ping()
    assert [frame for frame in client._kept if frame.stream_id == 1], "its window opens"


@pytest.mark.parametrize("how", ["reset by the client", "given up by us", "malformed", "answered early"])
async def test_an_upload_that_ends_while_it_stands_still_gives_the_connections_window_back(
    relay: Relay, http2: Connect, how: str
) -> None:
    """The connection's window has room for two streams here, and three end that have used up theirs."""
    await relay.start(limits=Limits(http2_streams=2))
    client = await http2()
    asked = request((b"content-length", b"%d" % (WINDOW + 1)), method=b"POST")
    for stream in (1, 3, 5):
        await client.request(stream, asked, end=False)
        upstream = await relay.upstream.accept()
        await upstream.head()
        held = connection(relay).streams[stream]
        held.pause_reading()
        for _ in range(WINDOW // 16384):
            await client.data(stream, b"x" * 16384)
        await client.ping()
        assert held._untaken == WINDOW
        if how == "reset by the client":
            await client.send(RstStreamFrame(stream, CANCEL))
        elif how == "given up by us":
            held.give_up()
        elif how == "malformed":
            await client.data(stream, b"", end=True)
        else:
            upstream.reset()
            await client.answer(stream)
            await client.data(stream, b"x", end=True)
        await relay.record()
        await eventually(lambda: not connection(relay).streams)
    await client.request(7, request(method=b"POST"), end=False)
    other = await relay.upstream.accept()
    await other.head()
    for _ in range(2 * WINDOW // 16384 + 4):
        await client.data(7, b"y" * 16384)
        assert len(await other.chunk()) == 16384


async def test_who_sends_more_than_a_window_breaks_the_connection(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    await client.request(1, request(method=b"POST"), end=False)
    await relay.upstream.accept()
    stream = connection(relay).streams[1]
    stream.pause_reading()
    for _ in range(WINDOW // 16384 + 1):
        await client.data(1, b"x" * 16384)
    assert (await client.goaway()).error_code == 3
    assert await relay.outcome() is Outcome.CLIENT_DISCONNECT


async def test_streams_beyond_the_limit_are_refused_unprocessed(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    assert client.settings[3] == 100
    await client.send(*[client.section(stream, request(), end=True) for stream in range(1, 203, 2)])
    assert await client.reset(201) == 7
    await client.send(RstStreamFrame(1, CANCEL))
    assert await relay.outcome() is Outcome.CLIENT_DISCONNECT
    await client.request(203)
    await client.ping()
    assert not [frame for frame in client._kept if frame.stream_id == 203]


@pytest.mark.parametrize("size", [16384, 65535])
async def test_frames_are_no_larger_than_the_client_takes(relay: Relay, http2: Connect, size: int) -> None:
    await relay.start()
    client = await http2(max_frame_size=size, initial_window_size=1 << 20)
    await client.open_window(0, 1 << 20)
    await client.request(1)
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200000)
    await client.head(1)
    received = 0
    while received < 200000:
        frame = await client.frame(DataFrame, 1)
        assert len(frame.data) <= size
        received += len(frame.data)
    await asyncio.sleep(0)
