"""Applications that hang, and whose framework keeps their streams alive all the same.

`/fastapi/N` and `/starlette/N` give N events and then nothing more: the one by FastAPI's own EventSourceResponse, the
other by that of sse-starlette.
"""

import asyncio
from collections.abc import AsyncIterator

import fastapi.routing
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse
from sse_starlette import EventSourceResponse as SSEStarletteResponse

PING = 0.05
"""Seconds; both have 15 by default."""

# There is no setting.
fastapi.routing._PING_INTERVAL = PING  # type: ignore[attr-defined]

app = FastAPI()


async def _events(count: int) -> AsyncIterator[dict[str, str]]:
    for number in range(count):
        yield {"data": str(number)}
        await asyncio.sleep(PING)
    await asyncio.Event().wait()


@app.get("/fastapi/{count}", response_class=EventSourceResponse)
async def by_fastapi(count: int) -> AsyncIterator[dict[str, str]]:
    async for event in _events(count):
        yield event


@app.get("/starlette/{count}")
async def by_sse_starlette(count: int) -> SSEStarletteResponse:
    return SSEStarletteResponse(_events(count), ping=PING)
