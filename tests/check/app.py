"""What `unbuffer check` is tried on: streams of an application's own, good and bad, and a probe without a sidecar."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unbuffer.http.probe import TYPES, Plan, event, heartbeat, plan_of

NAME = "0123abcd"


async def events(plan: Plan, last: int, beats: bool = True) -> AsyncIterator[bytes]:
    """The events of a probe up to this number, and its heartbeats."""
    beat = 0
    for number in range(last):
        pause = plan.pause(number)
        while plan.beat and pause > plan.beat * 1.01:
            await asyncio.sleep(plan.beat)
            pause -= plan.beat
            if beats:
                yield heartbeat(plan, beat, time.time(), NAME)
            beat += 1
        await asyncio.sleep(pause)
        yield event(plan, number, time.time(), NAME)


async def probe(request: Request) -> Response:
    """Like unbuffer's own. `last`: the event after which it ends; `fail`: it breaks there."""
    plan = plan_of(request.url.query.encode())
    last = int(request.query_params.get("last", plan.count))
    stream = events(plan, last, request.query_params.get("beats") != "0")
    return StreamingResponse(stream, media_type=TYPES[plan.kind])


async def collected_probe(request: Request) -> Response:
    """Everything at once, at the end, with a length."""
    plan = plan_of(request.url.query.encode())
    body = b"".join([piece async for piece in events(plan, plan.count)])
    return Response(body, media_type=TYPES[plan.kind])


async def tokens(request: Request) -> Response:
    """A model's answer. count, gap (ms), first (ms before the first token), step (tokens written at once)."""
    get = request.query_params.get
    count, gap, step = int(get("count", "30")), float(get("gap", "30")), int(get("step", "1"))

    async def written() -> AsyncIterator[str]:
        await asyncio.sleep(float(get("first", "50")) / 1000)
        for number in range(0, count, step):
            yield "".join(f'data: {{"token": "word {n}"}}\n\n' for n in range(number, number + step))
            await asyncio.sleep(gap / 1000)

    return StreamingResponse(written(), media_type=get("type", "text/event-stream"))


async def words(request: Request) -> Response:
    """Plain text, a word at a time."""

    async def written() -> AsyncIterator[str]:
        for letter in "ABCDEFGHIJKLMNOP":
            await asyncio.sleep(0.05)
            yield f"word-{letter} "

    return StreamingResponse(written(), media_type="text/plain")


queued_for: list[str] = []


async def queued(request: Request) -> Response:
    """A model's answer, for which the first to ask for something compressed has to wait: all threads were busy."""
    if "gzip" in request.headers["accept-encoding"] and not queued_for:
        queued_for.append(request.url.path)
        await asyncio.sleep(0.7)
    return await tokens(request)


async def withheld(request: Request) -> Response:
    """Waits for its first item before it responds."""
    await asyncio.sleep(0.7)

    async def written() -> AsyncIterator[str]:
        for number in range(12):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.03)

    return StreamingResponse(written(), media_type="text/event-stream")


async def blocking(request: Request) -> Response:
    """An asynchronous generator that blocks the loop."""

    async def written() -> AsyncIterator[str]:
        for number in range(16):
            yield f"data: {number}\n\n"
            time.sleep(0.03)  # noqa: ASYNC251 - that is what it is about

    return StreamingResponse(written(), media_type="text/event-stream")


def synchronous(request: Request) -> Response:
    """A plain generator, which runs in a thread."""

    def written() -> Iterator[str]:
        for number in range(20):
            yield f"data: {number}\n\n"
            time.sleep(0.03)

    return StreamingResponse(written(), media_type="text/event-stream")


async def burst(request: Request) -> Response:
    """All at once at the end, without a length."""

    async def written() -> AsyncIterator[str]:
        await asyncio.sleep(0.8)
        yield "".join(f"data: {number}\n\n" for number in range(30))

    return StreamingResponse(written(), media_type="text/event-stream")


async def unfinished(request: Request) -> Response:
    """Ends cleanly, inside an event."""

    async def written() -> AsyncIterator[str]:
        for number in range(15):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.02)
        yield "data: the last wor"

    return StreamingResponse(written(), media_type="text/event-stream")


async def fails(request: Request) -> Response:
    """Breaks off."""

    async def written() -> AsyncIterator[str]:
        for number in range(15):
            yield f"data: {number}\n\n"
            await asyncio.sleep(0.02)
        raise RuntimeError("the model is gone")

    return StreamingResponse(written(), media_type="text/event-stream")


async def short(request: Request) -> Response:
    """A word, after a while."""

    async def written() -> AsyncIterator[str]:
        await asyncio.sleep(0.6)
        yield "data: yes\n\n"

    return StreamingResponse(written(), media_type="text/event-stream")


async def uncommon(request: Request) -> Response:
    """In a coding that nobody knows."""
    response = await tokens(request)
    response.headers["content-encoding"] = "rot13"
    return response


async def never(request: Request) -> Response:
    """A head and no body."""

    async def written() -> AsyncIterator[str]:
        await asyncio.sleep(3600)
        yield ""

    return StreamingResponse(written(), media_type="text/event-stream")


async def plain(request: Request) -> Response:
    return PlainTextResponse("hello\n")


async def moved(request: Request) -> Response:
    return RedirectResponse(f"/tokens?{request.url.query}", 307)


async def around(request: Request) -> Response:
    """A redirect to itself, to where nobody can go, or to nothing at all."""
    where = {"/around": "/around", "/elsewhere": "ftp://a/"}.get(request.url.path)
    return Response(status_code=302, headers={"location": where} if where else {})


ROUTES = [
    Route("/probe", probe, methods=["GET", "POST"]),
    Route("/_unbuffer/probe", probe, methods=["GET", "POST"]),
    Route("/collected/_unbuffer/probe", collected_probe, methods=["GET", "POST"]),
    Route("/tokens", tokens, methods=["GET", "POST"]),
    Route("/words", words),
    Route("/queued", queued),
    Route("/withheld", withheld),
    Route("/blocking", blocking),
    Route("/synchronous", synchronous),
    Route("/burst", burst),
    Route("/unfinished", unfinished),
    Route("/fails", fails),
    Route("/short", short),
    Route("/uncommon", uncommon),
    Route("/getonly/_unbuffer/probe", probe, methods=["GET"]),
    Route("/never", never),
    Route("/plain", plain),
    Route("/moved", moved),
    *(Route(path, around) for path in ("/around", "/elsewhere", "/nowhere")),
]


class Holding:
    """A middleware that reads the whole response before it sends any of it, where `holds` says so of request and head.

    pieces: how much is sent at a time, bytes; 0 = all at the end. mark: fields that it adds.
    """

    def __init__(
        self,
        app: ASGIApp,
        holds: Callable[[Headers, Headers, Scope], bool] = lambda request, response, scope: True,
        mark: dict[str, str] | None = None,
    ) -> None:
        self.app = app
        self.holds = holds
        self.mark = mark or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        kept: list[Message] = []
        held = False

        async def keep(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.mark)
                held = self.holds(Headers(scope=scope), Headers(scope=message), scope)
            if held:
                kept.append(message)
            else:
                await send(message)

        await self.app(scope, receive, keep)
        if held:
            await send(kept[0])
            body = b"".join(message.get("body", b"") for message in kept[1:])
            await send({"type": "http.response.body", "body": body})


class Late:
    """A middleware that sends what has come whenever it feels like it: neither by size nor by time."""

    PATTERN = (7, 2, 9, 3, 5, 11)

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kept: list[bytes] = []
        turn = 0

        async def some(message: Message) -> None:
            nonlocal turn
            if message["type"] != "http.response.body":
                await send(message)
                return
            kept.append(message.get("body", b""))
            if len(kept) >= self.PATTERN[turn % 6] or not message.get("more_body"):
                turn += 1
                await send({**message, "body": b"".join(kept)})
                kept.clear()

        await self.app(scope, receive, some)


def _of(*middleware: Middleware) -> Starlette:
    return Starlette(routes=ROUTES, middleware=middleware)


GOOGLE = {"server": "Google Frontend"}

app = Starlette(
    routes=[
        *ROUTES,
        Mount("/collecting", _of(Middleware(Holding))),
        Mount("/google", _of(Middleware(Holding, mark=GOOGLE))),
        Mount("/gzip", _of(Middleware(GZipMiddleware))),
        Mount("/late", _of(Middleware(Late))),
        Mount("/holds/browsers", _of(Middleware(Holding, lambda request, *_: "gzip" in request["accept-encoding"]))),
        Mount("/holds/plain", _of(Middleware(Holding, lambda _, response, __: "plain" in response["content-type"]))),
        Mount("/holds/post", _of(Middleware(Holding, lambda *all: all[2]["method"] == "POST"))),
        Mount("/holds/http2", _of(Middleware(Holding, lambda *all: all[2]["http_version"] == "2"))),
    ]
)
