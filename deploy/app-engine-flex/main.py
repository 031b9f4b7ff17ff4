"""An application in the place of yours: it streams."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()


@app.get("/")
async def count() -> StreamingResponse:
    async def numbers() -> AsyncIterator[str]:
        for number in range(10):
            yield f"{number}\n"
            await asyncio.sleep(0.5)

    return StreamingResponse(numbers(), media_type="text/plain")
