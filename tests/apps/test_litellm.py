"""LiteLLM's proxy between two unbuffers: a client of OpenAI's library hears each word of the model as it is said."""

import json
from collections.abc import Iterator
from pathlib import Path
from signal import SIGTERM

import openai
import pytest

from tests.apps.installed import python
from tests.deploy.balancers import free_port, hosts
from tests.e2e.processes import STARTED, running
from tests.e2e.stack import Gate, Stack, Unbuffer, unbuffer, uvicorn
from tests.peers import PATIENCE

pytestmark = pytest.mark.process

KEY = "sk-for-this-test-only-0123456789abcdef"


@pytest.fixture
def model() -> Iterator[Stack]:
    """Something that speaks as OpenAI's servers do, and unbuffer in front of it."""
    with uvicorn() as app, unbuffer(app.url) as proxy:
        yield Stack(app, proxy)


@pytest.fixture
def gate(model: Stack) -> Gate:
    return model.gate()


@pytest.fixture
def front(model: Stack, gate: Gate, tmp_path: Path) -> Iterator[Unbuffer]:
    """unbuffer in front of LiteLLM's proxy, which has one model."""
    parameters = {"model": "openai/counting", "api_base": model.url + gate.path("v1"), "api_key": "none"}
    config = {
        "model_list": [{"model_name": "counting", "litellm_params": parameters}],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"num_retries": 0},
    }
    file = tmp_path / "litellm.yaml"
    file.write_text(json.dumps(config))
    (host,) = hosts(1)
    port = free_port(host)
    # Its table of prices would be asked for on the Internet.
    variables = ("NO_PROXY=*", "LITELLM_LOCAL_MODEL_COST_MAP=True")
    program = str(Path(python()).with_name("litellm"))
    command = ("env", *variables, program, "--config", str(file), "--host", host, "--port", str(port))
    with running(*command, "--telemetry", "False", code=-SIGTERM) as process:
        process.err.match("Uvicorn running on", STARTED)
        with unbuffer(f"http://{host}:{port}") as front:
            yield front


def test_each_word_is_heard_before_the_next_one_exists(front: Unbuffer, gate: Gate) -> None:
    with (
        openai.OpenAI(
            api_key=KEY,
            base_url=f"{front.url}/v1",
            max_retries=0,
            http_client=openai.DefaultHttpxClient(trust_env=False, timeout=PATIENCE),
        ) as client,
        client.chat.completions.create(
            model="counting", messages=[{"role": "user", "content": "count"}], stream=True
        ) as chunks,
    ):
        words = (word for chunk in chunks if (word := chunk.choices[0].delta.content))
        for number in range(4):
            assert next(words) == f"event {number}"
            gate.next() if number < 3 else gate.end()
        assert list(words) == []
    assert gate.over() == "ended"
