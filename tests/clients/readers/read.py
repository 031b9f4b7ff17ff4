"""Python's readers of event-streams: `read.py NAME` reads each URL of standard input and prints what was given.

As JSON: a list has the events in their order, each as the library gives it; a text says how reading failed.
"""

# mypy: ignore-errors
# What it imports is where `make apps` installs it, not where mypy looks.

import asyncio
import json
import logging
import sys
import warnings
from collections.abc import Callable
from typing import Any

import httpx

LAST = "word 2"
"""What the last event contains: those who would reconnect stop here."""

MESSAGES = [{"role": "user", "content": "count"}]


def openai(url: str) -> list[Any]:
    import openai

    with openai.OpenAI(api_key="none", base_url=url, max_retries=0) as client:
        chunks = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        return [chunk.choices[0].delta.content for chunk in chunks]


def groq(url: str) -> list[Any]:
    import groq

    with groq.Groq(api_key="none", base_url=url, max_retries=0) as client:
        chunks = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        return [chunk.choices[0].delta.content for chunk in chunks]


def huggingface_hub(url: str) -> list[Any]:
    from huggingface_hub import InferenceClient

    with InferenceClient(base_url=url) as client:
        chunks = client.chat_completion(MESSAGES, stream=True)
        return [chunk.choices[0].delta.content for chunk in chunks]


def anthropic(url: str) -> list[Any]:
    import anthropic

    with anthropic.Anthropic(api_key="none", base_url=url, max_retries=0) as client:
        events = client.messages.create(model="m", max_tokens=9, messages=MESSAGES, stream=True)
        return [event.delta.text for event in events]


def genai(url: str) -> list[Any]:
    from google import genai

    with genai.Client(api_key="none", http_options={"base_url": url}) as client:
        return [answer.text for answer in client.models.generate_content_stream(model="m", contents="count")]


def genai_async(url: str) -> list[Any]:
    from google import genai

    async def read() -> list[Any]:
        async with genai.Client(api_key="none", http_options={"base_url": url}).aio as client:
            answers = await client.models.generate_content_stream(model="m", contents="count")
            return [answer.text async for answer in answers]

    return asyncio.run(read())


def litellm_gemini(url: str) -> list[Any]:
    return _litellm("gemini/m", f"{url}/models/m")


def litellm_openai(url: str) -> list[Any]:
    return _litellm("openai/m", url)


def litellm_anthropic(url: str) -> list[Any]:
    return _litellm("anthropic/m", url)


def _litellm(model: str, url: str) -> list[Any]:
    import litellm

    chunks = litellm.completion(model=model, messages=MESSAGES, api_base=url, api_key="none", stream=True)
    return [word for chunk in chunks if (word := chunk.choices[0].delta.content)]


def httpx_sse(url: str) -> list[Any]:
    from httpx_sse import connect_sse

    with httpx.Client() as client, connect_sse(client, "GET", url) as source:
        return [(event.event, event.data, event.id) for event in source.iter_sse()]


def langgraph_sdk(url: str) -> list[Any]:
    from langgraph_sdk import get_sync_client

    with get_sync_client(url=url) as client:
        return [(part.event, part.data) for part in client.runs.stream(None, "a", input={})]


def sseclient_py(url: str) -> list[Any]:
    from sseclient import SSEClient

    with httpx.Client() as client, client.stream("GET", url) as response:
        return [(event.event, event.data, event.id) for event in SSEClient(response.iter_bytes()).events()]


def requests_sse(url: str) -> list[Any]:
    from requests_sse import EventSource

    given: list[Any] = []
    with EventSource(url, max_connect_retry=0) as source:
        for event in source:
            given.append((event.type, event.data, event.last_event_id))
            if LAST in event.data:
                break
    return given


def launchdarkly_eventsource(url: str) -> list[Any]:
    from ld_eventsource import SSEClient

    given: list[Any] = []
    client = SSEClient(url)
    for event in client.events:
        given.append((event.event, event.data, event.last_event_id))
        if LAST in event.data:
            break
    client.close()
    return given


def aiohttp_sse_client(url: str) -> list[Any]:
    from aiohttp_sse_client.client import EventSource

    async def read() -> list[Any]:
        given: list[Any] = []
        async with EventSource(url) as source:
            async for event in source:
                given.append((event.type, event.data, event.last_event_id))
                if LAST in event.data:
                    break
        return given

    return asyncio.run(read())


def aiohttp_lines(url: str) -> list[Any]:
    """No library: the reader that many write by hand."""
    import aiohttp

    async def read() -> list[Any]:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            lines = [line.decode().strip() async for line in response.content]
        return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]

    return asyncio.run(read())


def main() -> None:
    warnings.simplefilter("ignore")
    logging.disable()
    read: Callable[[str], list[Any]] = globals()[sys.argv[1]]
    for url in sys.stdin.read().split():
        try:
            given: Any = read(url)
        except Exception as error:
            given = f"{type(error).__name__}: {error}"[:200]
        print(json.dumps(given))


main()
