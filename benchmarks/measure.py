"""One measurement: a fresh source, a fresh proxy alone on its core, one load, the numbers of one window.

Everything is new each time, so that no number depends on what was measured before it.
"""

import http.client
import os
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO

import msgspec
import trustme

from benchmarks.processes import idle, proportional_size, reader, running, tree
from benchmarks.proxies import Proxy
from benchmarks.samples import Load, Opened, Sample
from benchmarks.scenes import Scene

_SOURCE = Path(__file__).with_name("streamload.c")
_START = 60.0
"""Seconds that a proxy may take until it answers."""


class Failed(Exception):
    """There is no number, or none to trust; the message says why."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where measurements run."""

    directory: Path
    """For all files; its maker removes it."""
    streamload: str
    """The compiled program."""
    proxy_core: int
    load_core: int
    seconds: float
    """Length of a window."""
    access_log: bool = True
    """Whether the proxies write their access logs, into a pipe that is read."""


def build_streamload(directory: Path) -> str:
    """Compile the load into the directory; returns the program's path. Raises Failed if it cannot."""
    compiler = os.environ.get("CC", "cc")
    if not shutil.which(compiler):
        raise Failed(f"no C compiler: {compiler} is not on the PATH (apt install gcc, or name one in CC)")
    program = str(directory / "streamload")
    command = [compiler, "-O2", "-o", program, str(_SOURCE), "-lssl", "-lcrypto", "-lz"]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode:
        needs = "it needs the headers of OpenSSL and zlib (apt install libssl-dev zlib1g-dev)"
        raise Failed(f"{compiler} cannot compile {_SOURCE}; {needs}:\n{built.stderr}")
    return program


def measure(bench: Bench, scene: Scene, proxy: Proxy | None) -> Sample:
    """Load the proxy, or the source itself for None. Raises Failed unless every answer was right."""
    directory = Path(tempfile.mkdtemp(dir=bench.directory))
    cores = (bench.proxy_core, bench.load_core)
    certificate = _certificate(directory) if scene.tls else None
    with (directory / "log").open("a") as log, ExitStack() as started:
        source = started.enter_context(running([bench.streamload, "source"], bench.load_core, PIPE, log, {}))
        port = upstream = int(line_of(source, log))
        pids: list[int] = []
        neighbours: list[int] = []
        if scene.neighbour:
            busy_one = running([sys.executable, "-c", "while True: pass"], bench.proxy_core, log, log, {})
            neighbours.append(started.enter_context(busy_one).pid)
        if proxy:
            port = free_port()
            command, environment = proxy.prepare(directory, upstream, port, bench.access_log, certificate)
            output = started.enter_context(reader(bench.load_core, log))
            process = started.enter_context(running(command, bench.proxy_core, output, log, environment))
            wait_for_answer(process, port, log, scene.tls)
            pids = tree(process.pid)
        idle_bytes = proportional_size(pids) if scene.open_streams else 0
        sink = started.enter_context(
            running(sink_command(bench, scene, port, [source.pid, *neighbours, *pids]), bench.load_core, PIPE, log, {})
        )
        opened = msgspec.json.decode(line_of(sink, log), type=Opened)
        open_bytes = proportional_size(pids) if scene.open_streams else 0
        since, idle_since = time.monotonic(), idle(cores)
        load = msgspec.json.decode(line_of(sink, log), type=Load)
        busy = len(cores) * (time.monotonic() - since) - (idle(cores) - idle_since)
    if load.errors:
        raise Failed(f"{load.errors} wrong answers, the first: {load.first_error}")
    if not (load.events or load.streams or load.payload_bytes):
        raise Failed("nothing came through")
    if opened.open < scene.open_streams:
        raise Failed(f"{opened.open} of {scene.open_streams} streams were open")
    load_cpu = load.cpu[0] + load.own_cpu
    neighbour_cpu, proxy_cpu = sum(load.cpu[1 : 1 + len(neighbours)]), sum(load.cpu[1 + len(neighbours) :])
    other_cpu = busy - neighbour_cpu - proxy_cpu - load_cpu
    return Sample(load, proxy_cpu, load_cpu, other_cpu, idle_bytes, open_bytes)


def sink_command(bench: Bench, scene: Scene, port: int, watched: list[int]) -> list[str]:
    """The load of a scene; CPU times of the watched processes are reported in their order."""
    command = [bench.streamload, "sink", str(port), "-w", str(scene.warm_up), "-t", str(bench.seconds)]
    for pid in watched:
        command += ["-P", str(pid)]
    return command + shlex.split(scene.options)


def line_of(process: Popen[str], log: IO[str]) -> str:
    """The next line that streamload prints."""
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise Failed(f"streamload ended early: {_tail(log)}")
    return line


def free_port() -> int:
    """A port of 127.0.0.1 that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _certificate(directory: Path) -> Path:
    """A file with a key and a certificate that nobody checks."""
    file = directory / "certificate.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(file)
    return file


def wait_for_answer(process: Popen[str], port: int, log: IO[str], tls: bool = False) -> None:
    """Wait until a proxy passes on what the source answers."""
    deadline = time.monotonic() + _START
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    client: http.client.HTTPConnection
    while time.monotonic() < deadline and process.poll() is None:
        if tls:
            client = http.client.HTTPSConnection("127.0.0.1", port, timeout=_START, context=unchecked)
        else:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=_START)
        with closing(client), suppress(OSError, http.client.HTTPException):
            client.request("GET", "/plain?size=64")
            if client.getresponse().status == 200:
                return
        time.sleep(0.02)
    state = "gave no answer" if process.poll() is None else f"ended with status {process.returncode}"
    raise Failed(f"it {state}: {_tail(log)}")


def _tail(log: IO[str]) -> str:
    lines = Path(log.name).read_text(errors="replace").splitlines()
    return "\n".join(lines[-10:]) or "it wrote nothing"
