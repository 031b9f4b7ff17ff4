"""Target: a client sends any frames, split anyhow, while the upstreams are sound."""

from hpack import Decoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame, RstStreamFrame
from msgspec.structs import replace

from tests.fuzz.downstream import scenario
from tests.fuzz.stage import LONGEST, SETTINGS, Message, Script, Stage, play, read_script
from tests.http2.cases import ACCEPTED, CONNECTION, IGNORED, MALFORMED, STREAM, frame
from tests.http2.client import PREFACE
from unbuffer.outcome import WHOLE
from unbuffer.settings.model import Listen

_OVER = "nothing may follow"


class FrameStage(Stage):
    """A client that reads frames. streams: what each got: END_STREAM, or RST_STREAM, or neither."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.ends: dict[int, str] = {}

    def _read_answers(self) -> None:
        if not self.client.sent.startswith(b"\0\0\x18\4"):
            return  # what it sent was no HTTP/2: the answer is one of HTTP/1.1
        rest, decoder = memoryview(bytes(self.client.sent)), Decoder()
        while rest:
            one, length = Frame.parse_frame_header(rest[:9])
            one.parse_body(rest[9 : 9 + length])
            rest = rest[9 + length :]
            if isinstance(one, HeadersFrame):
                decoder.decode(one.data, raw=True)
            if isinstance(one, HeadersFrame | DataFrame):
                assert one.stream_id not in self.ends, _OVER
                if "END_STREAM" in one.flags:
                    self.ends[one.stream_id] = "end"
            elif isinstance(one, RstStreamFrame) and self.ends.get(one.stream_id) != "end":
                self.ends[one.stream_id] = "reset"
        whole = sum(record.outcome in WHOLE for record in self.records)
        ends = sum(end == "end" for end in self.ends.values())
        refused = sum(bool(record.status) and record.outcome not in WHOLE for record in self.records)
        assert ends <= whole + refused, (ends, self.records)


def run(data: bytes) -> Stage:
    """Play one input; returns the stage after it. Raises what was found."""
    return run_script(read_script(data))


def run_script(script: Script) -> Stage:
    """Play what an input means."""
    settings = replace(SETTINGS, listen=Listen())
    stage = play(lambda stage: scenario(stage, script), settings, FrameStage)
    for server in stage.servers:
        # h11 has read them: no request is another one's body, and no field of one makes two.
        assert all(request.whole for request in server.requests[:-1]), "a request after one that has no end"
        assert not any(request.trailers for request in server.requests)
        for request in server.requests:
            _check(request)
    return stage


def _check(request: Message) -> None:
    names = [name for name, _ in request.fields]
    assert names.count(b"host") == 1
    assert (b"via", b"2 unbuffer") in request.fields or (b"via", b"1.1 unbuffer") in request.fields
    assert not {b"keep-alive", b"proxy-connection"} & set(names)
    assert (b"connection" in names) <= (b"upgrade" in names or b"te" in names)


def seeds() -> list[bytes]:
    """The cases of the catalogue."""
    cases = [case[-1] for cases in (MALFORMED, CONNECTION, STREAM, IGNORED, ACCEPTED) for case in cases]
    greeting = PREFACE + frame(4)
    return [(greeting + sent)[:LONGEST] for sent in cases if isinstance(sent, bytes)]
