"""google-genai, its asynchronous client: the words of a model of Vertex AI at each URL."""

import asyncio
import sys

from google.genai import Client
from google.genai.types import HttpOptions
from google.oauth2.credentials import Credentials


async def main() -> None:
    where = {"project": "p", "location": "l", "credentials": Credentials("none")}
    for url in sys.argv[1:]:
        async with Client(vertexai=True, **where, http_options=HttpOptions(base_url=url)).aio as client:
            async for answer in await client.models.generate_content_stream(model="m", contents="count"):
                print(answer.text)


asyncio.run(main())
