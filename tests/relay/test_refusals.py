"""Connections beyond limits.connections when they come in a flood, or do not stay for their answer."""

import socket

import pytest

from tests.peers import eventually
from tests.relay.conftest import Relay, finished, own_answer
from unbuffer.outcome import Outcome
from unbuffer.settings.model import Limits


async def test_a_flood_is_reset_once_enough_answers_are_on_their_way(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unbuffer.relay.refusals.REFUSALS", 2)
    await relay.start(limits=Limits(connections=1))
    first = await relay.client()
    await eventually(lambda: relay.plane.clients.connections)
    answered = [await relay.client() for _ in range(2)]
    for client in answered:
        await own_answer(client, 503, "connection_limit_reached")
        await finished(relay, Outcome.REJECTED, 503, "limits.connections")

    late = await relay.client()
    with pytest.raises(ConnectionResetError):
        await late.rest()

    assert relay.totals.rejected["connections"] == 3
    # Whoever has read the answer and closed makes room for the next one.
    for client in (*answered, late):
        await client.close()
    await eventually(lambda: len(relay.plane.clients.connections) == 1)
    await own_answer(await relay.client(), 503, "connection_limit_reached")
    await finished(relay, Outcome.REJECTED, 503, "limits.connections")
    await first.close()


async def test_who_is_refused_may_be_gone_already(relay: Relay) -> None:
    await relay.start(limits=Limits(connections=1))
    first = await relay.client()
    await eventually(lambda: relay.plane.clients.connections)
    # Without a turn of the loop: the kernel has completed it, and it is over before it is accepted. The answer is met
    # by a reset.
    socket.create_connection(("127.0.0.1", relay.port)).close()

    await finished(relay, Outcome.REJECTED, 503, "limits.connections")
    await eventually(lambda: len(relay.plane.clients.connections) == 1)
    await first.close()
