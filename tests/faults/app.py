"""The application of the stories: plain ASGI, quick to start, because most stories end it badly.

It prints the path of every request that has reached it; its streams wait for the test before each event.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

gates: defaultdict[str, asyncio.Queue[None]] = defaultdict(asyncio.Queue)


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer by the first word of the path."""
    print(scope["path"], flush=True)
    _, what, name = scope["path"].split("/")
    if what == "stream":
        await stream(name, send)
    elif what == "endless":
        await endless(receive, send)
    elif what == "never":
        while (await receive())["type"] != "http.disconnect":
            pass
    elif what == "next":
        gates[name].put_nowait(None)
        await whole(b"", send)
    else:
        size = 0
        while (message := await receive()).get("more_body"):
            size += len(message["body"])
        await whole(b"%d" % (size + len(message.get("body", b""))), send)


async def whole(body: bytes, send: Send) -> None:
    """An answer of known length."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def stream(name: str, send: Send) -> None:
    """Event 0, and one more event for each `next`."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    number = 0
    while True:
        await send({"type": "http.response.body", "body": b"event %d\n" % number, "more_body": True})
        await gates[name].get()
        number += 1


async def endless(receive: Receive, send: Send) -> None:
    """As many bytes as are taken."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    leaving = asyncio.ensure_future(_left(receive))
    while not leaving.done():
        await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        await asyncio.sleep(0)  # a send that need not wait gives nobody else a turn


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
