#!/usr/bin/env bash
# What HTTP clients make of an informational answer that comes unasked before the answer: 100, or 103 (Early Hints).
#
# requests 2.34.2 on urllib3 2.8.0, httpx 0.28.1 and aiohttp 3.14.5 (PyPI), undici 7.30.2 (npm), and Node's own fetch and
# http: a server sends one of the two, and then 200 with a body. RFC 9110, section 15.2: a client must be able to parse
# such answers before the final one, even if it does not expect any. Needs python3 (3.11 to 3.14), node (20 or newer),
# npm and the registries.
#
# Guessed: all of them skip both, and read the 200; or a client that is too simple fails at both.
# Seen:    requests, as everything on Python's http.client, skips 100, and takes 103 for the answer: status 103, no body,
#          no error. fetch of Node.js, as undici, skips 103, and fails at 100. The others skip both.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
  requests==2.34.2 urllib3==2.8.0 httpx==0.28.1 aiohttp==3.14.5
npm install --silent --no-audit --no-fund undici@7.30.2 >/dev/null

cat >server.py <<'PY'
import socketserver

BEFORE = {
    b"/100": b"HTTP/1.1 100 Continue\r\n\r\n",
    b"/103": b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload; as=style\r\n\r\n",
}


class Answer(socketserver.StreamRequestHandler):
    def handle(self):
        path = self.rfile.readline().split()[1]
        while self.rfile.readline().strip():
            pass
        self.wfile.write(BEFORE[path])
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


with Server(("127.0.0.1", 0), Answer) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
PY
cat >client.py <<'PY'
import asyncio
import sys

import aiohttp
import httpx
import requests


def with_requests(url):
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(url)
        answer.raise_for_status()
        return answer.status_code, answer.text


def with_httpx(url):
    answer = httpx.get(url, trust_env=False).raise_for_status()
    return answer.status_code, answer.text


def with_aiohttp(url):
    async def read():
        async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as answer:
            return answer.status, await answer.text()

    return asyncio.run(read())


for read in (with_requests, with_httpx, with_aiohttp):
    for before in ("100", "103"):
        status, text = read(f"{sys.argv[1]}/{before}")
        print(f"{read.__name__[5:]}, {before}: {status} '{text}'")
PY
cat >client.mjs <<'JS'
import http from "node:http";
import { request } from "undici";

const readers = {
  "fetch of Node.js": async (url) => {
    const answer = await fetch(url);
    return [answer.status, await answer.text()];
  },
  "request of undici": async (url) => {
    const answer = await request(url);
    return [answer.statusCode, await answer.body.text()];
  },
  "node:http": (url) =>
    new Promise((resolve, reject) => {
      const asked = http.get(url, async (answer) => resolve([answer.statusCode, await new Response(answer).text()]));
      asked.on("error", reject);
    }),
};
for (const [name, read] of Object.entries(readers)) {
  for (const before of ["100", "103"]) {
    const seen = await read(`${process.argv[2]}/${before}`).then(
      ([status, text]) => `${status} '${text}'`,
      (error) => (error.cause ?? error).code,
    );
    console.log(`${name}, ${before}: ${seen}`);
  }
}
JS
mkfifo port
python3 server.py >port &
server=$!
read -r port <port
echo "Python $(venv/bin/python -c 'import platform; print(platform.python_version())'), Node.js $(node --version)"
{
  venv/bin/python client.py "http://127.0.0.1:$port"
  NO_PROXY='*' node client.mjs "http://127.0.0.1:$port"
} | tee seen
diff - seen <<'TEXT' || { echo "it was as the lines with < say"; exit 1; }
requests, 100: 200 'hello'
requests, 103: 103 ''
httpx, 100: 200 'hello'
httpx, 103: 200 'hello'
aiohttp, 100: 200 'hello'
aiohttp, 103: 200 'hello'
fetch of Node.js, 100: UND_ERR_SOCKET
fetch of Node.js, 103: 200 'hello'
request of undici, 100: UND_ERR_SOCKET
request of undici, 103: 200 'hello'
node:http, 100: 200 'hello'
node:http, 103: 200 'hello'
TEXT
