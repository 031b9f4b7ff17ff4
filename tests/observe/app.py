"""Streams as applications get them right and wrong: those of the demo, and the mistakes that it does not show."""

import asyncio
import functools
import gzip
import random
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from unbuffer.demo.app import HOLD, blocking, streams
from unbuffer.demo.compression import Compress

app = FastAPI()
app.include_router(streams)
app.add_api_route("/blocking", blocking)

_plain = FastAPI()
_plain.include_router(streams)
# A compressing middleware that asks nobody: one that waits until it has enough, one that flushes.
app.mount("/held", Compress(_plain, hold=HOLD, always=True))
app.mount("/coded", Compress(_plain, hold=0, always=True))


@app.get("/withheld")
async def withheld() -> Response:
    """The response begins when the first item is there."""
    await asyncio.sleep(0.6)
    return StreamingResponse(_items(5), media_type="text/event-stream")


async def _late() -> AsyncIterator[bytes]:
    await asyncio.sleep(0.6)
    async for item in _items(5):
        yield item


async def late_events() -> Response:
    """The response begins at once, its first item comes later: as it should be."""
    return StreamingResponse(_late(), media_type="text/event-stream")


async def late_text() -> Response:
    """The same as text."""
    return StreamingResponse(_late(), media_type="text/plain")


_late_ones = FastAPI()
for _application in (app, _late_ones):
    _application.add_api_route("/late/events", late_events)
    _application.add_api_route("/late/text", late_text)
app.mount("/gzip", GZipMiddleware(_late_ones))


@app.get("/parting", response_class=EventSourceResponse)
async def parting(fails: bool = False) -> AsyncIterator[ServerSentEvent]:
    """Events with a last word; what is raised before it ends the stream as cleanly."""
    yield ServerSentEvent(raw_data="0")
    if fails:
        await asyncio.sleep(0.1)  # what is raised before the first event has gone out breaks the stream
        raise RuntimeError
    yield ServerSentEvent(raw_data="[DONE]")


@app.get("/cut")
async def cut() -> Response:
    """A stream that breaks."""

    async def items() -> AsyncIterator[bytes]:
        async for item in _items(2):
            yield item
        raise ConnectionError

    return StreamingResponse(items(), media_type="text/event-stream")


@app.get("/large")
async def large() -> Response:
    """More than the buffers on the way take."""

    async def items() -> AsyncIterator[bytes]:
        for _ in range(256):
            yield b"data: " + b"x" * 65536 + b"\n\n"

    return StreamingResponse(items(), media_type="text/event-stream")


@app.get("/packed")
async def packed() -> Response:
    """A large body that is compressed, and takes long to decode."""
    return Response(_compressed(), media_type="text/plain", headers={"Content-Encoding": "gzip"})


@functools.cache
def _compressed() -> bytes:
    return gzip.compress(random.Random(1).randbytes(1 << 12).hex().encode() * 1000, 1)


@app.get("/slow")
async def slow() -> Response:
    """A stream with one long silence."""

    async def items() -> AsyncIterator[bytes]:
        yield b"data: before\n\n"
        await asyncio.sleep(1.2)
        yield b"data: after\n\n"

    return StreamingResponse(items(), media_type="text/event-stream")


async def _items(count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        if number:
            await asyncio.sleep(0.02)
        yield b"data: %d\n\n" % number
