"""The process around a worker: its log, its event loop and its settings, now and at every reload."""

import asyncio
import logging
import sys
from collections.abc import Sequence

from unbuffer.server import open_files
from unbuffer.server.advice import Advice, Read
from unbuffer.server.malloc import keep_read_buffers
from unbuffer.server.watch import Watch
from unbuffer.server.worker import serve
from unbuffer.settings.model import Settings

log = logging.getLogger("unbuffer")


def run(read: Read, file: str | None, command: Sequence[str] = ()) -> int:
    """Serve until a signal, or until the application ends. Returns the process's exit code.

    read: reads the settings, now and at every reload. file: that it reads, if there is one. command: runs the
    application; none = it runs by itself.
    Raises SettingsError and StartError.
    """
    watch, advice = Watch(file), Advice(read)

    def look_and_read() -> Settings:
        watch.reading()
        return advice.read()

    settings = look_and_read()
    # Errors of the event loop's own machinery go where ours go.
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.log.level.upper(),
        format="%(asctime)s %(levelname)s %(message)s",
    )
    try:
        import uvloop
    except ImportError:
        log.info("uvloop is not available here: running on asyncio's own event loop, which is slower")
        factory = asyncio.new_event_loop
    else:
        factory = uvloop.new_event_loop
    keep_read_buffers()
    with asyncio.Runner(loop_factory=factory) as runner:
        limited = open_files.within_the_limit
        return runner.run(serve(limited(settings), lambda: limited(look_and_read()), advice, watch, command))
