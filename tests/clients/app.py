"""The application of tests/e2e, and beside its streams one of the kind that clients of Gemini and Vertex AI read."""

import json
from collections.abc import AsyncIterator

from fastapi.responses import Response, StreamingResponse

from tests.e2e.app import app, gates


@app.post("/stream/{name}/{model:path}:streamGenerateContent")
async def generate(name: str, model: str, alt: str) -> Response:
    assert alt == "sse"

    async def events() -> AsyncIterator[str]:
        async for number in gates[name].numbers():
            content = {"role": "model", "parts": [{"text": f"event {number}"}]}
            answer = {"candidates": [{"index": 0, "content": content}], "modelVersion": model.rpartition("/")[2]}
            yield f"data: {json.dumps(answer)}\r\n\r\n"

    return StreamingResponse(events(), media_type="text/event-stream")
