"""`reload: watch`: a file that a reload reads has changed, and nobody needs to ask for the reload.

Each is looked at once a second, with stat(2) and through its links: a ConfigMap swaps a link above the file, an editor
puts another file in its place, and network file systems, overlays and the shared folders of a virtual machine tell
inotify(7) nothing. A change is reported once two looks in a row saw the same, so that nobody reads half of it.
"""

import asyncio
import contextlib
import logging
import os
import threading
from typing import Final

from unbuffer.settings.files import named_files
from unbuffer.settings.model import Settings

log = logging.getLogger("unbuffer")

EVERY = 1.0
"""Seconds between two looks."""

AGAIN: Final = 10
"""Looks after which settings that could not be used are tried again: what was missing may be in another file, or have
come back with its disk."""

Look = tuple[int, ...]
"""What tells one state of a file from another: device, inode, size, and the times of contents and of inode; or the
number of the error."""


class Watch:
    """Looks at the files of one process. changed: set when they should be read.

    It looks in a thread, which a disk that does not answer may hold up as long as it likes, and which wakes the event
    loop only when there is something to read.
    """

    def __init__(self, file: str | None) -> None:
        """file: the settings file, if there is one."""
        self.changed = asyncio.Event()
        self.failed = False
        """Whether the files as they were read last could not be used."""
        self.again = False
        """Whether they should be read although none has changed since."""
        self._file = file
        self._seen: dict[str, Look] = {}
        self._before: dict[str, Look] = {}
        self._looks = 0
        self._end: threading.Event | None = None

    def reading(self) -> None:
        """The settings file is about to be read: what it is from now on is news."""
        if self._file:
            self._seen = {**self._seen, self._file: _look(self._file)}

    def using(self, settings: Settings) -> None:
        """The files that these settings name are about to be read."""
        file = {self._file: self._seen[self._file]} if self._file else {}
        self._seen = {path: _look(path) for path in named_files(settings)} | file

    def apply(self, settings: Settings) -> None:
        """Look, or look no more, as these settings say."""
        if settings.reload != "watch":
            self.close()
        elif self._end is None:
            self._end = threading.Event()
            arguments = (self._end, asyncio.get_running_loop())
            threading.Thread(target=self._watch, args=arguments, name="watch", daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        if self._end is not None:
            self._end.set()
            self._end = None

    def empty_file(self) -> str:
        """The settings file if there is nothing in it: it would mean the default of every setting, and is more likely
        half of a change. Else nothing."""
        with contextlib.suppress(OSError):
            if self._file and os.stat(self._file).st_size == 0:
                return self._file
        return ""

    def _watch(self, end: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        while not end.wait(EVERY):
            if news := self.look():
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(self.report, *news)

    def look(self) -> tuple[dict[str, Look], dict[str, Look]] | None:
        """Look once: the files as they were read last and as they are now, if they should be read again."""
        seen = self._seen
        now = {path: _look(path) for path in seen}
        settled = now == self._before and now != seen
        self._before = now
        self._looks = self._looks + 1 if self.failed else 0
        if not settled and self._looks < AGAIN:
            return None
        self._looks = 0
        return seen, now

    def report(self, seen: dict[str, Look], now: dict[str, Look]) -> None:
        """On the loop: have the files read, unless they were meanwhile."""
        if self._seen is not seen:
            return
        self._seen = now
        self.again = now == seen
        if changed := [path for path, look in now.items() if look != seen[path]]:
            log.info("changed: %s", ", ".join(changed))
        self.changed.set()


def _look(path: str) -> Look:
    try:
        now = os.stat(path)
    except OSError as error:
        return (error.errno or 0,)
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns
