"""A stream in lock-step through the unbuffer that this Python has installed; prints what that says of itself.

The upstream sends a piece only after the client has the one before it, so a proxy that holds anything back stops here
for good, until the time is up. Needs nothing but unbuffer: it runs wherever a wheel was built.
"""

import http.client
import re
import socket
import subprocess
import sys
from contextlib import closing

PIECES = [b"data: %d\n\n" % number for number in range(5)]
PATIENCE = 30.0
COMMAND = (sys.executable, "-m", "unbuffer")


def main() -> None:
    """Start it between an upstream and a client of our own, and pass each piece through."""
    socket.setdefaulttimeout(PATIENCE)
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        address = f"http://127.0.0.1:{upstream.getsockname()[1]}"
        options = ("--upstream", address, "--listen", "127.0.0.1:0", "--set", "admin.address=off")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        process = subprocess.Popen((*COMMAND, "serve", *options), text=True, **quiet)
        try:
            assert process.stderr is not None
            found = (re.search(r"listening on http://127\.0\.0\.1:(\d+)", line) for line in process.stderr)
            stream(upstream, next(int(port[1]) for port in found if port))
        finally:
            process.terminate()
            code = process.wait(PATIENCE)
    if code != 0:
        sys.exit(f"unbuffer ended with {code}")
    print(subprocess.run((*COMMAND, "--version"), check=True, capture_output=True, text=True).stdout.strip())


def stream(upstream: socket.socket, port: int) -> None:
    """One response of several pieces, each of which is read before the next is sent."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as client:
        client.request("GET", "/")
        while not (application := upstream.accept()[0]).recv(65536):
            application.close()  # a look whether somebody listens
        with application:
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            application.sendall(head)
            response = client.getresponse()
            for piece in PIECES:
                application.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
                if (got := response.read(len(piece))) != piece:
                    sys.exit(f"sent {piece!r}, received {got!r}")
            application.sendall(b"0\r\n\r\n")
            if rest := response.read():
                sys.exit(f"after the end: {rest!r}")


if __name__ == "__main__":
    main()
