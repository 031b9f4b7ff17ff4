"""How lines get out of the process: without ever making the event loop wait for whoever takes them.

A pipe, as a container or a supervisor has it, is written to on the event loop, by a description of our own that never
blocks: a second thread would fight the loop for the interpreter's lock, which cost a small request more than all the
rest of it. Whatever else the output is, a file on a full or a slow disk above all, a thread writes.
"""

import asyncio
import logging
import os
import select
import stat
import threading
import time
from abc import abstractmethod
from collections import deque
from queue import SimpleQueue

log = logging.getLogger("unbuffer")

PIPE_WRITE = 4096
"""Bytes of whole lines in one write to a pipe. It mixes no writes of up to PIPE_BUF, 4096 on Linux, when processes
share it (pipe(7))."""

FILE_WRITE = 1 << 18
"""Bytes of whole lines in one write to a file."""

Group = tuple[bytes, int, int]
"""What one write brings: whole lines, how many, and how many lost ones they tell of."""


class Writer:
    """Where lines go, in groups of at most `size` bytes. handled: lines that were written, or could not be: failed.
    told, untold: the lost lines of which those that were written, and those that failed, have told.

    A native base class: every line is compared with these numbers.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.handled = 0
        self.failed = 0
        self.told = 0
        self.untold = 0
        self._failing = False

    @abstractmethod
    def put(self, group: Group) -> None:
        """Take a group, or one line that is longer. Never blocks, never raises."""

    @abstractmethod
    def close(self, patience: float) -> None:
        """Write what is left, for so many seconds at the most."""

    def _written(self, group: Group) -> None:
        self._failing = False
        self.told += group[2]
        self.handled += group[1]

    def _lost(self, group: Group, error: OSError) -> None:
        if not self._failing:
            log.warning("access log: cannot write, lines are lost: %s", error.strerror)
        self._failing = True
        self.untold += group[2]
        self.failed += group[1]
        self.handled += group[1]


def writer_to(fd: int, loop: asyncio.AbstractEventLoop) -> Writer:
    """What writes to this descriptor."""
    own = _never_blocking(fd)
    return ThreadWriter(fd) if own is None else LoopWriter(own, loop)


def _never_blocking(fd: int) -> int | None:
    """A second description of a pipe, which does not block; None for all else.

    To make the given one so would do it for everybody who shares it: Node.js does, and programs beside it fail with
    EAGAIN. Linux opens a pipe anew by its name in /proc; that may be forbidden, or nobody may be reading any more.
    """
    if not stat.S_ISFIFO(os.fstat(fd).st_mode):
        return None
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None


class LoopWriter(Writer):
    """Writes on the event loop what the pipe has room for; the rest waits for room."""

    def __init__(self, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        """fd: of a description that never blocks; it is closed in the end."""
        super().__init__(PIPE_WRITE)
        self._fd = fd
        self._loop = loop
        self._waiting: deque[Group] = deque()
        self._rest = b""
        """Of the first group, what is left of it."""

    def put(self, group: Group) -> None:
        """See `Writer`."""
        self._waiting.append(group)
        if len(self._waiting) == 1 and not self._write():
            self._loop.add_writer(self._fd, self._room)

    def _room(self) -> None:
        if self._write():
            self._loop.remove_writer(self._fd)

    def _write(self) -> bool:
        """Write as much as there is room for; whether that was everything."""
        waiting = self._waiting
        while waiting:
            group = waiting[0]
            rest = self._rest or group[0]
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                return False
            except OSError as error:
                self._lost(group, error)
                rest = b""
            else:
                if not rest:
                    self._written(group)
            self._rest = rest
            if not rest:
                waiting.popleft()
        return True

    def close(self, patience: float) -> None:
        """See `Writer`."""
        until = time.monotonic() + patience
        if self._waiting:
            self._loop.remove_writer(self._fd)
            room = select.poll()
            room.register(self._fd, select.POLLOUT)
            while not self._write() and (left := until - time.monotonic()) > 0:
                room.poll(left * 1000)
        os.close(self._fd)


class ThreadWriter(Writer):
    """A thread writes, and waits as long as the output makes it wait."""

    def __init__(self, fd: int) -> None:
        super().__init__(FILE_WRITE if stat.S_ISREG(os.fstat(fd).st_mode) else PIPE_WRITE)
        self._fd = fd
        self._groups: SimpleQueue[Group | None] = SimpleQueue()
        self._worker = threading.Thread(target=self._work, name="access-log", daemon=True)
        self._worker.start()

    def put(self, group: Group) -> None:
        """See `Writer`."""
        self._groups.put(group)

    def close(self, patience: float) -> None:
        """See `Writer`."""
        self._groups.put(None)
        self._worker.join(patience)

    def _work(self) -> None:
        while group := self._groups.get():
            try:
                self._write(group[0])
            except OSError as error:
                self._lost(group, error)
            else:
                self._written(group)

    def _write(self, data: bytes) -> None:
        """Write everything, however long that takes. Raises OSError."""
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                # Whoever shares the file may have made it non-blocking, as Node.js does with its standard output.
                room = select.poll()
                room.register(self._fd, select.POLLOUT)
                room.poll()
