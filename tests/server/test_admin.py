"""The admin port over real connections: what probes, scrapers and web pages get to see."""

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import ClientSession, UnixConnector
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.peers import Peer, connect, soon, stop_reading
from tests.server.admin_port import Client, listening, served
from unbuffer import __version__
from unbuffer.observe.exposition import Exposition
from unbuffer.relay.dial import Dialer
from unbuffer.server import pages as pages_module
from unbuffer.server.admin import build_admin, refuse_rebinding
from unbuffer.server.lifecycle import Lifecycle, State
from unbuffer.server.listeners import AdminListener
from unbuffer.server.pages import Answer, Pages, Refused, Request
from unbuffer.server.upstream_check import UpstreamCheck
from unbuffer.settings.model import Settings, Upstream
from unbuffer.totals import Totals


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

    def build(self) -> Pages:
        upstream = UpstreamCheck(Dialer(Settings(upstream=Upstream(url=f"http://{self.upstream_at}"))))
        exposition = Exposition(
            self.totals, self.lifecycle, upstream, SimpleNamespace(successful=True, at=0.0), lambda: ()
        )
        return build_admin(self.lifecycle, upstream, exposition, self.reload)


@pytest.fixture
async def port() -> AsyncIterator[AdminPort]:
    """A process that is ready and whose upstream listens."""
    port = AdminPort()
    port.lifecycle.move(State.READY)
    yield port
    port.upstream.close()


@pytest.fixture
async def client(port: AdminPort) -> AsyncIterator[Client]:
    """A client on this machine, as a kubelet or an operator with curl."""
    async with served(port.build()) as client:
        yield client


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


async def test_not_ready_before_it_listens() -> None:
    starting = AdminPort()
    async with served(starting.build()) as client:
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
    "host", ["evil.example", "evil.example:4198", "127.0.0.1.evil.example", "localhost.evil.example", ""]
)
@pytest.mark.parametrize("path", ["/livez", "/metrics", "/nothing"])
async def test_a_web_page_that_made_its_name_point_here_gets_nothing(client: Client, host: str, path: str) -> None:
    async with client.get(path, headers={"Host": host, "Origin": f"http://{host}"}) as response:
        assert response.status == 421
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert await response.text() == "421: on this machine, call the admin port localhost or by its IP address\n"


async def test_no_host_is_no_browser(client: Client) -> None:
    peer = await connect(client.port)
    await peer.send(b"GET /livez HTTP/1.0\r\n\r\n")
    assert (await peer.rest()).endswith(b"\r\n\r\nok\n")
    await peer.close()


async def test_over_a_unix_socket_every_host_will_do(port: AdminPort, tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    listener = AdminListener(port.build())
    await listener.open(f"unix:{path}")
    async with (
        ClientSession(connector=UnixConnector(path)) as session,
        session.get("http://sidecar.example/livez") as response,
    ):
        assert response.status == 200
    await listener.close()


def asked(method: str, path: str, peer: object, *fields: tuple[bytes, bytes]) -> Request:
    """A request of a peer that cannot be had here without a network."""
    return Request(method, path, {}, list(fields), peer, asyncio.Event())


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
def test_only_who_comes_over_the_network_may_call_it_what_he_likes(
    peer: tuple[object, ...], over_the_network: bool
) -> None:
    request = asked("GET", "/", peer, (b"Host", b"sidecar.example"))
    with contextlib.nullcontext() if over_the_network else pytest.raises(Refused, match="localhost"):
        refuse_rebinding(request)


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
    with contextlib.nullcontext() if local else pytest.raises(Refused, match="this machine"):
        assert (await port.build().answer(asked("POST", "/drain", peer))).status == 200
    assert port.lifecycle.draining is local


async def test_probes_and_scrapes_leave_no_line_in_a_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for path in ("/livez", "/readyz", "/metrics"):
            await answer(client, path)
    assert [record for record in caplog.records if record.name != "asyncio"] == []


# -- its HTTP


async def told(peer: Peer, request: bytes) -> bytes:
    """The answer to `request`, whose body ends with a line end."""
    await peer.send(request)
    head = await peer.head()
    length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    return head + await peer.read(length)


async def test_requests_of_one_connection_are_answered_in_their_order(client: Client) -> None:
    peer = await connect(client.port)
    get = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"
    post = b"POST /reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    answers = [await told(peer, get % b"/livez" + post + get % b"/%6Civez" + get % b"/nothing")]
    answers += [await told(peer, b"") for _ in range(3)]
    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [
        b"ok\n", b"reloaded: upstream x\n", b"ok\n", b"404: Not Found\n",
    ]  # fmt: skip
    await peer.close()


@pytest.mark.parametrize(
    ("request_head", "ends"),
    [
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\n", b""),
        (b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", b"Connection: close"),
        (b"GET /livez HTTP/1.0\r\nConnection: keep-alive\r\n", b"Connection: keep-alive"),
        (b"GET /livez HTTP/1.0\r\n", b"Connection: close"),
    ],
)
async def test_a_connection_lasts_as_its_client_wants(client: Client, request_head: bytes, ends: bytes) -> None:
    peer = await connect(client.port)
    answer = await told(peer, request_head + b"\r\n")
    assert [line for line in answer.split(b"\r\n") if line.startswith(b"Connection")] == ([ends] if ends else [])
    if ends == b"Connection: close":
        assert await peer.rest() == b""
    else:
        assert (await told(peer, request_head + b"\r\n")).endswith(b"\r\n\r\nok\n")
    await peer.close()


async def test_metrics_for_http_1_0_end_with_the_connection(client: Client) -> None:
    peer = await connect(client.port)
    await peer.send(b"GET /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    head, _, text = (await peer.rest()).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert b"\nunbuffer_draining 0.0\n" in text
    await peer.close()


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"\x16\x03\x01 no HTTP at all", b"400 Bad Request"),
        (b"GET /livez HTTP/1.1\r\nHost: [evil\r\n\r\n", b"400 Bad Request"),
        (b"GET /livez HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % bytes(b"x" * 9000), b"414 URI Too Long"),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", b"505 HTTP Version Not Supported"),
    ],
)
async def test_what_cannot_be_read_is_refused_and_ends_the_connection(
    client: Client, request_head: bytes, status: bytes
) -> None:
    peer = await connect(client.port)
    await peer.send(request_head)
    answer = await peer.rest()
    assert answer.startswith(b"HTTP/1.1 %b\r\n" % status)
    assert b"\r\nConnection: close\r\n" in answer
    assert b"\r\nX-Content-Type-Options: nosniff\r\n" in answer
    await peer.close()


async def test_a_client_that_waits_to_send_its_body_is_told_to(client: Client) -> None:
    peer = await connect(client.port)
    await peer.send(b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert await peer.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await told(peer, b"abc")).endswith(b"\r\n\r\nreloaded: upstream x\n")
    await peer.close()


async def test_a_body_that_cannot_be_read_ends_the_connection_and_is_no_second_request(client: Client) -> None:
    peer = await connect(client.port)
    await peer.send(b"POST /reload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n")
    assert (await peer.rest()).partition(b"\r\n\r\n")[2] == b"reloaded: upstream x\n"
    await peer.close()


async def test_who_asks_nothing_is_not_waited_for_for_ever(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "KEEP_ALIVE", 0.01)
    peer = await connect(client.port)
    await peer.ended()
    await peer.close()


def admit(request: Request) -> None:
    """Everybody."""


async def test_a_mistake_in_a_page_is_500_and_one_in_a_part_breaks_the_answer() -> None:
    failures: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["message"]))

    async def whole(request: Request) -> Answer:
        raise LookupError

    async def parts() -> AsyncGenerator[bytes, None]:
        yield b"a part"
        raise LookupError

    async def in_parts(request: Request) -> Answer:
        return Answer(parts())

    pages = Pages(admit)
    pages.add("/whole", whole)
    pages.add("/parts", in_parts)
    async with served(pages) as client:
        assert await answer(client, "/whole") == (500, "500: Internal Server Error\n")
        peer = await connect(client.port)
        await peer.send(b"GET /parts HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await peer.rest()).endswith(b"\r\n\r\n6\r\na part\r\n")
        await peer.close()
    assert failures == [f"unbuffer failed on {path} of the admin port" for path in ("/whole", "/parts")]


async def test_who_takes_nothing_is_left_and_the_page_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "PATIENCE", 0.05)
    left = asyncio.Event()

    async def parts() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield bytes(1 << 22)
        finally:
            left.set()

    async def page(request: Request) -> Answer:
        return Answer(parts())

    pages = Pages(admit)
    pages.add("/", page)
    async with listening(pages) as port:
        peer = await connect(port)
        stop_reading(peer)
        await peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await soon(left.wait())
        await peer.close()


@pytest.fixture
def collected_by_hand() -> Iterator[None]:
    """Nothing is collected meanwhile."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_who_breaks_the_connection_has_left_and_no_exception_is_kept(collected_by_hand: None) -> None:
    requests: list[Request] = []

    async def page(request: Request) -> Answer:
        requests.append(request)
        return Answer(b"")

    pages = Pages(admit)
    pages.add("/", page)
    async with listening(pages) as port:
        peer = await connect(port)
        await told(peer, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        peer.reset()
        await soon(requests[0].over.wait())
    # One that is collected reports its exception or not, as the collector's order has it.
    futures = [each for each in gc.get_objects() if isinstance(each, asyncio.Future)]
    assert [future for future in futures if getattr(future, "_log_traceback", False)] == []


async def test_the_port_closes_after_an_answer_that_is_under_way() -> None:
    asked_for, go = asyncio.Event(), asyncio.Event()

    async def page(request: Request) -> Answer:
        asked_for.set()
        await go.wait()
        return Answer(b"late\n")

    pages = Pages(admit)
    pages.add("/", page)
    listener = AdminListener(pages)
    await listener.open("127.0.0.1:0")
    (sock,) = listener.sockets
    idle, peer = [await connect(sock.getsockname()[1]) for _ in range(2)]
    await peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await soon(asked_for.wait())
    closed = asyncio.ensure_future(listener.close())
    await idle.ended()
    go.set()
    answer = await peer.rest()
    assert answer.endswith(b"late\n")
    assert b"\r\nConnection: close\r\n" in answer
    await soon(closed)
    await peer.close()
    await idle.close()


async def test_an_answer_that_does_not_come_does_not_hold_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "LAST_WORDS", 0.01)
    asked_for = asyncio.Event()

    async def page(request: Request) -> Answer:
        asked_for.set()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    pages = Pages(admit)
    pages.add("/", page)
    async with listening(pages) as port:
        peer = await connect(port)
        await peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await soon(asked_for.wait())
    await peer.ended()
    await peer.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}
