"""The drain asked for from outside, and the time in which load balancers may notice it."""

import signal
from pathlib import Path

import pytest

from tests.peers import connect
from tests.server.conftest import GET, Start, Upstream, fetch, finish, relays, start_ports, stream

pytestmark = pytest.mark.process


async def test_during_the_delay_all_that_comes_is_served_and_told_to_close(serve: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port, "drain.delay=1h", "upstream.keep_alive=0")
    idle, client = await ports.client(), await ports.client()
    peer = await stream(client, upstream)

    ports.sidecar.signal(signal.SIGTERM)
    await ports.sidecar.says(r"draining: new connections are served for 3600s \(drain.delay\)")
    assert (await fetch(ports.admin, b"/readyz")).startswith(b"HTTP/1.1 503 ")
    for one in (idle, await ports.client()):
        await one.send(GET)
        upper = await upstream.accept()
        await upper.head()
        await upper.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert b"\r\nConnection: close\r\n" in await one.head()
        assert await one.rest() == b"ok"
    await relays(peer, client, b"data: on\n\n")

    ports.sidecar.signal(signal.SIGTERM)
    assert await ports.sidecar.exit() == 143


async def test_after_the_delay_the_listeners_close(serve: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port, "drain.delay=50ms")
    idle, client = await ports.client(), await ports.client()
    peer = await stream(client, upstream)

    ports.sidecar.signal(signal.SIGTERM)
    await ports.sidecar.says("draining: new connections")
    await ports.sidecar.says("draining: running streams")

    assert await idle.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        await connect(ports.data)
    await finish(peer, client)
    assert await ports.sidecar.exit() == 0


async def test_the_first_signal_after_the_command_changes_nothing_and_the_second_hurries(
    serve: Start, command: Start, upstream: Upstream
) -> None:
    """Kubernetes runs the preStop hook and then sends SIGTERM."""
    await upstream.start()
    ports = await start_ports(serve, upstream.port, "drain.timeout=1h")
    client = await ports.client()
    peer = await stream(client, upstream)

    hook = await command("drain", "--admin", f"127.0.0.1:{ports.admin}")
    assert await hook.exit() == 0
    assert (await fetch(ports.admin, b"/readyz")).startswith(b"HTTP/1.1 503 ")
    ports.sidecar.signal(signal.SIGTERM)
    # A reload is told of after the signal that came before it.
    ports.sidecar.signal(signal.SIGHUP)
    await ports.sidecar.says("reloaded")
    await relays(peer, client, b"data: on\n\n")
    ports.sidecar.signal(signal.SIGTERM)

    assert (await ports.sidecar.record())["unbuffer.outcome"] == "draining"
    assert await ports.sidecar.exit() == 143


async def test_a_drain_that_was_asked_for_ends_the_process(serve: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port, "drain.timeout=1h")
    client = await ports.client()
    peer = await stream(client, upstream)

    assert (await fetch(ports.admin, b"/drain", b"POST")).endswith(b"\r\n\r\ndraining\n")
    await relays(peer, client, b"data: on\n\n")
    await finish(peer, client)

    assert (await ports.sidecar.record())["unbuffer.outcome"] == "completed"
    assert await ports.sidecar.exit() == 0


async def test_the_command_can_wait_until_the_process_is_gone(
    command: Start, upstream: Upstream, tmp_path: Path
) -> None:
    await upstream.start()
    admin = f"unix:{tmp_path}/admin.sock"
    sidecar = await command(
        *("serve", "--listen", "127.0.0.1:0", "--admin", admin, "--upstream", f"http://127.0.0.1:{upstream.port}")
    )
    client = await sidecar.client("127.0.0.1", await sidecar.port())
    peer = await stream(client, upstream)

    waiting = await command("drain", "--wait", "--admin", admin)
    await sidecar.says("draining")
    await relays(peer, client, b"data: on\n\n")
    assert waiting.process.returncode is None
    await finish(peer, client)

    assert await waiting.exit() == 0
    assert not (tmp_path / "admin.sock").exists()
    assert await sidecar.exit() == 0
