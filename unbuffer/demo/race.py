"""Two clients that ask for the same stream at the same time, one direct and one through a proxy.

They read as a browser does: Accept-Encoding names gzip, and each read is shown when it comes.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp

from unbuffer.demo.screen import Arrival, Screen

# Seconds for a whole stream, which takes three: whoever holds it longer than that has lost it.
_LIMIT = 60.0


@dataclass(frozen=True, slots=True)
class Lane:
    """One way to the app. base: the URL that the path is appended to."""

    title: str
    base: str


@dataclass(frozen=True, slots=True)
class Question:
    """The request that both lanes send. body: JSON to POST; None = GET."""

    path: str
    body: dict[str, Any] | None = None


async def race(question: Question, lanes: tuple[Lane, Lane], screen: Screen) -> None:
    """Run both lanes to the end of their streams, live on the screen, then print their verdicts.

    Raises aiohttp.ClientError or TimeoutError when a stream breaks.
    """
    titles = (lanes[0].title, lanes[1].title)
    screen.lanes(titles)
    timeout = aiohttp.ClientTimeout(total=_LIMIT)
    async with aiohttp.ClientSession(timeout=timeout, headers={"Accept-Encoding": "gzip"}) as session:
        runs = [
            asyncio.create_task(_run(session, question, lane.base, partial(screen.arrival, number, lane.title)))
            for number, lane in enumerate(lanes)
        ]
        try:
            arrivals = await asyncio.gather(*runs)
        finally:
            for run in runs:
                run.cancel()
            await asyncio.wait(runs)
    screen.verdicts(titles, arrivals)


async def _run(
    session: aiohttp.ClientSession, question: Question, base: str, show: Callable[[Arrival], None]
) -> list[Arrival]:
    arrivals = []
    started = time.monotonic()
    method = "GET" if question.body is None else "POST"
    async with session.request(method, base + question.path, json=question.body) as response:
        response.raise_for_status()
        text_of = ChatText() if response.content_type == "text/event-stream" else bytes.decode
        async for data in response.content.iter_any():
            if text := text_of(data):
                arrivals.append(Arrival(time.monotonic() - started, text))
                show(arrivals[-1])
    return arrivals


class ChatText:
    """The text in a stream of chat.completion.chunk events, wherever reads cut it."""

    def __init__(self) -> None:
        self._rest = b""

    def __call__(self, data: bytes) -> str:
        *events, self._rest = (self._rest + data).split(b"\n\n")
        return "".join(map(_content, events))


def _content(event: bytes) -> str:
    data = event.removeprefix(b"data: ")
    if data == b"[DONE]":
        return ""
    return str(json.loads(data)["choices"][0]["delta"].get("content", ""))
