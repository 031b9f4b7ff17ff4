#!/usr/bin/env bash
# How an event-stream of FastAPI ends when the application raises after its first event, with and without its own class.
#
# fastapi 0.165.0, uvicorn 0.54.0 and httpx 0.28.1 (PyPI): the same generator once as a path operation with
# `response_class=EventSourceResponse`, and once inside a StreamingResponse. It raises when the client has read the first
# event. Needs python3 (3.11 or newer) and the registry.
#
# Guessed: both are cut, so that httpx raises RemoteProtocolError ("incomplete chunked read").
# Seen:    StreamingResponse is cut; EventSourceResponse sends the last chunk, and httpx reads a whole response.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check fastapi==0.165.0 uvicorn==0.54.0 httpx==0.28.1

cat >app.py <<'PY'
import asyncio
import socket

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

app = FastAPI()
read = {"own": asyncio.Event(), "plain": asyncio.Event()}


@app.post("/read/{kind}")
async def has_read(kind: str) -> None:
    read[kind].set()


@app.get("/own", response_class=EventSourceResponse)
async def own():
    yield ServerSentEvent(raw_data="one")
    await read["own"].wait()
    raise RuntimeError


@app.get("/plain")
async def plain():
    async def events():
        yield "data: one\n\n"
        await read["plain"].wait()
        raise RuntimeError

    return StreamingResponse(events(), media_type="text/event-stream")


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="critical")).run(sockets=[listener])
PY
cat >client.py <<'PY'
import sys

import httpx

url, kind = sys.argv[1:]
with httpx.Client(base_url=url, trust_env=False, timeout=60) as client, client.stream("GET", f"/{kind}") as response:
    parts = response.iter_text()
    text = next(parts)
    httpx.post(f"{url}/read/{kind}", trust_env=False, timeout=60).raise_for_status()
    try:
        print(repr(text + "".join(parts)), "and a clean end")
    except httpx.HTTPError as error:
        print(repr(text), "and", type(error).__name__)
PY
mkfifo port
venv/bin/python app.py >port 2>/dev/null &
server=$!
read -r port <port
failed=0
for kind in own plain; do
  case $kind in
    own) expected="'data: one\\n\\n' and a clean end" ;;
    plain) expected="'data: one\\n\\n' and RemoteProtocolError" ;;
  esac
  seen=$(venv/bin/python client.py "http://127.0.0.1:$port" "$kind")
  printf '%-8s %s\n' "$kind" "$seen"
  [ "$expected" = "$seen" ] || { echo "  it was: $expected"; failed=1; }
done
exit "$failed"
