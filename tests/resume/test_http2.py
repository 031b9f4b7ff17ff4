"""Streams that a client of HTTP/2 loses, and comes back to."""

from hyperframe.frame import RstStreamFrame

from tests.http2.client import Client, request
from tests.peers import LAST, STREAM, eventually
from tests.relay.conftest import Relay
from tests.resume.streams import chunk, event, last_id
from unbuffer.settings.resume import Resume

ME = (b"authorization", b"Bearer me")


async def test_a_stream_that_was_reset_goes_on_on_another_of_the_same_connection(relay: Relay) -> None:
    await relay.start(resume=Resume(window=60.0))
    client = Client(await relay.client())
    await client.greet()
    await client.request(1, request(ME))
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(STREAM + chunk(event("1")))
    head, _ = await client.head(1)
    assert b"unbuffer-stream" in head
    begun = (await client.any(1)).data  # type: ignore[attr-defined]
    assert begun == b"id: ub.%b.0\n" % head[b"unbuffer-stream"]
    first = (await client.any(1)).data  # type: ignore[attr-defined]
    await client.send(RstStreamFrame(1, error_code=8))
    await client.ping()
    await upstream.send(chunk(event("2")))
    await client.request(3, request(ME, (b"last-event-id", last_id(first))))
    head, _ = await client.head(3)
    assert head[b":status"] == b"200"
    await upstream.send(chunk(event("3")) + LAST)
    body = await client.body(3)
    assert body.startswith(b"\ndata: 2\nid: ub.")
    assert b"data: 3\n" in body
    await client.request(5, request(ME, (b"last-event-id", last_id(body))))
    head, rest = await client.answer(5)
    assert (head[b":status"], rest) == (b"204", b"")
    assert relay.upstream.untaken == 0


async def test_one_that_takes_nothing_holds_nobody_up(relay: Relay) -> None:
    await relay.start(resume=Resume(window=60.0))
    client = Client(await relay.client())
    await client.greet(initial_window_size=0)
    await client.request(1, request(ME))
    upstream = await relay.upstream.accept()
    await upstream.head()
    await upstream.send(STREAM + chunk(event("1")))
    await client.head(1)
    await upstream.send(chunk(event("2")) + chunk(event("3")))
    (kept,) = relay.plane.resumption.streams.values()  # type: ignore[union-attr]
    await eventually(lambda: kept.count == 3)
    await client.request(3, request(ME, (b"last-event-id", b"ub.%b.1" % kept.about.name)))
    await client.head(3)
    await client.open_window(3, 65535)
    body = b""
    while b"data: 3\n" not in body:
        body += (await client.any(3)).data  # type: ignore[attr-defined]
    assert b"data: 1\n" not in body
    await upstream.send(LAST)
