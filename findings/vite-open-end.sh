#!/usr/bin/env bash
# What the reader of an event-stream is told by a proxy of Node.js when the application dies in the middle of it, and what
# the application is told when the reader leaves.
#
# vite 8.3.8 (its development server, `server.proxy`), http-proxy 1.18.1 and http-proxy-middleware 4.2.1 (npm): the
# application closes its connection without a last chunk when the reader has the first event. Then another reader closes
# its own when it has one. Needs python3 (3.11 or newer), node (20.19 or newer), npm and the registry.
#
# Guessed: a break is passed on in both directions, as every proxy for production does it.
# Seen:    http-proxy-middleware passes on both. With Vite the reader is told nothing: its connection stays open, silent,
#          so no EventSource comes back. http-proxy passes on neither: the application goes on for a reader that is gone.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${origin:-}" "${proxy:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund vite@8.3.8 http-proxy@1.18.1 http-proxy-middleware@4.2.1 >/dev/null

cat >origin.py <<'PY'
import http.server
import threading

read, left = threading.Semaphore(0), threading.Semaphore(0)


class Stream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        if self.path == "/read":
            read.release()
        is_told = self.path == "/read" or left.acquire(timeout=10)
        self.send_response(204 if is_told else 504)
        self.end_headers()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"b\r\ndata: one\n\n\r\n")
        self.close_connection = True
        if self.path == "/api/dies":
            read.acquire()
        else:
            self.rfile.read(1)  # until the connection is closed
            left.release()

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

proxy, origin = map(int, sys.argv[1:])


def begun(path):
    for _ in range(150):
        client = http.client.HTTPConnection("127.0.0.1", proxy, timeout=10)
        try:
            client.request("GET", path)
            answer = client.getresponse()
        except OSError:
            time.sleep(0.2)
            continue
        assert answer.read1() == b"data: one\n\n"
        return client, answer
    sys.exit("the proxy does not answer")


def ask(path):
    client = http.client.HTTPConnection("127.0.0.1", origin, timeout=60)
    client.request("POST", path)
    return client.getresponse().status


client, answer = begun("/api/dies")
ask("/read")
try:
    told = f"more: {answer.read1()!r}"
except http.client.IncompleteRead:
    told = "a break"
except TimeoutError:
    told = "nothing for 10 s"
print("the reader is told:", told, end="; ")
client.close()
client, answer = begun("/api/goes-on")
answer.close()
client.close()
print("the application:", "a break" if ask("/left") == 204 else "nothing for 10 s")
PY
cat >proxy.mjs <<'JS'
import http from "node:http";

const [kind, port, target] = process.argv.slice(2);
const at = { host: "127.0.0.1", port: Number(port) };
if (kind === "vite") {
  const { createServer } = await import("vite");
  const server = { ...at, strictPort: true, proxy: { "/api": target } };
  const options = { configFile: false, logLevel: "silent", optimizeDeps: { noDiscovery: true }, server };
  await (await createServer(options)).listen();
} else if (kind === "http-proxy") {
  const { default: proxies } = await import("http-proxy");
  const proxy = proxies.createProxyServer({ target });
  http.createServer((request, answer) => proxy.web(request, answer, {}, () => answer.destroy())).listen(at);
} else {
  const { createProxyMiddleware } = await import("http-proxy-middleware");
  const middleware = createProxyMiddleware({ target });
  http.createServer((request, answer) => middleware(request, answer, () => answer.destroy())).listen(at);
}
JS
port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
mkfifo ready
python3 origin.py >ready 2>log.origin &
origin=$!
read -r upstream <ready
for kind in http-proxy-middleware vite http-proxy; do
  listen=$(port)
  node proxy.mjs "$kind" "$listen" "http://127.0.0.1:$upstream" >"log.$kind" 2>&1 &
  proxy=$!
  echo "$kind: $(python3 client.py "$listen" "$upstream")"
  kill "$proxy"
  wait "$proxy" || true
done | tee seen
diff - seen <<'TEXT' || { echo "it was as the lines with < say"; exit 1; }
http-proxy-middleware: the reader is told: a break; the application: a break
vite: the reader is told: nothing for 10 s; the application: a break
http-proxy: the reader is told: nothing for 10 s; the application: nothing for 10 s
TEXT
