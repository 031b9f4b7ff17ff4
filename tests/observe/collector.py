"""A collector of OpenTelemetry on this machine."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP. answer: cleared = requests wait. status: what it answers."""

    daemon_threads = True
    request_queue_size = 16

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.requests: list[tuple[str, bytes]] = []
        self.fields: dict[str, str] = {}
        self.answer = threading.Event()
        self.answer.set()
        self.status = 200
        self.url = f"http://127.0.0.1:{self.server_port}"


class Receiver(BaseHTTPRequestHandler):
    """One request to the collector."""

    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.fields = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, body))
        self.server.answer.wait()
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has
        pass


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that answers until the block is left."""
    with Collector() as collector:
        thread = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield collector
        collector.answer.set()
        collector.shutdown()
        thread.join()
