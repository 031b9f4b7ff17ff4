"""Client libraries as programs of their own, through a load balancer and unbuffer, in lock-step with the application.

A program writes one line for each event that its library gives it; the application has no next one before.
"""

from pathlib import Path

import pytest

from tests.apps.installed import node, python
from tests.deploy.balancers import Front
from tests.e2e.processes import STARTED, running
from tests.e2e.stack import App

pytestmark = pytest.mark.process

EVENTS = 5

PROGRAMS = {
    "with_httpx_sse.py": "sse",
    "with_openai.py": "v1",
    "with_langchain.py": "v1",
    "with_genai.py": "gemini",
    "with_genai_async.py": "gemini",
    "with_litellm.py": "gemini",
    "with_fetch.mjs": "text",
    "with_openai.mjs": "v1",
    "with_genai.mjs": "gemini",
}
"""What each of them is told to read, by the last part of its path."""

FOLDER = Path(__file__).parent / "programs"


@pytest.fixture
def trusted(front: Front, tmp_path: Path) -> Path:
    """The authority of the balancer's certificate, as a file."""
    file = tmp_path / "authority.pem"
    front.authority.cert_pem.write_to_path(file)
    return file


def command(name: str, url: str, trusted: Path) -> list[str]:
    """Runs a program that trusts that authority."""
    interpreter = node() if name.endswith(".mjs") else python()
    # LiteLLM would ask for its table of prices on the Internet, and wait for it.
    variables = ("NO_PROXY=*", "LITELLM_LOCAL_MODEL_COST_MAP=True")
    trust = (f"SSL_CERT_FILE={trusted}", f"NODE_EXTRA_CA_CERTS={trusted}")
    return ["env", *variables, *trust, interpreter, str(FOLDER / name), url]


def test_every_program_is_run() -> None:
    assert PROGRAMS.keys() == {path.name for path in FOLDER.iterdir() if path.is_file()}


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_event_is_read_before_the_next_one_exists(front: Front, app: App, trusted: Path, name: str) -> None:
    gate = app.gate()
    with running(*command(name, front.url + gate.path(PROGRAMS[name]), trusted)) as client:
        for number in range(EVENTS):
            # litellm alone imports for many seconds of a processor's time.
            client.out.match(rf"^event {number}$", 3 * STARTED)
            gate.next() if number < EVENTS - 1 else gate.end()
        assert client.exit_code() == 0, client.err.all()
        assert client.out.all() == [f"event {number}" for number in range(EVENTS)]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("front", ["nginx"], indirect=True)
def test_a_stream_that_is_cut_is_an_error(front: Front, app: App, trusted: Path, name: str) -> None:
    gate = app.gate()
    with running(*command(name, front.url + gate.path(PROGRAMS[name]), trusted)) as client:
        client.out.match("^event 0$", 3 * STARTED)
        gate.fail()
        assert client.exit_code() == 1
        assert client.out.all() == ["event 0"]


@pytest.mark.parametrize("name", ["with_openai.py", "with_openai.mjs"])
def test_a_client_that_leaves_ends_the_work_of_the_application(
    front: Front, app: App, trusted: Path, name: str
) -> None:
    gate = app.gate()
    with running(*command(name, front.url + gate.path(PROGRAMS[name]), trusted)) as client:
        client.out.match("^event 0$", STARTED)
        client.end()
    assert gate.over() == "cancelled"
