#!/usr/bin/env bash
# What openai for Python makes of a block of an event-stream that has no data: `retry: 1000`, or `id: 7`, by itself.
#
# openai 3.57.0 (PyPI), with a stream of chat completions that is valid: such a block stands before its first chunk. The
# HTML standard dispatches no event without data; servers begin a stream with `retry:` to say when to come back.
# Needs python3 (3.11 or newer) and the registry.
#
# Guessed: the block is passed over, as a comment is, and the words are read.
# Seen:    a comment is passed over; `retry:` or `id:` alone is an event to it, whose empty data it gives to json:
#          JSONDecodeError. So is an `event:` alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check openai==3.57.0

cat >server.py <<'PY'
import http.server
import json

BLOCKS = {"comment": b": hello\n\n", "retry": b"retry: 1000\n\n", "id": b"id: 7\n\n", "event": b"event: ping\n\n"}


def chunk(word):
    choice = {"index": 0, "delta": {"content": word}, "finish_reason": None}
    answer = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}
    return b"data: " + json.dumps(answer).encode() + b"\n\n"


class Stream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = BLOCKS[self.path.split("/")[1]] + chunk("one") + chunk("two") + b"data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
print(server.server_port, flush=True)
server.serve_forever()
PY
cat >client.py <<'PY'
import sys

import openai

question = [{"role": "user", "content": "count"}]
for block in ("comment", "retry", "id", "event"):
    with openai.OpenAI(api_key="none", base_url=f"{sys.argv[1]}/{block}", max_retries=0) as client:
        try:
            chunks = client.chat.completions.create(model="m", messages=question, stream=True)
            seen = " ".join(chunk.choices[0].delta.content for chunk in chunks)
        except Exception as error:
            seen = type(error).__name__
    print(f"{block}: {seen}")
PY
mkfifo port
python3 server.py >port &
server=$!
read -r port <port
NO_PROXY='*' venv/bin/python client.py "http://127.0.0.1:$port" | tee seen
diff - seen <<'TEXT'
comment: one two
retry: JSONDecodeError
id: JSONDecodeError
event: JSONDecodeError
TEXT
