"""Target: a client sends anything, split anyhow, while the upstreams are sound."""

import contextlib

import h11

from tests.fuzz.stage import LONGEST, Message, Script, Server, Stage, play, read_script
from tests.messages.requests import ACCEPTED, BAD_BODIES, CHUNKED, REFUSED, THEN_REFUSED, post

_GOES_ON, _SERVE, _STALL, _TAKE = range(4)


def run(data: bytes) -> Stage:
    """Play one input; returns the stage after it. Raises what was found."""
    return run_script(read_script(data))


def run_script(script: Script) -> Stage:
    """Play what an input means."""
    options, pieces = script
    stage = play(lambda stage: scenario(stage, script))
    sent: list[Message] = []
    for server in stage.servers:
        assert all(request.whole for request in server.requests[:-1]), "a request after one that has no end"
        assert not any(request.trailers for request in server.requests)
        sent += (request for request in server.requests if request.whole)
    for record, answer in stage.answers:
        if answer.start[0] == b"200" and record.method != "HEAD":
            assert answer.body.partition(b"?")[0] == record.path.encode(), "the answer to another request"
    expected = _read_requests(b"".join(piece for piece, _ in pieces))
    for ours, theirs in zip(sent, expected, strict=False):
        # A URL becomes a path, and Connection may name any field: neither is h11's business.
        if theirs.start[1].startswith(b"/") and not any(name == b"connection" for name, _ in theirs.fields):
            assert _meaning(ours) == _meaning(theirs)
    stays = options & 3 in (0, 3)
    if stays and not any(answer.own for _, answer in stage.answers):
        assert len(sent) >= len(expected), "a request that is whole has not been sent on"
    return stage


def _read_requests(stream: bytes) -> list[Message]:
    """The requests that an independent parser finds whole, up to where it finds fault."""
    server = Server()
    with contextlib.suppress(h11.RemoteProtocolError):
        server.take(stream.lstrip(b"\r\n"))
    return [request for request in server.requests if request.whole]


def _meaning(message: Message) -> tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]:
    """What must not change on the way: method, target, fields of no hop and no proxy, content."""
    method, target, _ = message.start
    fields = [(name, value) for name, value in message.fields if name.startswith(b"x-") and name[:4] != b"x-fo"]
    return method, target, fields, message.body


async def scenario(stage: Stage, script: Script) -> None:
    """The client sends the pieces, and does something after each."""
    options, pieces = script
    for piece, action in pieces:
        stage.client.deliver(piece)
        if action == _SERVE:
            await stage.serve()
        elif action == _STALL:
            stage.client.stall()
        elif action == _TAKE:
            stage.client.take()
            for wire in stage.loop.opened:
                wire.take() if options & 4 else wire.stall()
    await stage.turns()
    if options & 3 == 1:
        stage.client.end()
    elif options & 3 == 2:
        stage.client.reset()
    await stage.turns()
    for wire in (stage.client, *stage.loop.opened):
        wire.take()
    await stage.serve()


def seeds() -> list[bytes]:
    """The requests of the catalogue."""
    streams = [
        *(data for _, _, _, data in REFUSED),
        *(data for _, _, data, _ in ACCEPTED),
        *(data for _, _, data, _, _ in THEN_REFUSED),
        *(post(CHUNKED, body=body) for _, _, _, body in BAD_BODIES),
    ]
    return [stream[:LONGEST] for stream in streams]
