"""RFC 9113 as it binds a server: a line per case, with its section (cases.py)."""

import pytest
from hyperframe.frame import RstStreamFrame

from tests.http2.cases import ACCEPTED, CONNECTION, IGNORED, MALFORMED, PROTOCOL_ERROR, STREAM
from tests.http2.client import request
from tests.http2.conftest import Connect
from tests.peers import OK
from tests.relay.conftest import Relay
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
