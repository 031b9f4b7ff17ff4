"""What holds for all tests: no property has a stopwatch, on however busy a machine."""

import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("unhurried", settings.get_profile("ci" if "CI" in os.environ else "default"), deadline=None)
settings.load_profile("unhurried")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses, and that nobody else is given. A server may bind it: they use SO_REUSEADDR."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
