"""SIGHUP: new settings for new requests, the old ones for what runs, and all or nothing."""

import asyncio
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from tests.peers import OK, Peer, connect
from tests.server.conftest import GET, Files, Sidecar, Start, Upstream, fetch, finish, relays, stream

pytestmark = pytest.mark.process


class Configured:
    """A running sidecar and the file it was started with."""

    def __init__(self, sidecar: Sidecar, file: Path, admin: int, data: int) -> None:
        self.text = file.read_text()
        self.sidecar = sidecar
        self.file = file
        self.admin = admin
        self.data = data

    async def client(self, context: ssl.SSLContext | None = None) -> Peer:
        return await self.sidecar.client("localhost" if context else "127.0.0.1", self.data, context)

    async def reload(self, text: str, answer: str = "reloaded: upstream") -> None:
        """Write the file anew, and see what the reload says."""
        self.file.write_text(text)
        self.sidecar.signal(signal.SIGHUP)
        await self.sidecar.says(answer)

    async def serves(self, upstream: Upstream) -> None:
        """See that a new client gets a stream of the upstream's."""
        client = await self.client()
        await finish(await stream(client, upstream), client)

    async def sample(self, name: str) -> float:
        found = re.search(rb"^%b ([0-9.e+]+)$" % name.encode(), await fetch(self.admin, b"/metrics"), re.MULTILINE)
        assert found, name
        return float(found[1])

    async def ready(self) -> bool:
        return (await fetch(self.admin, b"/readyz")).startswith(b"HTTP/1.1 200 ")


Configure = Callable[..., Awaitable[Configured]]


@pytest.fixture
async def configure(serve: Start, upstream: Upstream, tmp_path: Path) -> AsyncIterator[Configure]:
    """Starts a sidecar with a settings file of this text, or one that names the upstream and nothing else; the upstream
    listens. Each must end in good order."""
    await upstream.start()
    started: list[Sidecar] = []

    async def start(text: str = "", scheme: str = "http") -> Configured:
        file = tmp_path / "unbuffer.yaml"
        file.write_text(text or f"upstream: http://127.0.0.1:{upstream.port}\n")
        sidecar = await serve("-c", str(file), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
        started.append(sidecar)
        admin = int(await sidecar.says(r"admin on http://127\.0\.0\.1:(\d+)"))
        data = await sidecar.port(scheme=scheme)
        await sidecar.says("upstream ")
        return Configured(sidecar, file, admin, data)

    yield start
    for sidecar in started:
        if sidecar.process.returncode is None:
            await sidecar.end()


async def answered(client: Peer, upstream: Peer) -> bytes:
    """A request of the client gets its answer from this connection of the upstream; the request head."""
    await client.send(GET)
    head = await upstream.head()
    await upstream.send(OK)
    await client.head()
    assert await client.read(2) == b"ok"
    return head


async def test_the_next_request_of_a_connection_has_the_new_settings(configure: Configure, upstream: Upstream) -> None:
    old = f"upstream: {{url: 'http://127.0.0.1:{upstream.port}'}}\nlimits: {{target: 256}}\n"
    configured = await configure(old)
    client = await configured.client()
    peer = await stream(client, upstream)
    await finish(peer, client)

    new = old.replace("target: 256", "target: 300") + "routes: [{name: all, prefix: /}]\n"
    await configured.reload(new + "forwarded: {trusted_proxies: [127.0.0.1]}\n")
    # The pool is another one: the connection at rest has gone with the old settings.
    assert await peer.rest() == b""
    request = b"GET /" + b"x" * 280 + b" HTTP/1.1\r\nHost: app\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    await client.send(request)
    peer = await upstream.accept()
    assert b"X-Forwarded-For: 192.0.2.1, 127.0.0.1\r\n" in await peer.head()
    await peer.send(OK)
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    assert await client.read(2) == b"ok"

    routes = [(await configured.sidecar.record())["http.route"] for _ in range(2)]
    assert routes == ["default", "all"]


async def test_a_running_stream_keeps_its_settings_and_its_upstream(configure: Configure, upstream: Upstream) -> None:
    other = Upstream()
    await other.start()
    url = f"http://127.0.0.1:{upstream.port}"
    configured = await configure(f"upstream: {{url: '{url}', keep_alive: 1h}}\n")
    running, client = await configured.client(), await configured.client()
    peer = await stream(running, upstream)

    await configured.reload(f"upstream: http://127.0.0.1:{other.port}\ntimeouts: {{silence: 1ms}}\n")
    await client.send(GET)
    assert (await (await other.accept()).head()).startswith(b"GET ")
    for _ in range(3):
        await relays(peer, running, b"data: on\n\n")
    await finish(peer, running)

    # Nobody keeps a connection to an upstream that is no longer asked.
    assert await peer.rest() == b""
    assert await configured.sample('unbuffer_upstream_connections{state="idle"}') == 0
    assert (await configured.sidecar.record())["unbuffer.outcome"] == "completed"
    await other.stop()


async def test_readiness_looks_at_the_new_upstream(configure: Configure, upstream: Upstream, tmp_path: Path) -> None:
    configured = await configure(f"upstream: unix:{tmp_path}/none.sock\n")
    assert not await configured.ready()

    await configured.reload(f"upstream: http://127.0.0.1:{upstream.port}\n")

    assert await configured.ready()


async def test_a_bad_file_changes_nothing_and_every_problem_is_told(configure: Configure, upstream: Upstream) -> None:
    configured = await configure()
    client = await configured.client()
    peer = await stream(client, upstream)
    await finish(peer, client)
    assert await configured.sample("unbuffer_config_last_reload_successful") == 1
    loaded_at = await configured.sample("unbuffer_config_last_reload_success_timestamp_seconds")

    await configured.reload("upstream: ftp://app\nlisten: {backlok: 5}\n", "reload failed, the settings from before")
    await configured.sidecar.says(r"unbuffer\.yaml:1 upstream: want a URL")
    await configured.sidecar.says(r'unbuffer\.yaml:2 listen: unknown key "backlok"; did you mean "backlog"\?')
    assert await configured.sample("unbuffer_config_last_reload_successful") == 0
    assert await configured.sample("unbuffer_config_last_reload_success_timestamp_seconds") == loaded_at
    await answered(client, peer)

    await configured.reload(configured.text)
    assert await configured.sample("unbuffer_config_last_reload_successful") == 1
    assert await configured.sample("unbuffer_config_last_reload_success_timestamp_seconds") > loaded_at


async def test_what_needs_a_restart_is_named_and_the_rest_is_in_force(configure: Configure, upstream: Upstream) -> None:
    configured = await configure()
    fixed = "listen: {backlog: 5}\nlog: {format: text, level: warning}\nroutes: [{name: all, prefix: /}]\n"

    await configured.reload(
        configured.text + fixed, r"reload: listen\.backlog needs a restart; its old value stays in force"
    )
    await configured.sidecar.says(r"reload: log\.format needs a restart")
    await configured.serves(upstream)

    # The line is JSON as before.
    assert (await configured.sidecar.record())["http.route"] == "all"
    await configured.sidecar.close_clients()
    configured.sidecar.signal(signal.SIGTERM)
    assert await configured.sidecar.exit() == 0
    # log.level came into force: neither the reload nor the drain has its line.
    assert "INFO reloaded" not in configured.sidecar.errors
    assert "stopped" not in configured.sidecar.errors


def certificate(folder: Path, authority: trustme.CA, name: str = "localhost") -> int:
    """Put a new certificate where the settings say; its serial number."""
    issued = authority.issue_cert(name)
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "tls.pem"))
    chain = ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())
    return hash(chain)


def shown(client: Peer) -> int:
    return hash(client.writer.get_extra_info("ssl_object").getpeercert(True))


async def test_a_rotated_certificate_is_shown_to_new_connections(
    configure: Configure, upstream: Upstream, files: Files, authority: trustme.CA, tmp_path: Path
) -> None:
    text = f"upstream: http://127.0.0.1:{upstream.port}\nlisten: {{tls: {{certificate: {tmp_path}/tls.pem}}}}\n"
    first = certificate(tmp_path, authority)
    configured = await configure(text, "https")
    before = await configured.client(files.client())
    assert shown(before) == first

    second = certificate(tmp_path, authority)
    await configured.reload(text)
    assert shown(await configured.client(files.client())) == second
    await finish(await stream(before, upstream), before)

    # One that cannot be used, and the second stays.
    (tmp_path / "tls.pem").write_text(authority.cert_pem.bytes().decode())
    await configured.reload(text, "reload failed")
    await configured.sidecar.says(rf"listen\.tls: cannot use {tmp_path}/tls\.pem: ")
    assert shown(await configured.client(files.client())) == second


async def test_a_listener_does_not_begin_to_speak_tls(configure: Configure, upstream: Upstream, files: Files) -> None:
    configured = await configure()

    await configured.reload(
        f"{configured.text}listen: {{tls: {{certificate: {files.issue('localhost')}}}}}\n",
        r"reload: listen\.tls\.certificate needs a restart",
    )

    await configured.serves(upstream)


async def test_an_authority_that_cannot_be_used_changes_nothing(
    configure: Configure, upstream: Upstream, tmp_path: Path
) -> None:
    configured = await configure()
    ca = tmp_path / "ca.pem"
    ca.write_text("nothing")

    await configured.reload(f"upstream: {{url: 'https://app', tls: {{ca: {ca}}}}}\n", "reload failed")
    await configured.sidecar.says(rf"upstream\.tls: cannot use {ca}: ")

    await configured.serves(upstream)


async def test_a_signal_that_comes_while_it_drains_harms_nobody(configure: Configure, upstream: Upstream) -> None:
    configured = await configure()
    client = await configured.client()
    peer = await stream(client, upstream)

    configured.sidecar.signal(signal.SIGTERM)
    await configured.sidecar.says("draining")
    await configured.reload(configured.text)
    await relays(peer, client, b"data: on\n\n")
    with pytest.raises(ConnectionRefusedError):
        await connect(configured.data)
    await finish(peer, client)

    assert await configured.sidecar.exit() == 0


async def test_unbuffer_reload_says_what_came_of_it(configure: Configure, upstream: Upstream) -> None:
    configured = await configure()
    at = f"127.0.0.1:{configured.admin}"

    configured.file.write_text(configured.text + "log: {format: text}\nroutes: [{name: all, prefix: /}]\n")
    code, printed, _ = await asyncio.to_thread(cli, "reload", "--admin", at)
    assert (code, printed) == (
        0,
        "reload: log.format needs a restart; its old value stays in force\n"
        f"reloaded, except log.format: upstream http://127.0.0.1:{upstream.port}\n",
    )
    assert b'route="all"' in await fetch(configured.admin, b"/metrics")

    # Of the file that the command reads, the address is needed, and that alone.
    configured.file.write_text(f"{configured.text}admin: {at}\nrouts: []\n")
    code, printed, _ = await asyncio.to_thread(cli, "reload", "-c", str(configured.file))
    assert code == 1
    first, second = printed.splitlines()
    assert first == "reload failed, the settings from before stay in force:"
    assert second.startswith(f'{configured.file}:3: unknown key "routs"')
    assert await configured.sample("unbuffer_config_last_reload_successful") == 0


def cli(*arguments: str) -> tuple[int, str, str]:
    """The command, in a process of its own: its exit code and what it prints."""
    done = subprocess.run((sys.executable, "-m", "unbuffer", *arguments), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr
