"""A collector that does not take what it is sent: told of in one line a minute at most, with the reason.

OpenTelemetry's exporters log every try, in the words of their HTTP library.
"""

import logging
import socket
import time
from urllib.parse import urlsplit

log = logging.getLogger("unbuffer")

COMPLAINT_EVERY = 60.0
"""Seconds between two lines about a collector that does not take what it is sent."""


class Complaints(logging.Filter):
    """Hears what one exporter logs, in place of whoever reads the log. `reason` is that of the latest failure.

    Of an export its first line has the cause, the last one says that all tries are over.
    """

    def __init__(self, exporter: str, what: str) -> None:
        """exporter: the name of its logger. what: the beginning of the line, up to the reason."""
        super().__init__()
        self.reason = ""
        self._what = what
        self._over = False
        self._told = -COMPLAINT_EVERY
        logger = logging.getLogger(exporter)
        logger.setLevel(logging.WARNING)
        # A filter that keeps a line to itself is the last one to see it.
        for one in [one for one in logger.filters if isinstance(one, Complaints)]:
            logger.removeFilter(one)
        logger.addFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell of it at the end of an export, or at once where nobody listens: the tries go on for seconds."""
        cause = next((one for one in record.args or () if isinstance(one, OSError)), None)
        if self._over:
            self.reason = ""
        self._over = record.levelno >= logging.ERROR
        self.reason = self.reason or (_why(cause) if cause else "") or " ".join(record.getMessage().split())[:400]
        if self._over or (cause and isinstance(_root(cause), ConnectionRefusedError | socket.gaierror)):
            self._tell()
        return False

    def begin(self) -> None:
        """An export begins: what is said from now on is of this one."""
        self.reason, self._over = "", False

    def failed(self) -> None:
        """It has failed, which the exporter does not always log as an error."""
        if not self._over:
            self._over = True
            self.reason = self.reason or "no reason given"
            self._tell()

    def _tell(self) -> None:
        """Say it, unless it was said lately."""
        if time.monotonic() - self._told >= COMPLAINT_EVERY:
            self._told = time.monotonic()
            log.warning("%s: %s", self._what, self.reason)


def _why(error: OSError) -> str:
    """What is wrong with the connection, in the words that are used of the upstream; nothing where a proxy is between:
    which of the two it was, only the library's own text says."""
    url = getattr(getattr(error, "request", None), "url", None)
    root = _root(error)
    if not isinstance(root, OSError) or not isinstance(url, str) or "proxy" in str(error).lower():
        return ""
    where = urlsplit(url).netloc.rpartition("@")[2]
    if isinstance(root, TimeoutError) and not root.errno:
        return f"no answer from {where} in time"
    why = root.strerror or str(root)
    if isinstance(root, ConnectionResetError | BrokenPipeError):
        return f"{where} broke off the connection: {why}"
    return f"cannot connect to {where}: {why}"


def _root(error: BaseException) -> BaseException:
    """What it began with: the HTTP libraries wrap one exception into the other, each in its own way."""
    while True:
        inside = (getattr(error, "reason", None), error.__cause__, *error.args)
        found = next((one for one in inside if isinstance(one, BaseException)), None)
        if found is None:
            return error
        error = found
