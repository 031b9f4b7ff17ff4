"""Target: an upstream sends anything, split anyhow, to a client that asked for something sound."""

import contextlib

import h11

from tests.fuzz.stage import LONGEST, Script, Server, Stage, play, read_answer, read_script
from tests.messages.requests import BAD_BODIES, CHUNKED, UPGRADE, get, post
from tests.messages.responses import ACCEPTED, LAST_OF_ITS_CONNECTION, REFUSED, UNTIL_CLOSE, reply

REQUESTS = [
    get(),
    get().replace(b"GET", b"HEAD"),
    get(version=b"1.0"),
    get(b"Connection: keep-alive", version=b"1.0"),
    get(b"TE: trailers"),
    get(UPGRADE, b"Upgrade: x"),
    post(b"Content-Length: 2", body=b"xy"),
    post(b"Content-Length: 2", body=b"x"),
]
PROBE = get(target=b"/probe")
_PROBE_LINE = b"GET /probe HTTP/1.1\r\n"
PROBED = reply(b"Content-Length: 6", body=b"probed")

_GOES_ON, _TURN, _STALL, _TAKE = range(4)


def run(data: bytes) -> Stage:
    """Play one input; returns the stage after it. Raises what was found."""
    return run_script(read_script(data))


def run_script(script: Script) -> Stage:
    """Play what an input means."""
    options, pieces = script
    stage = play(lambda stage: _scenario(stage, script))
    tunnel = any(record.kind == "upgrade" for record in stage.records)
    if not tunnel:
        for wire in stage.loop.opened:
            Server().take(bytes(wire.sent))
    for record, answer in stage.answers:
        if record.path == "/probe" and not tunnel:
            assert answer.body == b"probed", "the answer to another request"
    if stage.answers and not tunnel:
        record, answer = stage.answers[0]
        with contextlib.suppress(h11.RemoteProtocolError):
            stream = b"".join(piece for piece, _ in pieces)
            expected, after = read_answer(stream, record.method, ends=options >> 3 & 3 == 1)
            if answer.whole and not answer.own:
                assert expected.whole, "an end that was none"
                assert record.decoded or (answer.start, answer.body) == (expected.start, expected.body)
            assert not after or _PROBE_LINE not in stage.loop.opened[0].sent, "nobody asked for what came after"
    return stage


async def _scenario(stage: Stage, script: Script) -> None:
    options, pieces = script
    stage.client.deliver(REQUESTS[options & 7])
    await stage.turns()
    (upstream,) = stage.loop.opened
    for piece, action in pieces:
        upstream.deliver(piece)
        if action == _TURN:
            await stage.turns()
        elif action == _STALL:
            stage.client.stall()
        elif action == _TAKE:
            stage.client.take()
    await stage.turns()
    ending = options >> 3 & 3
    if ending == 1:
        upstream.end()
    elif ending == 2:
        upstream.reset()
    elif ending == 3:
        stage.client.end()
    await stage.turns()
    stage.client.take()
    await stage.turns()
    # The next request gets its own answer, on whatever connection.
    stage.client.deliver(PROBE)
    await stage.turns()
    for wire in stage.loop.opened:
        if _PROBE_LINE in wire.sent:
            wire.deliver(PROBED)
    await stage.turns()


def seeds() -> list[bytes]:
    """The responses of the catalogue."""
    streams = [
        *(data for _, _, _, data, _ in (*ACCEPTED, *LAST_OF_ITS_CONNECTION, *UNTIL_CLOSE)),
        *(data for _, _, _, data in REFUSED),
        *(reply(CHUNKED, body=body) for _, _, _, body in BAD_BODIES),
    ]
    return [stream[:LONGEST] for stream in streams]
