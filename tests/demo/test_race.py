"""The demo's two clients against scripted servers: what they send, and that each read is shown when it comes."""

import asyncio
import io
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.peers import Peer, ScriptedUpstream, chunk, soon
from unbuffer.demo.race import ChatText, Lane, Question, race
from unbuffer.demo.screen import Screen

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


class Out(io.StringIO):
    """A standard output whose lines can be awaited."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: asyncio.Queue[str] = asyncio.Queue()

    def write(self, text: str) -> int:
        if text.strip():
            self._lines.put_nowait(text)
        return super().write(text)

    async def line_with(self, text: str) -> str:
        while text not in (line := await soon(self._lines.get())):
            pass
        return line


class Race:
    """A running race between two scripted servers."""

    def __init__(self, servers: tuple[ScriptedUpstream, ScriptedUpstream]) -> None:
        self._servers = servers
        self.out = Out()

    async def start(self, question: Question) -> tuple["asyncio.Task[None]", Peer, Peer]:
        lanes = [Lane(f"lane {n}", f"http://127.0.0.1:{server.port}") for n, server in enumerate(self._servers)]
        running = asyncio.create_task(race(question, (lanes[0], lanes[1]), Screen(self.out, 100, False)))
        return running, await self._servers[0].accept(), await self._servers[1].accept()


@pytest_asyncio.fixture
async def two() -> AsyncIterator[Race]:
    servers = (ScriptedUpstream(), ScriptedUpstream())
    for server in servers:
        await server.start()
    yield Race(servers)
    for server in servers:
        await server.stop()


async def test_each_read_is_shown_before_the_next_is_sent(two: Race) -> None:
    running, held, prompt = await two.start(Question("/text"))
    for peer in (held, prompt):
        await peer.head()
        await peer.send(HEAD)
    for token in (b"one", b"two", b"three"):
        await prompt.send(chunk(token))
        await two.out.line_with(token.decode())
    await held.send(chunk(b"everything") + END)
    await two.out.line_with("everything")
    await prompt.send(END)
    await soon(running)

    first, second = two.out.getvalue().splitlines()[-2:]
    assert first.startswith("lane 0  first token after ")
    assert first.endswith(" s, everything in 1 read")
    assert second.startswith("lane 1  first token after ")
    assert second.endswith(" s, 3 reads")


async def test_both_lanes_ask_the_same_as_a_browser_would(two: Race) -> None:
    question = Question("/gzip/v1/chat/completions", {"stream": True})
    running, *peers = await two.start(question)
    for peer in peers:
        head = (await peer.head()).lower()
        assert head.startswith(b"post /gzip/v1/chat/completions http/1.1\r\n")
        assert b"\r\naccept-encoding: gzip\r\n" in head
        assert json.loads(await peer.read(len(b'{"stream": true}'))) == {"stream": True}
        await peer.send(HEAD + END)
    await soon(running)

    assert two.out.getvalue().count("no text came") == 2


async def test_a_broken_stream_ends_the_race_with_an_error(two: Race) -> None:
    running, broken, other = await two.start(Question("/text"))
    await broken.head()
    await broken.send(HEAD + chunk(b"one"))
    await two.out.line_with("one")
    broken.reset()

    with pytest.raises(aiohttp.ClientError):
        await soon(running)
    await other.ended()


async def test_an_error_status_ends_the_race_with_an_error(two: Race) -> None:
    running, refused, other = await two.start(Question("/text"))
    await refused.head()
    await refused.send(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")

    with pytest.raises(aiohttp.ClientResponseError, match="503"):
        await soon(running)
    await other.ended()


@pytest.mark.parametrize("size", range(1, 40))
def test_chat_text_is_the_same_wherever_reads_cut_the_events(size: int) -> None:
    deltas: list[dict[str, str]] = [
        {"role": "assistant", "content": ""},
        {"content": "one"},
        {"content": " \u00e9"},
        {},
    ]
    events = [json.dumps({"choices": [{"delta": delta}]}, ensure_ascii=False) for delta in deltas]
    stream = "".join(f"data: {event}\n\n" for event in [*events, "[DONE]"]).encode()

    text_of = ChatText()

    assert "".join(text_of(stream[at : at + size]) for at in range(0, len(stream), size)) == "one \u00e9"
