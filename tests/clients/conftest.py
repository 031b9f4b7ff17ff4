"""Load balancers with the files that deploy/ ships for them, in front of unbuffer and one application."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import trustme

from tests.deploy.balancers import Front, Instances, instances, running_balancer
from tests.e2e.stack import App, uvicorn

BALANCERS = ("nginx", "caddy")


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def app() -> Iterator[App]:
    with uvicorn(application="tests.clients.app:app") as app:
        yield app


@pytest.fixture(scope="session")
def behind(app: App) -> Iterator[Instances]:
    with instances(app) as (both, _, _):
        yield both


@pytest.fixture(scope="session")
def front_of(
    authority: trustme.CA, behind: Instances, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Front]]:
    """A load balancer by its name, started when a test first asks for it."""
    fronts: dict[str, Front] = {}
    with ExitStack() as running:

        def get(name: str) -> Front:
            if name not in fronts:
                directory = tmp_path_factory.mktemp(name)
                fronts[name] = running.enter_context(running_balancer(name, authority, behind, directory))
            return fronts[name]

        yield get


@pytest.fixture(params=BALANCERS)
def front(front_of: Callable[[str], Front], request: pytest.FixtureRequest) -> Front:
    """Each of them in turn."""
    return front_of(request.param)
