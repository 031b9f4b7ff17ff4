#!/usr/bin/env bash
# What two libraries make of what the HTML standard gives no meaning to, between two events: a comment, and an empty line.
#
# google-genai 3.6.1 (PyPI) and @microsoft/fetch-event-source 2.0.1 (npm), each with a stream that is valid: two events
# with such a line between them. Needs python3 (3.11 or newer), node and npm, and the registries.
#
# Guessed: both ignore the comment; the empty line is nothing to anybody.
# Seen:    google-genai raises UnknownApiResponseError at the comment, and reads on at an empty line;
#          fetch-event-source ignores the comment, and gives an event without data for the empty line.
#          So neither of the two shapes of a heartbeat is read rightly by both.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check google-genai==3.6.1
npm install --silent --no-audit --no-fund @microsoft/fetch-event-source@2.0.1 >/dev/null

cat >server.py <<'PY'
import http.server
import json

LINES = {"comment": b":\n", "empty": b"\n"}


def event(word):
    content = {"role": "model", "parts": [{"text": word}]}
    return b"data: " + json.dumps({"candidates": [{"index": 0, "content": content}]}).encode() + b"\n\n"


class Stream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = event("one") + LINES[self.path.split("/")[1]] + event("two")
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
print(server.server_port, flush=True)
server.serve_forever()
PY
cat >genai.py <<'PY'
import sys

from google import genai

with genai.Client(api_key="none", http_options={"base_url": sys.argv[1]}) as client:
    try:
        print(*(answer.text for answer in client.models.generate_content_stream(model="m", contents="count")))
    except Exception as error:
        print(type(error).__name__)
PY
cat >page.mjs <<'JS'
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = await import("@microsoft/fetch-event-source");
const sizes = [];
await fetchEventSource(process.argv[2], { onmessage: ({ data }) => sizes.push(data ? "event" : "nothing") });
console.log(sizes.join(" "));
JS
mkfifo port
python3 server.py >port &
server=$!
read -r port <port
export NO_PROXY='*'
failed=0
expect() { # NAME EXPECTED SEEN
  printf '%-32s %s\n' "$1" "$3"
  [ "$2" = "$3" ] || { echo "  it was: $2"; failed=1; }
}
for line in comment empty; do
  url="http://127.0.0.1:$port/$line"
  case $line in
    comment) genai=UnknownApiResponseError page="event event" ;;
    empty) genai="one two" page="event nothing event" ;;
  esac
  expect "google-genai, $line" "$genai" "$(venv/bin/python genai.py "$url" 2>/dev/null)"
  expect "fetch-event-source, $line" "$page" "$(node page.mjs "$url" 2>/dev/null)"
done
exit "$failed"
