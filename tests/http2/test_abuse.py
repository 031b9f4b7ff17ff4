"""Frames that carry nothing forward have a budget. Counts and shapes, against our own listener only."""

import asyncio
import time
from collections.abc import Callable

import pytest
from hyperframe.frame import DataFrame, HeadersFrame, RstStreamFrame

from tests.http2.cases import data, frame, section
from tests.http2.client import Client, Headers, request
from tests.http2.conftest import Connect
from tests.http2.test_windows import CANCEL, connection
from tests.peers import LAST, OK, STREAM, Peer, eventually, read_again, stop_reading
from tests.relay.conftest import Relay, finished, narrow_client
from unbuffer.outcome import Outcome
from unbuffer.relay.http2.budget import DATA, FREE_UPDATE, PING, WINDOW_UPDATE, Budget
from unbuffer.settings.model import Limits

FEW = Limits(http2_frames=100)
CALM = 11

OPEN = section(request(method=b"POST"), end=False)
FLOODS: dict[str, Callable[[int], bytes]] = {
    "SETTINGS": lambda n: frame(4),
    "PING": lambda n: frame(6, b"x" * 8),
    "PING of answers": lambda n: frame(6, b"x" * 8, 1),
    "PRIORITY": lambda n: frame(2, b"\0\0\0\0\0", 0, 2 * n + 3),
    "unknown frames": lambda n: frame(0xBB),
    "empty DATA": lambda n: data(b"", end=False),
    "DATA of nothing but padding": lambda n: frame(0, b"\x05" + b"\0" * 5, 0x8, 1),
    "windows opened byte by byte": lambda n: frame(8, b"\0\0\0\1", 0, 1),
    "the connection's opened byte by byte": lambda n: frame(8, b"\0\0\0\1"),
    "empty CONTINUATION": lambda n: frame(9, b"", 0, 3),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_ends_the_connection(relay: Relay, http2: Connect, kind: str) -> None:
    await relay.start(limits=FEW)
    client = await http2()
    flood = [FLOODS[kind](n) for n in range(200)]
    if "CONTINUATION" in kind:
        flood.insert(0, frame(1, b"", 0, 3))
    await client.peer.send(OPEN + b"".join(flood))
    assert (await client.goaway()).error_code == CALM
    await client.ended()
    assert relay.totals.rejected["http2_flood"] == 1
    detail = "far too many frames" if "CONTINUATION" in kind else "limits.http2_frames"
    await finished(relay, Outcome.CLIENT_DISCONNECT, 0, detail)


async def test_rapid_resets_end_the_connection(relay: Relay, http2: Connect) -> None:
    await relay.start(limits=FEW)
    client = await http2()
    resets = [client.section(n, request()).serialize() + RstStreamFrame(n, 8).serialize() for n in range(1, 401, 2)]
    await client.peer.send(b"".join(resets))
    assert (await client.goaway()).error_code == CALM
    await client.ended()
    # The greeting has cost the budget two of its hundred frames, and the one too many ends a stream as well.
    for _ in range(99):
        assert await relay.outcome() is Outcome.CLIENT_DISCONNECT
    assert not relay.upstream.untaken, "not one of them has cost the upstream a connection"


RESET_FOR_IT: dict[str, tuple[bytes, Callable[[int], bytes]]] = {
    "DATA after the end": (b"GET", lambda n: data(b"x", n)),
    "HEADERS after the end": (b"GET", lambda n: section([(b"x", b"y")], n)),
    "a window that overflows": (b"GET", lambda n: frame(8, b"\x7f\xff\xff\xff", 0, n)),
    "a body that is too long": (b"POST", lambda n: data(b"xy", n)),
    "trailers that are none": (b"POST", lambda n: section([(b":x", b"y")], n)),
    "no request at all": (b"a b", lambda n: b""),
}
"""A request, and what makes the server reset its stream, as CVE-2025-8671 does."""


@pytest.mark.parametrize("kind", RESET_FOR_IT)
async def test_who_has_streams_reset_is_as_one_who_resets_them(relay: Relay, http2: Connect, kind: str) -> None:
    await relay.start(limits=FEW)
    client = await http2()
    method, mistake = RESET_FOR_IT[kind]
    asked = request(*([(b"content-length", b"1")] if method == b"POST" else []), method=method)
    streams = range(1, 401, 2)
    await client.peer.send(b"".join(section(asked, n, method == b"GET") + mistake(n) for n in streams))
    assert (await client.goaway()).error_code == CALM
    await client.ended()
    assert relay.totals.rejected["http2_flood"] == 1
    assert not relay.upstream.untaken, "not one of them has cost the upstream a connection"


async def test_streams_far_beyond_the_limit_end_the_connection(relay: Relay, http2: Connect) -> None:
    await relay.start(limits=Limits(http2_frames=100, http2_streams=1))
    client = await http2()
    await client.send(*[client.section(n, request()) for n in range(1, 401, 2)])
    assert (await client.goaway()).error_code == CALM


async def test_what_ordinary_clients_send_is_within_the_budget(relay: Relay, http2: Connect) -> None:
    """Go opens both windows for each 4 KiB that it has read."""
    await relay.start(limits=FEW)
    client = await http2()
    await client.request(1)
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n")
    await client.head(1)
    for _ in range(1024):
        await upstream.send(b"x" * 4096)
        received = 0
        while received < 4096:
            received += len((await client.frame(DataFrame, 1)).data)
        await client.peer.send(frame(8, b"\0\0\x10\0", 0, 1) + frame(8, b"\0\0\x10\0"))
    await finished(relay, Outcome.COMPLETED, 200)


def test_a_budget_comes_back_with_time() -> None:
    budget = Budget(100, 1000.0)
    assert all(budget.take(PING, 0, 8, 1000.0) for _ in range(100))
    assert not budget.take(PING, 0, 8, 1000.0)
    assert sum(budget.take(PING, 0, 8, 1001.0) for _ in range(100)) in (9, 10)
    assert sum(budget.take(PING, 0, 8, 5000.0) for _ in range(200)) == 100


def test_a_budget_lets_pass_what_brings_something() -> None:
    budget = Budget(1, 0.0)
    assert all(budget.take(DATA, 0, 1, 0.0) for _ in range(100))
    assert budget.take(DATA, 1, 0, 0.0)
    assert budget.take(DATA, 0, 0, 0.0)
    assert not budget.take(DATA, 0, 0, 0.0)
    budget.sent(FREE_UPDATE)
    assert budget.take(WINDOW_UPDATE, 0, 4, 0.0)
    assert not budget.take(WINDOW_UPDATE, 0, 4, 0.0)


# -- clients that read nothing

MUCH = 1 << 30
"""A window that holds up nothing."""
REFUSED = request(path=b"/#x")
WITHOUT_BODY = request(path=b"/#x", method=b"HEAD")


async def narrow(relay: Relay) -> Client:
    """A client with small buffers on its way and large windows, which does not read."""
    peer = Peer(*await asyncio.open_connection(sock=await narrow_client(relay), limit=1 << 22))
    relay._clients.append(peer)
    client = Client(peer)
    await client.greet(initial_window_size=MUCH)
    await client.open_window(0, MUCH)
    await client.ping()
    stop_reading(peer)
    return client


async def stalled(relay: Relay, client: Client) -> Peer:
    """Stream 1 has filled all that there is between the two. Returns its upstream."""
    await client.request(1)
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(STREAM + b"80000\r\n" + b"x" * 0x80000 + b"\r\n")
    await eventually(lambda: connection(relay).output.stalled)
    return upstream


@pytest.mark.parametrize("asked", [REFUSED, WITHOUT_BODY], ids=["with a body", "without"])
async def test_answers_that_nobody_reads_do_not_pile_up(relay: Relay, asked: Headers) -> None:
    """The limit of concurrent streams holds them, and whoever goes on beyond it is ended."""
    await relay.start(limits=FEW)
    client = await narrow(relay)
    await stalled(relay, client)
    held = connection(relay)
    most = 0
    for first in range(3, 603, 50):
        await client.peer.send(b"".join(section(asked, stream) for stream in range(first, first + 50, 2)))
        most = max(most, held.transport.get_write_buffer_size())
    await eventually(lambda: relay.totals.rejected["http2_flood"])
    assert len(held.streams) <= 100
    assert 32768 < most < 2 * 65536


async def test_what_a_slow_client_asks_for_waits_and_is_not_refused(relay: Relay) -> None:
    await relay.start(limits=FEW)
    client = await narrow(relay)
    upstream = await stalled(relay, client)
    held = connection(relay)
    await client.send(*[client.section(stream, REFUSED) for stream in range(3, 103, 2)])
    await client.send(*[client.section(stream, WITHOUT_BODY) for stream in range(103, 197, 2)])
    await client.send(*[client.section(stream, request()) for stream in (197, 199)])
    for _ in range(2):
        other = await relay.upstream.accept()
        await other.head()
        await other.send(OK)
    for _ in range(97):
        await finished(relay, Outcome.REQUEST_MALFORMED, 400, "fragment")
    for _ in range(2):
        assert (await finished(relay, Outcome.COMPLETED, 200)).stalls == 1
    assert len(held.streams) == 100
    assert held.transport.get_write_buffer_size() < 2 * 65536
    for stream in held.streams.values():
        assert stream.look(time.monotonic() + 1.0), "it has waited for a second"
    await upstream.send(LAST)
    read_again(client.peer)
    statuses: dict[int, bytes] = {}
    bodies: dict[int, bytes] = {}
    ended = set[int]()
    while len(ended) < 100:
        got = await client.any()
        if isinstance(got, HeadersFrame):
            statuses[got.stream_id] = dict(client.decoder.decode(got.data, raw=True))[b":status"]
        elif isinstance(got, DataFrame):
            bodies[got.stream_id] = bodies.get(got.stream_id, b"") + got.data
        if "END_STREAM" in got.flags:
            ended.add(got.stream_id)
    assert statuses == {1: b"200", 197: b"200", 199: b"200"} | dict.fromkeys(range(3, 197, 2), b"400")
    assert len(bodies.pop(1)) == 0x80000
    assert bodies.pop(197) == bodies.pop(199) == b"ok"
    assert sorted(bodies) == list(range(3, 103, 2))
    assert all(body.startswith(b"400 ") for body in bodies.values())
    await client.ping()
    assert not held.streams
    assert not relay.totals.rejected["http2_flood"]


async def test_the_budget_does_not_come_back_while_nothing_is_read(relay: Relay) -> None:
    await relay.start(limits=FEW)
    client = await narrow(relay)
    await stalled(relay, client)
    held = connection(relay)
    # The stall begins a quarter of an hour ago.
    held.output.stalled_at = held._receiver._budget._since = time.monotonic() - 900.0
    await client.peer.send(frame(6, b"x" * 8) * 50)
    await asyncio.sleep(0)
    await client.peer.send(frame(6, b"x" * 8) * 50)
    await eventually(lambda: relay.totals.rejected["http2_flood"])


async def test_who_takes_nothing_is_given_up_also_without_a_stream(relay: Relay) -> None:
    await relay.start()
    client = await narrow(relay)
    upstream = await stalled(relay, client)
    await client.send(RstStreamFrame(1, CANCEL))
    await upstream.ended()
    held = connection(relay)
    assert held.output.stalled
    assert not held.streams
    since = held.output.stalled_at
    due = held._look(since + 59.0)
    while due:  # what the system still took has moved it on
        assert not held.transport.is_closing()
        assert since + 60.0 <= due < since + 600.0, "not the wait for another request"
        due = held._look(due)
    await eventually(lambda: not relay.plane.clients.connections)


async def test_a_head_that_does_not_end_is_given_up(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    await client.peer.send(frame(1, b"\x82", 0, 1))
    await client.peer.send(frame(6, b"")[:5])
    await client.peer.send(b"")
    held = connection(relay)
    while not held._receiver.owes_since:
        await client.peer.send(b"\0")
    held._look(held._receiver.owes_since + 16.0)
    assert (await client.goaway()).error_code == CALM
    await finished(relay, Outcome.REQUEST_MALFORMED, 0, "timeouts.request_head")


async def test_an_idle_connection_is_closed_in_good_order(relay: Relay, http2: Connect) -> None:
    await relay.start()
    client = await http2()
    held = connection(relay)
    held._look(held.since + 621.0)
    assert (await client.goaway()).error_code == 0
    await client.ended()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (request(path=b"/" + b"x" * 8192), b"414"),
        (request(*[(b"x", b"y" * 1000)] * 40), b"431"),
        (request(*[(b"x", b"y")] * 200), b"431"),
        (request(method=b"CONNECT")[:1] + request()[2:3], b"501"),
        ([*request(method=b"CONNECT"), (b":protocol", b"connect-udp")], b"501"),
        (request(path=b"/#x"), b"400"),
        (request()[:2] + request()[3:], b"400"),
    ],
    ids=["target", "head", "headers", "CONNECT", "protocol", "fragment", "no authority"],
)
async def test_what_is_refused_in_http11_is_refused_here(
    relay: Relay, http2: Connect, headers: list[tuple[bytes, bytes]], status: bytes
) -> None:
    await relay.start()
    client = await http2()
    await client.peer.send(b"".join(long_section(client, headers)))
    head, body = await client.answer(1)
    assert (head[b":status"], body[:3]) == (status, status)
    assert (await relay.record()).status == int(status)
    await client.data(1, b"late", end=True)
    await client.ping()


def long_section(client: object, headers: list[tuple[bytes, bytes]]) -> list[bytes]:
    block = client.encoder.encode(headers)  # type: ignore[attr-defined]
    parts = [block[start : start + 16384] for start in range(0, len(block), 16384)]
    return [
        frame(9 if index else 1, part, 0x4 if index == len(parts) - 1 else 0, 1) for index, part in enumerate(parts)
    ]
