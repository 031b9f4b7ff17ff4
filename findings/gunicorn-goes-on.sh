#!/usr/bin/env bash
# Whether Starlette's StreamingResponse stops when its client has left.
#
# starlette 1.10.0 under uvicorn 0.54.0, hypercorn 0.18.0, granian 2.8.9 and gunicorn 27.0.1 with its worker `asgi` (PyPI):
# the client reads the first of ten events and closes the connection; then the application makes the other nine, 20 ms
# apart. Needs python3 (3.11 or newer) and the registry.
#
# Guessed: each of them cancels the generator; at the latest it fails when it next sends something.
# Seen:    all but gunicorn. There it makes all ten, and ends as if they had been read: gunicorn announces version 2.4 of
#          ASGI, so Starlette no longer listens for the client's leaving but waits for send() to raise OSError, and over
#          HTTP/1.1 gunicorn's send() returns as ever. Only after asgi_disconnect_grace_period, 3 s, would it be cancelled.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
  starlette==1.10.0 uvicorn==0.54.0 hypercorn==0.18.0 granian==2.8.9 gunicorn==27.0.1

cat >app.py <<'PY'
import asyncio

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

left, over = asyncio.Event(), asyncio.Event()
made = 0
end = ""


async def events():
    global made, end
    try:
        for made in range(1, 11):
            yield f"data: {made}\n\n"
            await (asyncio.sleep(0.02) if left.is_set() else left.wait())
        end = "all of them"
    except asyncio.CancelledError:
        end = "cancelled"
        raise
    finally:
        over.set()


async def stream(request):
    return StreamingResponse(events(), media_type="text/event-stream")


async def has_left(request):
    left.set()
    await over.wait()
    return PlainTextResponse(f"{end}, {made} of 10" if end != "cancelled" else end)


app = Starlette(routes=[Route("/", stream), Route("/left", has_left)])
PY
cat >client.py <<'PY'
import http.client
import socket
import sys
import time

port = int(sys.argv[1])
for _ in range(100):
    try:
        sock = socket.create_connection(("127.0.0.1", port), timeout=60)
        break
    except OSError:
        time.sleep(0.2)
sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
seen = b""
while b"data: 1\n\n" not in seen:
    seen += sock.recv(65536)
sock.close()
client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
client.request("GET", "/left")
print(client.getresponse().read().decode())
PY
try() { # NAME COMMAND...
  "${@:2}" >"log.$1" 2>&1 &
  server=$!
  echo "$1: $(python3 client.py "$port")"
  kill "$server"
  wait "$server" || true
}
port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
{
  port=$(port)
  try uvicorn venv/bin/uvicorn --host 127.0.0.1 --port "$port" app:app
  port=$(port)
  try hypercorn venv/bin/hypercorn --bind "127.0.0.1:$port" app:app
  port=$(port)
  try granian venv/bin/granian --interface asgi --host 127.0.0.1 --port "$port" app:app
  port=$(port)
  try gunicorn venv/bin/gunicorn -k asgi --bind "127.0.0.1:$port" app:app
} | tee seen
diff - seen <<'TEXT' || { echo "it was as the lines with < say"; exit 1; }
uvicorn: cancelled
hypercorn: cancelled
granian: cancelled
gunicorn: all of them, 10 of 10
TEXT
