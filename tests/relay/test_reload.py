"""Other settings for the requests to come: what runs goes on, and the numbers stay right."""

import asyncio
import socket
import ssl
import sys
from pathlib import Path

import pytest

from tests.peers import GET, OK, ScriptedUpstream, eventually
from tests.relay.conftest import Relay, finished
from unbuffer.outcome import Outcome
from unbuffer.relay.tcp import client_options
from unbuffer.settings.model import Limits, Settings, Timeouts, Upstream, UpstreamTLS


async def test_connections_at_rest_close_and_those_in_use_when_they_are_done(relay: Relay) -> None:
    await relay.upstream.start()
    await relay.serve(Settings(upstream=Upstream(url=f"http://127.0.0.1:{relay.upstream.port}", keep_alive=3600.0)))
    _, resting, _ = await relay.exchange(GET)
    running, using, _ = await relay.exchange(GET)
    await resting.send(OK)
    await finished(relay, Outcome.COMPLETED, 200)
    assert relay.totals.upstream_idle == 1

    relay.plane.reload(relay.plane.settings)

    assert await resting.rest() == b""
    assert relay.totals.upstream_idle == 0
    _, anew, _ = await relay.exchange(GET)
    await anew.send(OK)
    await finished(relay, Outcome.COMPLETED, 200)
    await using.send(OK)
    await running.until(b"ok")
    await finished(relay, Outcome.COMPLETED, 200)
    assert await using.rest() == b""
    # The new pool has its own, and only those.
    assert (relay.totals.upstream_idle, relay.totals.upstream_active) == (1, 0)


async def test_a_request_that_waits_for_the_old_upstream_gets_its_answer_there(relay: Relay, closed_port: int) -> None:
    await relay.serve(Settings(upstream=Upstream(url=f"http://127.0.0.1:{closed_port}", wait=60.0)))
    client = await relay.client()
    await client.send(GET)
    await eventually(lambda: relay.totals.connects["refused"])
    other = ScriptedUpstream()
    await other.start()

    relay.plane.reload(Settings(upstream=Upstream(url=f"http://127.0.0.1:{other.port}")))
    relay.upstream.port = closed_port
    await relay.upstream.start()

    peer = await relay.upstream.accept()
    await peer.head()
    await peer.send(OK)
    await client.until(b"ok")
    await finished(relay, Outcome.COMPLETED, 200)
    assert not other.untaken
    await other.stop()


async def test_a_new_limit_holds_for_the_next_request_of_a_connection(relay: Relay) -> None:
    await relay.start()
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(OK)
    await client.until(b"ok")

    relay.plane.reload(Settings(upstream=relay.plane.settings.upstream, limits=Limits(target=256)))
    await client.send(b"GET /" + b"x" * 256 + b" HTTP/1.1\r\nHost: a\r\n\r\n")

    assert (await client.head()).startswith(b"HTTP/1.1 414 ")


async def test_files_that_cannot_be_used_change_nothing(relay: Relay, tmp_path: Path) -> None:
    await relay.start()
    pool, settings = relay.plane.pool, relay.plane.settings
    ca = tmp_path / "ca.pem"
    ca.write_text("nothing")

    with pytest.raises(ssl.SSLError):
        relay.plane.reload(Settings(upstream=Upstream(url="https://app", tls=UpstreamTLS(ca=str(ca)))))

    assert (relay.plane.pool, relay.plane.settings) == (pool, settings)
    _, upstream, _ = await relay.exchange(GET)
    await upstream.send(OK)
    await finished(relay, Outcome.COMPLETED, 200)


async def test_a_connection_that_is_idle_stays_open_until_the_listeners_close(relay: Relay) -> None:
    """That responses say `Connection: close` already does not make an idle client's connection a short one."""
    await relay.start()
    client = await relay.client()
    await eventually(lambda: relay.plane.clients.connections)
    relay.plane.clients.announce_end()
    connection = relay.connection()

    assert connection.look(connection._since + 60.0) > connection._since + 60.0
    relay.plane.clients.drain()
    assert await client.rest() == b""
    await asyncio.sleep(0)


async def test_an_idle_connection_has_the_new_patience(relay: Relay) -> None:
    await relay.start(timeouts=Timeouts(keep_alive=0.0))
    client = await relay.client()
    await eventually(lambda: relay.plane.clients.connections)

    relay.plane.reload(Settings(upstream=relay.plane.settings.upstream, timeouts=Timeouts(keep_alive=0.1)))

    assert await client.rest() == b""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no such option")
async def test_the_kernel_has_the_new_deadlines_and_cuts_no_stream_before_its_own(relay: Relay) -> None:
    def timeouts() -> list[int]:
        """Milliseconds, of the connection that runs a stream and of the one that does not."""
        found = sorted(relay.plane.clients.connections, key=lambda connection: not connection.records)
        socks = [connection.transport.get_extra_info("socket") for connection in found]
        return [sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) for sock in socks]

    def reload(timeouts: Timeouts) -> None:
        relay.plane.reload(Settings(upstream=relay.plane.settings.upstream, timeouts=timeouts))

    await relay.start(timeouts=Timeouts(client_stall=200.0, tcp_user=2.0))
    assert relay._server is not None
    for listener in relay._server.sockets:
        for option in client_options(relay.plane.settings):
            listener.setsockopt(*option)
    _, upstream, _ = await relay.exchange(GET)
    await relay.client()
    await eventually(lambda: len(relay.plane.clients.connections) == 2)
    assert timeouts() == [250_000, 250_000]

    reload(Timeouts(client_stall=4.0, tcp_user=3.0))
    assert timeouts() == [250_000, 5_000]
    reload(Timeouts(client_stall=400.0, tcp_user=3.0))
    assert timeouts() == [500_000, 500_000]
    reload(Timeouts(client_stall=400.0, tcp_user=0.0))
    assert timeouts() == [0, 0]
    await upstream.send(OK)
    await finished(relay, Outcome.COMPLETED, 200)
