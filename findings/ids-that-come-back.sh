#!/usr/bin/env bash
# With which id three replacements of EventSource come back when a stream has ended.
#
# event-source-polyfill 1.0.31, eventsource 4.1.1 and extended-eventsource 2.1.0 (npm), in Node.js. Each reads three
# streams that begin with an event of id 6. In the first, `id: 7` follows in an event with data, in the second in a
# block of its own, in the third in an event that lacks its empty line. Needs python3 (3.11 or newer), node (20 or newer),
# npm and the registry.
#
# Guessed: `Last-Event-ID` with 7, 7 and 6, as the HTML standard has it (section 9.2.6): a block that ends sets the id,
#          whether or not there is an event to dispatch, and one that does not end sets nothing.
# Seen:    none of them does so. To eventsource a block of its own means nothing. extended-eventsource takes the id of an
#          event that nobody has got, which is lost where the server goes on after 7. event-source-polyfill is as
#          eventsource, and sends no field at all: it adds `lastEventId=` to the query.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" "${reader:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund \
  event-source-polyfill@1.0.31 eventsource@4.1.1 extended-eventsource@2.1.0 >/dev/null

cat >server.py <<'PY'
import http.server

FIRST = b"retry: 50\nid: 6\ndata: six\n\n"
STREAMS = {
    "event": FIRST + b"id: 7\ndata: seven\n\n",
    "alone": FIRST + b"id: 7\n\n",
    "unfinished": FIRST + b"id: 7\ndata: seven\n",
}
opened, said = set(), set()


class Stream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        if path in opened:
            if path not in said:
                said.add(path)
                field = self.headers["Last-Event-ID"]
                print(path.split("/")[2], query if field is None else field, flush=True)
            self.send_response(204)
            self.end_headers()
            return
        opened.add(path)
        body = STREAMS[path.split("/")[2]]
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
cat >reader.mjs <<'JS'
const [url, name] = process.argv.slice(2);
const library = await import(name);
const Source = library.EventSource ?? library.default.EventSourcePolyfill;
globalThis.sources = ["event", "alone", "unfinished"].map((stream) => new Source(`${url}/${name}/${stream}`));
JS
mkfifo said
python3 server.py >said 2>log.server &
server=$!
exec 3<said
read -r port <&3
for name in eventsource extended-eventsource event-source-polyfill; do
  NO_PROXY='*' node reader.mjs "http://127.0.0.1:$port" "$name" >log 2>&1 &
  reader=$!
  declare -A id=()
  for _ in event alone unfinished; do
    read -r -t 60 stream came <&3
    id[$stream]=$came
  done
  kill "$reader"
  wait "$reader" || true
  echo "$name: ${id[event]}, ${id[alone]}, ${id[unfinished]}"
done | tee seen
diff - seen <<'TEXT' || { echo "it was as the lines with < say"; exit 1; }
eventsource: 7, 6, 6
extended-eventsource: 7, 7, 7
event-source-polyfill: lastEventId=7, lastEventId=6, lastEventId=6
TEXT
