"""aiohttp's server, imported without what its client alone needs.

When aiohttp is imported, its client makes two TLS contexts, each with all certificate authorities of the system, and
frozenlist, in which aiohttp keeps its lists of signals, loads the library of C++. Nobody here uses either. Without them
a process at rest takes 4 MB less, and is there 30 ms sooner. So this client knows no authority: it is not exported, and
what is asked of the upstream is asked by `fetch`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

_WITHOUT_CLIENT = {
    "SSL_CERT_FILE": os.devnull,
    "SSL_CERT_DIR": os.devnull,
    "FROZENLIST_NO_EXTENSIONS": "1",
}
"""OpenSSL's own variables for where authorities are, and frozenlist's for its implementation in Python."""


@contextmanager
def _environment() -> Iterator[None]:
    found = {name: os.environ.get(name) for name in _WITHOUT_CLIENT}
    os.environ.update(_WITHOUT_CLIENT)
    try:
        yield
    finally:
        for name, value in found.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


with _environment():
    from aiohttp import web
    from aiohttp.typedefs import Handler

__all__ = ["Handler", "web"]
