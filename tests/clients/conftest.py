"""Load balancers with the files that deploy/ ships for them, in front of unbuffer and one application."""

from collections.abc import Callable, Iterator

import pytest
import trustme

from tests.deploy.balancers import Front, Instances, balancers_by_name, instances
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
    with balancers_by_name(authority, behind, tmp_path_factory.mktemp) as get:
        yield get


@pytest.fixture(params=BALANCERS)
def front(front_of: Callable[[str], Front], request: pytest.FixtureRequest) -> Front:
    """Each of them in turn."""
    return front_of(request.param)
