"""Client libraries as programs of their own, through a load balancer and unbuffer, in lock-step with the application.

A program writes one line for each event that its library gives it; the application has no next one before. It reads
several streams, one after the other: what it imports may take ten seconds of a processor.

A silence lasts until heartbeats have gone out: no event is lost to one, and none is made of one. Nobody looks at a
clock.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.apps.installed import node, python
from tests.clients.conftest import BALANCERS
from tests.deploy.balancers import Front
from tests.e2e.processes import STARTED, running
from tests.e2e.stack import App, Unbuffer, unbuffer
from tests.e2e.test_silence import silence

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


@pytest.fixture(scope="module")
def beating(app: App) -> Iterator[Unbuffer]:
    """unbuffer that sends a heartbeat at the beginning of a stream and in each silence."""
    with unbuffer(app.url, "--set", "sse.heartbeat=50ms", "--set", "sse.opening=true") as proxy:
        yield proxy


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path) -> Path:
    """The authority of the balancers' certificates, as a file."""
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(file)
    return file


def command(name: str, urls: list[str], trusted: Path) -> list[str]:
    """Runs a program that trusts that authority, and reads these streams."""
    interpreter = node() if name.endswith(".mjs") else python()
    # LiteLLM would ask for its table of prices on the Internet, and wait for it.
    variables = ("NO_PROXY=*", "LITELLM_LOCAL_MODEL_COST_MAP=True")
    trust = (f"SSL_CERT_FILE={trusted}", f"NODE_EXTRA_CA_CERTS={trusted}")
    return ["env", *variables, *trust, interpreter, str(FOLDER / name), *urls]


def test_every_program_is_run() -> None:
    assert PROGRAMS.keys() == {path.name for path in FOLDER.iterdir() if path.is_file()}


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_event_is_read_before_the_next_one_exists(
    front_of: Callable[[str], Front], beating: Unbuffer, app: App, trusted: Path, name: str
) -> None:
    """Through each load balancer, and through silences; and then a stream that is cut is an error."""
    urls = [front_of(balancer).url for balancer in BALANCERS]
    if PROGRAMS[name] != "text":  # which has no heartbeats
        urls.append(beating.url)
    urls.append(front_of("nginx").url)
    gates = [app.gate() for _ in urls]
    streams = [url + gate.path(PROGRAMS[name]) for url, gate in zip(urls, gates, strict=True)]
    read: list[str] = []
    with running(*command(name, streams, trusted)) as client:

        def reads(event: str) -> None:
            read.append(event)
            client.out.wait(lambda lines: lines[len(read) - 1 :] or None, 3 * STARTED)

        for url, gate in zip(urls[:-1], gates[:-1], strict=True):
            for number in range(EVENTS):
                reads(f"event {number}")
                if url == beating.url:
                    silence(beating, 2)
                gate.next() if number < EVENTS - 1 else gate.end()
        reads("event 0")
        gates[-1].fail()
        assert client.exit_code() == 1
        assert client.out.all() == read


@pytest.mark.parametrize("name", ["with_openai.py", "with_openai.mjs"])
def test_a_client_that_leaves_ends_the_work_of_the_application(
    front: Front, app: App, trusted: Path, name: str
) -> None:
    gate = app.gate()
    with running(*command(name, [front.url + gate.path(PROGRAMS[name])], trusted)) as client:
        client.out.match("^event 0$", STARTED)
        client.end()
    assert gate.over() == "cancelled"
