"""Two replicas that share a store: a client that comes back to the other one finds there what it would have found."""

import signal

import pytest

from tests.peers import LAST, STREAM, Peer, chunk, eventually, soon
from tests.relay.conftest import Relay
from tests.resume.servers import KeyServer
from tests.resume.streams import GET, POST, EventReader, body_of, event, field, last_id
from tests.resume.test_coming_back import back, begun, with_id
from unbuffer.outcome import Outcome
from unbuffer.resume import elsewhere
from unbuffer.resume.registry import Registry
from unbuffer.resume.script import Keys
from unbuffer.settings.resume import Resume, ResumeStore


def on(server: KeyServer, **more: object) -> Resume:
    """Resumption with this store."""
    settings: dict[str, object] = {"window": 60.0, "store": ResumeStore(url=server.url, lost_after=1.0)}
    return Resume(**(settings | more))  # type: ignore[arg-type]


async def both(relay: Relay, other: Relay, server: KeyServer, **more: object) -> None:
    for one in (relay, other):
        await one.start(resume=on(server, **more))


async def stored(relay: Relay, server: KeyServer, name: bytes, events: int) -> None:
    """Wait until the store has so many events of this stream."""
    key = b"unbuffer:s:" + name

    def there() -> bool:
        fields = [fields for _, fields in server.redis.xrange(key)]
        return bool(sum(one.get(b"d", one.get(b"m", b"")).count(b"data: ") for one in fields) >= events)

    await eventually(there)


async def begun_there(
    relay: Relay, server: KeyServer, request: bytes, *events: bytes
) -> tuple[Peer, Peer, bytes, bytes]:
    """A stream with these events that the store has: client, upstream, the head and the body as they came."""
    client, upstream, head, body = await begun(relay, request, *events)
    await stored(relay, server, field(head, b"Unbuffer-Stream"), len(events))
    return client, upstream, head, body


def text_of(*bodies: bytes) -> str:
    reader = EventReader()
    for body in bodies:
        reader.connected()
        reader.feed(body)
    return reader.text


async def test_the_other_replica_has_what_was_missed_and_goes_on_live(
    relay: Relay, other: Relay, server: KeyServer
) -> None:
    await both(relay, other, server)
    client, upstream, head, first = await begun_there(relay, server, GET + b"\r\n", event("1"))
    client.reset()
    await upstream.send(chunk(event("2")))
    again, second_head = await back(other, with_id(GET, last_id(first)))
    assert field(second_head, b"Unbuffer-Stream") == field(head, b"Unbuffer-Stream")
    body = b""
    for number in range(3, 9):  # each is sent when the one before has arrived
        while text_of(body)[-1:] != str(number - 1):
            body += await again.chunk()
        await upstream.send(chunk(event(str(number))))
    await upstream.send(LAST)
    body += await body_of(again)
    assert text_of(first, body) == "12345678"
    _, head = await back(other, with_id(GET, last_id(body)))
    assert head.startswith(b"HTTP/1.1 204 ")
    assert other.upstream.untaken == relay.upstream.untaken == 0
    assert other.totals.resume_attaches["hit"] == 2


async def test_a_post_that_is_repeated_at_the_other_replica_runs_once(
    relay: Relay, other: Relay, server: KeyServer
) -> None:
    await both(relay, other, server)
    _, upstream, _, first = await begun_there(relay, server, POST + b"\r\n{}", event("1"))
    await upstream.send(chunk(event("2")) + LAST)
    await relay.record()
    again, head = await back(other, with_id(POST, last_id(first)))
    assert head.startswith(b"HTTP/1.1 200 ")
    assert text_of(await body_of(again)) == "2"
    assert other.upstream.untaken == 0


async def test_a_stream_of_somebody_else_is_as_unknown_there_as_one_that_never_was(
    relay: Relay, other: Relay, server: KeyServer
) -> None:
    await both(relay, other, server)
    _, _, _, first = await begun_there(relay, server, POST + b"\r\n{}", event("1"))
    foreign = POST.replace(b"Bearer me", b"Bearer you")
    answers = []
    for last in (last_id(first), b"ub.%b.1" % (b"A" * 22)):
        client, head = await back(other, with_id(foreign, last))
        answers.append((head.partition(b"\r\n")[0], await client.read(4)))
    assert answers[0] == answers[1]
    assert answers[0][0] == b"HTTP/1.1 404 Not Found"
    assert other.totals.resume_attaches["foreign"] == other.totals.resume_attaches["unknown"] == 1


async def test_a_stranger_waits_for_the_same_whether_there_is_a_stream_or_not(
    relay: Relay, other: Relay, server: KeyServer
) -> None:
    """However much there is of it, and at the replica that serves it as well."""
    await both(relay, other, server)
    _, _, head, _ = await begun_there(relay, server, POST + b"\r\n{}", event("1"))
    name = field(head, b"Unbuffer-Stream")
    with server.redis.pipeline(transaction=False) as more:  # than is read at once
        for number in range(10, 310):
            more.xadd(b"unbuffer:s:" + name, {b"d": event("2"), b"c": b"1"}, id=f"{number}-0")
        more.execute()
    asked = []
    for one in (name, b"A" * 22):
        for replica in (relay, other):
            server.redis.config_resetstat()
            _, head = await back(replica, with_id(POST.replace(b"Bearer me", b"Bearer you"), b"ub.%b.1" % one))
            assert head.startswith(b"HTTP/1.1 404 ")
            counts = server.redis.info("commandstats")
            asked.append([counts.get(f"cmdstat_{command}", {}).get("calls", 0) for command in ("get", "xrange")])
    assert asked == [[1, 0]] * 4


async def test_a_delete_at_the_other_replica_cancels(relay: Relay, other: Relay, server: KeyServer) -> None:
    await both(relay, other, server)
    client, upstream, head, _ = await begun_there(relay, server, GET + b"\r\n", event("1"))
    client.reset()
    url = b"/chat?unbuffer-stream=%b" % field(head, b"Unbuffer-Stream")
    _, head = await back(other, b"DELETE %b HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer me\r\n\r\n" % url)
    assert head.startswith(b"HTTP/1.1 204 ")
    assert await relay.outcome() is Outcome.CANCELLED
    await upstream.ended()


async def test_a_break_of_the_upstream_is_one_there_as_well(relay: Relay, other: Relay, server: KeyServer) -> None:
    await both(relay, other, server)
    _, upstream, _, first = await begun_there(relay, server, GET + b"\r\n", event("1"))
    again, _ = await back(other, with_id(GET, last_id(first)))
    upstream.reset()
    rest = await again.rest()
    assert not rest.endswith(LAST)


async def test_who_has_seen_more_than_the_store_has_is_waited_with(
    relay: Relay, other: Relay, server: KeyServer
) -> None:
    await both(relay, other, server)
    _, upstream, head, _ = await begun_there(relay, server, POST + b"\r\n{}", event("1"))
    name = field(head, b"Unbuffer-Stream")
    registry = other.plane.resumption
    assert isinstance(registry, Registry)
    server.redis.client_pause(60_000, all=False)  # what is written waits
    await upstream.send(chunk(event("2")) + chunk(event("3")))
    again = await other.client()
    await again.send(with_id(POST, b"ub.%b.2" % name))
    gone = await other.client()
    await gone.send(with_id(POST, b"ub.%b.3" % name))
    await eventually(lambda: name in registry.streams and other.totals.streams == 2)
    gone.reset()
    await eventually(lambda: other.totals.streams == 1)
    server.redis.client_unpause()
    assert (await again.head()).startswith(b"HTTP/1.1 200 ")
    await upstream.send(LAST)
    assert text_of(await body_of(again)) == "3"


async def test_what_never_was_is_waited_for_no_longer_than_that(
    relay: Relay, other: Relay, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "LATE", 0.05)
    await both(relay, other, server)
    _, _, head, _ = await begun_there(relay, server, POST + b"\r\n{}", event("1"))
    _, answer = await back(other, with_id(POST, b"ub.%b.7" % field(head, b"Unbuffer-Stream")))
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert other.totals.resume_attaches["expired"] == 1
    assert not other.totals.resume_streams


async def test_every_key_has_a_ttl_and_none_is_larger_than_it_may_be(
    relay: Relay, other: Relay, server: KeyServer
) -> None:
    await both(relay, other, server, bytes=16384)
    client, upstream, head, first = await begun_there(relay, server, GET + b"\r\n", event("begin"))
    name = field(head, b"Unbuffer-Stream")
    for number in range(60):
        await upstream.send(chunk(event(f"{number} " + 2000 * "x")))
        while b"data: %d " % number not in first:
            first = first[-4000:] + await client.chunk()
    again, _ = await back(other, with_id(GET, b"ub.%b.59" % name))  # so that there is an inbox
    rest = b""
    while b"data: 59 " not in rest:
        rest += await again.chunk()
    await upstream.send(chunk(event("last")) + LAST)
    while part := await client.chunk():
        first += part
    await soon(relay.record())
    await eventually(lambda: server.redis.exists(*(server.redis.keys(b"unbuffer:i:*") or [b"none"])))
    keys = server.redis.keys()
    assert {key.split(b":")[1] for key in keys} == {b"a", b"s", b"i", b"r"}
    assert all(0 < server.redis.pttl(key) <= 2 * 60_000 for key in keys)
    sizes = [len(b"".join(fields.values())) for _, fields in server.redis.xrange(b"unbuffer:s:" + name)]
    assert 8192 <= sum(sizes) <= 2.25 * 16384 + 4096


async def test_beyond_the_total_what_ended_first_goes_first(relay: Relay, other: Relay, server: KeyServer) -> None:
    await both(relay, other, server, bytes=4096, total=8192)
    client, upstream, _ = await relay.exchange(GET + b"\r\n")
    ids = []
    for _ in range(4):
        await upstream.send(STREAM + chunk(event(3000 * "x")) + chunk(event("2")))
        first = b""
        name = field(await client.head(), b"Unbuffer-Stream")
        while not first.endswith(b".2\n\n"):
            first += await client.chunk()
        await stored(relay, server, name, 2)
        await upstream.send(chunk(event("3")) + LAST)
        await body_of(client)
        await relay.record()
        ids.append(last_id(first))
        await client.send(GET + b"\r\n")
        await upstream.head()
    await eventually(lambda: relay.totals.resume_store_errors["total"] >= 2)
    client = await other.client()
    await client.send(with_id(GET, ids[0]))
    upstream = await other.upstream.accept()  # the stream is not there: it begins anew
    assert b"Last-Event-ID" not in await upstream.head()
    again, _ = await back(other, with_id(GET, ids[-1]))
    assert text_of(await body_of(again)) == "3"


async def test_a_batch_that_comes_twice_is_there_once(relay: Relay, server: KeyServer) -> None:
    await relay.start(resume=on(server))
    _, _, head, _ = await begun_there(relay, server, GET + b"\r\n", event("1"))
    name = field(head, b"Unbuffer-Stream")
    store = relay.plane.resumption.store  # type: ignore[union-attr]
    number = int(server.redis.xrevrange(b"unbuffer:s:" + name, count=1)[0][0].partition(b"-")[0])
    order = b"add %b %d 0 d 4 1" % (name, number + 1)
    for _ in range(2):
        assert await store._server.write(order, b"once") == [b""]
    assert server.redis.xlen(b"unbuffer:s:" + name) == 2
    why, failed = await store._server.write(order, b"else")
    assert failed == name
    assert b"equal or smaller" in why


async def test_where_the_server_lost_its_data_streams_are_there_again(
    relay: Relay, other: Relay, own_server: KeyServer
) -> None:
    await both(relay, other, own_server)
    client, upstream, head, first = await begun_there(relay, own_server, GET + b"\r\n", event("1"))
    own_server.kill()
    for number in "23":
        await upstream.send(chunk(event(number)))
        assert (await client.chunk()).startswith(b"data: " + number.encode())
    own_server.start()
    client.reset()
    await stored(relay, own_server, field(head, b"Unbuffer-Stream"), 3)
    again, _ = await back(other, with_id(GET, last_id(first)))
    await upstream.send(chunk(event("4")) + LAST)
    assert text_of(await body_of(again)) == "234"
    assert relay.totals.resume_store_errors["unreachable"]


async def test_a_server_that_does_not_answer_holds_no_chunk(
    relay: Relay, other: Relay, own_server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    await both(relay, other, own_server)
    client, upstream, head, first = await begun_there(relay, own_server, GET + b"\r\n", event("0"))
    own_server.signal(signal.SIGSTOP)
    number = 0
    while not relay.totals.resume_store_errors["slow"]:
        number += 1
        await upstream.send(chunk(event(f"{number};")))
        assert (await client.chunk()).startswith(b"data: %d;" % number)
    own_server.signal(signal.SIGCONT)
    client.reset()
    await stored(relay, own_server, field(head, b"Unbuffer-Stream"), number + 1)
    again, _ = await back(other, with_id(GET, last_id(first)))
    await upstream.send(chunk(event("end")) + LAST)
    assert text_of(await body_of(again)) == ";".join(map(str, range(1, number + 1))) + ";end"
    told = [record.message for record in caplog.records if "no answer within 2s" in record.message]
    assert len(told) == 1 or len(told) == 2  # one for each replica


async def test_a_full_server_costs_no_stream_anything(relay: Relay, other: Relay, own_server: KeyServer) -> None:
    await both(relay, other, own_server)
    own_server.redis.config_set("maxmemory", 1)
    client, upstream, head, first = await begun(relay, GET + b"\r\n", event("1"))
    await eventually(lambda: relay.totals.resume_store_errors["full"])
    await upstream.send(chunk(event("2")))
    assert (await client.chunk()).startswith(b"data: 2")
    own_server.redis.config_set("maxmemory", 0)
    client.reset()
    await stored(relay, own_server, field(head, b"Unbuffer-Stream"), 2)
    again, _ = await back(other, with_id(GET, last_id(first)))
    await upstream.send(LAST)
    assert text_of(await body_of(again)) == "2"


async def test_a_server_that_became_a_replica_costs_no_stream_anything(relay: Relay, own_server: KeyServer) -> None:
    await relay.start(resume=on(own_server))
    client, upstream, _, _ = await begun_there(relay, own_server, GET + b"\r\n", event("1"))
    own_server.redis.replicaof("127.0.0.1", "1")
    await upstream.send(chunk(event("2")))
    assert (await client.chunk()).startswith(b"data: 2")
    await eventually(lambda: relay.totals.resume_store_errors["read_only"])


async def test_what_another_program_has_written_is_unknown(
    relay: Relay, other: Relay, server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    await both(relay, other, server)
    keys, name = Keys(ResumeStore().prefix), b"A" * 22
    server.redis.xadd(keys.events(name), {b"d": b"data: 1\n\n", b"c": b"0"})
    for about in (b"[1,2,3,4,5,6,7,8,9]", b"7", b"[]", b"{}", b"text"):
        server.redis.set(keys.about(name), about)
        _, head = await back(other, with_id(POST, b"ub.%b.1" % name))
        assert head.startswith(b"HTTP/1.1 404 ")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_mistake_costs_what_was_under_way_and_no_more(
    relay: Relay, other: Relay, server: KeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Here by an end that nobody can read: who reads the stream sees it break, and the next one is found."""
    await both(relay, other, server)
    client, _, head, first = await begun_there(relay, server, GET + b"\r\n", event("1"))
    client.reset()
    again, _ = await back(other, with_id(GET, last_id(first)))
    key = Keys(ResumeStore().prefix).events(field(head, b"Unbuffer-Stream"))
    (latest, _), *_ = server.redis.xrevrange(key, count=1)
    server.redis.xadd(key, {b"e": b"no JSON"}, id=b"%d-0" % (int(latest.partition(b"-")[0]) + 1))
    assert not (await again.rest()).endswith(LAST)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == [
        "resume.store: an unexpected error; what was under way is given up"
    ]
    _, upstream, _, first = await begun_there(relay, server, POST + b"\r\n{}", event("1"))
    await upstream.send(chunk(event("2")) + LAST)
    again, _ = await back(other, with_id(POST, last_id(first)))
    assert text_of(await body_of(again)) == "2"
