"""Load balancers on the files that deploy/ ships for them, two instances of unbuffer, and one application."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import trustme

from tests.deploy.balancers import Front, Instances, instances, running_balancer
from tests.e2e.stack import App, uvicorn


@pytest.fixture(scope="session")
def app() -> Iterator[App]:
    with uvicorn() as app:
        yield app


@pytest.fixture(scope="session")
def behind(app: App) -> Iterator[Instances]:
    """Two instances of unbuffer."""
    with instances(app) as (both, _, _):
        yield both


@pytest.fixture(scope="session")
def front_of(
    authority: trustme.CA, behind: Instances, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Front]]:
    """A load balancer by its name, on its file as it is shipped, started when a test first asks for it."""
    fronts: dict[str, Front] = {}
    with ExitStack() as running:

        def get(name: str) -> Front:
            if name not in fronts:
                balancer = running_balancer(name, authority, behind, tmp_path_factory.mktemp(name))
                fronts[name] = running.enter_context(balancer)
            return fronts[name]

        yield get
