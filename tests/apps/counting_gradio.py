"""A chat of Gradio. What one says is the name of a gate; the answer grows as far as that lets it."""

from collections.abc import AsyncIterator

import gradio

from tests.e2e.app import app as gated
from tests.e2e.app import gates


async def answer(message: str, _: list[dict[str, str]]) -> AsyncIterator[str]:
    said = []
    async for number in gates[message].numbers():
        said.append(f"event {number}")
        yield ", ".join(said)


# Analytics would be looked for on the Internet.
chat = gradio.ChatInterface(answer, analytics_enabled=False)
app = gradio.mount_gradio_app(gated, chat, path="/chat")
