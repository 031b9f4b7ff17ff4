"""google-genai, its asynchronous client: the words of a model of Vertex AI."""

import asyncio
import sys

from google.genai import Client
from google.genai.types import HttpOptions
from google.oauth2.credentials import Credentials


async def main() -> None:
    options = HttpOptions(base_url=sys.argv[1])
    where = {"project": "p", "location": "l", "credentials": Credentials("none")}
    async with Client(vertexai=True, **where, http_options=options).aio as client:
        async for answer in await client.models.generate_content_stream(model="m", contents="count"):
            print(answer.text)


asyncio.run(main())
