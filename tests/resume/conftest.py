"""The data plane under test is the relay's."""

from tests.relay.conftest import pytest_asyncio_loop_factories, relay

__all__ = ["pytest_asyncio_loop_factories", "relay"]
