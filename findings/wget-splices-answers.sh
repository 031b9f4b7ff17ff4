#!/usr/bin/env bash
# What wget makes of an event-stream that breaks.
#
# GNU Wget 1.21.3 (Debian bookworm): a chunked answer, to GET and to POST, that is cut after its first event; whoever asks
# again gets another answer, complete, as from a model. The server takes no notice of ranges.
# Needs wget and python3 (3.11 or newer).
#
# Guessed: GET may be repeated, from the beginning, and POST is not; otherwise wget fails with 4 (network failure).
# Seen:    both are repeated, with `Range: bytes=N-`. The answer to that is 200, so whole, and wget leaves out its first N
#          bytes: what it writes is the beginning of one answer and the end of another, joined inside an event, and its
#          exit code is 0. With --tries=1 it fails with 4.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
cat >server.py <<'PY'
import http.server

ANSWERS = (b"data: the answer is yes\n\n", b"data: there are three of them, and the first one is this\n\n")
requests = 0


class Stream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global requests
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        print(self.command, self.headers.get("Range", "(no Range)"), flush=True)
        whole, answer = requests % 2, ANSWERS[requests % 2]
        requests += 1
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(answer), answer))
        if whole:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    do_POST = do_GET

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
print(server.server_port, flush=True)
server.serve_forever()
PY
mkfifo port
python3 server.py >port &
server=$!
exec 3<port
read -r port <&3
wget --version | sed -n 's/^\(GNU Wget [0-9.]*\).*/\1/p'
fetch() { # OPTION...
  code=0
  wget --quiet --no-proxy --output-document=- "$@" "http://127.0.0.1:$port/" >answer || code=$?
  echo "exit code $code: $(tr '\n' '|' <answer)"
}
{
  fetch
  read -r first <&3 && read -r second <&3 && echo "  $first, $second"
  fetch --post-data='{"stream": true}'
  read -r first <&3 && read -r second <&3 && echo "  $first, $second"
  fetch --tries=1 --post-data='{"stream": true}'
  read -r first <&3 && echo "  $first"
} | tee seen
diff - seen <<'TEXT' || { echo "it was as the lines with < say"; exit 1; }
exit code 0: data: the answer is yes||them, and the first one is this||
  GET (no Range), GET bytes=25-
exit code 0: data: the answer is yes||them, and the first one is this||
  POST (no Range), POST bytes=25-
exit code 4: data: the answer is yes||
  POST (no Range)
TEXT
