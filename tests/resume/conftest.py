"""The data plane under test is the relay's; a second one stands for another replica."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.relay.conftest import Relay, pytest_asyncio_loop_factories, relay
from tests.resume.servers import KINDS, KeyServer

__all__ = ["pytest_asyncio_loop_factories", "relay"]


@pytest.fixture
async def other() -> AsyncIterator[Relay]:
    """Another data plane that is not started yet."""
    other = Relay()
    yield other
    await other.stop()


@pytest.fixture(scope="module", params=KINDS)
def shared_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyServer]:
    server = KeyServer(request.param, tmp_path_factory.mktemp("store"))
    with server.running():
        yield server


@pytest.fixture
def server(shared_server: KeyServer) -> KeyServer:
    """Each of the servers, empty."""
    shared_server.redis.flushall()
    return shared_server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[KeyServer]:
    """A server for one test, which may do with it what it likes."""
    server = KeyServer("redis", tmp_path)
    with server.running():
        yield server
