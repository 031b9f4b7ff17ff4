"""SIGTERM and SIGINT: running streams go on, new work is refused, and every end is one that the client can tell."""

import asyncio
import signal

import pytest

from tests.peers import connect, stop_reading
from tests.server.conftest import GET, UNTIL_CLOSE, Start, Upstream, fetch, finish, relays, start_ports, stream

pytestmark = pytest.mark.process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_running_stream_goes_on_to_its_end_while_new_connections_are_refused(
    serve: Start, upstream: Upstream, number: int
) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port)
    idle, client = await ports.client(), await ports.client()
    peer = await stream(client, upstream)

    ports.sidecar.signal(number)
    assert await ports.sidecar.says("draining.*") == "draining: running streams have up to 30s (drain.timeout)"
    # The idle connection is closed after the listener.
    assert await idle.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        await connect(ports.data)
    for count in range(3):
        await relays(peer, client, b"data: %d\n\n" % count)
    await finish(peer, client)

    assert await client.rest() == b""
    record = await ports.sidecar.record()
    assert (record["unbuffer.outcome"], record["unbuffer.chunks"]) == ("completed", 4)
    assert await ports.sidecar.exit() == 0
    assert ports.sidecar.errors.endswith("INFO stopped\n")


async def test_the_admin_port_tells_of_the_drain_until_it_is_over(serve: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port)
    client = await ports.client()
    peer = await stream(client, upstream)
    assert (await fetch(ports.admin, b"/readyz")).startswith(b"HTTP/1.1 200 ")
    assert b"\nunbuffer_draining 0.0\n" in await fetch(ports.admin, b"/metrics")

    ports.sidecar.signal(signal.SIGTERM)
    await ports.sidecar.says("draining")
    for _ in range(2):
        ready = await fetch(ports.admin, b"/readyz")
        assert ready.startswith(b"HTTP/1.1 503 ")
        assert b"[-]listening failed: draining\n" in ready
        assert (await fetch(ports.admin, b"/livez")).startswith(b"HTTP/1.1 200 ")
        assert b"\nunbuffer_draining 1.0\n" in await fetch(ports.admin, b"/metrics")
        await relays(peer, client, b"data: on\n\n")
    await finish(peer, client)

    assert await ports.sidecar.exit() == 0
    with pytest.raises(ConnectionRefusedError):
        await connect(ports.admin)


async def test_what_outlives_the_drain_timeout_is_visibly_broken(serve: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port, "drain.timeout=100ms")
    chunked, close_delimited, waiting = [await ports.client() for _ in range(3)]
    await stream(chunked, upstream)
    await close_delimited.send(GET.replace(b"HTTP/1.1", b"HTTP/1.0"))
    peer = await upstream.accept()
    await peer.head()
    await peer.send(UNTIL_CLOSE + b"data: first\n\n")
    await close_delimited.until(b"data: first\n\n")
    await waiting.send(GET)
    await (await upstream.accept()).head()

    ports.sidecar.signal(signal.SIGTERM)

    with pytest.raises(asyncio.IncompleteReadError):
        await chunked.chunk()
    with pytest.raises(ConnectionResetError):
        await close_delimited.rest()
    answer = await waiting.rest()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nConnection: close\r\n" in answer
    for _ in range(3):
        assert (await ports.sidecar.record())["unbuffer.outcome"] == "draining"
    assert await ports.sidecar.exit() == 0


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_second_signal_ends_the_streams_at_once(
    serve: Start, upstream: Upstream, second: int, code: int
) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port, "drain.timeout=1h")
    client = await ports.client()
    peer = await stream(client, upstream)

    ports.sidecar.signal(signal.SIGTERM)
    await ports.sidecar.says("draining")
    await relays(peer, client, b"data: still there\n\n")
    ports.sidecar.signal(second)

    with pytest.raises(asyncio.IncompleteReadError):
        await client.chunk()
    assert (await ports.sidecar.record())["unbuffer.outcome"] == "draining"
    assert await ports.sidecar.exit() == code
    assert "second signal: ending every stream now\n" in ports.sidecar.errors


async def test_a_second_signal_does_not_wait_for_a_client_that_takes_nothing(serve: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port, "drain.timeout=1h", "timeouts.client_stall=1h")
    client = await ports.client()
    peer = await stream(client, upstream)
    stop_reading(client)
    # More than the buffers of the kernel take.
    peer.writer.write(b"%x\r\n" % (1 << 26) + b"x" * (1 << 26))
    await ports.until_metric(b'unbuffer_client_backpressure_events_total{kind="sse",route="default"}')

    ports.sidecar.signal(signal.SIGTERM)
    await ports.sidecar.says("draining")
    ports.sidecar.signal(signal.SIGTERM)

    assert (await ports.sidecar.record())["unbuffer.outcome"] == "draining"
    assert await ports.sidecar.exit() == 143


async def test_a_signal_ends_an_idle_process_and_its_idle_connections_at_once(serve: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port, "drain.timeout=1h")
    fresh, kept_alive, admin = await ports.client(), await ports.client(), await connect(ports.admin)
    peer = await stream(kept_alive, upstream)
    await finish(peer, kept_alive)
    await admin.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await admin.until(b"ok\n")

    ports.sidecar.signal(signal.SIGTERM)

    for client in (fresh, kept_alive, admin):
        assert await client.rest() == b""
    assert await peer.rest() == b""
    assert await ports.sidecar.exit() == 0
    await admin.close()


async def test_an_admin_request_whose_body_never_comes_does_not_hold_up_the_end(
    serve: Start, upstream: Upstream
) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port)
    admin = await connect(ports.admin)
    await admin.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n")
    await admin.until(b"ok\n")

    ports.sidecar.signal(signal.SIGTERM)

    assert await ports.sidecar.exit() == 0
    await admin.close()


async def test_a_tunnel_goes_on_until_it_is_closed(serve: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port)
    client = await ports.client()
    upgrade = b"Connection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    await client.send(GET[:-2] + upgrade)
    peer = await upstream.accept()
    await peer.head()
    await peer.send(b"HTTP/1.1 101 Switching Protocols\r\n" + upgrade)
    await client.head()

    ports.sidecar.signal(signal.SIGTERM)
    await ports.sidecar.says("draining")
    for word in (b"ping", b"pong"):
        await client.send(word)
        assert await peer.read(4) == word
        await peer.send(word)
        assert await client.read(4) == word
    client.eof()
    assert await peer.rest() == b""
    await peer.close()

    assert await client.rest() == b""
    assert await ports.sidecar.exit() == 0


async def test_a_request_that_waits_for_the_upstream_is_served_before_the_listeners_close(
    serve: Start, upstream: Upstream, closed_port: int
) -> None:
    ports = await start_ports(serve, closed_port, "upstream.wait=1h", "drain.delay=1h")
    client = await ports.client()
    await client.send(GET)
    await ports.until_metric(b'unbuffer_upstream_connects_total{result="refused"}')

    ports.sidecar.signal(signal.SIGTERM)
    await ports.sidecar.says("draining")
    upstream.port = closed_port
    await upstream.start()
    peer = await upstream.accept()
    await peer.head()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    answer = await client.rest()
    assert answer.endswith(b"\r\n\r\nok")
    assert b"\r\nConnection: close\r\n" in answer
    ports.sidecar.signal(signal.SIGTERM)
    assert await ports.sidecar.exit() == 143


@pytest.mark.parametrize("delay", ["0s", "1h"])
async def test_a_request_that_waits_for_the_upstream_when_the_listeners_close_is_refused(
    serve: Start, closed_port: int, delay: str
) -> None:
    ports = await start_ports(serve, closed_port, "upstream.wait=1h", f"drain.delay={delay}")
    client = await ports.client()
    await client.send(GET)
    await ports.until_metric(b'unbuffer_upstream_connects_total{result="refused"}')

    ports.sidecar.signal(signal.SIGTERM)
    await ports.sidecar.says("draining")
    if delay == "1h":
        ports.sidecar.signal(signal.SIGTERM)

    assert (await client.rest()).startswith(b"HTTP/1.1 503 ")
    outcome = (await ports.sidecar.record())["unbuffer.outcome"]
    # A second signal ends streams and waits alike: whichever is first.
    assert outcome in (("upstream_refused",) if delay == "0s" else ("upstream_refused", "draining"))
    assert await ports.sidecar.exit() == (0 if delay == "0s" else 143)
