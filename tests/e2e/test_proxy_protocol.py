"""unbuffer behind real programs that send the PROXY protocol: their clients' addresses arrive, and theirs alone."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from signal import SIGTERM

import httpx
import pytest
import trustme

from tests.e2e.processes import running
from tests.e2e.stack import Unbuffer, unbuffer
from tests.peers import PATIENCE, eventually
from tests.programs import installed, missing

pytestmark = pytest.mark.process

CLIENT = "127.0.0.7"
"""An address of this machine (Linux) that no proxy connects from."""

REFUSED = ("unbuffer_rejected_requests_total", frozenset({("reason", "proxy_protocol")}))

NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

NGINX = """
load_module {module};
daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
events {{}}
stream {{
    server {{
        listen 127.0.0.1:{port};
        proxy_pass {upstream};
        proxy_protocol on;
    }}
}}
"""

HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen clients
    bind 127.0.0.1:{port}
    server unbuffer {upstream} {send}
"""


class Echo(BaseHTTPRequestHandler):
    """An application that says from whom, and by what scheme, a request is said to be."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"{self.headers['X-Forwarded-For']} {self.headers['X-Forwarded-Proto']}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def behind() -> Iterator[Unbuffer]:
    """unbuffer that asks for the header and trusts 127.0.0.1 only."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        options = ("--set", "listen.proxy_protocol=true", "--set", "forwarded.trusted_proxies=127.0.0.1")
        try:
            with unbuffer(f"http://127.0.0.1:{server.server_address[1]}", *options) as process:
                yield process
        finally:
            server.shutdown()
            thread.join()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


Front = Callable[[Path, int | str, str], AbstractContextManager[object]]


def haproxy(send: str) -> Front:
    def start(directory: Path, port: int | str, upstream: str) -> AbstractContextManager[object]:
        file = directory / "haproxy.cfg"
        file.write_text(HAPROXY.format(port=port, upstream=upstream, send=send))
        return running(installed("haproxy"), "-db", "-f", str(file), code=-SIGTERM)

    return start


@contextmanager
def nginx(directory: Path, port: int | str, upstream: str) -> Iterator[None]:
    path = installed("nginx")
    if not NGINX_STREAM.exists():
        missing("nginx's stream module")
    (directory / "nginx.conf").write_text(NGINX.format(module=NGINX_STREAM, port=port, upstream=upstream))
    with running(path, "-p", str(directory), "-e", "stderr", "-c", "nginx.conf"):
        yield


@pytest.mark.parametrize("front", [haproxy("send-proxy"), haproxy("send-proxy-v2"), nginx], ids=["v1", "v2", "nginx"])
async def test_the_address_of_a_proxys_client_arrives(
    behind: Unbuffer, tmp_path: Path, closed_port: int, front: Front
) -> None:
    path = f"/{tmp_path.name}"
    with front(tmp_path, closed_port, behind.url.removeprefix("http://")):
        await eventually(lambda: listens(closed_port))
        transport = httpx.AsyncHTTPTransport(local_address=CLIENT)
        async with httpx.AsyncClient(transport=transport, timeout=PATIENCE) as client:
            for _ in range(2):
                told = await client.get(
                    f"http://127.0.0.1:{closed_port}{path}", headers={"X-Forwarded-For": "203.0.113.9"}
                )
                assert told.text == f"{CLIENT} http"
    assert [line["client.address"] for line in behind.lines(path, 2)] == [CLIENT] * 2


@pytest.mark.parametrize("front", [haproxy("send-proxy-v2-ssl")], ids=["haproxy"])
@pytest.mark.parametrize("secure", [True, False], ids=["https", "http"])
async def test_the_scheme_of_a_proxys_client_arrives(
    behind: Unbuffer, tmp_path: Path, closed_port: int, front: Front, secure: bool
) -> None:
    """HAProxy ends TLS and says so in its header; of a client in clear text it says nothing of TLS."""
    authority = trustme.CA()
    trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(trusted)
    pem = tmp_path / "haproxy.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(pem)
    listener = f"{closed_port} ssl crt {pem} alpn http/1.1" if secure else closed_port
    scheme = "https" if secure else "http"
    with front(tmp_path, listener, behind.url.removeprefix("http://")):
        await eventually(lambda: listens(closed_port))
        async with httpx.AsyncClient(verify=trusted, trust_env=False, timeout=PATIENCE) as client:
            for _ in range(2):
                assert (await client.get(f"{scheme}://127.0.0.1:{closed_port}/scheme")).text == f"127.0.0.1 {scheme}"


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"])
async def test_a_proxys_health_checks_are_no_errors(
    behind: Unbuffer, tmp_path: Path, closed_port: int, send: str
) -> None:
    before = behind.samples()[REFUSED]
    with haproxy(f"{send} check inter 10ms fall 1 rise 1")(tmp_path, closed_port, behind.url.removeprefix("http://")):
        await eventually(lambda: listens(closed_port))
        async with httpx.AsyncClient(verify=False, trust_env=False, timeout=PATIENCE) as client:
            for _ in range(20):
                assert (await client.get(f"http://127.0.0.1:{closed_port}/checked")).status_code == 200
    assert behind.samples()[REFUSED] == before


def curl(url: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = (installed("curl"), "--silent", "--noproxy", "*", "--max-time", str(PATIENCE), *options, url)
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_curl_with_the_header_is_served_and_without_it_is_not(behind: Unbuffer) -> None:
    assert curl(f"{behind.url}/curl", "--haproxy-protocol").stdout == "127.0.0.1 http"
    # 52: the server sent nothing; 56: the connection was reset.
    assert curl(f"{behind.url}/curl").returncode in (52, 56)


def test_the_header_of_anybody_else_is_not_believed(behind: Unbuffer) -> None:
    before = behind.samples()[REFUSED]
    assert curl(f"{behind.url}/curl", "--haproxy-protocol", "--interface", CLIENT).returncode in (7, 52, 55, 56)
    assert behind.samples()[REFUSED] == before + 1
