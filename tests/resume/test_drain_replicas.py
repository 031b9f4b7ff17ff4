"""A replica that drains reads on for clients that read its streams at another one."""

import asyncio

from tests.peers import LAST, chunk, eventually, soon
from tests.relay.conftest import Relay
from tests.resume.servers import KeyServer
from tests.resume.streams import GET, body_of, event, last_id
from tests.resume.test_coming_back import back, with_id
from tests.resume.test_replicas import begun_there, both, text_of


async def test_a_stream_of_a_replica_that_drains_is_read_to_its_end_at_another_one(
    relay: Relay, other: Relay, server: KeyServer
) -> None:
    await both(relay, other, server)
    client, upstream, _, first = await begun_there(relay, server, GET + b"\r\n", event("1"))
    relay.plane.clients.drain()
    draining = asyncio.ensure_future(relay.plane.clients.shutdown(20.0))
    client.reset()
    await eventually(lambda: not relay.plane.clients.connections)
    again, _ = await back(other, with_id(GET, last_id(first)))
    await upstream.send(chunk(event("2")))
    body = b""
    while text_of(body) != "2":
        body += await again.chunk()
    assert not draining.done()
    await upstream.send(chunk(event("3")) + LAST)
    assert text_of(body, await body_of(again)) == "23"
    await soon(draining)
