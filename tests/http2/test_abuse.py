"""Frames that carry nothing forward have a budget. Counts and shapes, against our own listener only."""

from collections.abc import Callable

import pytest
from hyperframe.frame import DataFrame, RstStreamFrame

from tests.http2.cases import data, frame, section
from tests.http2.client import request
from tests.http2.conftest import Connect
from tests.http2.test_windows import connection
from tests.relay.conftest import Relay, finished
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
