"""Client libraries and heartbeats: no event is lost to one, and none is made of one.

A silence lasts until heartbeats have gone out. Nobody looks at a clock.
"""

from collections.abc import Iterator

import pytest

from tests.apps.installed import node, python
from tests.clients.test_libraries import EVENTS, FOLDER, PROGRAMS
from tests.e2e.processes import STARTED, running
from tests.e2e.stack import App, Unbuffer, unbuffer
from tests.e2e.test_silence import silence

pytestmark = pytest.mark.process

SETTINGS = """
sse:
  heartbeat: 50ms
  opening: true
"""


@pytest.fixture(scope="module")
def proxy(app: App, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unbuffer]:
    file = tmp_path_factory.mktemp("silence") / "unbuffer.yaml"
    file.write_text(SETTINGS)
    with unbuffer(app.url, "-c", str(file)) as proxy:
        yield proxy


@pytest.mark.parametrize("name", [name for name, kind in PROGRAMS.items() if kind != "text"])
def test_silences_change_no_event(proxy: Unbuffer, app: App, name: str) -> None:
    """At the beginning, between any two events, and at the end."""
    gate = app.gate()
    interpreter = node() if name.endswith(".mjs") else python()
    variables = ("NO_PROXY=*", "LITELLM_LOCAL_MODEL_COST_MAP=True")
    url = proxy.url + gate.path(PROGRAMS[name])
    with running("env", *variables, interpreter, str(FOLDER / name), url) as client:
        for number in range(EVENTS):
            client.out.match(rf"^event {number}$", STARTED)
            silence(proxy, 2)
            gate.next() if number < EVENTS - 1 else gate.end()
        assert client.exit_code() == 0, client.err.all()
        assert client.out.all() == [f"event {number}" for number in range(EVENTS)]
