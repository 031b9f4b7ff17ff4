#!/usr/bin/env bash
# When granian sends the head of a response whose first piece of a body is yet to come.
#
# granian 2.8.9 (PyPI): an ASGI application sends `http.response.start`, and its first body only when the client has the
# head. The same once as text/event-stream and once as text/plain. Needs python3 (3.11 or newer) and the registry.
#
# Guessed: `http.response.start` is sent at once, as uvicorn and hypercorn do it, or held for every kind of response.
# Seen:    the head of an event-stream goes out at once, and any other is withheld until the first piece of the body.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check granian==2.8.9

cat >app.py <<'PY'
import asyncio


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    media = b"text/event-stream" if scope["path"] == "/events" else b"text/plain"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", media)]})
    await asyncio.sleep(3)
    await send({"type": "http.response.body", "body": b"data: one\n\n"})
PY
cat >client.py <<'PY'
import socket
import sys
import time

port = int(sys.argv[1])
for path in ("/events", "/text"):
    for _ in range(100):
        try:
            sock = socket.create_connection(("127.0.0.1", port))
            break
        except OSError:
            time.sleep(0.2)
    sock.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path.encode())
    withheld = b"data: one" in sock.recv(65536)
    print(f"{path}: the head comes", "with the body" if withheld else "alone")
PY
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
venv/bin/granian --interface asgi --host 127.0.0.1 --port "$port" app:app >log 2>&1 &
server=$!
venv/bin/granian --version
python3 client.py "$port" | tee seen
diff - seen <<'TEXT'
/events: the head comes alone
/text: the head comes with the body
TEXT
