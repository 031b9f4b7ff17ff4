"""The real data plane of the relay's tests, under the event loop of production only: a table is long."""

import asyncio
from collections.abc import Callable, Mapping

import uvloop

from tests.relay.conftest import relay

__all__ = ["pytest_asyncio_loop_factories", "relay"]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}
