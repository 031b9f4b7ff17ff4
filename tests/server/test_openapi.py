"""Path templates from the upstream: when it is asked, what is made of its answer, and that nothing depends on it."""

import asyncio
import contextlib
import gzip
import json
import logging
import ssl
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import brotli
import pytest

from tests.peers import Peer, connect, eventually, soon
from tests.server.conftest import Files, Upstream
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.plane import Plane
from unbuffer.server import openapi
from unbuffer.server.openapi import TemplateReader
from unbuffer.settings.model import Metrics, Settings, UpstreamTLS
from unbuffer.settings.model import Upstream as UpstreamSettings
from unbuffer.totals import Totals

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def document(paths: Iterable[str], **more: Any) -> bytes:
    """An OpenAPI document with these paths."""
    operation = {"get": {"responses": {"200": {"description": "OK"}}}}
    return json.dumps({"openapi": "3.1.0", "info": {}, "paths": dict.fromkeys(paths, operation), **more}).encode()


def answer(body: bytes, status: bytes = b"200 OK", coding: bytes = b"identity") -> bytes:
    """The upstream's answer with this body."""
    fields = b"Content-Type: application/json\r\nContent-Encoding: %b\r\nContent-Length: %d" % (coding, len(body))
    return b"HTTP/1.1 %b\r\n%b\r\n\r\n%b" % (status, fields, body)


def nested(opening: bytes, closing: bytes, inside: bytes = b"1") -> bytes:
    """A document that goes as deep as its size allows."""
    depth = (openapi.LARGEST - 100) // len(opening + closing)
    return b'{"paths": {"/a": %b%b%b}}' % (opening * depth, inside, closing * depth)


class Stage:
    """A data plane that reads templates, and its upstream."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.plane: Plane
        self.port = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None
        self._clients: list[Peer] = []

    async def start(self, url: str = "", tls: UpstreamTLS | None = None, path: str = "/openapi.json") -> None:
        """Serve in front of the upstream that listens."""
        loop = asyncio.get_running_loop()
        url = url or f"http://127.0.0.1:{self.upstream.port}"
        self.settings = Settings(
            upstream=UpstreamSettings(url=url, tls=tls or UpstreamTLS()), metrics=Metrics(openapi=path)
        )
        reached = asyncio.Event()
        self.plane = Plane(self.settings, Totals(), loop, lambda record: None, on_upstream=reached.set)
        self._tasks.append(loop.create_task(TemplateReader(self.plane, reached).run()))
        self._server = await loop.create_server(lambda: DownstreamConnection(self.plane), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def request(self, path: bytes = b"/") -> None:
        """One request by a client, answered."""
        client = await self._asks(path)
        peer = await self.upstream.accept()
        assert (await peer.head()).startswith(b"GET %b HTTP/1.1\r\n" % path)
        await peer.send(OK)
        await client.head()

    async def refused(self) -> None:
        """One request by a client while the upstream is down."""
        client = await self._asks(b"/")
        assert (await client.head()).startswith(b"HTTP/1.1 503 ")

    async def _asks(self, path: bytes) -> Peer:
        client = await connect(self.port)
        self._clients.append(client)
        await client.send(b"GET %b HTTP/1.1\r\nHost: app\r\n\r\n" % path)
        return client

    async def asked(self, path: bytes = b"/openapi.json") -> Peer:
        """The upstream's side of the question for the document."""
        peer = await self.upstream.accept()
        head = await peer.head()
        assert head.startswith(b"GET %b HTTP/1.1\r\n" % path)
        assert b"\r\nUser-Agent: unbuffer/" in head
        return peer

    def route(self, path: bytes) -> str:
        """The route of a request for this path."""
        return self.plane.routes.match(b"GET", path).route

    async def stop(self) -> None:
        """Leave nothing behind."""
        for client in self._clients:
            await client.close()
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        assert self._server is not None
        self._server.close()
        await self.plane.clients.shutdown(5.0)
        self.plane.close()


@pytest.fixture
async def stage(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    monkeypatch.setattr(openapi, "PAUSE", 0.0)
    stage = Stage(upstream)
    yield stage
    await stage.stop()


async def test_it_is_asked_for_after_the_first_request_and_names_the_next_ones(stage: Stage) -> None:
    await stage.upstream.start()
    await stage.start()
    assert not stage.upstream.untaken
    await stage.request()
    peer = await stage.asked()
    assert stage.route(b"/chat/1") == "default"
    await peer.send(answer(document(["/chat/{id}", "/models"])))
    await eventually(lambda: stage.route(b"/chat/1") == "/chat/{id}")
    assert stage.route(b"/models?x") == "/models"
    assert stage.route(b"/other") == "default"


async def test_nothing_waits_for_it(stage: Stage) -> None:
    await stage.upstream.start()
    await stage.start()
    await stage.request()
    peer = await stage.asked()
    await stage.request(b"/a")
    await stage.request(b"/b")
    await peer.send(answer(document(["/a"])))
    await eventually(lambda: stage.route(b"/a") == "/a")


async def test_off_asks_for_nothing(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "unbuffer")
    await stage.upstream.start()
    await stage.start(path="off")
    await stage.request()
    await stage.request()
    assert not stage.upstream.untaken
    assert not [record for record in caplog.records if "path templates" in record.getMessage()]


async def test_it_may_stand_elsewhere(stage: Stage) -> None:
    await stage.upstream.start()
    await stage.start(path="/api/v1/openapi.json?x=1")
    await stage.request()
    peer = await stage.asked(b"/api/v1/openapi.json?x=1")
    await peer.send(answer(document(["/a"])))
    await eventually(lambda: stage.route(b"/a") == "/a")


@pytest.mark.parametrize(
    "servers",
    [
        [{"url": "/api"}],
        [{"url": "/api/"}, {"url": "https://example.com"}],
        [{"url": "https://example.com/api"}, {}],
        [{"url": "https://[broken/api"}, {"url": "/api"}],
    ],
)
async def test_the_prefix_of_a_server_may_stand_before_each_path(stage: Stage, servers: list[dict[str, str]]) -> None:
    await stage.upstream.start()
    await stage.start()
    await stage.request()
    await (await stage.asked()).send(answer(document(["/chat/{id}"], servers=servers)))
    await eventually(lambda: stage.route(b"/chat/1") == "/chat/{id}")
    assert stage.route(b"/api/chat/1") == "/chat/{id}"
    assert stage.route(b"/x/chat/1") == "default"


async def test_it_is_read_again_after_a_reload(stage: Stage) -> None:
    await stage.upstream.start()
    await stage.start()
    await stage.request()
    await (await stage.asked()).send(answer(document(["/a"])))
    await eventually(lambda: stage.route(b"/a") == "/a")
    stage.plane.reload(stage.settings)
    assert stage.route(b"/a") == "/a"
    await stage.request()
    await (await stage.asked()).send(answer(document(["/b"])))
    await eventually(lambda: stage.route(b"/b") == "/b")
    assert stage.route(b"/a") == "default"


async def test_and_when_the_upstream_comes_back(stage: Stage) -> None:
    await stage.upstream.start()
    await stage.start()
    await stage.request()
    await (await stage.asked()).send(answer(document(["/a"])))
    await eventually(lambda: stage.route(b"/a") == "/a")
    await stage.upstream.stop()
    await stage.refused()
    assert stage.route(b"/a") == "/a"
    await stage.upstream.start()
    await stage.request()
    await (await stage.asked()).send(answer(document(["/b"])))
    await eventually(lambda: stage.route(b"/b") == "/b")


@pytest.mark.parametrize(
    "response",
    [
        answer(b"Not Found", b"404 Not Found"),
        answer(document(["/a"]), b"201 Created"),
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /docs\r\nContent-Length: 0\r\n\r\n",
        answer(b"<!doctype html>"),
        answer(b"[]"),
        answer(b'{"openapi": "3.1.0"}'),
        answer(b'{"paths": []}'),
        answer(b'{"paths": {"/\xff": {}}}'),
        answer(document(["/a"]), coding=b"gzip"),
        answer(document(["/a"]), coding=b"rot13"),
    ],
)
async def test_an_answer_that_does_not_help_is_an_answer(
    stage: Stage, response: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "unbuffer")
    await stage.upstream.start()
    await stage.start()
    await stage.request()
    peer = await stage.asked()
    with contextlib.suppress(ConnectionError):
        await peer.send(response)
    await eventually(lambda: [r for r in caplog.records if "no path templates from /openapi.json: " in r.getMessage()])
    assert stage.route(b"/a") == "default"
    await stage.request()
    await asyncio.sleep(0)
    assert not stage.upstream.untaken, "it is asked only once"


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (answer(nested(b"[", b"]")), "it is nested too deeply; "),
        (answer(nested(b'{"a":', b"}")), "it is nested too deeply; "),
        (answer(b'{"x": ' + b"[" * 500_000), "it is nested too deeply; "),
        (answer(document(["/a"], x="y" * openapi.LARGEST)), f"it has more than {openapi.LARGEST} bytes; "),
        (answer(gzip.compress(bytes(100 << 20)), coding=b"gzip"), f"it has more than {openapi.LARGEST} bytes; "),
    ],
    ids=["lists", "objects", "open", "large", "bomb"],
)
async def test_a_document_that_is_too_much_is_said_once_and_the_next_one_is_read(
    stage: Stage, response: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.upstream.start()
    await stage.start()
    for _ in range(2):
        await stage.request()
        peer = await stage.asked()
        with contextlib.suppress(ConnectionError):
            await peer.send(response)
        await peer.ended()
        stage.plane.reload(stage.settings)
    await stage.request()
    await (await stage.asked()).send(answer(document(["/a"])))
    await eventually(lambda: stage.route(b"/a") == "/a")
    (told,) = [record for record in caplog.records if record.name == "unbuffer"]
    assert told.levelno == logging.WARNING
    assert told.getMessage().startswith(f"no path templates from /openapi.json: {why}give the routes names")


async def test_whatever_goes_wrong_the_next_answer_is_read(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(body: bytes) -> None:
        raise MemoryError

    await stage.upstream.start()
    await stage.start()
    await stage.request()
    with monkeypatch.context() as patch:
        patch.setattr(openapi, "_templates", broken)
        await (await stage.asked()).send(answer(document(["/a"])))
        await eventually(lambda: [r for r in caplog.records if "MemoryError" in r.getMessage()])
    stage.plane.reload(stage.settings)
    await stage.request()
    await (await stage.asked()).send(answer(document(["/a"])))
    await eventually(lambda: stage.route(b"/a") == "/a")


@pytest.mark.parametrize("coding", [b"gzip", b"GZIP", b"br"])
async def test_a_document_may_be_compressed_unasked(stage: Stage, coding: bytes) -> None:
    compress = brotli.compress if coding == b"br" else gzip.compress
    await stage.upstream.start()
    await stage.start()
    await stage.request()
    await (await stage.asked()).send(answer(compress(document(["/a"])), coding=coding))
    await eventually(lambda: stage.route(b"/a") == "/a")


@pytest.mark.parametrize("end", ["500", "close", "reset", "silence"])
async def test_no_answer_is_asked_for_once_more(
    stage: Stage, end: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "unbuffer")
    monkeypatch.setattr(openapi, "RETRY", 0.01)
    if end == "silence":
        monkeypatch.setattr(openapi, "PATIENCE", 1.0)
    await stage.upstream.start()
    await stage.start()
    await stage.request()
    for _ in range(1 if end == "silence" else 2):
        peer = await stage.asked()
        if end == "500":
            await peer.send(answer(b"", b"500 Internal Server Error"))
        elif end == "close":
            await peer.close()
        elif end == "reset":
            peer.reset()
    monkeypatch.setattr(openapi, "PATIENCE", 5.0)
    await (await stage.asked()).send(answer(document(["/a"])))
    await eventually(lambda: stage.route(b"/a") == "/a")
    told = [record.getMessage() for record in caplog.records if record.name == "unbuffer"]
    assert told[0].startswith("no path templates from /openapi.json yet: ")
    assert told[-1] == "1 path templates from /openapi.json"
    assert len(told) == len(set(told)), "the same is told twice"


async def test_what_is_known_outlives_a_question_without_an_answer(stage: Stage) -> None:
    await stage.upstream.start()
    await stage.start()
    await stage.request()
    await (await stage.asked()).send(answer(document(["/a"])))
    await eventually(lambda: stage.route(b"/a") == "/a")
    stage.plane.reload(stage.settings)
    await stage.request()
    peer = await stage.asked()
    await peer.send(answer(b"", b"503 Service Unavailable"))
    await peer.ended()
    assert stage.route(b"/a") == "/a"


async def test_what_is_known_is_forgotten_when_the_upstream_has_none_any_more(stage: Stage) -> None:
    await stage.upstream.start()
    await stage.start()
    await stage.request()
    await (await stage.asked()).send(answer(document(["/a"])))
    await eventually(lambda: stage.route(b"/a") == "/a")
    stage.plane.reload(stage.settings)
    await stage.request()
    await (await stage.asked()).send(answer(b"", b"404 Not Found"))
    await eventually(lambda: stage.route(b"/a") == "default")


async def test_an_answer_of_before_a_reload_is_thrown_away(stage: Stage) -> None:
    await stage.upstream.start()
    await stage.start()
    await stage.request()
    old = await stage.asked()
    stage.plane.reload(stage.settings)
    await stage.request()
    await old.send(answer(document(["/old"])))
    peer = await stage.asked()
    assert stage.route(b"/old") == "default"
    await peer.send(answer(document(["/new"])))
    await eventually(lambda: stage.route(b"/new") == "/new")


async def test_it_is_read_over_a_unix_socket(stage: Stage, tmp_path: Path) -> None:
    await stage.upstream.start_on(tmp_path / "app.sock")
    await stage.start(f"unix:{tmp_path}/app.sock")
    await stage.request()
    await (await stage.asked()).send(answer(document(["/a"])))
    await eventually(lambda: stage.route(b"/a") == "/a")


async def test_it_is_read_over_tls_with_the_certificate_checked_as_for_any_request(stage: Stage, files: Files) -> None:
    await stage.upstream.start_tls(files.server("app.example"))
    tls = UpstreamTLS(ca=files.ca, server_name="app.example")
    await stage.start(f"https://127.0.0.1:{stage.upstream.port}", tls)
    await stage.request()
    await (await stage.asked()).send(answer(document(["/a"])))
    await eventually(lambda: stage.route(b"/a") == "/a")


async def test_a_client_certificate_is_shown_for_it_too(stage: Stage, files: Files) -> None:
    context = files.server("localhost")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(files.ca)
    await stage.upstream.start_tls(context)
    tls = UpstreamTLS(ca=files.ca, certificate=files.issue("client.example"))
    await stage.start(f"https://localhost:{stage.upstream.port}", tls)
    await stage.request()
    await (await stage.asked()).send(answer(document(["/a"])))
    await eventually(lambda: stage.route(b"/a") == "/a")


async def test_the_upstream_may_come_and_go_as_often_as_it_likes(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openapi, "PAUSE", 3600.0)
    await stage.upstream.start()
    await stage.start()
    await stage.request()
    await (await stage.asked()).send(answer(document(["/a"])))
    await eventually(lambda: stage.route(b"/a") == "/a")
    for _ in range(3):
        await stage.upstream.stop()
        await stage.refused()
        await stage.upstream.start()
        await stage.request()
    await soon(asyncio.sleep(0))
    assert not stage.upstream.untaken
