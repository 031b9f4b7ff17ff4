#!/usr/bin/env bash
# What HTTP clients read of an event-stream of which each event was compressed for itself, so that the body is a row of
# gzip members.
#
# requests 2.34.2 on urllib3 2.8.0, aiohttp 3.14.5, httpx 0.28.1 and httpx2 2.16.2 (PyPI), fetch of Node.js, and curl
# 7.88.1 (Debian bookworm): three events, each in a chunk and a member of its own, with a last chunk. RFC 9110, section
# 8.4.1.3, has the coding from RFC 1952, which has a file as a series of members. Needs python3 (3.11 or newer), node (20 or
# newer), curl and the registry.
#
# Guessed: all read three events; whatever can read a stream of gzip goes on after the end of a member.
# Seen:    three ways. requests, aiohttp and Node.js read three. httpx and httpx2 read the first one and a clean end: the
#          others are lost, without an error. curl writes the first one, and fails with 23.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check \
  requests==2.34.2 urllib3==2.8.0 aiohttp==3.14.5 httpx==0.28.1 httpx2==2.16.2

cat >server.py <<'PY'
import gzip
import http.server


class Stream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for word in (b"one", b"two", b"three"):
            member = gzip.compress(b"data: %b\n\n" % word)
            self.wfile.write(b"%x\r\n%b\r\n" % (len(member), member))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stream)
print(server.server_port, flush=True)
server.serve_forever()
PY
cat >client.py <<'PY'
import asyncio
import sys

import aiohttp
import httpx
import httpx2
import requests

url = sys.argv[1]


def with_requests():
    with requests.Session() as session:
        session.trust_env = False
        return b"".join(session.get(url, stream=True).iter_content(None))


async def with_aiohttp():
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return b"".join([piece async for piece in answer.content.iter_any()])


def with_httpx(library):
    with library.Client(trust_env=False) as client, client.stream("GET", url) as answer:
        return b"".join(answer.iter_bytes())


print("requests", *with_requests().decode().split("\n\n"))
print("aiohttp", *asyncio.run(with_aiohttp()).decode().split("\n\n"))
print("httpx", *with_httpx(httpx).decode().split("\n\n"))
print("httpx2", *with_httpx(httpx2).decode().split("\n\n"))
PY
mkfifo port
python3 server.py >port &
server=$!
read -r port <port
export NO_PROXY='*' url="http://127.0.0.1:$port/"
curl --version | sed -n 's/^\(curl [0-9.]*\).*/\1/p'
{
  venv/bin/python client.py "$url"
  node -e 'fetch(process.env.url).then((a) => a.text()).then((t) => console.log("Node.js", ...t.split("\n\n")))'
  code=0
  curl --silent --no-buffer --compressed "$url" >written || code=$?
  echo "curl $(tr -s '\n' ' ' <written)exit code $code"
} | sed 's/ *$//' | tee seen
diff - seen <<'TEXT' || { echo "it was as the lines with < say"; exit 1; }
requests data: one data: two data: three
aiohttp data: one data: two data: three
httpx data: one
httpx2 data: one
Node.js data: one data: two data: three
curl data: one exit code 23
TEXT
