"""The clients that people use, each in lock-step with the application: an event is read before the next one exists."""

from collections.abc import AsyncIterator, Callable, Iterator

import aiohttp
import httpx
import openai
import pytest
import requests

from tests import local
from tests.e2e.completions import completion
from tests.e2e.processes import running
from tests.e2e.stack import Gate, Stack
from tests.peers import PATIENCE, soon

pytestmark = pytest.mark.process

EVENTS = 5


def in_lockstep(gate: Gate, events: Iterator[str]) -> None:
    for number in range(EVENTS):
        assert next(events) == f"event {number}"
        gate.next() if number < EVENTS - 1 else gate.end()
    assert next(events, None) is None


async def in_async_lockstep(gate: Gate, events: AsyncIterator[str]) -> None:
    for number in range(EVENTS):
        assert await soon(anext(events)) == f"event {number}"
        gate.next() if number < EVENTS - 1 else gate.end()
    with pytest.raises(StopAsyncIteration):
        await soon(anext(events))


# -- requests


def requests_lines(response: requests.Response) -> Iterator[str]:
    # With its own default of 512 bytes it would wait for so many.
    yield from response.iter_lines(chunk_size=1, decode_unicode=True)


def requests_content(response: requests.Response) -> Iterator[str]:
    for part in response.iter_content(chunk_size=None):
        yield part.decode().removesuffix("\n")


@pytest.mark.parametrize("read", [requests_lines, requests_content])
def test_requests(stack: Stack, read: Callable[[requests.Response], Iterator[str]]) -> None:
    gate = stack.gate()
    with requests.Session() as session:
        session.trust_env = False
        with session.get(stack.url + gate.path("text"), stream=True, timeout=PATIENCE) as response:
            in_lockstep(gate, read(response))


# -- httpx


def httpx_text(response: httpx.Response) -> Iterator[str]:
    return (part.removesuffix("\n") for part in response.iter_text())


@pytest.mark.parametrize("read", [httpx_text, httpx.Response.iter_lines])
def test_httpx(stack: Stack, read: Callable[[httpx.Response], Iterator[str]]) -> None:
    gate = stack.gate()
    with local.stream("GET", stack.url + gate.path("text")) as response:
        in_lockstep(gate, read(response))


def httpx_async_text(response: httpx.Response) -> AsyncIterator[str]:
    return (part.removesuffix("\n") async for part in response.aiter_text())


@pytest.mark.parametrize("read", [httpx_async_text, httpx.Response.aiter_lines])
async def test_httpx_async(stack: Stack, read: Callable[[httpx.Response], AsyncIterator[str]]) -> None:
    gate = stack.gate()
    async with (
        httpx.AsyncClient(trust_env=False, timeout=PATIENCE) as client,
        client.stream("GET", stack.url + gate.path("text")) as response,
    ):
        await in_async_lockstep(gate, read(response))


# -- aiohttp


async def aiohttp_lines(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    async for line in response.content:
        yield line.decode().removesuffix("\n")


async def aiohttp_any(response: aiohttp.ClientResponse) -> AsyncIterator[str]:
    async for part in response.content.iter_any():
        yield part.decode().removesuffix("\n")


@pytest.mark.parametrize("read", [aiohttp_lines, aiohttp_any])
async def test_aiohttp(stack: Stack, read: Callable[[aiohttp.ClientResponse], AsyncIterator[str]]) -> None:
    gate = stack.gate()
    async with aiohttp.ClientSession(stack.url) as session, session.get(gate.path("text")) as response:
        await in_async_lockstep(gate, read(response))


# -- curl


def test_curl(stack: Stack) -> None:
    gate = stack.gate()
    with running("curl", "-sS", "-N", "--noproxy", "*", stack.url + gate.path("text")) as curl:
        for number in range(EVENTS):
            curl.out.match(f"^event {number}$")
            gate.next() if number < EVENTS - 1 else gate.end()

        assert curl.exit_code() == 0
        assert curl.out.all() == [f"event {number}" for number in range(EVENTS)]


# -- openai


def test_openai(stack: Stack) -> None:
    gate = stack.gate()
    with completion(stack.url + gate.path("v1")) as words:
        in_lockstep(gate, words)


async def test_openai_async(stack: Stack) -> None:
    gate = stack.gate()
    async with (
        openai.AsyncOpenAI(
            api_key="none",
            base_url=stack.url + gate.path("v1"),
            max_retries=0,
            http_client=openai.DefaultAsyncHttpxClient(trust_env=False, timeout=PATIENCE),
        ) as client,
        await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "count"}], stream=True
        ) as completion,
    ):
        await in_async_lockstep(gate, (chunk.choices[0].delta.content or "" async for chunk in completion))
