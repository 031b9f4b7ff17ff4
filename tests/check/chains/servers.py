"""Application servers, each on an address of its own, for the application of app.py or, by WSGI, wsgi.py."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from signal import SIGTERM

from tests.check.chains.proxies import place, started

ASGI = "tests.check.chains.app:app"
WSGI = "tests.check.chains.wsgi:app"


def _module(name: str, *options: str, code: int = 0) -> Callable[[], AbstractContextManager[str]]:
    """A server that is a module of Python's; {host} and {port} in its options stand for its address."""

    @contextmanager
    def serve() -> Iterator[str]:
        host, port = place()
        words = [option.format(host=host, port=port) for option in options]
        with started(host, port, sys.executable, "-m", name, *words, code=code) as url:
            yield url

    return serve


_UVICORN = (ASGI, "--host", "{host}", "--port", "{port}", "--log-level", "critical", "--timeout-graceful-shutdown", "1")
_GUNICORN = ("--bind", "{host}:{port}", "--graceful-timeout", "1", "--log-level", "critical")

SERVERS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "uvicorn": _module("uvicorn", *_UVICORN, code=-SIGTERM),
    "uvicorn on h11": _module("uvicorn", *_UVICORN, "--http", "h11", code=-SIGTERM),
    "hypercorn": _module(
        "hypercorn", ASGI, "--bind", "{host}:{port}", "--workers", "0", "--graceful-timeout", "1",
        "--log-level", "CRITICAL",
    ),
    "granian": _module(
        "granian", "--interface", "asgi", "--host", "{host}", "--port", "{port}", "--workers-kill-timeout", "2",
        "--no-log", ASGI,
    ),
    "gunicorn -k uvicorn": _module("gunicorn", "-k", "uvicorn_worker.UvicornWorker", *_GUNICORN, ASGI),
    "gunicorn -k asgi": _module("gunicorn", "-k", "asgi", *_GUNICORN, ASGI),
    "gunicorn -k gthread": _module("gunicorn", "-k", "gthread", "--threads", "8", *_GUNICORN, WSGI),
    "gunicorn -k sync": _module("gunicorn", "-k", "sync", *_GUNICORN, WSGI),
    "waitress": _module("waitress", "--host={host}", "--port={port}", "--threads=8", WSGI, code=-SIGTERM),
}  # fmt: skip
"""By the name that people have for them."""
