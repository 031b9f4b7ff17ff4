"""LiteLLM's proxy between two unbuffers: a client of OpenAI's library hears each word of the model as it is said.

What the model does not say at the end of a stream, LiteLLM makes up: on which side of it an unbuffer sees the truth.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGTERM

import pytest

from tests import local
from tests.apps.installed import python
from tests.deploy.balancers import free_port, hosts
from tests.e2e.completions import completion
from tests.e2e.processes import STARTED, running
from tests.e2e.stack import App, Gate, Unbuffer, unbuffer, uvicorn

pytestmark = pytest.mark.process

KEY = "sk-for-this-test-only-0123456789abcdef"

MODELS = {"counting": "v1", "failing": "v1", "wordless": "wordless"}
"""What each model of LiteLLM's is, as a stream of the application."""


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    """Something that speaks as OpenAI's servers do."""
    with uvicorn() as app:
        yield app


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration that asks every stream for its last word."""
    file = tmp_path_factory.mktemp("unbuffer") / "unbuffer.yaml"
    file.write_text("routes: [{name: chat, prefix: /, terminal_marker: 'data: [DONE]'}]\n")
    return file


@pytest.fixture(scope="module")
def model(app: App, marked: Path) -> Iterator[Unbuffer]:
    """unbuffer between LiteLLM and the model."""
    with unbuffer(app.url, "-c", str(marked)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def gates(app: App) -> dict[str, Gate]:
    """One for each model."""
    return {name: app.gate() for name in MODELS}


@pytest.fixture(scope="module")
def front(
    model: Unbuffer, gates: dict[str, Gate], marked: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Unbuffer]:
    """unbuffer in front of LiteLLM's proxy."""
    config = {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {
                    "model": f"openai/{name}",
                    "api_base": model.url + gates[name].path(kind),
                    "api_key": "none",
                },
            }
            for name, kind in MODELS.items()
        ],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"num_retries": 0},
    }
    file = tmp_path_factory.mktemp("litellm") / "litellm.yaml"
    file.write_text(json.dumps(config))
    (host,) = hosts(1)
    port = free_port(host)
    # Its table of prices would be asked for on the Internet.
    variables = ("NO_PROXY=*", "LITELLM_LOCAL_MODEL_COST_MAP=True")
    program = str(Path(python()).with_name("litellm"))
    command = ("env", *variables, program, "--config", str(file), "--host", host, "--port", str(port))
    with running(*command, "--telemetry", "False", code=-SIGTERM) as process:
        # What it imports takes many seconds of a processor's time.
        process.err.match("Uvicorn running on", 3 * STARTED)
        with unbuffer(f"http://{host}:{port}", "-c", str(marked)) as front:
            yield front


def test_each_word_is_heard_before_the_next_one_exists(front: Unbuffer, gates: dict[str, Gate]) -> None:
    gate = gates["counting"]
    with completion(f"{front.url}/v1", "counting", KEY) as words:
        for number in range(4):
            assert next(words) == f"event {number}"
            gate.next() if number < 3 else gate.end()
        assert list(words) == []
    assert gate.over() == "ended"


def after_the_first(front: Unbuffer, model: str, go_on: Callable[[], None]) -> list[str]:
    """The lines of a stream of this model from its second on, none of them empty; raises if it is cut."""
    question = {"model": model, "messages": [{"role": "user", "content": "count"}], "stream": True}
    url, key = f"{front.url}/v1/chat/completions", {"Authorization": f"Bearer {KEY}"}
    with local.stream("POST", url, headers=key, json=question) as response:
        lines = (line for line in response.iter_lines() if line)
        assert "event 0" in next(lines)
        go_on()
        return list(lines)


def outcome(model: Unbuffer, gates: dict[str, Gate], name: str) -> str:
    """How the stream of this model ended between LiteLLM and it."""
    path = gates[name].path(MODELS[name])
    ended: str = model.line(f"{path}/chat/completions")["unbuffer.outcome"]
    return ended


def test_a_stream_of_the_model_that_is_cut_ends_cleanly_with_an_error_in_words(
    front: Unbuffer, model: Unbuffer, gates: dict[str, Gate]
) -> None:
    (line,) = after_the_first(front, "failing", gates["failing"].fail)
    assert line.startswith('data: {"error": {')
    assert outcome(model, gates, "failing") == "upstream_disconnect"


def test_a_last_word_that_the_model_never_said_is_made_up(
    front: Unbuffer, model: Unbuffer, gates: dict[str, Gate]
) -> None:
    *_, last, word = after_the_first(front, "wordless", gates["wordless"].end)
    assert '"finish_reason":"stop"' in last
    assert word == "data: [DONE]"
    assert outcome(model, gates, "wordless") == "unterminated"
