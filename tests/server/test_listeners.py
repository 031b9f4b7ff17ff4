"""Where a process listens: TCP of both versions, Unix sockets and what becomes of their files."""

import asyncio
import signal
import socket
import stat
from pathlib import Path

import pytest

from tests.peers import Peer, connect
from tests.server.conftest import GET, Sidecar, Start, Upstream, finish, relays, stream

pytestmark = pytest.mark.process

NO_ADMIN = ("--admin", "off")


async def start(serve: Start, upstream: Upstream, *arguments: str) -> Sidecar:
    await upstream.start()
    return await serve(*arguments, "--upstream", f"http://127.0.0.1:{upstream.port}")


async def streams_through(client: Peer, upstream: Upstream) -> None:
    """A whole stream in lock-step, and the connection kept."""
    peer = await stream(client, upstream)
    await relays(peer, client, b"data: second\n\n")
    await finish(peer, client)
    await peer.close()


@pytest.mark.parametrize(
    ("address", "host", "shown"),
    [("127.0.0.1:0", "127.0.0.1", r"127\.0\.0\.1"), ("[::1]:0", "::1", r"\[::1\]")],
    ids=["IPv4", "IPv6"],
)
async def test_a_tcp_address(serve: Start, upstream: Upstream, address: str, host: str, shown: str) -> None:
    sidecar = await start(serve, upstream, "--listen", address, *NO_ADMIN)
    port = await sidecar.port(shown)

    await streams_through(await sidecar.client(host, port), upstream)

    await sidecar.end()


async def test_several_addresses_at_once(serve: Start, upstream: Upstream, tmp_path: Path) -> None:
    path = tmp_path / "data.sock"
    addresses = ("127.0.0.1:0", "[::1]:0", f"unix:{path}")
    arguments = [part for address in addresses for part in ("--listen", address)]
    sidecar = await start(serve, upstream, *arguments, *NO_ADMIN)
    ipv4 = await sidecar.port()
    ipv6 = await sidecar.port(r"\[::1\]")
    await sidecar.says(f"listening on unix:{path}$")

    await streams_through(await sidecar.client("127.0.0.1", ipv4), upstream)
    await streams_through(await sidecar.client("::1", ipv6), upstream)
    await streams_through(await sidecar.client_on(path), upstream)

    await sidecar.end()


async def test_no_host_is_every_interface_of_both_versions(serve: Start, upstream: Upstream) -> None:
    sidecar = await start(serve, upstream, "--listen", ":0", *NO_ADMIN)
    ipv4 = await sidecar.port(r"0\.0\.0\.0")
    ipv6 = await sidecar.port(r"\[::\]")

    await streams_through(await sidecar.client("127.0.0.1", ipv4), upstream)
    await streams_through(await sidecar.client("::1", ipv6), upstream)

    await sidecar.end()


async def test_unix_sockets_on_both_sides(serve: Start, upstream: Upstream, tmp_path: Path) -> None:
    await upstream.start_on(tmp_path / "app.sock")
    data = tmp_path / "data.sock"
    sidecar = await serve("--listen", f"unix:{data}", "--upstream", f"unix:{tmp_path / 'app.sock'}", *NO_ADMIN)
    await sidecar.says(f"listening on unix:{data}$")

    await streams_through(await sidecar.client_on(data), upstream)

    assert (await sidecar.record())["client.address"] == "unix"
    await sidecar.end()
    assert not data.exists()
    assert (tmp_path / "app.sock").exists(), "the upstream's socket is not ours"


async def test_an_upstream_socket_that_does_not_exist_is_an_upstream_that_refuses(serve: Start, tmp_path: Path) -> None:
    sidecar = await serve("--listen", "127.0.0.1:0", "--upstream", f"unix:{tmp_path / 'app.sock'}", *NO_ADMIN)
    client = await sidecar.client("127.0.0.1", await sidecar.port())

    await client.send(GET)

    assert (await client.head()).startswith(b"HTTP/1.1 503 ")
    assert (await sidecar.record())["unbuffer.outcome"] == "upstream_refused"
    await sidecar.end()


async def test_the_socket_of_a_killed_process_is_replaced(serve: Start, upstream: Upstream, tmp_path: Path) -> None:
    path = tmp_path / "data.sock"
    killed = await start(serve, upstream, "--listen", f"unix:{path}", *NO_ADMIN)
    await killed.says("listening on")
    killed.signal(signal.SIGKILL)
    assert await killed.exit() == -signal.SIGKILL
    assert stat.S_ISSOCK(path.stat().st_mode)

    sidecar = await serve("--listen", f"unix:{path}", "--upstream", f"http://127.0.0.1:{upstream.port}", *NO_ADMIN)
    await sidecar.says("listening on")

    await streams_through(await sidecar.client_on(path), upstream)
    await sidecar.end()
    assert not path.exists()


@pytest.mark.parametrize("flag", ["--listen", "--admin"])
async def test_the_socket_of_a_living_process_is_not_taken(
    serve: Start, upstream: Upstream, tmp_path: Path, flag: str
) -> None:
    path = tmp_path / "data.sock"
    living = await start(serve, upstream, "--listen", f"unix:{path}", *NO_ADMIN)
    await living.says("listening on")

    other = {"--listen": "127.0.0.1:0", "--admin": "off"} | {flag: f"unix:{path}"}
    late = await serve(*(part for pair in other.items() for part in pair))
    assert await late.exit() == 1

    assert f"unbuffer: cannot listen on unix:{path}: Address already in use" in late.errors
    await streams_through(await living.client_on(path), upstream)
    await living.end()


async def test_a_socket_with_a_full_queue_is_not_taken(serve: Start, tmp_path: Path) -> None:
    path = tmp_path / "busy.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))

        late = await serve("--listen", f"unix:{path}", *NO_ADMIN)

        assert await late.exit() == 1
        assert "Address already in use" in late.errors
        assert path.exists()


async def test_a_file_that_is_no_socket_is_left_alone(serve: Start, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("precious")

    sidecar = await serve("--listen", f"unix:{path}", *NO_ADMIN)

    assert await sidecar.exit() == 1
    assert f"unbuffer: cannot listen on unix:{path}: Address already in use; give another one with" in sidecar.errors
    assert path.read_text() == "precious"


async def test_a_start_that_fails_leaves_no_socket_behind(serve: Start, tmp_path: Path) -> None:
    data, admin = tmp_path / "data.sock", tmp_path / "admin.sock"

    sidecar = await serve(
        *("--listen", f"unix:{data}", "--listen", f"unix:{tmp_path}/none/data.sock", "--admin", f"unix:{admin}")
    )

    assert await sidecar.exit() == 1
    assert f"cannot listen on unix:{tmp_path}/none/data.sock: No such file or directory; give another" in sidecar.errors
    assert not data.exists()
    assert not admin.exists()


async def test_a_new_process_can_have_the_socket_of_one_that_drains(
    serve: Start, upstream: Upstream, tmp_path: Path
) -> None:
    path = tmp_path / "data.sock"
    old = await start(serve, upstream, "--listen", f"unix:{path}", *NO_ADMIN)
    await old.says("listening on")
    idle, client = await old.client_on(path), await old.client_on(path)
    peer = await stream(client, upstream)
    old.signal(signal.SIGTERM)
    assert await idle.rest() == b""
    assert not path.exists()

    new = await serve("--listen", f"unix:{path}", "--upstream", f"http://127.0.0.1:{upstream.port}", *NO_ADMIN)
    await new.says("listening on")
    await relays(peer, client, b"data: from the old one\n\n")
    await finish(peer, client)
    assert await old.exit() == 0

    await streams_through(await new.client_on(path), upstream)
    await new.end()


async def test_the_admin_port_on_a_unix_socket(serve: Start, upstream: Upstream, tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    sidecar = await start(serve, upstream, "--listen", "127.0.0.1:0", "--admin", f"unix:{path}")
    await sidecar.says(f"admin on unix:{path}$")
    await sidecar.says("listening on")
    client = await sidecar.client_on(path)

    await client.send(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")

    assert (await client.until(b"ok\n")).startswith(b"HTTP/1.1 200 OK\r\n")
    await sidecar.end()
    assert not path.exists()


def listening_ports(pid: int) -> list[int]:
    """The TCP ports on which this process listens (proc(5))."""
    process = Path(f"/proc/{pid}")
    held = {link.readlink().name for link in (process / "fd").iterdir()}
    lines = [line.split() for name in ("tcp", "tcp6") for line in (process / "net" / name).read_text().splitlines()[1:]]
    # Columns: 1 = address:port in hexadecimal, 3 = state, 0A for one that listens, 9 = inode.
    return [int(line[1].rpartition(":")[2], 16) for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in held]


async def test_without_an_admin_port_none_is_opened(serve: Start, upstream: Upstream) -> None:
    sidecar = await start(serve, upstream, "--listen", "127.0.0.1:0", *NO_ADMIN)
    port = await sidecar.port()
    await sidecar.says("upstream http")

    assert listening_ports(sidecar.process.pid) == [port]
    assert "admin" not in sidecar.errors
    await sidecar.end()


async def test_connections_that_send_nothing_do_not_keep_others_out(serve: Start, upstream: Upstream) -> None:
    sidecar = await start(serve, upstream, "--listen", "127.0.0.1:0", *NO_ADMIN)
    port = await sidecar.port()
    silent = await asyncio.gather(*(connect(port) for _ in range(50)))

    await streams_through(await sidecar.client("127.0.0.1", port), upstream)

    for peer in silent:
        await peer.close()
    await sidecar.end()
