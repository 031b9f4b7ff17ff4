"""`decode`: what is decoded, and that GET, HEAD, 206, 304 and 416 of one resource tell one story.

The upstream has one resource, which it sends with gzip whatever it is asked for; the client tells what it got.
"""

import gzip
import itertools
from dataclasses import dataclass

import pytest

from tests.peers import GET, STREAM, Peer, chunk
from tests.relay.conftest import Relay
from unbuffer.outcome import Outcome
from unbuffer.settings.kinds import Decode
from unbuffer.settings.model import SSE
from unbuffer.settings.route import Route

CONTENT = b"line of a file\n" * 400
CODED = gzip.compress(CONTENT)
DIGESTS = (b"Repr-Digest", b"Content-Digest", b"Digest", b"Content-MD5")
SAID = b"".join(b"%b: x\r\n" % name for name in DIGESTS)
STRONG, WEAK = b'"v1"', b'W/"v1"'


def fields_of(head: bytes) -> dict[bytes, bytes]:
    """The fields of a head, lower-case names; none comes twice."""
    pairs = [line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2]]
    fields = {name.lower(): value for name, value in pairs}
    assert len(fields) == len(pairs)
    return fields


@dataclass(frozen=True)
class Resource:
    """known: its length is stated; HEAD states it, too. no_transform: the application asks for it to be left alone."""

    known: bool
    no_transform: bool

    def head(self, status: bytes = b"200 OK", length: int = len(CODED)) -> bytes:
        """With everything that can be said of coded bytes."""
        control = b"Cache-Control: private, No-Transform\r\n" if self.no_transform else b""
        framed = b"Content-Length: %d\r\n" % length if self.known else b"Transfer-Encoding: chunked\r\n"
        return (
            b"HTTP/1.1 %b\r\nContent-Encoding: gzip\r\nETag: %b\r\nAccept-Ranges: bytes\r\nVary: Accept-Encoding\r\n"
            b"%b%b%b\r\n" % (status, STRONG, SAID, control, framed)
        )

    def body(self, data: bytes) -> bytes:
        """In its framing."""
        return data if self.known else chunk(data) + chunk(b"")


RESOURCES = [Resource(*flags) for flags in itertools.product((True, False), repeat=2)]
DECODE: list[Decode] = ["streams", "always", "never"]
every_way = pytest.mark.parametrize(
    ("decode", "resource"),
    list(itertools.product(DECODE, RESOURCES)),
    ids=lambda one: one if isinstance(one, str) else f"{'length' if one.known else 'chunked'}-{one.no_transform}",
)


def is_decoded(decode: Decode, resource: Resource) -> bool:
    """The rule, in its shortest form."""
    return decode == "always" or (decode == "streams" and not resource.known and not resource.no_transform)


def tells_of(head: bytes, decoded: bool, length: int | None) -> None:
    """See that all of the head is about the decoded body, or all of it about the coded one."""
    fields = fields_of(head)
    assert (b"content-encoding" in fields) is not decoded
    assert fields[b"etag"] == (WEAK if decoded else STRONG)
    assert fields[b"accept-ranges"] == (b"none" if decoded else b"bytes")
    assert fields[b"vary"] == b"Accept-Encoding"
    assert [name for name in DIGESTS if name.lower() in fields] == ([] if decoded else list(DIGESTS))
    assert fields.get(b"content-length") == (b"%d" % length if length is not None and not decoded else None)


async def body_of(client: Peer, head: bytes) -> bytes:
    fields = fields_of(head)
    if b"content-length" in fields:
        return await client.read(int(fields[b"content-length"]))
    body = b""
    while piece := await client.chunk():
        body += piece
    return body


@every_way
async def test_every_way_to_ask_gets_the_same_story(relay: Relay, decode: Decode, resource: Resource) -> None:
    await relay.start(decode=decode)
    decoded = is_decoded(decode, resource)
    length = len(CODED) if resource.known else None

    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(resource.head() + resource.body(CODED))
    head = await client.head()
    tells_of(head, decoded, length)
    assert await body_of(client, head) == (CONTENT if decoded else CODED)
    tag = fields_of(head)[b"etag"]

    await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    await upstream.head()
    await upstream.send(resource.head())
    tells_of(await client.head(), decoded, length)

    # A client that has the response asks whether it is still good: with the tag that it was given.
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: %b\r\n\r\n" % tag)
    assert b"If-None-Match: %b\r\n" % tag in await upstream.head()
    await upstream.send(b"HTTP/1.1 304 Not Modified\r\nETag: %b\r\nVary: Accept-Encoding\r\n\r\n" % STRONG)
    assert fields_of(await client.head())[b"etag"] == tag

    # And with a server that says of a 304 all that it says of a 200.
    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: %b\r\n\r\n" % tag)
    await upstream.head()
    await upstream.send(resource.head(b"304 Not Modified"))
    tells_of(await client.head(), decoded, length)
    for _ in range(4):
        assert await relay.outcome() is Outcome.COMPLETED


@every_way
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_no_part_of_a_coded_body_reaches_who_has_it_decoded(
    relay: Relay, decode: Decode, resource: Resource, method: bytes
) -> None:
    """`curl -C -` asks for the rest, counts in bytes that it has, and looks at nothing but the status."""
    await relay.start(decode=decode)
    request = b'%b / HTTP/1.1\r\nHost: a\r\nRange: bytes=9-\r\nIf-Range: "v1"\r\nX-Last: 1\r\n\r\n' % method
    client, upstream, head = await relay.exchange(request)
    assert b"\r\nRange: bytes=9-\r\n" in head
    total = b"%d" % len(CODED) if resource.known else b"*"
    part = b"Content-Range: bytes 9-%d/%b\r\n\r\n" % (len(CODED) - 1, total)
    body = resource.body(CODED[9:]) if method == b"GET" else b""
    await upstream.send(resource.head(b"206 Partial Content", len(CODED) - 9)[:-2] + part + body)
    if is_decoded(decode, resource):
        upstream = await relay.upstream.accept()
        assert await upstream.head() == head.replace(b'Range: bytes=9-\r\nIf-Range: "v1"\r\n', b"")
        await upstream.send(resource.head() + (resource.body(CODED) if method == b"GET" else b""))
        seen = await client.head()
        assert seen.startswith(b"HTTP/1.1 200 OK\r\n")
        tells_of(seen, True, None)
        expected = CONTENT
    else:
        seen = await client.head()
        assert seen.startswith(b"HTTP/1.1 206 Partial Content\r\n")
        tells_of(seen, False, len(CODED) - 9 if resource.known else None)
        expected = CODED[9:]
    if method == b"GET":
        assert await body_of(client, seen) == expected
    assert await relay.outcome() is Outcome.COMPLETED


@pytest.mark.parametrize("decode", DECODE)
@pytest.mark.parametrize(("first", "again"), [(b"100", True), (b"50", False), (b"7", False)])
async def test_who_has_more_than_there_is_has_it_decoded(
    relay: Relay, decode: Decode, first: bytes, again: bool
) -> None:
    """curl takes 416 for the news that its file is complete. At 50 of 50 it is. What is not decoded keeps its 416."""
    await relay.start(decode=decode)
    client, upstream, head = await relay.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=%b-\r\n\r\n" % first)
    refusal = b"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */50\r\nContent-Length: 0\r\n\r\n"
    await upstream.send(refusal)
    if again and decode == "always":
        upstream = await relay.upstream.accept()
        assert await upstream.head() == head.replace(b"Range: bytes=100-\r\n", b"")
        await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")
        assert await client.read(2) == b"ok"
    else:
        assert (await client.head()).startswith(b"HTTP/1.1 416 ")
    assert await relay.outcome() is Outcome.COMPLETED


async def test_a_server_that_sends_parts_unasked_is_not_asked_for_ever(relay: Relay) -> None:
    await relay.start(decode="always")
    client, upstream, _ = await relay.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=9-\r\n\r\n")
    part = Resource(True, False).head(b"206 Partial Content", 3) + b"abc"
    await upstream.send(part)
    again = await relay.upstream.accept()
    await again.head()
    await again.send(part)
    assert (await client.head()).startswith(b"HTTP/1.1 206 ")
    assert await client.read(3) == b"abc"
    assert await relay.outcome() is Outcome.COMPLETED


@pytest.mark.parametrize(
    ("known", "seen"),
    [
        (WEAK, WEAK),
        (b'"v0", W/"v1" , W/"v2"', WEAK),
        (b'W/"v1", "v1"', STRONG),  # it has both: the strong one says more
        (STRONG, STRONG),
        (b'W/"v2"', STRONG),
        (b"*", STRONG),
    ],
)
async def test_a_304_has_the_tag_that_the_client_knows(relay: Relay, known: bytes, seen: bytes) -> None:
    """RFC 9111, section 4.3.4: with another one a cache has nothing to renew, and asks each time."""
    await relay.start()
    client, upstream, _ = await relay.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: %b\r\n\r\n" % known)
    await upstream.send(b"HTTP/1.1 304 Not Modified\r\nETag: %b\r\nRepr-Digest: x\r\n\r\n" % STRONG)
    fields = fields_of(await client.head())
    assert fields[b"etag"] == seen
    assert (b"repr-digest" in fields) is (seen == STRONG)
    assert await relay.outcome() is Outcome.COMPLETED


@pytest.mark.parametrize("decode", DECODE)
@pytest.mark.parametrize("known", [True, False], ids=["length", "chunked"])
async def test_a_head_that_does_not_tell_how_its_body_is_framed_has_what_holds_either_way(
    relay: Relay, decode: Decode, known: bool
) -> None:
    """Apache says nothing of it before it has compressed the body. A 304 to what the client was given tells."""
    await relay.start(decode=decode)
    resource = Resource(known, False)
    silent = resource.head(b"304 Not Modified").replace(b"Transfer-Encoding: chunked\r\n", b"")
    silent = silent.replace(b"Content-Length: %d\r\n" % len(CODED), b"")
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(resource.head() + resource.body(CODED))
    of_get = fields_of(head := await client.head())
    await body_of(client, head)

    await client.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    await upstream.head()
    await upstream.send(silent.replace(b"304 Not Modified", b"200 OK"))
    of_head = fields_of(await client.head())
    assert of_head[b"etag"].removeprefix(b"W/") == STRONG
    for name in (b"content-encoding", b"accept-ranges", *map(bytes.lower, DIGESTS)):
        assert of_head.get(name) in (None, of_get.get(name))
    assert (b"accept-ranges" in of_head) is (decode != "streams")

    await client.send(b"GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: %b\r\n\r\n" % of_get[b"etag"])
    await upstream.head()
    await upstream.send(silent)
    tells_of(await client.head(), is_decoded(decode, resource), None)
    for _ in range(3):
        assert await relay.outcome() is Outcome.COMPLETED


TAKES = b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n"


@pytest.mark.parametrize("decode", DECODE)
async def test_a_304_of_a_stream_to_which_something_may_be_added_is_as_weak(relay: Relay, decode: Decode) -> None:
    """Its tag is weak for what may be added. A 304 has no Content-Type that would tell what it is of."""
    await relay.start(decode=decode)
    client, upstream, _ = await relay.exchange(b"GET / HTTP/1.1\r\nHost: a\r\nIf-None-Match: %b\r\n\r\n" % WEAK)
    await upstream.send(b"HTTP/1.1 304 Not Modified\r\nETag: %b\r\n\r\n" % STRONG)
    assert fields_of(await client.head())[b"etag"] == WEAK
    assert await relay.outcome() is Outcome.COMPLETED


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("decode", DECODE)
@pytest.mark.parametrize(
    ("line", "is_file"),
    [
        (b"Content-Type: application/x-tar", True),
        (b"Content-Type: application/gzip", True),
        (b"Content-Type: Application/X-GZip ; name=x", True),
        (b"Content-Type: text/plain\r\nContent-Disposition: Attachment; filename=a.csv", True),
        (b"Content-Type: application/octet-stream", False),  # programs exist that stream words so
        (b"Content-Type: text/plain\r\nContent-Disposition: inline; filename=attachment", False),
    ],
)
async def test_a_file_without_a_length_stays_as_it_is(
    relay: Relay, line: bytes, is_file: bool, decode: Decode, method: bytes
) -> None:
    await relay.start(decode=decode)
    client, upstream, _ = await relay.exchange(b"%b / HTTP/1.1\r\nHost: a\r\n\r\n" % method)
    resource = Resource(False, False)
    head = resource.head()[:-2] + line + b"\r\n\r\n"
    await upstream.send(head + (resource.body(CODED) if method == b"GET" else b""))
    seen = await client.head()
    decoded = decode == "always" or (decode == "streams" and not is_file)
    tells_of(seen, decoded, None)
    if method == b"GET":
        assert await body_of(client, seen) == (CONTENT if decoded else CODED)
    assert await relay.outcome() is Outcome.COMPLETED


@pytest.mark.parametrize("decode", DECODE)
async def test_digests_in_trailers_go_with_the_coding(relay: Relay, decode: Decode) -> None:
    await relay.start(decode=decode)
    client, upstream, _ = await relay.exchange(TAKES)
    head = Resource(False, False).head()[:-2] + b"Trailer: Repr-Digest, X-Sum ,content-md5\r\nTrailer: Digest\r\n\r\n"
    trailers = b"0\r\nRepr-Digest: x\r\nX-Sum: 42\r\ncontent-md5: y\r\nETag: %b\r\n\r\n" % STRONG
    await upstream.send(head + chunk(CODED) + trailers)
    seen = await client.head()
    lines = [line for line in seen.split(b"\r\n") if line.startswith(b"Trailer: ")]
    if decode == "never":
        assert lines == [b"Trailer: Repr-Digest, X-Sum ,content-md5", b"Trailer: Digest"]
        assert await client.chunks_of(len(CODED)) == CODED
        assert await client.head() == trailers
    else:
        assert lines == [b"Trailer: X-Sum"]
        assert await client.chunks_of(len(CONTENT)) == CONTENT
        assert await client.head() == b"0\r\nX-Sum: 42\r\nETag: %b\r\n\r\n" % WEAK
    assert await relay.outcome() is Outcome.COMPLETED


@pytest.mark.parametrize("heartbeat", [0.001, 0.0])
async def test_a_digest_after_a_stream_with_heartbeats_is_dropped(relay: Relay, heartbeat: float) -> None:
    """It is of the application's bytes, and the client has more of them."""
    await relay.start(sse=SSE(heartbeat=heartbeat))
    client, upstream, _ = await relay.exchange(TAKES)
    await upstream.send(STREAM)
    await client.head()
    if heartbeat:
        assert await client.chunk()
    else:
        await upstream.send(b"2\r\n\n\n\r\n")
        assert await client.chunk() == b"\n\n"
    await upstream.send(b"0\r\nContent-Digest: x\r\nX-Sum: 42\r\n\r\n")
    while (line := await client.until(b"\r\n")) != b"0\r\n":
        await client.read(int(line, 16) + 2)
    assert await client.head() == (b"X-Sum: 42\r\n\r\n" if heartbeat else b"Content-Digest: x\r\nX-Sum: 42\r\n\r\n")
    assert await relay.outcome() is Outcome.COMPLETED


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(
    ("sse", "lines", "changed"),
    [
        pytest.param(SSE(), b"", True, id="heartbeat"),
        pytest.param(SSE(heartbeat=0.0, opening=True), b"", True, id="opening"),
        pytest.param(SSE(heartbeat=0.0, error_event=True), b"", True, id="error event"),
        pytest.param(SSE(heartbeat=0.0), b"", False, id="nothing"),
        pytest.param(SSE(), b"Content-Length: 2\r\n", False, id="length"),
        pytest.param(SSE(), b"Content-Encoding: gzip\r\n", False, id="stays coded"),
    ],
)
async def test_the_head_of_a_stream_says_nothing_of_bytes_that_may_be_added(
    relay: Relay, method: bytes, sse: SSE, lines: bytes, changed: bool
) -> None:
    """Wherever something may be: what the head says of the application's bytes holds of no others."""
    await relay.start(sse=sse, decode="never")
    client, upstream, _ = await relay.exchange(b"%b / HTTP/1.1\r\nHost: a\r\n\r\n" % method)
    framing = b"" if b"Length" in lines else b"Transfer-Encoding: chunked\r\n"
    said = b"ETag: %b\r\nAccept-Ranges: bytes\r\n%b" % (STRONG, SAID)
    await upstream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%b%b%b\r\n" % (framing, lines, said))
    fields = fields_of(await client.head())
    digests = {name.lower() for name in DIGESTS}
    assert fields.keys() & digests == (set() if changed else digests)
    assert fields[b"etag"] == (WEAK if changed else STRONG)
    assert fields[b"accept-ranges"] == (b"none" if changed else b"bytes")
    if method == b"GET":
        await upstream.send(b"\n\n" if not framing else b"2\r\n\n\n\r\n0\r\n\r\n")
    assert await relay.outcome() is Outcome.COMPLETED


async def test_a_route_has_its_own(relay: Relay) -> None:
    routes = (Route(name="files", prefix="/files", decode="never"), Route(name="all", prefix="/all", decode="always"))
    await relay.start(routes=routes)
    for path, known, decoded in ((b"/files", False, False), (b"/all", True, True), (b"/", False, True)):
        client, upstream, _ = await relay.exchange(b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % path)
        resource = Resource(known, False)
        await upstream.send(resource.head() + resource.body(CODED))
        head = await client.head()
        tells_of(head, decoded, len(CODED) if known else None)
        assert await body_of(client, head) == (CONTENT if decoded else CODED)
        await upstream.close()
        assert await relay.outcome() is Outcome.COMPLETED
