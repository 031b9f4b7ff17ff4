"""The admin port over real connections: what probes, scrapers and web pages get to see."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from aiohttp import ClientSession, UnixConnector, web
from aiohttp.test_utils import TestClient, make_mocked_request
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from pytest_aiohttp.plugin import AiohttpClient

from tests.peers import connect
from unbuffer import __version__
from unbuffer.observe.exposition import Exposition
from unbuffer.relay.dial import Dialer
from unbuffer.server import admin
from unbuffer.server.admin import build_admin
from unbuffer.server.lifecycle import Lifecycle, State
from unbuffer.server.upstream_probe import UpstreamProbe
from unbuffer.settings.model import Settings, Upstream
from unbuffer.totals import Totals

Client = TestClient[web.Request, web.Application]


class AdminPort:
    """A process with an admin port, as far as the admin port sees it."""

    def __init__(self) -> None:
        self.lifecycle = Lifecycle()
        self.totals = Totals()
        # The kernel completes connections to a socket that listens; nobody has to accept them.
        self.upstream = socket.create_server(("127.0.0.1", 0))
        self.upstream_at = f"127.0.0.1:{self.upstream.getsockname()[1]}"

        self.reloads = 0
        self.reloaded = (True, "reloaded: upstream x")

    async def reload(self) -> tuple[bool, str]:
        self.reloads += 1
        return self.reloaded

    def build(self) -> web.Application:
        probe = UpstreamProbe(Dialer(Settings(upstream=Upstream(url=f"http://{self.upstream_at}"))))
        exposition = Exposition(
            self.totals, self.lifecycle, probe, SimpleNamespace(successful=True, at=0.0), lambda: ()
        )
        return build_admin(self.lifecycle, probe, exposition, self.reload)


@pytest.fixture
async def port() -> AsyncIterator[AdminPort]:
    """A process that is ready and whose upstream listens."""
    port = AdminPort()
    port.lifecycle.move(State.READY)
    yield port
    port.upstream.close()


@pytest.fixture
async def client(port: AdminPort, aiohttp_client: AiohttpClient) -> Client:
    """A client on this machine, as a kubelet or an operator with curl."""
    return await aiohttp_client(port.build())


async def answer(client: Client, path: str, **headers: str) -> tuple[int, str]:
    async with client.get(path, headers=headers) as response:
        return response.status, await response.text()


async def test_ready_is_when_it_listens_and_the_upstream_takes_connections(client: Client) -> None:
    assert await answer(client, "/readyz") == (200, "ok\n")


async def test_verbose_shows_every_check(client: Client) -> None:
    assert await answer(client, "/readyz?verbose") == (
        200,
        "[+]listening ok\n[+]upstream ok\nreadyz check passed\n",
    )


async def test_an_upstream_that_refuses_is_named(port: AdminPort, client: Client) -> None:
    port.upstream.close()
    assert await answer(client, "/readyz") == (
        503,
        "[+]listening ok\n"
        f"[-]upstream failed: cannot connect to {port.upstream_at}: Connection refused\n"
        "readyz check failed\n",
    )


async def test_not_ready_before_it_listens(aiohttp_client: AiohttpClient) -> None:
    starting = AdminPort()
    client: Client = await aiohttp_client(starting.build())
    assert await answer(client, "/readyz") == (
        503,
        "[-]listening failed: starting\n[+]upstream ok\nreadyz check failed\n",
    )
    starting.lifecycle.move(State.READY)
    assert await answer(client, "/readyz") == (200, "ok\n")
    starting.upstream.close()


async def test_not_ready_from_the_beginning_of_the_drain(port: AdminPort, client: Client) -> None:
    port.lifecycle.move(State.DRAINING)
    assert await answer(client, "/readyz") == (
        503,
        "[-]listening failed: draining\n[+]upstream ok\nreadyz check failed\n",
    )


@pytest.mark.parametrize("path", ["/livez", "/healthz"])
async def test_alive_whatever_becomes_of_the_upstream_and_the_drain(port: AdminPort, client: Client, path: str) -> None:
    port.upstream.close()
    port.lifecycle.move(State.DRAINING)
    assert await answer(client, path) == (200, "ok\n")


async def test_the_index_names_every_path(client: Client) -> None:
    status, text = await answer(client, "/")
    assert status == 200
    assert __version__ in text
    assert "/drain" in text
    for path in ("/livez", "/healthz", "/readyz", "/metrics"):
        assert path in text
        assert (await answer(client, path))[0] == 200


async def test_post_drain_begins_the_end_and_may_be_repeated(port: AdminPort, client: Client) -> None:
    assert (await answer(client, "/readyz"))[0] == 200
    for _ in range(2):
        async with client.post("/drain") as response:
            assert (response.status, await response.text()) == (200, "draining\n")
        # At once: whoever gets the answer may rely on it.
        assert port.lifecycle.state is State.DRAINING
        assert port.lifecycle.ending.is_set()
        assert (await answer(client, "/readyz"))[0] == 503


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_nothing_but_post_drains(port: AdminPort, client: Client, method: str) -> None:
    async with client.request(method, "/drain") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert port.lifecycle.state is State.READY


async def test_a_web_page_does_not_drain(port: AdminPort, client: Client) -> None:
    """Its browser sends a plain POST anywhere without asking first, and says where the page is from."""
    async with client.post("/drain", headers={"Origin": "http://127.0.0.1:4198"}) as response:
        assert response.status == 403
    assert port.lifecycle.state is State.READY


async def test_post_reloads_and_tells_what_came_of_it(port: AdminPort, client: Client) -> None:
    async with client.post("/reload") as response:
        assert (response.status, await response.text()) == (200, "reloaded: upstream x\n")
    port.reloaded = (False, "reload failed")
    async with client.post("/reload") as response:
        assert (response.status, await response.text()) == (500, "reload failed\n")
    assert port.reloads == 2
    async with client.get("/reload") as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    async with client.post("/reload", headers={"Origin": "http://127.0.0.1:4198"}) as response:
        assert response.status == 403
    assert port.reloads == 2


async def test_metrics_are_those_of_the_totals_in_the_format_asked_for(port: AdminPort, client: Client) -> None:
    port.totals.reuses = 42
    for accept, content_type, parse in (
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", parse_text),
        (
            "application/openmetrics-text;version=1.0.0",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
            parse_openmetrics,
        ),
    ):
        async with client.get("/metrics", headers={"Accept": accept}) as response:
            assert response.headers["Content-Type"] == content_type
            families = parse(await response.text())
        samples = {sample.name: sample.value for family in families for sample in family.samples}
        assert samples["unbuffer_upstream_connection_reuse_total"] == 42
        assert samples["unbuffer_upstream_up"] == 1
        assert samples["unbuffer_draining"] == 0


@pytest.mark.parametrize("path", ["/", "/livez", "/healthz", "/readyz", "/metrics", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
async def test_no_answer_is_sniffed_stored_or_shared_with_web_pages(client: Client, method: str, path: str) -> None:
    async with client.request(method, path, headers={"Origin": "http://evil.example"}) as response:
        assert response.status == (404 if path == "/nothing" else 405 if method == "POST" else 200)
        assert response.headers.getall("X-Content-Type-Options") == ["nosniff"]
        assert response.headers.getall("Cache-Control") == ["no-store"]
        assert response.content_type == "text/plain"
        assert not [name for name in response.headers if name.lower().startswith("access-control-")]


async def test_head_has_the_status_and_no_body(port: AdminPort, client: Client) -> None:
    port.lifecycle.move(State.DRAINING)
    async with client.head("/readyz") as response:
        assert response.status == 503
        assert await response.read() == b""


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:4198", "[::1]:4198", "localhost", "LocalHost:4198"])
async def test_a_client_on_this_machine_calls_it_by_a_name_that_cannot_be_rebound(client: Client, host: str) -> None:
    assert (await answer(client, "/livez", Host=host))[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:4198", "127.0.0.1.evil.example", "localhost.evil.example", "[evil", ""]
)
@pytest.mark.parametrize("path", ["/livez", "/metrics", "/nothing"])
async def test_a_web_page_that_made_its_name_point_here_gets_nothing(client: Client, host: str, path: str) -> None:
    async with client.get(path, headers={"Host": host, "Origin": f"http://{host}"}) as response:
        assert response.status == 421
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert await response.text() == "421: on this machine, call the admin port localhost or by its IP address\n"


async def test_no_host_is_no_browser(client: Client) -> None:
    assert client.port is not None
    peer = await connect(client.port)
    await peer.send(b"GET /livez HTTP/1.0\r\n\r\n")
    assert (await peer.rest()).endswith(b"\r\n\r\nok\n")
    await peer.close()


async def test_over_a_unix_socket_every_host_will_do(port: AdminPort, tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    runner = web.AppRunner(port.build())
    await runner.setup()
    await web.UnixSite(runner, path).start()
    async with (
        ClientSession(connector=UnixConnector(path)) as session,
        session.get("http://sidecar.example/livez") as response,
    ):
        assert response.status == 200
    await runner.cleanup()


@pytest.mark.parametrize(
    ("peer", "over_the_network"),
    [
        (("192.0.2.7", 40000), True),
        (("2001:db8::7", 40000, 0, 0), True),
        (("fe80::7%eth0", 40000, 0, 2), True),
        (("::ffff:192.0.2.7", 40000, 0, 0), True),
        (("127.0.0.2", 40000), False),
        (("::1", 40000, 0, 0), False),
        (("::ffff:127.0.0.1", 40000, 0, 0), False),
    ],
)
async def test_only_who_comes_over_the_network_may_call_it_what_he_likes(
    peer: tuple[object, ...], over_the_network: bool
) -> None:
    # A peer in the network cannot be had without one, so its transport is played.
    transport = mock.create_autospec(asyncio.Transport, instance=True)
    transport.get_extra_info.return_value = peer
    request = make_mocked_request("GET", "/", headers={"Host": "sidecar.example"}, transport=transport)

    async def page(_: web.Request) -> web.Response:
        return web.Response()

    with contextlib.nullcontext() if over_the_network else pytest.raises(web.HTTPMisdirectedRequest):
        assert (await admin._refuse_rebinding(request, page)).status == 200


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        (("192.0.2.7", 40000), False),
        (("::ffff:192.0.2.7", 40000, 0, 0), False),
        (None, False),
        (("127.0.0.2", 40000), True),
        (("::1", 40000, 0, 0), True),
        ("", True),
    ],
    ids=["network", "mapped", "unknown", "loopback", "loopback6", "unix"],
)
async def test_only_this_machine_drains(port: AdminPort, peer: object, local: bool) -> None:
    transport = mock.create_autospec(asyncio.Transport, instance=True)
    transport.get_extra_info.return_value = peer
    match = await port.build().router.resolve(make_mocked_request("POST", "/drain"))
    request = make_mocked_request("POST", "/drain", transport=transport)

    with contextlib.nullcontext() if local else pytest.raises(web.HTTPForbidden):
        assert (await match.handler(request)).status == 200
    assert port.lifecycle.draining is local


async def test_probes_and_scrapes_leave_no_line_in_a_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for path in ("/livez", "/readyz", "/metrics"):
            await answer(client, path)
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []
