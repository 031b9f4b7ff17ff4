"""Applications that get header fields as variables (CGI, WSGI): to them X_Forwarded_For is X-Forwarded-For."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import msgspec
import pytest

from tests.e2e.stack import unbuffer
from tests.peers import PATIENCE

pytestmark = pytest.mark.process

FORGED = {
    "X_Forwarded_For": "203.0.113.1",
    "X_FORWARDED_PROTO": "https",
    "X-Forwarded_Host": "evil.example",
    "X_API_Key": "stolen",
}


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def wsgiref() -> Iterator[int]:
    """An application that answers with its variables; its port."""

    def application(environ: dict[str, Any], start: Any) -> list[bytes]:
        body = msgspec.json.encode({name: value for name, value in environ.items() if name.startswith("HTTP_")})
        start("200 OK", [("Content-Length", str(len(body)))])
        return [body]

    with make_server("127.0.0.1", 0, application, handler_class=_Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def variables(port: int, target: str) -> dict[str, str]:
    """What the application makes of a request with FORGED."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    client.request("GET", target, headers=FORGED)
    seen = msgspec.json.decode(client.getresponse().read(), type=dict[str, str])
    client.close()
    return seen


def test_a_client_that_is_not_trusted_cannot_forge_them_by_another_spelling() -> None:
    with wsgiref() as direct:
        alone = variables(direct, "/")
        assert alone["HTTP_X_FORWARDED_FOR"] == "203.0.113.1"  # or this test would show nothing
        credentials = ("--set", "credentials.query=key", "--set", "credentials.header=X-API-Key")
        with unbuffer(f"http://127.0.0.1:{direct}", *credentials, "--set", "credentials.scheme=") as proxy:
            seen = variables(proxy.port, "/?key=K")
    assert seen["HTTP_X_FORWARDED_FOR"] == "127.0.0.1"
    assert seen["HTTP_X_FORWARDED_PROTO"] == "http"
    assert seen["HTTP_X_FORWARDED_HOST"] == f"127.0.0.1:{proxy.port}"
    assert seen["HTTP_X_API_KEY"] == "K"
