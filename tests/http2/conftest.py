"""The real data plane of the relay's tests, under the event loop of production only, and a client of HTTP/2."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import pytest
import uvloop

from tests.http2.client import Client
from tests.relay.conftest import Relay, relay

__all__ = ["pytest_asyncio_loop_factories", "relay"]

Connect = Callable[..., Awaitable[Client]]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def http2(relay: Relay) -> Connect:
    """Connects a client, which greets with these settings, and reads what the server greets with."""

    async def connect(**settings: int) -> Client:
        client = Client(await relay.client())
        await client.greet(**settings)
        return client

    return connect
