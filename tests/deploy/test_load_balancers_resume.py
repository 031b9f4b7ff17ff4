"""Two replicas that share a store, behind load balancers that know nothing of it: one of them is killed, or drains,
while clients read its streams. They come back to the same address, and have all of the text."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from signal import SIGKILL, SIGTERM

import httpx
import pytest
import trustme

from tests.deploy.balancers import Front, instances, running_balancer
from tests.e2e.stack import Gate, uvicorn
from tests.peers import PATIENCE
from tests.resume.servers import KeyServer
from tests.resume.streams import EventReader

pytestmark = pytest.mark.process


@contextmanager
def connected(front: Front, gate: Gate, reader: EventReader) -> Iterator[Iterator[bytes]]:
    """The bytes of the stream on another connection, from where the reader is; to be read inside the block."""
    fields = {"Authorization": "Bearer me"}
    if reader.last_event_id:
        fields["Last-Event-ID"] = reader.last_event_id
    reader.connected()
    with front.client(http2=False) as client, client.stream("GET", gate.path("sse"), headers=fields) as answer:
        assert answer.status_code == 200
        yield answer.iter_raw()


def read(chunks: Iterator[bytes], reader: EventReader, events: int) -> None:
    while len(reader.events) < events:
        reader.feed(next(chunks))


def wait_until_stored(server: KeyServer, streams: int, events: int) -> None:
    """Until the store has so many streams with so many events each."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        keys = server.redis.keys("unbuffer:s:*")
        texts = [b"".join(fields.get(b"d", b"") for _, fields in server.redis.xrange(key)) for key in keys]
        if [text.count(b"\ndata: ") + text.startswith(b"data: ") for text in texts] == [events] * streams:
            return
        time.sleep(0.005)
    pytest.fail(str(texts))


@pytest.mark.parametrize(("kind", "signal"), [("valkey", SIGKILL), ("redis", SIGTERM)], ids=["killed", "drains"])
def test_whoever_comes_back_gets_all_of_it_from_the_other_replica(
    kind: str, signal: int, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The application runs once: a second run would begin with its event 0 again."""
    server = KeyServer(kind, tmp_path_factory.mktemp("store"))
    shared = ("resume.window=60s", f"resume.store.url={server.url}", "resume.store.lost_after=1s", "drain.timeout=20s")
    with ExitStack() as started:
        started.enter_context(server.running())
        app = started.enter_context(uvicorn())
        both, first, second = started.enter_context(
            instances(app, *(word for one in shared for word in ("--set", one)))
        )
        clients = []
        for name in ("nginx", "haproxy"):
            behind = running_balancer(name, authority, both, tmp_path_factory.mktemp(name))
            clients.append((started.enter_context(behind), app.gate(), EventReader()))
        with ExitStack() as connections:
            for front, gate, reader in clients:
                chunks = connections.enter_context(connected(front, gate, reader))
                read(chunks, reader, 1)
                gate.next()  # of this one nobody gets anything before the connection is lost
            wait_until_stored(server, streams=2, events=2)
            assert not second.samples()["unbuffer_resumable_streams", frozenset()]
            first.process.signal(signal)
            if signal == SIGKILL:
                first.process.exit_code()
            else:
                first.process.err.match("draining")
        for front, gate, reader in clients:
            with connected(front, gate, reader) as chunks:
                read(chunks, reader, 2)
                if signal == SIGKILL:
                    with pytest.raises(httpx.RemoteProtocolError):  # all that it left is there, and then a break
                        next(chunks)
                    assert gate.over() == "cancelled"
                else:
                    gate.next()
                    read(chunks, reader, 3)
                    gate.end()
                    assert not b"".join(chunks).strip()
            assert [data for _, data in reader.events] == [f"event {n}" for n in range(len(reader.events))]
        if signal == SIGTERM:
            assert first.process.exit_code() == 0
