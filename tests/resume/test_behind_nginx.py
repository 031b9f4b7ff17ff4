"""A connection through nginx that breaks around each event and in the midst of it: the text is whole, and the
application ran once."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
import trustme

from tests.deploy.balancers import Instances, running_balancer
from tests.peers import Peer, soon
from tests.relay.conftest import Relay
from tests.resume.streams import EventReader, field
from tests.resume.test_every_offset import TEXT, App
from unbuffer.settings.model import Upstream
from unbuffer.settings.resume import Resume

pytestmark = pytest.mark.process


async def test_cut_anywhere_the_text_is_whole_and_the_application_ran_once(
    relay: Relay, authority: trustme.CA, tmp_path: Path
) -> None:
    """A POST of HTTP/1.0, whose body ends with its connection: so an offset of the body is one of the connection."""
    app = App()
    server = await asyncio.start_server(app.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await relay.start(resume=Resume(window=60.0), upstream=Upstream(url=f"http://127.0.0.1:{port}"))
    behind = Instances(("127.0.0.1", "127.0.0.1"), relay.port, relay.port)
    with running_balancer("nginx", authority, behind, tmp_path) as front:
        url, context = httpx.URL(front.url), front.context()

        async def asked(more: bytes) -> tuple[Peer, bytes]:
            client = Peer(*await soon(asyncio.open_connection(url.host, url.port, ssl=context)))
            fields = b"Host: a\r\nCookie: me\r\nContent-Length: 2\r\n" + more
            await client.send(b"POST /chat HTTP/1.0\r\n%b\r\n{}" % fields)
            return client, await client.head()

        client, _ = await asked(b"")
        whole = await client.rest()
        await client.close()
        begun = whole.index(b"\n") + 1
        ends = [match.end() for match in re.finditer(rb"\r?\n\r?\n", whole)]
        around = {end + more for end in ends for more in (-1, 0, 1)}
        offsets = sorted({begun, *range(begun, len(whole), 7), *around} - {len(whole) + 1})
        # Both loops run the same code from here on: each takes every second offset.
        for offset in offsets["uvloop" in type(asyncio.get_running_loop()).__module__ :: 2]:
            app.runs = 0
            reader = EventReader()
            client, head = await asked(b"")
            reader.feed(await client.read(offset))
            await client.close()
            reader.connected()
            stream = field(head, b"Unbuffer-Stream")
            last = reader.last_event_id.encode() or b"ub.%b.0" % stream
            client, _ = await asked(b"Unbuffer-Stream: %b\r\nLast-Event-ID: %b\r\n" % (stream, last))
            reader.feed(await client.rest())
            await client.close()
            assert (reader.text, app.runs) == (TEXT, 1), (offset, last, reader.events)
    server.close()
    await app.close()
