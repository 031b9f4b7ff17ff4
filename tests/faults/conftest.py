"""An application that nobody harms, one for the session; whoever ends one starts one of their own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.story import App, Prefix, Story, application, sidecar

Start = Callable[..., Story]


@pytest.fixture(scope="session")
def lasting() -> Iterator[App]:
    """For every story that leaves its application alone."""
    with application() as app:
        yield app


@pytest.fixture
def mortal() -> Iterator[App]:
    """For a story that does not."""
    with application() as app:
        yield app


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts unbuffer in front of an upstream; its books are closed at the end of the story."""
    with ExitStack() as running:

        def enter(upstream: str, *settings: str, listen: str = "127.0.0.1:0", prefix: Prefix = ()) -> Story:
            return running.enter_context(sidecar(upstream, tmp_path, *settings, listen=listen, prefix=prefix))

        yield enter
