"""The application of tests/e2e, and beside its streams one of the kind that clients of Gemini and Vertex AI read."""

import json
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
