"""The application of tests/e2e, and beside its streams one of the kind that clients of Gemini and Vertex AI read."""

import json
from collections import Counter
from collections.abc import AsyncIterator

from fastapi import Request
from fastapi.responses import Response, StreamingResponse

from tests.e2e.app import app, gates


@app.post("/stream/{name}/{model:path}:streamGenerateContent")
async def generate(name: str, model: str, alt: str, request: Request) -> Response:
    assert alt == "sse"
    # Caddy, with HTTP/1.1 to the client, may cut an answer that begins before it has passed on the whole request.
    await request.json()

    async def events() -> AsyncIterator[str]:
        async for number in gates[name].numbers():
            content = {"role": "model", "parts": [{"text": f"event {number}"}]}
            answer = {"candidates": [{"index": 0, "content": content}], "modelVersion": model.rpartition("/")[2]}
            yield f"data: {json.dumps(answer)}\r\n\r\n"

    return StreamingResponse(events(), media_type="text/event-stream")


_runs: Counter[str] = Counter()


@app.api_route("/thinking/{name}", methods=["GET", "POST"])
async def think(name: str) -> Response:
    """Nothing comes before a command; the only event says the how many-th request of this name it answers."""
    _runs[name] += 1
    run = _runs[name]

    async def events() -> AsyncIterator[str]:
        await gates[name].pass_through(0)
        yield f"data: run {run}\n\n"
        await gates[name].pass_through(1)

    return StreamingResponse(events(), media_type="text/event-stream")
