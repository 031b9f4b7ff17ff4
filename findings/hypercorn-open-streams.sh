#!/usr/bin/env bash
# What an HTTP/2 client is told when an ASGI application raises after its first event, while another stream of the same
# connection goes on.
#
# hypercorn 0.18.0, granian 2.8.9 and gunicorn 27.0.1 (PyPI), each with the same application, in clear text; h2 4.4.1
# reads the frames. Needs python3 (3.11 or newer) and the registry.
#
# Guessed: RST_STREAM for the one, and nothing for the other: RFC 9113 has it for this. Or both are cut.
# Seen:    so it is with granian and gunicorn. hypercorn logs the exception and tells the client nothing: no END_STREAM, no
#          RST_STREAM. Its stream stays open while another one of the connection does.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
  hypercorn==0.18.0 granian==2.8.9 gunicorn==27.0.1 h2==4.4.1

cat >app.py <<'PY'
import asyncio

told = {"/raises": asyncio.Event(), "/goes-on": asyncio.Event()}


async def app(scope, receive, send):
    if scope["type"] != "http":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["method"] == "POST":
        told[scope["path"]].set()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        return
    head = [(b"content-type", b"text/event-stream")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": b"data: one\n\n", "more_body": True})
    await told[scope["path"]].wait()
    if scope["path"] == "/raises":
        raise RuntimeError
    await send({"type": "http.response.body", "body": b"data: two\n\n", "more_body": True})
    await asyncio.Event().wait()
PY
cat >client.py <<'PY'
import select
import socket
import sys
import time

import h2.connection
import h2.events

for _ in range(100):
    try:
        sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        break
    except OSError:
        time.sleep(0.2)
connection = h2.connection.H2Connection()
connection.initiate_connection()
told = {}


def ask(method, path):
    stream = connection.get_next_available_stream_id()
    fields = [(":method", method), (":scheme", "http"), (":authority", "a"), (":path", path)]
    connection.send_headers(stream, fields, end_stream=True)
    sock.sendall(connection.data_to_send())
    told[stream] = []
    return stream


def read(stream, *words, seconds=60):
    """Read until that stream was told one of these."""
    until = time.monotonic() + seconds
    while not set(words) & set(told[stream]):
        if not select.select([sock], [], [], max(0, until - time.monotonic()))[0]:
            return f"nothing for {seconds} s"
        data = sock.recv(65536)
        if not data:
            return "the connection is closed"
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                told[event.stream_id] += event.data.decode().split()
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                told[event.stream_id] += ["END_STREAM"]
            elif isinstance(event, h2.events.StreamReset):
                told[event.stream_id] += ["RST_STREAM"]
        sock.sendall(connection.data_to_send())
    return " ".join(told[stream])


other, one = ask("GET", "/goes-on"), ask("GET", "/raises")
read(other, "one")
read(one, "one")
read(ask("POST", "/raises"), "END_STREAM")
print("it:", read(one, "END_STREAM", "RST_STREAM", seconds=10), end="")
ask("POST", "/goes-on")
print("; the other:", read(other, "two"))
PY
try() { # NAME COMMAND...
  "${@:2}" >"log.$1" 2>&1 &
  server=$!
  echo "$1: $(venv/bin/python client.py "$port")"
  kill "$server"
  wait "$server" || true
  grep -q RuntimeError "log.$1"
}
port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
{
  port=$(port)
  try granian venv/bin/granian --interface asgi --host 127.0.0.1 --port "$port" --workers-kill-timeout 1 app:app
  port=$(port)
  try gunicorn venv/bin/gunicorn -k asgi --bind "127.0.0.1:$port" --http-protocols h2,h1 \
    --http2-cleartext prior-knowledge --graceful-timeout 1 app:app
  port=$(port)
  try hypercorn venv/bin/hypercorn --bind "127.0.0.1:$port" --graceful-timeout 1 app:app
} | tee seen
diff - seen <<'TEXT' || { echo "it was as the lines with < say"; exit 1; }
granian: it: data: one RST_STREAM; the other: data: one data: two
gunicorn: it: data: one RST_STREAM; the other: data: one data: two
hypercorn: it: nothing for 10 s; the other: data: one data: two
TEXT
