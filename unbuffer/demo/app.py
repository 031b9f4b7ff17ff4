"""The classic streaming mistakes, each under its own path, with a comment that says what to write instead.

Texts are the same on every call, and `delay` sets the seconds before each token. State: none.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from pydantic import BaseModel
from sse_starlette import EventSourceResponse

from unbuffer.demo import pages
from unbuffer.demo.compression import Compress

# Shorter than 1,024 bytes, which is what Chromium waits for before it shows text/plain without nosniff.
TEXT = (
    "A model writes one word after another, and each word is worth reading at once. "
    "Whoever sees this text appear in one piece has a buffer on the way."
)

# About what zlib keeps of plain text before it gives any output without being flushed.
HOLD = 32768

Delay = Annotated[float, Query(ge=0, le=60, allow_inf_nan=False, description="seconds before each token")]
Prompt = Annotated[str, Query(max_length=200)]

streams = APIRouter()


def tokens(text: str) -> list[str]:
    """The words of `text`, each with the space after it: joined, they are the text again."""
    head, *rest = text.split(" ")
    return [head, *(f" {word}" for word in rest)]


async def _paced(text: str, delay: float) -> AsyncIterator[str]:
    for token in tokens(text):
        await asyncio.sleep(delay)
        yield token


# Wrong: a synchronous generator occupies a thread for as long as its stream lasts; Starlette has 40, and stream 41
# waits. Chromium shows text/plain only after 1,024 bytes, unless X-Content-Type-Options: nosniff is set. A prompt in
# the query is kept by access logs and is cut off by limits on the request target.
# Write instead: an async generator that awaits, media_type="text/event-stream" (or nosniff), the prompt in a JSON body.
@streams.get("/text")
@streams.post("/text")
def text(prompt: Prompt = "Why stream?", delay: Delay = 0.1) -> Response:
    """The prompt and the text as text/plain, word by word."""

    def words() -> Iterator[str]:
        for token in tokens(f"{prompt} {TEXT}"):
            time.sleep(delay)
            yield token

    return StreamingResponse(words(), media_type="text/plain")


# Wrong: without a media type the response has no Content-Type, so a browser guesses from the first bytes, and waits
# for enough of them to guess.
# Write instead: media_type="text/event-stream", or "application/x-ndjson" for one JSON text per line.
@streams.get("/async")
async def untyped(delay: Delay = 0.1) -> Response:
    """The text from an asynchronous generator, without a media type."""
    return StreamingResponse(_paced(TEXT, delay))


# Nothing is wrong here: the media type, Cache-Control, X-Accel-Buffering and a heartbeat are sse-starlette's work.
@streams.get("/sse")
async def events(delay: Delay = 0.1) -> Response:
    """The text as server-sent events, one for each token."""
    return EventSourceResponse({"data": token} async for token in _paced(TEXT, delay))


class ChatRequest(BaseModel):
    """What is used of a chat completion request; other fields are accepted and make no difference."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool = False


# Wrong: nothing tells a proxy in front to pass the events on at once; a plain nginx holds them to the end.
# Write instead: headers={"X-Accel-Buffering": "no", "Cache-Control": "no-cache"} on the StreamingResponse.
@streams.post("/v1/chat/completions")
async def chat(request: ChatRequest, delay: Delay = 0.1) -> Response:
    """A chat completion, whole or as a stream of chat.completion.chunk that ends with [DONE]."""
    created = int(time.time())
    if request.stream:
        return StreamingResponse(_chat_events(request.model, created, delay), media_type="text/event-stream")
    await asyncio.sleep(delay * len(tokens(TEXT)))
    message = {"role": "assistant", "content": TEXT}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return JSONResponse(
        {
            "id": "chatcmpl-demo",
            "object": "chat.completion",
            "created": created,
            "model": request.model,
            "choices": [choice],
        }
    )


async def _chat_events(model: str, created: int, delay: float) -> AsyncIterator[str]:
    yield _chat_event(model, created, {"role": "assistant", "content": ""}, None)
    async for token in _paced(TEXT, delay):
        yield _chat_event(model, created, {"content": token}, None)
    yield _chat_event(model, created, {}, "stop")
    yield "data: [DONE]\n\n"


def _chat_event(model: str, created: int, delta: dict[str, str], finish_reason: str | None) -> str:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    chunk = {
        "id": "chatcmpl-demo",
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": [choice],
    }
    return f"data: {json.dumps(chunk, separators=(',', ':'))}\n\n"


app = FastAPI(title="unbuffer demo", docs_url=None, redoc_url=None, openapi_url=None)
app.include_router(streams)

_compressed = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
_compressed.include_router(streams)

# Wrong: this middleware holds its output until it has enough to be worth sending, so a client that accepts gzip, and
# every browser does, gets a short stream in one lump.
# Write instead: a middleware that flushes after each chunk, or none on streams.
app.mount("/gzip", Compress(_compressed, hold=HOLD, always=False))

# Wrong: the client is not asked whether it can read gzip.
# Write instead: always=False. It flushes after each chunk: that part is right.
app.mount("/always-gzip", Compress(_compressed, hold=0, always=True))


# Wrong: time.sleep stands for any call that blocks (requests, a database driver, a model on the CPU). In an async
# generator it stops the event loop: no other request of this process moves until it returns. No proxy can repair it.
# Write instead: await an asynchronous client, or `await asyncio.to_thread(call)`.
@app.get("/blocking")
async def blocking(delay: Delay = 0.1) -> Response:
    """The text as server-sent events from an asynchronous generator that blocks the event loop."""

    async def words() -> AsyncIterator[str]:
        for token in tokens(TEXT):
            time.sleep(delay)  # noqa: ASYNC251 (the mistake on show)
            yield f"data: {token}\n\n"

    return StreamingResponse(words(), media_type="text/event-stream")


# Nothing is wrong here: a proxy in front has to pass the upgrade on, and then bytes both ways.
@app.websocket("/ws")
async def talk(socket: WebSocket, delay: Delay = 0.1) -> None:
    """Answer each text message with its own words, one message for each."""
    await socket.accept()
    try:
        while True:
            async for token in _paced(await socket.receive_text(), delay):
                await socket.send_text(token)
    except WebSocketDisconnect:
        return


# Nothing is wrong here: `await request.body()` would be, because it keeps the whole upload in memory.
@app.post("/upload")
async def upload(request: Request) -> dict[str, int | str]:
    """Read a body of any length as it comes; answer with its size in bytes, its SHA-256 and the number of reads."""
    digest = hashlib.sha256()
    size = reads = 0
    async for chunk in request.stream():
        digest.update(chunk)
        size += len(chunk)
        reads += bool(chunk)
    return {"bytes": size, "sha256": digest.hexdigest(), "reads": reads}


@app.get("/watch", response_class=HTMLResponse)
async def watch() -> str:
    """A page that shows /text with the time of each piece."""
    return pages.WATCH


@app.get("/", response_class=HTMLResponse)
async def index() -> str:
    """Every path in one line."""
    return pages.index()
