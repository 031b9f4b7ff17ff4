#!/usr/bin/env bash
# What Varnish makes of two things that a response may have around its body: 103 (Early Hints) before its head, and a
# trailer section after its last chunk.
#
# Varnish 7.1.1 (Debian bookworm), which knows its backend and nothing else. RFC 9112, section 7.1.2, lets a recipient drop
# trailer fields, and RFC 9110, section 15.2, has any client parse 103. Needs varnish and python3 (3.11 or newer).
#
# Guessed: Varnish drops both without a word, and the client gets the response.
# Seen:    for 103 the client gets 503. A trailer section breaks the response: its events arrive, and in place of its end
#          the stream is cut, so a reader takes a complete answer for a truncated one.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${origin:-}" "${proxy:-}" 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
cd "$folder"
cat >origin.py <<'PY'
import socketserver
import threading

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n"
BEGIN = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nb\r\ndata: one\n\n\r\n"
)
END = b"0\r\n\r\n"
TRAILER = b"0\r\nServer-Timing: model;dur=1\r\n\r\n"
ANSWERS = {
    b"/plain": (BEGIN, END),
    b"/103": (HINTS + BEGIN, END),
    b"/trailer": (BEGIN, TRAILER),
}
read = {path: threading.Event() for path in ANSWERS}


class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        method, path, _ = self.rfile.readline().split()
        while self.rfile.readline().strip():
            pass
        if method == b"POST":
            read[path].set()
            self.wfile.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            return
        begin, end = ANSWERS[path]
        self.wfile.write(begin)
        read[path].wait()
        self.wfile.write(end)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


with Server(("127.0.0.1", 0), Answer) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
PY
cat >client.py <<'PY'
import http.client
import sys
import time

proxy, origin = map(int, sys.argv[1:])


def answered(port, method, path):
    for _ in range(100):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            client.request(method, path)
            return client.getresponse()
        except ConnectionRefusedError:
            time.sleep(0.2)
    sys.exit("Varnish does not answer")


for path in ("/plain", "/103", "/trailer"):
    answer = answered(proxy, "GET", path)
    seen = [str(answer.status)]
    if answer.status == 200:
        seen.append(answer.readline().decode().strip())
        answered(origin, "POST", path).read()
        try:
            answer.read()
            seen.append("the end")
        except http.client.IncompleteRead:
            seen.append("cut")
    print(f"{path[1:]}:", ", ".join(seen))
PY
port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mkfifo ready
python3 origin.py >ready 2>log.origin &
origin=$!
read -r upstream <ready
listen=$(port)
PATH=$PATH:/usr/sbin
varnishd -V 2>&1 | sed -n 's/^varnishd (\(varnish-[0-9.]*\).*/\1/p'
varnishd -F -j none -n "$folder/varnish" -a "127.0.0.1:$listen" -b "127.0.0.1:$upstream" -s malloc,16m -T none >log 2>&1 &
proxy=$!
python3 client.py "$listen" "$upstream" | tee seen
diff - seen <<'TEXT' || { echo "it was as the lines with < say"; exit 1; }
plain: 200, data: one, the end
103: 503
trailer: 200, data: one, cut
TEXT
