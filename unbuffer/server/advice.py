"""Warnings about the settings in force: each one once, and again only when it had gone meanwhile."""

import asyncio
import logging
from collections.abc import Callable

from unbuffer.server.upstream_check import UpstreamCheck
from unbuffer.settings.model import Settings
from unbuffer.settings.problems import Problem

log = logging.getLogger("unbuffer")

SLOW_START = 30.0
"""Seconds after which an application that `unbuffer exec` has started and that takes no connection is worth a warning.
Most listen within five; one that loads a model may take longer, and then the warning is early but true."""

Read = Callable[[Callable[[Problem], object]], Settings]
"""Reads the settings, and hands over what is worth a warning."""


class Advice:
    """What was found when the settings were read last."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._found: list[Problem] = []
        self._said: set[Problem] = set()
        self._why_not = ""

    def read(self) -> Settings:
        """The settings; what there is to say about them waits until they are in force."""
        self._found = []
        return self._read(self._found.append)

    def tell(self) -> None:
        """Say what is new."""
        for problem in self._found:
            if problem not in self._said:
                log.warning("%s", problem)
        self._said = set(self._found)

    async def ask(self, upstream: UpstreamCheck) -> None:
        """Say so if nobody takes connections at upstream.url."""
        _, why_not = await upstream.check()
        if why_not and why_not != self._why_not:
            todo = "requests fail until it is there; start it, or name another one with --upstream (upstream.url)"
            log.warning("%s: %s", why_not, todo)
        self._why_not = why_not

    async def ask_child(self, upstream: UpstreamCheck, after: float = SLOW_START) -> None:
        """Say so if the application that was started takes no connections after so many seconds."""
        await asyncio.sleep(after)
        _, why_not = await upstream.check()
        if why_not:
            todo = "requests fail until it listens there; does the command say so, with {socket} or {port}?"
            log.warning("%s, and the application was started %gs ago: %s", why_not, after, todo)
