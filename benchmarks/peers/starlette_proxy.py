# What one would write with FastAPI's parts: Starlette on uvicorn, httpx towards the upstream.
import contextlib
from collections.abc import AsyncIterator

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host"}


@contextlib.asynccontextmanager
async def upstream(app: Starlette) -> AsyncIterator[None]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(
        base_url="http://127.0.0.1:{upstream}", timeout=None, limits=limits
    ) as app.state.client:
        yield


async def relay(request: Request) -> StreamingResponse:
    client: httpx.AsyncClient = request.app.state.client
    headers = [(name, value) for name, value in request.headers.items() if name not in HOP_BY_HOP]
    target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    body = request.stream() if request.method not in ("GET", "HEAD") else None
    answer = await client.send(client.build_request(request.method, target, headers=headers, content=body), stream=True)
    kept = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
    kept |= {"x-accel-buffering": "no", "x-content-type-options": "nosniff"}
    return StreamingResponse(answer.aiter_raw(), answer.status_code, kept, background=BackgroundTask(answer.aclose))


app = Starlette(routes=[Route("/{path:path}", relay, methods=["GET", "POST", "PUT", "DELETE"])], lifespan=upstream)
uvicorn.run(app, host="127.0.0.1", port=int("{listen}"), log_level="info", access_log=bool(int("{access_log}")))
