"""What a model says, as the client library of OpenAI gives it."""

from collections.abc import Iterator
from contextlib import contextmanager

import openai

from tests.peers import PATIENCE


@contextmanager
def completion(base_url: str, model: str = "m", key: str = "none") -> Iterator[Iterator[str]]:
    """The words of one streamed answer. base_url: with its `/v1`."""
    with (
        openai.OpenAI(
            api_key=key,
            base_url=base_url,
            max_retries=0,
            http_client=openai.DefaultHttpxClient(trust_env=False, timeout=PATIENCE),
        ) as client,
        client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "count"}], stream=True
        ) as chunks,
    ):
        yield (word for chunk in chunks if (word := chunk.choices[0].delta.content))
