#!/usr/bin/env bash
# What a second and a third reader get of an event-stream behind Varnish, which knows its backend and nothing else.
#
# Varnish 7.1.1 (Debian bookworm): the application answers 200 with text/event-stream and no Cache-Control, and says in each
# event which of its requests it belongs to. Needs varnish and python3 (3.11 or newer).
#
# Guessed: a stream that does not end is in no cache, so each reader has one of its own; or the second one waits until the
#          first one's has ended, since Varnish asks for an object only once.
# Seen:    the second one reads the first one's stream from its beginning, and goes on live with it. The third one, that
#          comes after the end, gets all of it at once, with an Age. The application has had one request.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${origin:-}" "${proxy:-}" 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
cd "$folder"
cat >origin.py <<'PY'
import http.server
import threading

words, requests = ["one"], 0
told = threading.Condition()


class Stream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        with told:
            words.append(self.path[1:])
            told.notify_all()
        self.send_response(204)
        self.end_headers()

    def do_GET(self):
        global requests
        requests += 1
        number = requests
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        sent = 0
        while sent == 0 or words[sent - 1] != "end":
            with told:
                told.wait_for(lambda: sent < len(words))
            event = f"data: {words[sent]} of request {number}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))
            sent += 1
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
print(server.server_port, flush=True)
server.serve_forever()
PY
cat >clients.py <<'PY'
import http.client
import sys
import time

proxy, origin = map(int, sys.argv[1:])


def begun():
    for _ in range(100):
        client = http.client.HTTPConnection("127.0.0.1", proxy, timeout=60)
        try:
            client.request("GET", "/events")
            return client.getresponse()
        except OSError:
            time.sleep(0.2)
    sys.exit("Varnish does not answer")


def event(answer):
    line = answer.readline().decode().strip()
    assert answer.readline() == b"\n"
    return line.removeprefix("data: ")


def say(word):
    client = http.client.HTTPConnection("127.0.0.1", origin, timeout=60)
    client.request("POST", f"/{word}")
    client.getresponse().read()


first = begun()
print("first: ", event(first))
say("two")
print("first: ", event(first))
second = begun()
print("second:", event(second))
print("second:", event(second))
say("end")
print("first: ", event(first))
print("second:", event(second))
assert first.read() == second.read() == b""
third = begun()
words = third.read().decode().replace("data: ", "").split("\n\n")
print("third: ", *words, "| Age" if "Age" in third.headers else "| no Age")
PY
port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mkfifo ready
python3 origin.py >ready &
origin=$!
read -r upstream <ready
listen=$(port)
PATH=$PATH:/usr/sbin
varnishd -V 2>&1 | sed -n 's/^varnishd (\(varnish-[0-9.]*\).*/\1/p'
varnishd -F -j none -n "$folder/varnish" -a "127.0.0.1:$listen" -b "127.0.0.1:$upstream" -s malloc,16m -T none >log 2>&1 &
proxy=$!
python3 clients.py "$listen" "$upstream" | tee seen
diff - seen <<'TEXT' || { echo "it was as the lines with < say"; exit 1; }
first:  one of request 1
first:  two of request 1
second: one of request 1
second: two of request 1
first:  end of request 1
second: end of request 1
third:  one of request 1 two of request 1 end of request 1  | Age
TEXT
