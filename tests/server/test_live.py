"""The live page over real connections: what a browser is given, who is let in, and how it ends."""

import asyncio
import re
import signal
import socket
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse

from tests.peers import LAST, connect, eventually, soon, stop_reading
from tests.server.admin_port import Client, listening, served
from tests.server.conftest import Start, Upstream, fetch, finish, start_ports, stream
from unbuffer import __version__
from unbuffer.observe.live import WATCHERS, Live, Watcher
from unbuffer.observe.recent import Recent
from unbuffer.record import Record
from unbuffer.server import live_page
from unbuffer.server import pages as pages_module
from unbuffer.server.admin import build_admin
from unbuffer.server.lifecycle import Lifecycle
from unbuffer.server.live_page import add_live_page
from unbuffer.server.pages import Pages
from unbuffer.totals import Totals

PAGE = files("unbuffer.observe") / "page"


class Plane:
    """A data plane in which nothing runs."""

    on_stream: Any = None

    def running(self) -> tuple[Record, ...]:
        return ()


class Check:
    """An upstream of which somebody knows why it takes no connections; empty = it does."""

    why_not = ""

    async def check(self) -> tuple[bool, str]:
        return not self.why_not, self.why_not


class Process:
    """A process with a live page, as far as the page sees it."""

    def __init__(self) -> None:
        self.lifecycle = Lifecycle()
        self.upstream: Any = Check()
        self.live = Live(Totals(), Recent(), Plane())

    def build(self) -> Pages:
        unasked: Any = None  # no test here asks for readiness or metrics
        admin = build_admin(self.lifecycle, unasked, unasked, unasked)
        add_live_page(admin, self.live, self.lifecycle, self.upstream)
        return admin


@pytest.fixture
def pages() -> Process:
    return Process()


@pytest.fixture
async def client(pages: Process) -> AsyncIterator[Client]:
    async with served(pages.build()) as client:
        yield client


@asynccontextmanager
async def updates(client: Client, query: str = "") -> AsyncIterator[ClientResponse]:
    """The updates, their first event taken."""
    async with client.get(f"/streams/updates{query}") as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert (await event(response))[0] == "hello"
        yield response


async def event(response: ClientResponse) -> tuple[str, dict[str, Any]]:
    """The next event: its name and its data."""
    text = (await soon(response.content.readuntil(b"\n\n"))).decode()
    name, data = text.removesuffix("\n\n").split("\n")
    return name.removeprefix("event: "), msgspec.json.decode(data.removeprefix("data: "))


# -- the page


async def test_the_page_is_served_with_all_that_it_needs(client: Client) -> None:
    async with client.get("/streams") as response:
        assert (response.status, response.content_type) == (200, "text/html")
        page = await response.text()
    # No path begins with a slash: `kubectl proxy` has one of its own before it.
    needed = {f"/{path}" for path in re.findall(r'(?:src|href)="(streams/[^"#]+)"', page)}
    for script in PAGE.iterdir():
        if script.name.endswith(".js"):
            needed |= {f"/streams/{name}" for name in re.findall(r'from "\./([^"]+)"', script.read_text())}
    assert needed == {f"/streams/{file.name}" for file in PAGE.iterdir() if file.name != "page.html"}
    for path in needed:
        async with client.get(path) as response:
            assert response.status == 200
            assert await response.read() == (PAGE / path.rpartition("/")[2]).read_bytes()


@pytest.mark.parametrize(
    "path", ["/streams", "/streams/page.css", "/streams/page.js", "/streams/icon.svg", "/streams/updates"]
)
async def test_the_page_runs_and_loads_its_own_only_and_stands_in_no_frame(client: Client, path: str) -> None:
    async with client.get(path) as response:
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        sources = set(policy.replace(";", "").split())
        assert not [source for source in sources if "unsafe" in source or ":" in source or "*" in source]
        assert "frame-ancestors 'none'" in policy
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_the_page_names_no_other_place() -> None:
    for file in PAGE.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text, file.name
        assert "innerHTML" not in text, file.name
        assert not re.search(r"\son[a-z]+=|\sstyle=|<style|<script>", text), file.name


def test_every_file_of_the_page_is_in_the_package() -> None:
    """What is installed has what pyproject.toml names; in a clone everything is there anyway."""
    root = Path(__file__).parents[2]
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["unbuffer"]
    packed = {file for pattern in patterns for file in (root / "unbuffer").glob(pattern)}
    assert packed.issuperset((root / "unbuffer/observe/page").iterdir())


@pytest.mark.parametrize("path", ["/streams/", "/streams/page.html", "/streams/..%2flive.py", "/streams/x/page.js"])
async def test_nothing_else_is_served(client: Client, path: str) -> None:
    async with client.get(path) as response:
        assert response.status == 404


async def test_the_start_page_names_it(client: Client) -> None:
    async with client.get("/") as response:
        assert "/streams " in await response.text()


# -- its updates


@pytest.mark.parametrize("query", ["", "?stream=7", "?stream=x", "?stream=", "?stream=" + "9" * 5000])
async def test_updates_begin_at_once_whatever_stream_is_asked_for(client: Client, query: str) -> None:
    async with updates(client, query) as response:
        name, data = await event(response)
        assert (name, data["running"]) == ("news", [])


async def test_updates_go_on(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_page, "PAUSE", 0.001)
    async with updates(client) as response:
        times = [(await event(response))[1]["now"] for _ in range(3)]
    assert times == sorted(set(times))


async def test_who_is_one_too_many_is_told_and_a_page_that_closes_makes_room(
    client: Client, pages: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_page, "PAUSE", 3600.0)  # that a page has closed is known before the next update
    open_pages = [await client.get("/streams/updates") for _ in range(WATCHERS)]
    async with client.get("/streams/updates") as response:
        assert (response.status, await response.text()) == (503, f"503: {WATCHERS} pages are open already\n")
    open_pages[0].close()
    await eventually(lambda: not pages.live.full)
    async with updates(client):
        assert pages.live.full
    for page in open_pages[1:]:
        page.close()
    await eventually(lambda: not pages.live._watchers)


async def test_a_page_that_reads_nothing_is_closed(
    client: Client, pages: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_page, "PAUSE", 0.0)
    monkeypatch.setattr(pages_module, "PATIENCE", 0.05)
    # More in a few updates than the kernel takes for one connection.
    monkeypatch.setattr(live_page, "event", lambda *_: bytes(1 << 22))
    left: asyncio.Queue[Watcher] = asyncio.Queue()
    monkeypatch.setattr(pages.live, "leave", left.put_nowait)
    peer = await connect(client.port)
    stop_reading(peer)
    await peer.send(b"GET /streams/updates HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await soon(left.get())
    await peer.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "same-site")],
)
async def test_another_site_takes_no_place(client: Client, pages: Process, name: str, value: str) -> None:
    async with client.get("/streams/updates", headers={name: value}) as response:
        assert response.status == 403
    assert not pages.live._watchers


@pytest.mark.parametrize("path", ["/streams", "/streams/page.js", "/streams/updates"])
async def test_a_name_that_points_here_gets_nothing(client: Client, path: str) -> None:
    async with client.get(path, headers={"Host": "evil.example"}) as response:
        assert response.status == 421


async def test_updates_have_no_head_to_ask_for(client: Client) -> None:
    async with client.head("/streams/updates") as response:
        assert response.status == 405


async def test_columns_come_for_as_long_as_the_port_is_there(pages: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_page, "COLUMN", 0.0)
    async with listening(pages.build()):
        await eventually(lambda: len(pages.live.heatmap.columns) > 2)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_page_is_told_whose_it_is_and_that_its_upstream_is_down(
    client: Client, pages: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_page, "PAUSE", 0.001)
    pages.upstream.why_not = "connection refused"
    async with client.get("/streams/updates") as response:
        _, hello = await event(response)
        assert (hello["host"], hello["version"]) == (socket.gethostname(), __version__)
        assert hello["started"] > 0
        assert (await event(response))[1]["upstream"] == "connection refused"
        pages.upstream.why_not = ""
        while "upstream" in (await event(response))[1]:
            pass


async def test_an_upstream_that_answers_nothing_holds_up_no_update(
    client: Client, pages: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_page, "PAUSE", 0.001)
    monkeypatch.setattr(live_page, "ANSWER", 0.001)
    asked: list[None] = []

    async def never() -> tuple[bool, str]:
        asked.append(None)
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    monkeypatch.setattr(pages.upstream, "check", never)
    async with updates(client) as response:
        for _ in range(3):
            await event(response)
    assert len(asked) == 1


# -- the end


async def test_an_open_page_does_not_hold_the_port(pages: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_page, "PAUSE", 3600.0)
    monkeypatch.setattr(pages_module, "LAST_WORDS", 3600.0)
    async with listening(pages.build()) as port:
        peer = await connect(port)
        await peer.send(b"GET /streams/updates HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await peer.until(b"event: news")
    assert (await peer.rest()).endswith(LAST)
    await peer.close()


@pytest.mark.process
async def test_the_page_sees_the_drain_to_its_end(serve: Start, upstream: Upstream) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port, "drain.timeout=1h")
    assert b"streams" in await fetch(ports.admin, b"/streams")
    page = await connect(ports.admin)
    await page.send(b"GET /streams/updates HTTP/1.1\r\nHost: localhost\r\n\r\n")
    client = await ports.client()
    peer = await stream(client, upstream)
    await page.until(b'"path":"/stream",')
    await page.until(b'"marks":[[')

    ports.sidecar.signal(signal.SIGTERM)
    await page.until(b'"state":"draining"')
    await finish(peer, client)
    assert b"secret" not in await page.rest()
    assert await ports.sidecar.exit() == 0
    await page.close()
