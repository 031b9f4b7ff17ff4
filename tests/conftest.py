"""What holds for all tests: no property has a stopwatch, on however busy a machine."""

import gc
import os
import socket
from collections.abc import Iterator

import pytest
import trustme
from hypothesis import settings

settings.register_profile("unhurried", settings.get_profile("ci" if "CI" in os.environ else "default"), deadline=None)
settings.load_profile("unhurried")


def pytest_collection_finish() -> None:
    """What the imports and the collection made stays: a test that has garbage collected looks at its own objects only,
    which takes a millisecond and not a third of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Whom all certificates are from."""
    return trustme.CA()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that refuses on every address, and that nobody else is given on any.

    A server may bind it, to all addresses or to one: they use SO_REUSEADDR.
    """
    both = socket.has_dualstack_ipv6()
    with socket.socket(socket.AF_INET6 if both else socket.AF_INET) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if both:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        taken.bind(("", 0))
        yield taken.getsockname()[1]
