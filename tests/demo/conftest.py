"""The demo's app as a real server, one process for each test module that asks for it."""

from collections.abc import AsyncIterator

import pytest_asyncio

from unbuffer.demo.servers import the_app


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app_url() -> AsyncIterator[str]:
    async with the_app() as server:
        yield f"http://127.0.0.1:{server.ready[1]}"
