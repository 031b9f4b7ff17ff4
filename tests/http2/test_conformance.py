"""RFC 9113 as it binds a server: a line per case, with its section (cases.py)."""

import pytest
from hyperframe.frame import DataFrame, GoAwayFrame, RstStreamFrame, SettingsFrame

from tests.http2.cases import ACCEPTED, CONNECTION, IGNORED, LATE, MALFORMED, PROTOCOL_ERROR, STREAM
from tests.http2.client import request
from tests.http2.conftest import Connect
from tests.peers import OK, eventually
from tests.relay.conftest import Relay, finished
from unbuffer.outcome import Outcome


def ids(cases: list[tuple[str, str, bytes]]) -> list[str]:
    return [f"{name} ({section})" for name, section, _ in cases]


@pytest.mark.parametrize("sent", [case[-1] for case in MALFORMED], ids=ids(MALFORMED))
async def test_a_malformed_request_costs_its_stream_and_does_not_go_up(
    relay: Relay, http2: Connect, sent: bytes
) -> None:
    await relay.start()
    client = await http2()
    await client.peer.send(sent)
    assert (await client.frame(RstStreamFrame, 1)).error_code == PROTOCOL_ERROR
    record = await relay.record()
    assert (record.outcome, record.status) == (Outcome.REQUEST_MALFORMED, 0)
    assert record.detail
    assert relay.totals.rejected["bad_request"] == 1
    # The connection goes on, with its header compression in step, and the next request is the first that is whole.
    await client.request(3, request(path=b"/next"))
    upstream = await relay.upstream.accept()
    assert (await upstream.head()).startswith(b"GET /next HTTP/1.1\r\n")
    await upstream.send(OK)
    assert (await client.answer(3))[1] == b"ok"


@pytest.mark.parametrize(
    ("code", "sent"), [case[2:] for case in CONNECTION], ids=[f"{case[0]} ({case[1]})" for case in CONNECTION]
)
async def test_a_connection_error_ends_it(relay: Relay, http2: Connect, code: int, sent: bytes) -> None:
    await relay.start()
    client = await http2()
    await client.peer.send(sent)
    assert (await client.goaway()).error_code == code
    await client.ended()
    assert sum(relay.totals.rejected[reason] for reason in ("bad_request", "http2_flood")) == 1


@pytest.mark.parametrize(
    ("code", "sent"), [case[2:] for case in STREAM], ids=[f"{case[0]} ({case[1]})" for case in STREAM]
)
async def test_a_stream_error_ends_the_stream(relay: Relay, http2: Connect, code: int, sent: bytes) -> None:
    await relay.start()
    client = await http2()
    await client.peer.send(sent)
    assert await client.reset(1) == code
    assert await relay.outcome() is Outcome.CLIENT_DISCONNECT
    await client.ping()


@pytest.mark.parametrize("sent", [case[-1] for case in IGNORED], ids=ids(IGNORED))
async def test_what_is_to_be_ignored_is(relay: Relay, http2: Connect, sent: bytes) -> None:
    await relay.start()
    client = await http2()
    await client.peer.send(sent)
    await client.request(1)
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(OK)
    assert (await client.answer(1))[1] == b"ok"


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "reset by us"])
@pytest.mark.parametrize("sent", [case[-1] for case in LATE], ids=ids(LATE))
async def test_what_crosses_the_end_of_its_stream_is_ignored(
    relay: Relay, http2: Connect, sent: bytes, answered: bool
) -> None:
    await relay.start()
    client = await http2()
    await client.request(1, request() if answered else request((b"connection", b"close")))
    if answered:
        upstream = await relay.upstream.accept()
        await upstream.send(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert (await client.answer(1))[1] == b"ok"
    else:
        assert await client.reset(1) == PROTOCOL_ERROR
    await relay.record()
    await client.peer.send(sent)
    await client.ping()
    assert not [frame for frame in client._kept if frame.stream_id]
    await client.request(3)
    await (await relay.upstream.accept()).send(OK)
    assert (await client.answer(3))[1] == b"ok"


async def test_an_unknown_error_code_is_as_any_other(relay: Relay, http2: Connect) -> None:
    """RFC 9113, section 7: in RST_STREAM, and in the GOAWAY of a client, whose streams go on."""
    await relay.start()
    client = await http2()
    await client.request(1)
    await relay.upstream.accept()
    await client.send(RstStreamFrame(1, 0xDEAD))
    await finished(relay, Outcome.CLIENT_DISCONNECT, 0, "RST_STREAM(0xdead)")
    await client.request(3)
    upstream = await relay.upstream.accept()
    await client.send(GoAwayFrame(0, last_stream_id=0, error_code=0xBEEF))
    await client.ping()
    await upstream.send(OK)
    assert (await client.answer(3))[1] == b"ok"
    assert (await client.goaway()).error_code == 0
    await client.ended()


async def test_a_window_that_shrinks_below_nothing_is_waited_for(relay: Relay, http2: Connect) -> None:
    """RFC 9113, section 6.9.2: nothing goes out until it is positive again."""
    await relay.start()
    client = await http2(initial_window_size=10)
    await client.request(1)
    upstream = await relay.upstream.accept()
    await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n" + b"x" * 8)
    await client.head(1)
    assert (await client.frame(DataFrame, 1)).data == b"x" * 8
    await client.send(SettingsFrame(0, settings={4: 4}))
    assert "ACK" in (await client.frame(SettingsFrame)).flags
    await upstream.send(b"abc")  # the window is at -4
    await eventually(lambda: sum(relay.plane.clients.buffered()) == 3)
    await client.open_window(1, 4)
    await client.ping()
    assert not [frame for frame in client._kept if frame.stream_id]
    await client.open_window(1, 1)
    assert (await client.frame(DataFrame, 1)).data == b"a"
    await client.send(SettingsFrame(0, settings={4: 6}))
    assert await client.body(1) == b"bc"


@pytest.mark.parametrize("sent", [case[-1] for case in ACCEPTED], ids=ids(ACCEPTED))
async def test_the_same_request_in_other_frames(relay: Relay, http2: Connect, sent: bytes) -> None:
    await relay.start()
    client = await http2()
    await client.peer.send(sent)
    upstream = await relay.upstream.accept()
    assert (await upstream.head()).startswith(b"GET / HTTP/1.1\r\nHost: ")
    await upstream.send(OK)
    assert (await client.answer(1))[1] == b"ok"


@pytest.mark.parametrize(
    "sent",
    [b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\x08\x06\0\0\0\0\0" + b"x" * 8],
)
async def test_what_does_not_begin_with_preface_and_settings_is_ended(relay: Relay, sent: bytes) -> None:
    """RFC 9113, section 3.4."""
    await relay.start()
    client = await relay.client()
    await client.send(sent)
    assert b"\x07\0\0\0\0\0" in await client.rest()
    assert await relay.outcome() is Outcome.REQUEST_MALFORMED
