"""A store that several processes share, on a server of Valkey or Redis."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from unbuffer.resume.follow import Follower
from unbuffer.resume.server import Server, Trouble
from unbuffer.resume.store import About, Copy, Running, Search, Store
from unbuffer.resume.store_writer import Writer
from unbuffer.settings.resume import Resume
from unbuffer.totals import Totals

log = logging.getLogger("unbuffer")

_BLOCK: Final = 1000
"""Milliseconds that the server holds the question for notes; less than it may take to answer."""

_NOTES: Final = 512
_AFTER_A_MISTAKE: Final = 1.0
"""Seconds until work goes on that has failed."""

_PATIENCE: Final = 2.0
"""Seconds that what waits to be written has at the end of the process."""


class SharedStore(Store):
    """Of one process: what it serves is written there, and what others serve is read from there."""

    __slots__ = ("_follower", "_latest", "_server", "_tasks", "_writer")

    def __init__(self, settings: Resume, totals: Totals) -> None:
        super().__init__(shared=True)
        process = secrets.token_urlsafe(9).encode("ascii")
        store = settings.store
        self._server = Server(store, totals, process)
        self._writer = Writer(self._server, totals, settings.total, store.lost_after)
        self._follower = Follower(self._server, self._writer.note, store.lost_after)
        self._tasks: list[asyncio.Future[None]] = []
        self._latest = b"0-0"
        """The note that was read last."""

    async def start(self) -> None:
        """Try the server. One that is not there yet will be; StoreError where it is there and will never do."""
        await self._server.start()
        self._begin()

    def _begin(self) -> None:
        if not self._tasks:
            for work, give_up in (
                (self._writer.run, self._writer.give_up),
                (self._follower.run, self._follower.close),
                (self._read_notes, _nothing),
            ):
                self._tasks.append(asyncio.ensure_future(_carried_on(work, give_up)))

    def open(self, about: About, running: Running) -> Copy | None:
        self._begin()
        return self._writer.open(about, running)

    def find(self, name: bytes, search: Search) -> None:
        self._begin()
        self._follower.find(name, search)

    async def close(self) -> None:
        self._writer.close()
        if self._tasks:
            writing, *others = self._tasks
            for task in others:
                task.cancel()
            self._follower.close()
            await asyncio.wait((writing,), timeout=_PATIENCE)
            pending = {task for task in self._tasks if not task.done()}
            while pending:  # a library may take one of them for a timeout of its own
                for task in pending:
                    task.cancel()
                _, pending = await asyncio.wait(pending, timeout=0.1)
            self._tasks = []
        await self._server.close()

    async def _read_notes(self) -> None:
        """Do what other processes ask for. After a broken connection it goes on where it was."""
        server = self._server
        inbox = server.keys.inbox(server.process)
        while True:
            try:
                since = self._latest
                answers = await server.ask(b"XREAD", b"COUNT", _NOTES, b"BLOCK", _BLOCK, b"STREAMS", inbox, since)
            except Trouble as trouble:
                server.trouble(trouble.reason, str(trouble))
                await asyncio.sleep(0.5)
                continue
            for _, entries in answers.items() if isinstance(answers, dict) else answers or ():
                for entry, fields in entries:
                    self._latest = entry
                    self._heed(fields[1].split(b" "))

    def _heed(self, note: list[bytes]) -> None:
        what, *words = note
        if what == b"more":
            self._follower.more(words)
        elif what == b"gone":
            self._follower.gone(words)
        elif what == b"read" and words:
            self._writer.read_by(words[0], words[1:], time.monotonic())
        elif what == b"cancel":
            for name in words:
                copy = self._writer.copies.get(name)
                if copy is not None and copy.running is not None:
                    copy.running.cancel()


async def _carried_on(work: Callable[[], Coroutine[Any, Any, None]], give_up: Callable[[], None]) -> None:
    """Work that has to go on: a mistake of ours, or what somebody else has written there, costs what was under way, and
    no stream and nobody's patience."""
    while True:
        try:
            return await work()
        except Exception:
            log.exception("resume.store: an unexpected error; what was under way is given up")
            give_up()
            await asyncio.sleep(_AFTER_A_MISTAKE)


def _nothing() -> None:
    """A note that cannot be read is passed over."""
