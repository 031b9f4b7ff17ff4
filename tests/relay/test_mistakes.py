"""A mistake of unbuffer's own costs the stream that met it, and no other; the log says so."""

import asyncio
from collections.abc import Mapping
from typing import Any, NoReturn

import pytest

from tests.compiled import replaces
from tests.peers import LAST, STREAM, Peer, soon
from tests.relay.conftest import Relay
from unbuffer.outcome import Outcome
from unbuffer.relay.answer import Answer
from unbuffer.relay.exchange import Exchange
from unbuffer.settings.model import SSE, Timeouts

pytestmark = replaces

GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"
EVENT = b"9\r\ndata: 1\n\n\r\n"


class Mistake(Exception):
    """What nobody thought of."""


@pytest.fixture
async def told(relay: Relay) -> list[Mapping[str, Any]]:
    """What the event loop's handler of exceptions was told."""
    contexts: list[Mapping[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: contexts.append(context))
    return contexts


def fail(*_: object) -> NoReturn:
    raise Mistake


async def streams_on(client: Peer, upstream: Peer) -> None:
    """See that this stream goes on to its end."""
    await upstream.send(EVENT)
    assert await client.chunk() == b"data: 1\n\n"
    await upstream.send(LAST)
    assert await client.until(LAST) == LAST


async def begun(relay: Relay) -> tuple[Peer, Peer]:
    client, upstream, _ = await relay.exchange(GET % b"other")
    await upstream.send(STREAM)
    await client.head()
    return client, upstream


async def test_at_a_chunk(relay: Relay, told: list[Mapping[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    await relay.start()
    other = await begun(relay)
    client, upstream = await begun(relay)
    with monkeypatch.context() as patch:
        patch.setattr(Answer, "body", fail)
        await upstream.send(EVENT)
        assert await client.rest() == b""  # no last chunk: visibly broken
    record = await relay.record()
    assert (record.outcome, record.detail) == (Outcome.INTERNAL_ERROR, "Mistake")
    await streams_on(*other)
    assert await relay.outcome() is Outcome.COMPLETED
    assert [type(context["exception"]) for context in told] == [Mistake]


async def test_at_a_request(relay: Relay, told: list[Mapping[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Before there is a stream: the connection is all that can end."""
    await relay.start()
    other = await begun(relay)
    client = await relay.client()
    with monkeypatch.context() as patch:
        patch.setattr("unbuffer.relay.request_reader.RequestHead", fail)
        await client.send(GET % b"")
        with pytest.raises(ConnectionResetError):
            await client.rest()
    await streams_on(*other)
    assert await relay.outcome() is Outcome.COMPLETED
    assert [type(context["exception"]) for context in told] == [Mistake]


async def test_at_a_deadline(relay: Relay, told: list[Mapping[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock goes on for the others."""
    monkeypatch.setattr("unbuffer.relay.watchdog.TICK", 0.05)
    await relay.start(sse=SSE(heartbeat=0.1), timeouts=Timeouts(silence=60.0))
    client, _ = await begun(relay)
    with monkeypatch.context() as patch:
        patch.setattr(Exchange, "look", fail)
        assert await client.rest() == b""
    assert await relay.outcome() is Outcome.INTERNAL_ERROR
    client, upstream = await begun(relay)
    assert await client.chunk() == b"\n\n"
    await soon(streams_on_after_heartbeats(client, upstream))
    assert await relay.outcome() is Outcome.COMPLETED
    assert {type(context["exception"]) for context in told} == {Mistake}


async def streams_on_after_heartbeats(client: Peer, upstream: Peer) -> None:
    await upstream.send(EVENT)
    while await client.chunk() == b":\n":
        pass
    await upstream.send(LAST)
    assert (await client.until(LAST)).endswith(LAST)
