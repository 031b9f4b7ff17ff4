"""File descriptors: as many as the system allows, no more clients than they are enough for, and one line when they are
used up all the same."""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from unbuffer.relay.dial import OUT_OF_FILES
from unbuffer.settings.changes import replaced
from unbuffer.settings.model import Limits, Settings

try:
    import resource
except ImportError:  # Windows has no such limit
    resource = None  # type: ignore[assignment]

log = logging.getLogger("unbuffer")

_FOUND = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else 0

RESERVE = 160
"""Descriptors that are no stream's: listeners, the admin port's clients, look-ups of names, and connections that are on
their way out (`relay.refusals.REFUSALS`)."""

_told = (0, 0)
"""limits.connections as it was wanted and held to, when that was last told."""

QUIET = 60.0
"""Seconds without a second line of the same kind."""


def within_the_limit(settings: Settings) -> Settings:
    """Lift the soft limit to the hard one, as Go's runtime does; then hold limits.connections to what it is enough for.

    HAProxy derives its maxconn from the limit, too: what is refused with 503 is better than what cannot be accepted.
    """
    files = _lift()
    enough = max((files - RESERVE) // 2, 1)
    wanted = settings.limits.connections
    if not files or 0 < wanted <= enough:
        return settings
    # The default means as many as there can be; a number that somebody chose is another matter. It is told once:
    # settings that cannot be used are tried again and again (server.watch).
    global _told
    quiet = wanted in (0, Limits().connections) or _told == (wanted, enough)
    _told = (wanted, enough)
    log.log(
        logging.DEBUG if quiet else logging.WARNING,
        "limits.connections is %s, and limited to %d: %d open files are allowed, and a stream takes two (ulimit -Hn)",
        wanted or "off",
        enough,
        files,
    )
    return replaced(settings, "limits.connections", enough)


def _lift() -> int:
    """The limit, as high as it can be; 0 = none."""
    if resource is None:
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS: "unlimited" is more than its kernel gives
        return 0 if soft == resource.RLIM_INFINITY else soft
    return 0 if hard == resource.RLIM_INFINITY else hard


@contextmanager
def as_found() -> Iterator[None]:
    """The soft limit as it was, while another program is started: select() knows no descriptor above 1023, and who uses
    it relies on the limit. Go's runtime gives it back, too."""
    if resource is None:
        yield
        return
    lifted = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FOUND, lifted[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, lifted)


class Complaints:
    """What the event loop's machinery complains of, as its exception handler.

    asyncio's own loop reports every connection that it cannot accept, a thousand in one go, each with a traceback.
    uvloop's closes them without a word.
    """

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def handle(self, loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """Log it."""
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in OUT_OF_FILES:
            loop.default_exception_handler(dict(context))
            return
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + QUIET
            log.error(
                "%s: connections cannot be opened or accepted until others end; raise the limit (ulimit -Hn) or lower "
                "limits.connections (this line comes once a minute at the most)",
                error.strerror,
            )
