"""Load balancers as the tests of deploy/ have them, in front of unbuffer and an application with pages."""

from collections.abc import Callable, Iterator

import pytest

from tests.deploy.balancers import Front
from tests.deploy.conftest import behind, front_of
from tests.e2e.stack import App, uvicorn

__all__ = ["behind", "front_of"]

BALANCERS = ("nginx", "caddy")


@pytest.fixture(scope="session")
def app() -> Iterator[App]:
    with uvicorn(application="tests.clients.app:app") as app:
        yield app


@pytest.fixture(params=BALANCERS)
def front(front_of: Callable[[str], Front], request: pytest.FixtureRequest) -> Front:
    """Each of them in turn."""
    return front_of(request.param)
