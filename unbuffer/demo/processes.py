"""Servers as child processes: started, awaited until they are ready, ended by process id.

A child reports on standard error; its last lines are kept, for the message when it fails.
"""

import asyncio
import os
import re
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# Seconds. A cold start of Python with FastAPI takes about one; a slow disk may take ten times that.
START_LIMIT = 30.0
# Seconds between the request to end and the end by force. A drain may last longer; nobody waits for one here.
END_LIMIT = 5.0

# What the user's shell sets for servers of the user's own.
_FOREIGN = ("UNBUFFER_", "UVICORN_")


class ServerFailed(Exception):
    """A child did not start, or ended while it was needed. The message names it and shows its last lines."""


class Server:
    """A child that runs.

    ready: the line that tells of readiness, as a match of the pattern it was awaited with.
    """

    ready: re.Match[str]

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        self._name = name
        self._process = process
        self._stderr = process.stderr
        self._last: deque[str] = deque(maxlen=10)

    async def start(self, pattern: str) -> None:
        """Read what the child reports up to the first match of `pattern`.

        Raises ServerFailed when the child ends before, or reports nothing of the kind within START_LIMIT.
        """
        try:
            async with asyncio.timeout(START_LIMIT):
                while line := await self._line():
                    if found := re.search(pattern, line):
                        self.ready = found
                        return
        except TimeoutError:
            raise ServerFailed(self._told(f"was not ready within {START_LIMIT:g} s")) from None
        raise ServerFailed(self._told("did not start"))

    async def failure(self) -> ServerFailed:
        """Wait until the child ends by itself, which it should not."""
        while await self._line():
            pass
        return ServerFailed(self._told("has ended"))

    async def end(self) -> None:
        """End the child: by request, and by force after END_LIMIT. Returns when it is gone."""
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(END_LIMIT):
                # communicate() empties the pipe, so that the child never waits for room in it.
                await self._process.communicate()
        except TimeoutError:
            self._process.kill()
            await self._process.communicate()

    async def _line(self) -> str:
        """The next line with its line feed, or an empty string at the end."""
        line = (await self._stderr.readline()).decode(errors="replace")
        if line:
            self._last.append(line.rstrip())
        return line

    def _told(self, what: str) -> str:
        last = "".join(f"\n    {line}" for line in self._last) or " it printed nothing."
        return f"{self._name} {what}. Its last lines:{last}"


@asynccontextmanager
async def running(name: str, ready: str, *command: str) -> AsyncIterator[Server]:
    """Start `command`, wait until a line on its standard error matches `ready`; end it on the way out.

    Raises ServerFailed when it cannot be executed or does not become ready.
    """
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
    except OSError as error:
        raise ServerFailed(f"{name} cannot be executed: {error}") from error
    server = Server(name, process)
    try:
        await server.start(ready)
        yield server
    finally:
        await server.end()
