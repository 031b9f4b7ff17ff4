"""The application behind unbuffer: its streams stand still at a gate until the test opens it.

One process with one worker: the gates live in its memory. The test talks to the gates directly, past unbuffer.
"""

import asyncio
import hashlib
import json
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import anyio.from_thread
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from fastapi.sse import EventSourceResponse as EventsOfFastAPI
from fastapi.sse import ServerSentEvent
from sse_starlette import EventSourceResponse


class Broken(Exception):
    """What a stream raises when the test tells it to fail."""


class Gate:
    """Where one stream waits, and what is known of it from outside."""

    def __init__(self) -> None:
        self._commands: asyncio.Queue[str] = asyncio.Queue()
        self._changed = asyncio.Condition()
        self._taken = 0
        self._ending = ""

    def command(self, command: str) -> None:
        """Let the stream go on: with `next` to its next event, with `end` to its end, with `fail` to an exception."""
        self._commands.put_nowait(command)

    async def took(self, count: int) -> None:
        """Note how much of the stream there has been."""
        async with self._changed:
            self._taken = count
            self._changed.notify_all()

    async def pass_through(self, taken: int) -> bool:
        """Wait for a command after `taken` events; whether another event is wanted. Raises Broken."""
        await self.took(taken)
        command = await self._commands.get()
        if command == "fail":
            raise Broken
        return command == "next"

    async def numbers(self) -> AsyncIterator[int]:
        """0, and one number more for each `next`."""
        ending = "cancelled"
        number = 0
        try:
            yield number
            while await self.pass_through(number + 1):
                number += 1
                yield number
            ending = "ended"
        except Broken:
            ending = "failed"
            raise
        finally:
            self.ended(ending)

    def numbers_in_a_thread(self) -> Iterator[int]:
        """The same from a synchronous generator, which Starlette runs in a thread."""
        number = 0
        yield number
        while anyio.from_thread.run(self.pass_through, number + 1):
            number += 1
            yield number

    def ended(self, ending: str) -> None:
        """Note how the stream ended."""
        self._ending = ending
        # A cancelled generator may not wait for the lock that notify_all wants; the loop's next turn does it.
        self._notifier = asyncio.get_running_loop().create_task(self._notify())

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def taken(self, count: int) -> None:
        """Wait until the server has taken so many events out of the stream."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._taken >= count)

    async def over(self) -> str:
        """How the stream ended, as soon as it has."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._ending)
        return self._ending


gates: defaultdict[str, Gate] = defaultdict(Gate)
app = FastAPI()


@app.post("/gate/{name}/{command}")
async def command(name: str, command: Literal["next", "end", "fail"]) -> None:
    gates[name].command(command)


@app.get("/gate/{name}/taken/{count}")
async def taken(name: str, count: int) -> None:
    await gates[name].taken(count)


@app.get("/gate/{name}/over")
async def over(name: str) -> str:
    return await gates[name].over()


async def _written(gate: Gate, write: Callable[[int], str]) -> AsyncIterator[str]:
    async for number in gate.numbers():
        yield write(number)


def sse(gate: Gate) -> Response:
    return StreamingResponse(_written(gate, "data: event {}\n\n".format), media_type="text/event-stream")


def sse_starlette(gate: Gate) -> Response:
    return EventSourceResponse({"data": f"event {number}"} async for number in gate.numbers())


def ndjson(gate: Gate) -> Response:
    return StreamingResponse(_written(gate, '{{"event": {}}}\n'.format), media_type="application/x-ndjson")


def text(gate: Gate) -> Response:
    return StreamingResponse(_written(gate, "event {}\n".format), media_type="text/plain")


def synchronous(gate: Gate) -> Response:
    numbers = gate.numbers_in_a_thread()
    return StreamingResponse((f"event {number}\n" for number in numbers), media_type="text/plain")


def compressed(gate: Gate) -> Response:
    """Gzip that nobody asked for, with every event flushed."""

    async def coded() -> AsyncIterator[bytes]:
        gzip = zlib.compressobj(wbits=31)
        async for number in gate.numbers():
            yield gzip.compress(b"event %d\n" % number) + gzip.flush(zlib.Z_SYNC_FLUSH)
        yield gzip.flush()

    return StreamingResponse(coded(), media_type="text/plain", headers={"Content-Encoding": "gzip"})


KINDS: dict[str, Callable[[Gate], Response]] = {
    "sse": sse,
    "sse-starlette": sse_starlette,
    "ndjson": ndjson,
    "text": text,
    "synchronous": synchronous,
    "compressed": compressed,
}
"""What a stream may be, by its name in the path."""


@app.get("/stream/{name}/identified")
async def identified(name: str, request: Request) -> Response:
    """Events with ids, each with the id that the client says it had last. A client that is cut comes back at once."""
    last = request.headers.get("last-event-id", "none")

    async def events() -> AsyncIterator[str]:
        yield "retry: 1\n\n"
        async for number in gates[name].numbers():
            yield f"id: {number}\ndata: event {number}, {last} before\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@app.get("/stream/{name}/fastapi", response_class=EventsOfFastAPI)
async def fastapi(name: str) -> AsyncIterator[ServerSentEvent]:
    """Events of FastAPI's own, and `[DONE]` after the last one, if the test lets them end well."""
    async for number in gates[name].numbers():
        yield ServerSentEvent(raw_data=f"event {number}")
    yield ServerSentEvent(raw_data="[DONE]")


@app.get("/stream/{name}/{kind}")
async def stream(name: str, kind: str) -> Response:
    return KINDS[kind](gates[name])


@app.post("/stream/{name}/{kind}/chat/completions")
async def chat(name: str, kind: Literal["v1", "wordless"], request: Request) -> Response:
    """Chat completion chunks of an OpenAI-compatible server; the client library insists on their shape.

    Those that are `wordless` end as they would if the application had given up: cleanly, without a last word.
    """
    model = (await request.json())["model"]

    def written(number: int) -> str:
        delta = {"index": 0, "delta": {"content": f"event {number}"}, "finish_reason": None}
        completion = {"id": name, "object": "chat.completion.chunk", "created": 0, "model": model, "choices": [delta]}
        return f"data: {json.dumps(completion)}\n\n"

    async def events() -> AsyncIterator[str]:
        async for event in _written(gates[name], written):
            yield event
        if kind == "v1":
            yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


@app.get("/plain/{size}")
async def plain(size: int) -> Response:
    return PlainTextResponse("x" * size)


@app.post("/upload")
@app.put("/upload")
async def upload(request: Request) -> Response:
    """Read the body as it comes; answer with what it was."""
    digest, size = hashlib.sha256(), 0
    async for part in request.stream():
        digest.update(part)
        size += len(part)
    seen = {"sha256": digest.hexdigest(), "size": size}
    return JSONResponse(seen | {key: request.headers.get(key) for key in ("content-length", "content-type")})


@app.put("/stream/{name}/pieces")
async def pieces(name: str, request: Request) -> int:
    """Read the body as it comes, and let the gate know after each piece how many bytes there have been."""
    size = 0
    async for part in request.stream():
        size += len(part)
        await gates[name].took(size)
    return size


@app.get("/forwarded")
async def forwarded(request: Request) -> dict[str, str]:
    """What the proxies in front tell of the client."""
    return {key: value for key, value in request.headers.items() if key.startswith("x-forwarded-")}


@app.put("/refuse")
async def refuse() -> Response:
    """Answer without a look at the body."""
    return PlainTextResponse("too large for me\n", status_code=413)


@app.websocket("/ws/{name}")
async def talk(socket: WebSocket, name: str) -> None:
    """Send every message back; close when told to by `close CODE REASON`; note how the client closed."""
    await socket.accept()
    message: dict[str, Any]
    while (message := dict(await socket.receive()))["type"] != "websocket.disconnect":
        words = message.get("text")
        if words is None:
            await socket.send_bytes(message["bytes"])
        elif words.startswith("close "):
            _, code, reason = words.split(" ", 2)
            await socket.close(int(code), reason)
            return
        else:
            await socket.send_text(words)
    gates[name].ended(f"closed {message['code']} {message.get('reason')}")
