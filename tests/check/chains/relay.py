"""A hop as one writes it oneself, with Starlette and httpx: `python -m tests.check.chains.relay URL HOST PORT ...`.

It reads blocks of a size, sends what it has when its clock ticks, or is a network that is late now and then.
"""

import argparse
import asyncio
import random
from collections.abc import AsyncIterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

OWN = ("host", "connection", "transfer-encoding", "content-length", "accept-encoding")


def application(upstream: str, read: int, tick: float, jitter: float) -> Starlette:
    """read: bytes of a block, 0 = what is there. tick, jitter: seconds, 0.0 = none."""
    client = httpx.AsyncClient(base_url=upstream, timeout=60.0, trust_env=False)

    async def ticking(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        kept: list[bytes] = []
        over = asyncio.Event()

        async def keep() -> None:
            async for part in parts:
                kept.append(part)
            over.set()

        task = asyncio.create_task(keep())
        while not over.is_set():
            await asyncio.sleep(tick)
            if kept:
                yield b"".join(kept)
                kept.clear()
        yield b"".join(kept)
        await task

    async def late(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for part in parts:
            await asyncio.sleep(random.uniform(0.0, jitter))
            yield part

    async def relay(request: Request) -> StreamingResponse:
        fields = [(name, value) for name, value in request.headers.items() if name not in OWN]
        asked = client.build_request(
            request.method,
            httpx.URL(path=request.url.path, query=request.url.query.encode()),
            headers=[*fields, ("accept-encoding", "identity")],
            content=await request.body(),
        )
        answer = await client.send(asked, stream=True)
        parts = answer.aiter_raw(read or None)
        body = ticking(parts) if tick else late(parts) if jitter else parts
        kept = {name: value for name, value in answer.headers.items() if name not in (*OWN, "server", "date")}
        return StreamingResponse(body, answer.status_code, kept)

    return Starlette(routes=[Route("/{path:path}", relay, methods=["GET", "POST"])])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("upstream")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--read", type=int, default=0)
    parser.add_argument("--tick", type=float, default=0.0)
    parser.add_argument("--jitter", type=float, default=0.0)
    options = parser.parse_args()
    app = application(options.upstream, options.read, options.tick, options.jitter)
    uvicorn.run(app, host=options.host, port=options.port, log_level="error", timeout_graceful_shutdown=1)


if __name__ == "__main__":
    main()
