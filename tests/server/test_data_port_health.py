"""`listen.health`: the two health checks on the port of the application."""

import signal

import pytest

from tests.peers import DATE, Peer, timeless
from tests.server.conftest import GET, Ports, Start, Upstream, fetch, start_ports, stream

pytestmark = pytest.mark.process

ON = "listen.health=true"


def request(target: bytes, method: bytes = b"GET", more: bytes = b"") -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: app\r\n%b\r\n" % (method, target, more)


async def answer(client: Peer, size: int) -> tuple[bytes, bytes]:
    """Head and body of the next answer, which is unbuffer's own."""
    head = await client.head()
    assert b"\r\nContent-Length: %d\r\n" % size in head
    assert b"\r\nCache-Control: no-store\r\n" in head
    assert DATE in timeless(head)
    return head, await client.read(size)


async def goes_up(ports: Ports, upstream: Upstream, sent: bytes) -> None:
    """This request is the application's."""
    client = await ports.client()
    await client.send(sent)
    peer = await upstream.accept()
    assert (await peer.head()).startswith(sent.partition(b" HTTP/")[0])
    await peer.close()


async def test_a_process_that_is_well_and_ready_says_so_and_keeps_the_connection(
    serve: Start, upstream: Upstream
) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port, ON, "authorization.required=true", "authorization.tokens=secret")
    client = await ports.client()

    for target in (b"/livez", b"/readyz", b"/readyz?verbose"):
        await client.send(request(target))
        head, body = await answer(client, 3)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert body == b"ok\n"
        assert b"\r\nConnection: close\r\n" not in head

    await client.send(request(b"/readyz", b"HEAD") + request(b"/livez"))
    assert b"\r\nContent-Length: 3\r\n" in await client.head()
    assert (await answer(client, 3))[0].startswith(b"HTTP/1.1 200 ")
    assert b"unbuffer_requests_total{" not in await fetch(ports.admin, b"/metrics")
    await ports.sidecar.end()


async def test_without_the_application_it_is_well_and_not_ready(serve: Start, unused_tcp_port: int) -> None:
    ports = await start_ports(serve, unused_tcp_port, ON)
    client = await ports.client()
    # Where the application is, and why it cannot be reached, is for the admin port.
    text = b"[+]listening ok\n[-]upstream failed: no connection\nreadyz check failed\n"

    # All of them at once: the answers come in the order of the requests.
    await client.send(request(b"/readyz") + request(b"/livez") + request(b"/readyz"))

    for status, size in (
        (b"503 Service Unavailable", len(text)),
        (b"200 OK", 3),
        (b"503 Service Unavailable", len(text)),
    ):
        head, body = await answer(client, size)
        assert head.startswith(b"HTTP/1.1 %b\r\n" % status)
        assert body == (text if size != 3 else b"ok\n")
    await ports.sidecar.end()


async def test_a_process_that_drains_is_not_ready_and_closes(serve: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port, ON, "drain.delay=1h")
    client = await ports.client()
    ports.sidecar.signal(signal.SIGTERM)
    await ports.sidecar.says("draining")

    await client.send(request(b"/readyz"))

    head = await client.head()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nConnection: close\r\n" in head
    assert (await client.rest()).startswith(b"[-]listening failed: draining\n")
    ports.sidecar.signal(signal.SIGTERM)
    assert await ports.sidecar.exit() == 143


async def test_a_check_does_not_disturb_the_streams_of_the_others(serve: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port, ON)
    client, checker = await ports.client(), await ports.client()
    peer = await stream(client, upstream)

    await checker.send(request(b"/livez", more=b"Connection: close\r\n"))

    head = await checker.head()
    assert b"\r\nConnection: close\r\n" in head
    assert await checker.rest() == b"ok\n"
    await peer.send(b"1\r\nx\r\n")
    assert await client.chunk() == b"x"
    await peer.close()
    await ports.sidecar.end()


async def test_other_paths_methods_and_bodies_are_the_applications(serve: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port, ON, "upstream.keep_alive=0")

    await goes_up(ports, upstream, request(b"/livez/"))
    await goes_up(ports, upstream, request(b"/a/livez"))
    await goes_up(ports, upstream, request(b"/livez", b"OPTIONS"))
    await goes_up(ports, upstream, request(b"/livez", more=b"Content-Length: 1\r\n") + b"x")

    await ports.sidecar.end()


async def test_nothing_is_answered_unless_it_is_asked_for(serve: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port)

    await goes_up(ports, upstream, request(b"/livez"))
    await goes_up(ports, upstream, request(b"/readyz"))

    await ports.sidecar.end()


async def test_a_checker_that_does_not_wait_leaves_nothing_behind(serve: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port, ON)
    for _ in range(20):
        client = await ports.client()
        await client.send(request(b"/readyz"))
        client.reset()
    client = await ports.client()
    await client.send(request(b"/readyz"))
    assert await answer(client, 3)
    await client.send(GET)
    while True:  # those before it are the probe's
        peer = await upstream.accept()
        if await peer.reader.read(1):
            break
    await ports.sidecar.close_clients()
    await peer.close()
    await ports.sidecar.end()
