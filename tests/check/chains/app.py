"""The application behind the chains: models' answers, a probe, and the mistakes that an application can make."""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from math import inf

from brotli_asgi import BrotliMiddleware
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.check import app as probes
from tests.check.app import Holding, collected_probe, events
from tests.check.chains.models import TYPES, event, steps
from unbuffer.http.probe import TYPES as PROBE_TYPES
from unbuffer.http.probe import plan_of


def _asked(request: Request) -> tuple[str, str, float, float]:
    """made, kind, first, last: what models.steps takes."""
    get = request.query_params.get
    return get("made", "tokens"), get("kind", "sse"), float(get("first", "0.3")), float(get("last", "2"))


async def _written(request: Request) -> AsyncIterator[bytes]:
    made, kind, first, last = _asked(request)
    number = 0
    for pause, several in steps(made, first, last):
        await asyncio.sleep(pause)
        for _ in range(several):
            yield event(kind, number)
            number += 1


async def model(request: Request) -> Response:
    """A model's answer."""
    return StreamingResponse(_written(request), media_type=TYPES[_asked(request)[1]])


async def awaits_first(request: Request) -> Response:
    """The same, but it responds only when the first item is there."""
    written = _written(request)
    first = await anext(written)

    async def rest() -> AsyncIterator[bytes]:
        yield first
        async for item in written:
            yield item

    return StreamingResponse(rest(), media_type=TYPES[_asked(request)[1]])


async def blocking(request: Request) -> Response:
    """An asynchronous generator that blocks the loop between its items."""
    made, kind, first, last = _asked(request)

    async def written() -> AsyncIterator[bytes]:
        for number, (pause, _) in enumerate(steps(made, first, last)):
            time.sleep(pause)  # noqa: ASYNC251 - that is what it is about
            yield event(kind, number)

    return StreamingResponse(written(), media_type=TYPES[kind])


async def told_to_all(request: Request) -> Response:
    """The same events for whoever listens, as tickers and chat rooms have them."""
    made, kind, first, last = _asked(request)
    if made not in _rooms:
        _rooms[made] = set()
        _telling.append(asyncio.create_task(_tell(made, kind, first, _rooms[made])))
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def written() -> AsyncIterator[bytes]:
        _rooms[made].add(heard)
        try:
            async with asyncio.timeout(last):
                while True:
                    yield await heard.get()
        except TimeoutError:
            return
        finally:
            _rooms[made].discard(heard)

    return StreamingResponse(written(), media_type=TYPES[kind])


_rooms: dict[str, set[asyncio.Queue[bytes]]] = {}
_telling: list[asyncio.Task[None]] = []


async def _tell(made: str, kind: str, first: float, room: set[asyncio.Queue[bytes]]) -> None:
    for number, (pause, _) in enumerate(steps(made, first, inf)):
        await asyncio.sleep(pause)
        for listener in room:
            listener.put_nowait(event(kind, number))


def synchronous(request: Request) -> Response:
    """A plain generator that sleeps, in a thread."""
    made, kind, first, last = _asked(request)

    def written() -> Iterator[bytes]:
        for number, (pause, _) in enumerate(steps(made, first, last)):
            time.sleep(pause)
            yield event(kind, number)

    return StreamingResponse(written(), media_type=TYPES[kind])


async def neighbour(request: Request) -> Response:
    """It blocks the loop for all others."""
    time.sleep(float(request.query_params.get("seconds", "0.7")))  # noqa: ASYNC251
    return PlainTextResponse("done\n")


async def falls_silent(request: Request) -> Response:
    """Some events, a long silence, some more."""

    async def written() -> AsyncIterator[bytes]:
        for number in range(20):
            await asyncio.sleep(0.03)
            yield event("sse", number)
        await asyncio.sleep(8)
        yield event("sse", 20)

    return StreamingResponse(written(), media_type="text/event-stream")


async def breaks(request: Request) -> Response:
    """A probe that raises after some events."""
    plan = plan_of(request.url.query.encode())

    async def written() -> AsyncIterator[bytes]:
        async for piece in events(plan, plan.count * 2 // 3):
            yield piece
        raise RuntimeError("the model is gone")

    return StreamingResponse(written(), media_type=PROBE_TYPES[plan.kind])


class Unflushed:
    """A middleware that compresses for whoever accepts gzip, and never flushes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "gzip" not in Headers(scope=scope).get("accept-encoding", ""):
            await self.app(scope, receive, send)
            return
        packer = zlib.compressobj(wbits=31)

        async def pack(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = MutableHeaders(scope=message)
                fields["content-encoding"] = "gzip"
                del fields["content-length"]
                await send(message)
                return
            packed = packer.compress(message.get("body", b""))
            if not message.get("more_body"):
                packed += packer.flush()
            if packed or not message.get("more_body"):
                await send({**message, "body": packed})

        await self.app(scope, receive, pack)


async def _passes(request: Request, follow: Callable[[Request], Awaitable[Response]]) -> Response:
    return await follow(request)


parting = FastAPI()


@parting.get("/_unbuffer/probe", response_class=EventSourceResponse)
async def _parting(request: Request) -> AsyncIterator[ServerSentEvent]:
    plan = plan_of(request.url.query.encode())
    async for piece in events(plan, plan.count * 2 // 3):
        yield ServerSentEvent(raw_data=piece.decode().removeprefix("data: ").rstrip("\n"))
    await asyncio.sleep(0.1)  # what is raised while the last event is still on its way breaks the stream
    raise RuntimeError("the model is gone")


ROUTES = [
    Route("/model", model, methods=["GET", "POST"]),
    Route("/awaits-first", awaits_first),
    Route("/blocking", blocking),
    Route("/synchronous", synchronous),
    Route("/told-to-all", told_to_all),
    Route("/neighbour", neighbour),
    Route("/falls-silent", falls_silent),
    Route("/plain", probes.plain),
    Route("/_unbuffer/probe", probes.probe, methods=["GET", "POST"]),
    Route("/collected/_unbuffer/probe", collected_probe, methods=["GET", "POST"]),
    Route("/breaks/_unbuffer/probe", breaks, methods=["GET", "POST"]),
]


def _of(*middleware: Middleware) -> Starlette:
    return Starlette(routes=ROUTES, middleware=middleware)


app = Starlette(
    routes=[
        *ROUTES,
        Mount("/collecting", _of(Middleware(Holding))),
        Mount("/unflushed", _of(Middleware(Unflushed))),
        Mount("/gzip", _of(Middleware(GZipMiddleware))),
        Mount("/brotli", _of(Middleware(BrotliMiddleware))),
        Mount("/base", _of(Middleware(BaseHTTPMiddleware, dispatch=_passes))),
        Mount("/parting", parting),
    ]
)
