"""mcp: calls the tool `count` of a server. Arguments: its URL, the name of a gate, and which protocol to speak."""

import sys

import anyio
from mcp import Client


async def main(url: str, gate: str, mode: str) -> None:
    async def progress(number: float, _total: float | None, _message: str | None) -> None:
        print(f"event {number:g}")

    async with Client(url, mode=mode) as client:
        result = await client.call_tool("count", {"gate": gate}, progress_callback=progress)
        print(result.content[0].text)


anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
