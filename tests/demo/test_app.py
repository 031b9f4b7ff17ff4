"""The demo's app under uvicorn, in a process of its own: each path makes the mistake that it is there for."""

import asyncio
import gzip
import hashlib
import json
import zlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from websockets.asyncio.client import connect as connect_websocket

from tests.peers import Peer, connect
from unbuffer.demo.app import TEXT, tokens
from unbuffer.demo.pages import PATHS

pytestmark = [pytest.mark.process, pytest.mark.asyncio(loop_scope="module")]

CHAT = "/v1/chat/completions"
QUESTION = {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "Why?"}]}
ANSWER = f"Why stream? {TEXT}"


@pytest.mark.parametrize(("method", "path"), [(m, p) for m, p, _ in PATHS if m != "WS"])
async def test_every_listed_path_answers(app_url: str, method: str, path: str) -> None:
    response = await ask(app_url, method, f"{path}?delay=0")

    assert response.status_code == 200
    assert response.content


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_text_is_plain_text_that_a_browser_may_sniff(app_url: str, method: str) -> None:
    response = await ask(app_url, method, "/text?delay=0&prompt=Well,+why?")

    assert response.text == f"Well, why? {TEXT}"
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert "x-content-type-options" not in response.headers


async def test_async_has_no_media_type(app_url: str) -> None:
    response = await ask(app_url, "GET", "/async?delay=0")

    assert response.text == TEXT
    assert "content-type" not in response.headers


async def test_sse_is_an_event_stream_with_everything_right(app_url: str) -> None:
    response = await ask(app_url, "GET", "/sse?delay=0")

    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    lines = response.text.split("\r\n")
    assert "".join(line.removeprefix("data: ") for line in lines if line.startswith("data: ")) == TEXT


async def test_the_chat_stream_is_made_of_chunks_and_done(app_url: str) -> None:
    response = await ask(app_url, "POST", f"{CHAT}?delay=0")

    *events, done, rest = response.text.split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert (done, rest) == ("data: [DONE]", "")
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(tokens(TEXT)) + 1) + ["stop"]
    assert "x-accel-buffering" not in response.headers


@pytest.mark.parametrize("base", ["", "/gzip", "/always-gzip"])
async def test_the_openai_sdk_reads_a_stream(app_url: str, base: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{app_url}{base}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "Why?"}], stream=True, extra_query={"delay": 0}
        )
        deltas = [chunk.choices[0].delta async for chunk in stream]

    assert deltas[0].role == "assistant"
    assert [delta.content for delta in deltas[1:-1]] == tokens(TEXT)


async def test_the_openai_sdk_reads_a_whole_completion(app_url: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{app_url}/v1", api_key="none", max_retries=0) as client:
        completion = await client.chat.completions.create(
            model="demo", messages=[{"role": "user", "content": "Why?"}], extra_query={"delay": 0}
        )

    assert completion.model == "demo"
    assert completion.choices[0].message.content == TEXT
    assert completion.choices[0].finish_reason == "stop"


async def test_gzip_holds_a_stream_and_lets_it_go_in_one_lump(app_url: str) -> None:
    (lump,) = await chunks_of(app_url, "/gzip/text?delay=0", accept="gzip")

    assert gzip.decompress(lump).decode() == ANSWER


async def test_gzip_leaves_a_client_alone_that_asks_for_identity(app_url: str) -> None:
    chunks = await chunks_of(app_url, "/gzip/text?delay=0", accept="identity")

    assert [chunk.decode() for chunk in chunks] == tokens(ANSWER)


async def test_always_gzip_compresses_unasked_and_flushes_each_token(app_url: str) -> None:
    chunks = await chunks_of(app_url, "/always-gzip/text?delay=0", accept="identity")

    decoder = zlib.decompressobj(wbits=31)
    assert [decoder.decompress(chunk).decode() for chunk in chunks] == [*tokens(ANSWER), ""]


async def test_a_blocking_stream_keeps_all_other_requests_waiting(app_url: str) -> None:
    client = await opened(app_url, "/blocking?delay=0.02")
    await client.until(b"data: ")

    await ask(app_url, "GET", "/")

    # The other answer came: all of the stream has been sent before it.
    async with asyncio.timeout(0):
        await client.reader.readuntil(b"\r\n0\r\n\r\n")
    await client.close()


async def test_a_stream_that_awaits_keeps_nobody_waiting(app_url: str) -> None:
    client = await opened(app_url, "/async?delay=60")
    await client.head()

    assert (await ask(app_url, "GET", "/")).status_code == 200

    await client.close()


async def test_the_websocket_answers_each_message_token_by_token(app_url: str) -> None:
    async with connect_websocket(f"{app_url.replace('http', 'ws', 1)}/ws?delay=0") as socket:
        for question in ("one two three", "four five"):
            await socket.send(question)
            assert [await socket.recv() for _ in tokens(question)] == tokens(question)


async def test_an_upload_is_counted_and_hashed(app_url: str) -> None:
    pieces = [bytes([number]) * 65536 for number in range(32)]

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async with httpx.AsyncClient() as client:
        answer = (await client.post(f"{app_url}/upload", content=body())).json()

    assert answer["bytes"] == 32 * 65536
    assert answer["sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()
    assert answer["reads"] >= 2


async def test_an_http_1_0_client_gets_an_answer_that_ends_with_the_connection(app_url: str) -> None:
    # The form that nginx before 1.29.7 holds back; a chunked answer would pass, and the demo would show nothing.
    client = await opened(app_url, "/text?delay=0", version="1.0")

    assert b"transfer-encoding" not in (await client.head()).lower()
    assert (await client.rest()).decode() == ANSWER
    await client.close()


@pytest.mark.parametrize("delay", ["-1", "61", "nan", "inf", "soon"])
async def test_a_delay_that_makes_no_sense_is_refused(app_url: str, delay: str) -> None:
    assert (await ask(app_url, "GET", f"/text?delay={delay}")).status_code == 422


async def ask(app_url: str, method: str, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=app_url, headers={"Accept-Encoding": "gzip"}) as client:
        return await client.request(method, path, json=QUESTION if CHAT in path else None)


async def chunks_of(app_url: str, path: str, accept: str) -> list[bytes]:
    """The chunks of a response as the server framed them: uvicorn makes one of each body message of the app."""
    client = await opened(app_url, path, accept)
    await client.head()
    chunks = []
    while chunk := await client.chunk():
        chunks.append(chunk)
    await client.close()
    return chunks


async def opened(app_url: str, path: str, accept: str = "identity", version: str = "1.1") -> Peer:
    """A connection on which GET `path` was sent."""
    port = urlsplit(app_url).port
    assert port is not None
    client = await connect(port)
    head = f"GET {path} HTTP/{version}\r\nHost: demo\r\nAccept-Encoding: {accept}\r\n\r\n"
    await client.send(head.encode())
    return client
