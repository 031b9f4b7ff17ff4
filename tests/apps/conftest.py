"""Applications from the environment of `make apps`, with unbuffer in front of them."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.apps.installed import python
from tests.e2e.stack import App, Stack, unbuffer, uvicorn


@pytest.fixture(scope="session")
def app_of() -> Iterator[Callable[[str], App]]:
    """An application by the name of its module, started when a test first asks for it."""
    apps: dict[str, App] = {}
    with ExitStack() as running:

        def get(module: str) -> App:
            if module not in apps:
                application = uvicorn(application=f"tests.apps.{module}:app", python=python())
                apps[module] = running.enter_context(application)
            return apps[module]

        yield get


@pytest.fixture
def stack_of(app_of: Callable[[str], App]) -> Iterator[Callable[[str], Stack]]:
    """The same behind an unbuffer of the test's own."""
    with ExitStack() as running:

        def get(module: str) -> Stack:
            app = app_of(module)
            return Stack(app, running.enter_context(unbuffer(app.url)))

        yield get
