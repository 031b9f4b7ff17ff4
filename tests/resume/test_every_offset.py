"""A connection that breaks at any byte of a stream: what was read before and after is the whole, and the application
ran once, unless the client had no id yet."""

import asyncio
import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers import LAST, STREAM, Peer, soon
from tests.relay.conftest import Relay
from tests.resume.streams import EventReader, chunk, field
from unbuffer.outcome import Outcome
from unbuffer.resume.cutter import Cutter
from unbuffer.resume.ring import Ring
from unbuffer.settings.model import Upstream
from unbuffer.settings.resume import Resume

RECORDED = (
    b"data: Hel\n\n",
    b": a comment\n\nevent: x\r\ndata: lo\r\n",
    b"\r\ndata: two\ndata: lines\n\nretry: 9\n\n",
    b"id: own-1\ndata: !\n\n",
    b"data: \xc3\xa9\n\nda",
    b"ta: end\n\n",
)
TEXT = "Hellotwo\nlines!éend"


class App:
    """Answers every request with the recorded stream."""

    def __init__(self) -> None:
        self.runs = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"POST"):
                    await reader.readexactly(2)
                self.runs += 1
                writer.write(STREAM)
                for data in RECORDED:
                    writer.write(chunk(data))
                    await asyncio.sleep(0)
                writer.write(LAST)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


class Body:
    """The body in the raw bytes of a chunked answer, as far as they have come."""

    def __init__(self) -> None:
        self._rest = b""
        self.over = False

    def feed(self, data: bytes) -> bytes:
        self._rest += data
        body = b""
        while match := re.match(rb"([0-9a-f]+)\r\n", self._rest):
            size, start = int(match[1], 16), match.end()
            if not size:
                self.over = True
                break
            if len(self._rest) < start + size + 2:
                break
            body += self._rest[start : start + size]
            self._rest = self._rest[start + size + 2 :]
        return body

    def partly(self) -> bytes:
        """What has come of the chunk under way."""
        match = re.match(rb"([0-9a-f]+)\r\n", self._rest)
        return self._rest[match.end() :][: int(match[1], 16)] if match else b""


async def asked(relay: Relay, method: bytes, query: bytes, more: bytes) -> tuple[Peer, bytes]:
    client = await relay.client()
    body = b"{}" if method == b"POST" else b""
    await client.send(
        b"%b /chat%b HTTP/1.1\r\nHost: a\r\nCookie: me\r\nContent-Length: %d\r\n%b\r\n%b"
        % (method, query, len(body), more, body)
    )
    return client, await client.head()


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_cut_at_every_byte_the_text_is_whole_and_the_application_ran_once(relay: Relay, method: bytes) -> None:
    """GET as EventSource has it, to which the first id comes with the first event; POST as fetch-event-source has it,
    to which it comes as a line."""
    app = App()
    server = await asyncio.start_server(app.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await relay.start(resume=Resume(window=60.0), upstream=Upstream(url=f"http://127.0.0.1:{port}"))
    client, _ = await asked(relay, method, b"", b"")
    raw = await client.until(b"\r\n0\r\n\r\n")
    length = len(raw)
    begun = {b"GET": raw.index(b"\n\n") + 2, b"POST": raw.index(b".0\n") + 3}
    # Both loops run the same code from here on: each takes every second byte.
    first = "uvloop" in type(asyncio.get_running_loop()).__module__
    for offset in range(first, length - 6, 2):
        app.runs = 0
        reader, body = EventReader(), Body()
        client, head = await asked(relay, method, b"", b"")
        reader.feed(body.feed(await client.read(offset)))
        reader.feed(body.partly())
        client.reset()
        reader.connected()
        stream = field(head, b"Unbuffer-Stream")
        last = reader.last_event_id
        if not last and method == b"POST" and offset >= begun[method]:
            last = f"ub.{stream.decode()}.0"
        if last:
            # The application's own id names no stream.
            more = b"" if last.startswith("ub.") else b"Unbuffer-Stream: %b\r\n" % stream
            client, head = await asked(relay, method, b"", b"Last-Event-ID: %b\r\n%b" % (last.encode(), more))
        else:
            assert offset < begun[method]
            client, head = await asked(relay, method, b"", b"")
        if not head.startswith(b"HTTP/1.1 204 "):
            rest = Body()
            while not rest.over:
                reader.feed(rest.feed(await soon(client.reader.read(65536))))
        assert reader.text == TEXT, (offset, last, reader.events)
        assert app.runs == (1 if last else 2)
        client.reset()
    server.close()
    await app.close()
    while not relay._records.empty():
        assert (await relay.record()).outcome in (Outcome.COMPLETED, Outcome.CLIENT_DISCONNECT)


LINES = st.one_of(
    st.sampled_from([b"data: a", b"data", b"data:b", b": hi", b"event: x", b"retry: 9", b"idea: b", b"id: \0"]),
    st.integers(0, 999).map(lambda number: b"id: own%d" % number),
)
EVENTS = st.lists(
    st.tuples(st.lists(LINES, min_size=1, max_size=4), st.sampled_from([b"\n", b"\r", b"\r\n"])), max_size=6
)


@settings(max_examples=120)
@given(EVENTS, st.lists(st.integers(0, 200), max_size=6), st.randoms(use_true_random=False))
def test_of_any_stream_cut_anywhere(events: list[tuple[list[bytes], bytes]], splits: list[int], random: object) -> None:
    """Any lines, any line ends, any reads; broken at any byte and gone on with from the ring."""
    text, used = b"", set()
    for lines, end in events:
        # An id that comes twice names the later event: what to do then only the application knows.
        mine = [line for line in lines if not line.startswith(b"id: own") or not (line in used or used.add(line))]  # type: ignore[func-returns-value]
        text += b"".join(line + end for line in mine) + end
    cutter, ring, out, at = Cutter(b"ub.N."), Ring(), b"", 0
    for split in [*sorted(min(split, len(text)) for split in splits), len(text)]:
        part, at = text[at:split], split
        if part and cutter.between and cutter.is_one(part):
            data = cutter.numbered(part)
            ring.add_event(data)
            out += data
        elif part:
            data = cutter.cut(part)
            out += data
            ring.add(data, cutter.ends, cutter.kept)
    plain = EventReader()
    plain.feed(text)
    for offset in range(len(out) + 1):
        reader = EventReader()
        reader.feed(out[:offset])
        seen = reader.last_event_id
        if not seen:
            continue
        number = int(seen.rpartition(".")[2]) if seen.startswith("ub.") else ring.number_of(seen.encode())
        if number < 0:
            continue  # an id that no event has: a block without data
        reader.connected()
        reader.feed(b"\n" + ring.read(ring.after(number), ring.reached))
        assert reader.events == plain.events, (offset, seen)
