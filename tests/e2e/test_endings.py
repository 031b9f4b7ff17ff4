"""A stream that is cut looks cut to every client, and a client that leaves stops the application's work."""

from collections.abc import Callable
from signal import SIGTERM

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

FIRST = "event 0\n"


# -- the application raises in the middle of a stream


@pytest.mark.parametrize("kind", ["sse", "sse-starlette", "text", "synchronous", "compressed"])
def test_a_stream_that_fails_never_ends_cleanly(each_stack: Stack, kind: str) -> None:
    gate = each_stack.gate()
    with local.stream("GET", each_stack.url + gate.path(kind)) as response:
        parts = response.iter_raw()
        assert b"event 0" in next(parts)
        gate.fail()
        with pytest.raises(httpx.RemoteProtocolError):
            list(parts)

    line = each_stack.unbuffer.line(gate.path(kind))
    assert (line["unbuffer.outcome"], line["http.response.status_code"]) == ("upstream_disconnect", 200)


def test_requests_raises_chunked_encoding_error(stack: Stack) -> None:
    gate = stack.gate()
    with requests.Session() as session:
        session.trust_env = False
        with session.get(stack.url + gate.path("text"), stream=True, timeout=PATIENCE) as response:
            parts = response.iter_content(chunk_size=None, decode_unicode=False)
            assert next(parts) == FIRST.encode()
            gate.fail()
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                next(parts)


async def test_aiohttp_raises_client_payload_error(stack: Stack) -> None:
    gate = stack.gate()
    async with aiohttp.ClientSession(stack.url) as session, session.get(gate.path("text")) as response:
        assert await soon(response.content.readline()) == FIRST.encode()
        gate.fail()
        with pytest.raises(aiohttp.ClientPayloadError):
            await soon(response.content.readline())


def test_curl_exits_with_18(stack: Stack) -> None:
    gate = stack.gate()
    with running("curl", "-sS", "-N", "--noproxy", "*", stack.url + gate.path("text")) as curl:
        curl.out.match("^event 0$")
        gate.fail()

        assert curl.exit_code() == 18


def test_curl_with_http10_fails(stack: Stack) -> None:
    """There the end of the connection is the end of the body: only a reset tells that it was cut."""
    gate = stack.gate()
    with running("curl", "-sS", "-N", "-0", "--noproxy", "*", stack.url + gate.path("text")) as curl:
        curl.out.match("^event 0$")
        gate.fail()

        assert curl.exit_code() == 56


def test_openai_raises(stack: Stack) -> None:
    gate = stack.gate()
    with completion(stack.url + gate.path("v1")) as words:
        assert next(words) == "event 0"
        gate.fail()
        with pytest.raises(openai.APIConnectionError):
            next(words)


def test_the_connection_of_a_stream_that_failed_is_not_used_again(stack: Stack) -> None:
    gate = stack.gate()
    with local.client(stack.url) as client:
        with client.stream("GET", gate.path("text")) as response:
            gate.fail()
            with pytest.raises(httpx.RemoteProtocolError):
                response.read()

        assert client.get("/plain/3").text == "xxx"


# -- the client leaves


@pytest.mark.parametrize("kind", ["sse", "sse-starlette", "ndjson", "text", "compressed"])
def test_the_application_stops_when_the_client_leaves(each_stack: Stack, kind: str) -> None:
    gate = each_stack.gate()
    with local.stream("GET", each_stack.url + gate.path(kind)) as response:
        assert next(response.iter_raw())

    assert gate.over() == "cancelled"
    assert each_stack.unbuffer.line(gate.path(kind))["unbuffer.outcome"] == "client_disconnect"


def leave_requests(url: str, gate: Gate) -> None:
    with requests.Session() as session:
        session.trust_env = False
        with session.get(url + gate.path("sse"), stream=True, timeout=PATIENCE) as response:
            assert next(response.iter_lines(chunk_size=1)) == b"data: event 0"


def leave_curl(url: str, gate: Gate) -> None:
    with running("curl", "-sS", "-N", "--noproxy", "*", url + gate.path("sse"), code=-SIGTERM) as curl:
        curl.out.match("^data: event 0$")


def leave_openai(url: str, gate: Gate) -> None:
    with completion(url + gate.path("v1")) as words:
        assert next(words) == "event 0"


@pytest.mark.parametrize("leave", [leave_requests, leave_curl, leave_openai])
def test_every_client_that_leaves_is_noticed(stack: Stack, leave: Callable[[str, Gate], None]) -> None:
    gate = stack.gate()
    leave(stack.url, gate)

    assert gate.over() == "cancelled"


async def test_aiohttp_that_leaves_is_noticed(stack: Stack) -> None:
    gate = stack.gate()
    async with aiohttp.ClientSession(stack.url) as session, session.get(gate.path("sse")) as response:
        assert await soon(response.content.readline()) == b"data: event 0\n"

    assert gate.over() == "cancelled"
