#!/usr/bin/env bash
# What readers make of the pings of sse-starlette, before and after an event that has an id.
#
# sse-starlette 3.7.0 on uvicorn 0.54.0 pings with a comment and an empty line; httpx-sse 0.4.3 and openai 3.57.0 read it
# (all PyPI). The HTML standard dispatches no event without data, whether there has been an id or not.
# Needs python3 (3.11 or newer) and the registry.
#
# Guessed: both pass over the pings, always.
# Seen:    both do while no event has had an id. After one, httpx-sse hands out an event with empty data for each ping,
#          and openai gives the empty data to json: JSONDecodeError.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
    sse-starlette==3.7.0 starlette==1.10.0 uvicorn==0.54.0 httpx==0.28.1 httpx-sse==0.4.3 openai==3.57.0

cat >app.py <<'PY'
import asyncio
import json

from sse_starlette.sse import EventSourceResponse
from starlette.applications import Starlette
from starlette.routing import Route


def event(word, number):
    choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}
    return {"data": json.dumps(chunk)} | ({"id": number} if number else {})


async def stream(request):
    ids = request.path_params["ids"] == "ids"

    async def words():
        yield event("one", "1" if ids else "")
        await asyncio.sleep(1.5)  # one ping
        yield event("two", "2" if ids else "")
        yield {"data": "[DONE]"}

    return EventSourceResponse(words(), ping=1)


app = Starlette(routes=[Route("/{ids}/chat/completions", stream, methods=["POST"])])
PY
cat >client.py <<'PY'
import sys

import httpx
import httpx_sse
import openai

question = [{"role": "user", "content": "count"}]
for ids in ("none", "ids"):
    url = f"{sys.argv[1]}/{ids}"
    with (
        httpx.Client(trust_env=False) as client,
        httpx_sse.connect_sse(client, "POST", f"{url}/chat/completions", json={}) as source,
    ):
        empty = sum(not event.data for event in source.iter_sse())
    with openai.OpenAI(api_key="none", base_url=url, max_retries=0) as client:
        try:
            chunks = client.chat.completions.create(model="m", messages=question, stream=True)
            seen = " ".join(chunk.choices[0].delta.content for chunk in chunks)
        except Exception as error:
            seen = type(error).__name__
    print(f"{ids}: httpx-sse {empty} empty, openai {seen}")
PY
port=$(venv/bin/python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/python -m uvicorn app:app --port "$port" --log-level warning &
server=$!
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.1; done
NO_PROXY='*' venv/bin/python client.py "http://127.0.0.1:$port" | tee seen
diff - seen <<'TEXT'
none: httpx-sse 0 empty, openai one two
ids: httpx-sse 1 empty, openai JSONDecodeError
TEXT
