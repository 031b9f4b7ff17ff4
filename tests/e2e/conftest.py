"""Servers that live as long as the session, each started when a test first asks for it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests import local
from tests.e2e.stack import SERVERS, App, Stack, Unbuffer, starters, unbuffer


@pytest.fixture(scope="session")
def stack_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Stack]]:
    """The stack of a server, by its name in SERVERS."""
    start = starters(tmp_path_factory.mktemp("e2e"))
    running: dict[str, Stack] = {}
    with ExitStack() as programs:

        def get(server: str) -> Stack:
            if server not in running:
                app = programs.enter_context(start[server]())
                running[server] = Stack(app, programs.enter_context(unbuffer(app.url)))
            return running[server]

        yield get


@pytest.fixture(params=SERVERS)
def each_stack(stack_of: Callable[[str], Stack], request: pytest.FixtureRequest) -> Stack:
    """Every server in turn."""
    return stack_of(request.param)


@pytest.fixture
def stack(stack_of: Callable[[str], Stack]) -> Stack:
    """Where the server makes no difference: uvicorn."""
    return stack_of("uvicorn")


@pytest.fixture
def app(stack: Stack) -> App:
    """The application of that stack."""
    return stack.app


@pytest.fixture
def proxy(app: App) -> Iterator[Unbuffer]:
    """A sidecar that only this test uses: it has counted nothing, and its page is empty."""
    with unbuffer(app.url) as proxy:
        yield proxy


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """A client whose connections are this test's own."""
    with local.client() as client:
        yield client
