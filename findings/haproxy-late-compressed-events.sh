#!/usr/bin/env bash
# Whether HAProxy's compression passes on an event when it comes.
#
# HAProxy 2.6 (Debian bookworm) with `compression algo gzip`: three events, one every two seconds. Needs haproxy and python3
# (3.11 or newer).
#
# Guessed: an event comes whole and at once, as with nginx and Apache, or with the end of the stream.
# Seen:    it comes at once but for its last bytes, so without its empty line, and no reader of events sees it before the
#          next one.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${origin:-}" "${proxy:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
cat >origin.py <<'PY'
import http.server
import time


class Stream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            event = b"data: event %d\n\n" % number
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            time.sleep(2)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
print(server.server_port, flush=True)
server.serve_forever()
PY
cat >client.py <<'PY'
import http.client
import sys
import time
import zlib

for _ in range(100):
    client = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    try:
        client.request("GET", "/", headers={"Accept-Encoding": "gzip"})
        answer = client.getresponse()
        break
    except OSError:
        time.sleep(0.1)
assert answer.headers["Content-Encoding"] == "gzip", answer.headers.as_string()
unzip, began, text = zlib.decompressobj(31), time.monotonic(), b""
sent, told = [0, 2, 4], 0
while piece := answer.read1():
    text += unzip.decompress(piece)
    whole = text.count(b"\n\n")
    while told < whole:
        late = time.monotonic() - began - sent[told]
        print(f"event {told}: whole", "at once" if late < 1 else "with what comes next")
        told += 1
PY
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
mkfifo ready
python3 origin.py >ready &
origin=$!
read -r upstream <ready
cat >haproxy.cfg <<CFG
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend in
  bind 127.0.0.1:$port
  compression algo gzip
  compression type text/event-stream
  default_backend out
backend out
  server app 127.0.0.1:$upstream
CFG
haproxy -f haproxy.cfg >log 2>&1 &
proxy=$!
haproxy -v | sed -n 's/^HAProxy version \([0-9.]*\).*/HAProxy \1/p'
python3 client.py "$port" | tee seen
diff - seen <<'TEXT'
event 0: whole with what comes next
event 1: whole with what comes next
event 2: whole with what comes next
TEXT
