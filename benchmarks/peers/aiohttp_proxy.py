# What one would write with aiohttp: server and client in one process, chunks passed on as they are read.
import logging
import sys
from collections.abc import AsyncIterator

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host"}
UPSTREAM = web.AppKey("upstream", ClientSession)


async def upstream(app: web.Application) -> AsyncIterator[None]:
    async with ClientSession(
        "http://127.0.0.1:{upstream}",
        timeout=ClientTimeout(total=None),
        connector=TCPConnector(limit=0),
        auto_decompress=False,
    ) as app[UPSTREAM]:
        yield


async def relay(request: web.Request) -> web.StreamResponse:
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
    body = request.content if request.body_exists else None
    async with request.app[UPSTREAM].request(request.method, request.raw_path, headers=headers, data=body) as answer:
        kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP]
        response = web.StreamResponse(status=answer.status, headers=kept)
        response.headers["X-Accel-Buffering"] = "no"
        response.headers["X-Content-Type-Options"] = "nosniff"
        await response.prepare(request)
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
    return response


logging.basicConfig(stream=sys.stdout, level="{access_log}", format="%(message)s")
app = web.Application()
app.cleanup_ctx.append(upstream)
app.router.add_route("*", "/{path:.*}", relay)
web.run_app(app, host="127.0.0.1", port=int("{listen}"), print=None)
