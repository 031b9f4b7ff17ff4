"""What a client gets that says which events it has, by a field, by the URL or by both; above all one that has all."""

import asyncio
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.peers import LAST, STREAM, Peer, soon
from tests.relay.conftest import Relay
from tests.resume.streams import GET, POST, EventReader, body_of, chunk, event, field, last_id
from tests.resume.test_coming_back import ON, back, begun
from tests.test_docs import ROOT, block

BEGUN = {"GET": GET + b"\r\n", "POST": POST + b"\r\n{}"}
ME = b"Authorization: Bearer me\r\n"


def by_url(name: bytes, after: int, last: bytes = b"") -> bytes:
    more = b"Last-Event-ID: %b\r\n" % last if last else b""
    return b"GET /chat?unbuffer-stream=%b&after=%d HTTP/1.1\r\nHost: a\r\n%b%b\r\n" % (name, after, ME, more)


def by_field(last: bytes) -> bytes:
    return b"GET /chat HTTP/1.1\r\nHost: a\r\n%bLast-Event-ID: %b\r\n\r\n" % (ME, last)


async def complete(relay: Relay, request: bytes, *events: bytes) -> tuple[bytes, bytes]:
    """A stream with these events that has ended as it should: its name and its body."""
    client, upstream, head, body = await begun(relay, request, *events)
    await upstream.send(LAST)
    await body_of(client)
    await relay.outcome()
    return field(head, b"Unbuffer-Stream"), body


async def broken(relay: Relay, request: bytes) -> tuple[bytes, bytes]:
    """A stream whose upstream broke after one event: its name and its body."""
    _, upstream, head, body = await begun(relay, request, event("1"))
    upstream.reset()
    await relay.outcome()
    return field(head, b"Unbuffer-Stream"), body


async def texts(client: Peer) -> str:
    reader = EventReader()
    reader.feed(await body_of(client))
    return reader.text


@pytest.mark.parametrize("method", BEGUN)
@pytest.mark.parametrize("ids", ["ours", "own"])
async def test_an_event_source_of_the_link_has_each_event_once_and_rests(relay: Relay, method: str, ids: str) -> None:
    """It asks for the URL that it was opened on whenever it comes back, and says how far it has come in the field."""
    await relay.start(resume=ON)
    events = [event("1"), event("2")] if ids == "ours" else [b"id: a\ndata: 1\n\n", b"id: b\ndata: 2\n\n"]
    name, body = await complete(relay, BEGUN[method], *events)
    first = re.search(rb"^id: (.*)$", body, re.MULTILINE)
    assert first is not None
    client, _ = await back(relay, by_url(name, 0))
    assert await texts(client) == "12"
    client, _ = await back(relay, by_url(name, 0, first[1]))
    assert await texts(client) == "2"
    _, head = await back(relay, by_url(name, 0, last_id(body)))
    assert head.startswith(b"HTTP/1.1 204 ")
    assert relay.totals.resume_attaches["hit"] == 3
    assert relay.totals.resume_replayed == 3
    assert relay.upstream.untaken == 0


async def test_an_id_of_another_stream_says_nothing_of_this_one(relay: Relay) -> None:
    await relay.start(resume=ON)
    _, other, _, others = await begun(relay, BEGUN["GET"], event("1"), event("2"))
    name, _ = await complete(relay, BEGUN["GET"], event("1"), event("2"))
    for last in (last_id(others), b"no-event-of-it"):
        client, _ = await back(relay, by_url(name, 1, last))
        assert await texts(client) == "2"
    await other.send(LAST)


async def test_who_counts_events_gets_an_empty_stream_with_a_clean_end(relay: Relay) -> None:
    await relay.start(resume=ON)
    name, _ = await complete(relay, BEGUN["GET"], event("1"), event("2"))
    client, head = await back(relay, by_url(name, 2))
    assert head.startswith(b"HTTP/1.1 200 ")
    assert await body_of(client) == b"\n"


@pytest.mark.parametrize("method", BEGUN)
async def test_who_comes_back_by_get_with_all_of_it_rests_whatever_began_it(relay: Relay, method: str) -> None:
    await relay.start(resume=ON)
    _, body = await complete(relay, BEGUN[method], event("1"))
    _, head = await back(relay, by_field(last_id(body)))
    assert head.startswith(b"HTTP/1.1 204 ")
    assert relay.upstream.untaken == 0


@pytest.mark.parametrize("asked", ["field", "number"])
async def test_a_get_that_has_all_of_a_post_sees_it_break_again(relay: Relay, asked: str) -> None:
    """The application knows nothing of it: GET would be another request to it."""
    await relay.start(resume=ON)
    name, body = await broken(relay, BEGUN["POST"])
    client, head = await back(relay, by_field(last_id(body)) if asked == "field" else by_url(name, 1))
    assert head.startswith(b"HTTP/1.1 200 ")
    rest = await client.rest()
    assert b"data:" not in rest
    assert not rest.endswith(LAST)
    assert relay.upstream.untaken == 0


@pytest.mark.parametrize("method", BEGUN)
async def test_an_event_source_of_the_link_that_has_all_of_a_broken_stream_rests(relay: Relay, method: str) -> None:
    """Any status but 200 ends it; a break would bring it back every few seconds, as long as the window is."""
    await relay.start(resume=ON)
    name, body = await broken(relay, BEGUN[method])
    client, head = await back(relay, by_url(name, 0, last_id(body)))
    assert head.startswith(b"HTTP/1.1 404 ")
    text = await client.read(int(field(head, b"Content-Length")))
    assert b"(it broke after its event 1, which the client has)" in text
    assert relay.upstream.untaken == 0


async def test_curl_comes_back_as_the_document_says(relay: Relay, tmp_path: Path) -> None:
    """Each command as it stands there, but for the port."""
    curl = shutil.which("curl")
    if curl is None:
        assert not os.environ.get("CI"), "curl is missing"
        pytest.skip("curl is missing")
    await relay.start(resume=ON)
    script = block((ROOT / "docs/resume.md").read_text(), "sh", "url=http://127.0.0.1:8080/")
    process = await asyncio.create_subprocess_exec(
        "sh", "-euc", script.replace(":8080/", f":{relay.port}/"), cwd=tmp_path, env={**os.environ, "NO_PROXY": "*"},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    upstream = await relay.upstream.accept()
    head = await upstream.head()
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    await upstream.read(int(field(head, b"Content-Length")))
    await upstream.send(STREAM)
    number = 0
    while not relay.totals.resume_attaches["hit"]:  # curl hears that nobody reads it when it has something to write
        number += 1
        await upstream.send(chunk(event(str(number))))
        await asyncio.sleep(0.01)
    await upstream.send(chunk(event("the last one")) + LAST)
    assert process.stdout is not None
    shown = (await soon(process.stdout.read())).decode()
    assert await soon(process.wait()) == 0, shown
    stream, _, status = shown.rpartition("HTTP/1.1 ")
    assert re.findall(r"^data: (.*)$", stream, re.MULTILINE) == [*map(str, range(1, number + 1)), "the last one"]
    assert status.startswith("204 ")
    assert relay.upstream.untaken == 0
