"""Whatever happens to a stream, in whatever order: one request has one answer, one outcome, one record; and nothing is
written or counted after the outcome. So it is over HTTP/1.1 and HTTP/2, and where clients come back to a stream.

The relay itself, between clients and upstreams in memory (`tests/fuzz/stage.py`); h11, or hyperframe, reads what the
clients got. With CI in the environment Hypothesis tries the same examples each time.
"""

from collections.abc import Sequence

from hpack import Decoder
from hyperframe.frame import DataFrame, Frame, HeadersFrame
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.stage import SETTINGS, Message, Stage, play, read_answer
from tests.fuzz.wire import Wire
from tests.relay.scene import FRAMINGS, KINDS, PIECES, REQUESTS, Mark, Plan, Scene, Step, numbers
from unbuffer.outcome import WHOLE, Outcome
from unbuffer.settings.model import SSE, Listen, Settings, Timeouts
from unbuffer.settings.resume import RouteResume
from unbuffer.settings.route import Route

WITHOUT_CLIENT = {Outcome.ABANDONED, Outcome.CANCELLED}
"""Of a stream whose client has left: tests/resume."""
CAUSES = sorted(set(Outcome) - {*WHOLE, *WITHOUT_CLIENT, Outcome.INTERNAL_ERROR}, key=lambda outcome: outcome.label)

reads = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map(lambda pieces: ("read", tuple(pieces)))
others = st.sampled_from(
    (
        ("turn", None),
        ("request", None),  # the next one, or what is left of this one
        ("come back", None),
        ("client stalls", None),
        ("client takes", None),
        ("client ends", None),
        ("client resets", None),
        ("upstream ends", None),
        ("upstream resets", None),
        ("upstream fails", None),
        ("drain", None),
        ("streams end", None),
    )
)
looks = st.sampled_from((0.0, 20.0, 400.0)).map(lambda seconds: ("look", seconds))
outcomes = st.sampled_from(CAUSES).map(lambda outcome: ("finish", outcome))
plans = st.builds(
    Plan,
    st.sampled_from(sorted(REQUESTS)),
    st.sampled_from(sorted(FRAMINGS)),
    st.sampled_from(KINDS),
    *[st.booleans()] * 5,
)
steps = st.lists(st.one_of(reads, reads, others, looks, outcomes), max_size=12)


def run(plan: Plan, steps: Sequence[Step]) -> Scene:
    """Play it to its end, and see that it ended well."""
    resume = RouteResume(window=60.0, linger=60.0, bytes=4096) if plan.resume else RouteResume()
    route = Route(name="all", prefix="/", terminal_marker="[DONE]" if plan.marker else "", resume=resume)
    scene = Scene(plan)
    stage = play(
        lambda stage: scene.play(stage, steps),
        Settings(
            listen=Listen(http2=plan.http2),
            upstream=SETTINGS.upstream,
            limits=SETTINGS.limits,
            timeouts=Timeouts(response_head=30.0, silence=60.0),
            sse=SSE(heartbeat=15.0, error_event=plan.error_event),
            routes=(route,) if plan.marker or plan.resume else (),
        ),
        Unread,
    )
    for client in stage.clients:
        (frames if plan.http2 else answers)(client, [mark for mark in scene.marks if mark.client is client])
    assert [mark.record for mark in scene.marks] == stage.records
    assert len({id(record) for record in stage.records}) == len(stage.records), "two records of one stream"
    if scene.marks:
        assert scene.marks[-1].counted == numbers(stage.totals), "counted after the outcome"
    assert not any(series.stalling for series in stage.totals.series.values())
    return scene


class Unread(Stage):
    """What the clients got is read here."""

    def _read_answers(self) -> None:
        pass


def answers(client: Wire, marks: Sequence[Mark]) -> None:
    """One after the other, each between the outcome before and its own."""
    sent, begin = bytes(client.sent), 0
    for number, mark in enumerate(marks):
        part, begin = sent[begin : mark.sent], mark.sent
        record = mark.record
        assert record.outcome is not None
        if record.kind == "upgrade":
            continue
        if not part:
            assert record.outcome not in WHOLE
            continue
        answer, after = read_answer(part, record.method, ends=number == len(marks) - 1 and client.ended)
        assert not after, "more than one answer"
        ended_as_told(mark, answer)
    assert begin == len(sent), f"written after the outcome: {sent[begin:]!r}"


def frames(client: Wire, marks: Sequence[Mark]) -> None:
    """Those of each stream, up to its outcome, and after it none but with what there was no room for by then."""
    streams = {mark.stream: mark for mark in marks}
    assert len(streams) == len(marks), "two records of one stream"
    got = {number: Message((), []) for number in streams}
    after = dict.fromkeys(streams, 0)
    at, decoder, sent = 0, Decoder(), memoryview(bytes(client.sent))
    while at < len(sent):
        one, length = Frame.parse_frame_header(sent[at : at + 9])
        one.parse_body(sent[at + 9 : at + 9 + length])
        at += 9 + length
        fields = list(decoder.decode(one.data, raw=True)) if isinstance(one, HeadersFrame) else []
        if not isinstance(one, HeadersFrame | DataFrame):
            continue
        mark, answer = streams[one.stream_id], got[one.stream_id]
        assert not answer.whole, "more than one answer"
        answer.whole = "END_STREAM" in one.flags
        answer.fields += fields
        answer.start = next(((value,) for name, value in fields if name == b":status"), answer.start)
        if at > mark.sent:
            after[one.stream_id] += len(one.data) if isinstance(one, DataFrame) else 0
            assert mark.pending or mark.ending, "written after the outcome"
    for number, mark in streams.items():
        assert after[number] <= mark.pending, "written after the outcome"
        if got[number].fields and mark.record.kind != "upgrade":
            ended_as_told(mark, got[number])


def ended_as_told(mark: Mark, answer: Message) -> None:
    """An answer is whole when its stream is, or when it is unbuffer's own: but for who has left a stream that goes on,
    or does not take what is pending."""
    ended = mark.record.outcome in WHOLE or answer.own
    may_lack = mark.pending or mark.ending or (mark.left and mark.record.presence is not None)
    assert answer.whole == ended or (may_lack and not answer.whole), (mark, answer)


CODED = Plan(coded=True, error_event=True)
CODED_FRAMES = Plan(coded=True, error_event=True, http2=True)
CODED_KEPT = Plan(coded=True, error_event=True, resume=True)
KEPT = Plan(resume=True, error_event=True)
FRAMES = Plan(http2=True, error_event=True)
MUCH = ("read", ("event", "big", "big"))


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(plans, steps)
@example(CODED, [("read", ("damage", "trailers"))])
@example(CODED, [("read", ("event",)), ("read", ("damage", "trailers"))])
@example(CODED_FRAMES, [("read", ("event",)), ("read", ("damage", "trailers"))])
@example(CODED_KEPT, [("read", ("event",)), ("come back", None), ("read", ("damage", "event", "trailers"))])
@example(CODED, [("client stalls", None), ("read", ("big", "trailers")), ("turn", None), ("client takes", None)])
@example(Plan("upgrade"), [("read", ("switch", "half")), ("upstream ends", None), ("drain", None)])
@example(Plan("head"), [("client resets", None), ("read", ("head",))])
@example(Plan("http10"), [("read", ("event", "end")), ("look", 20.0)])
@example(Plan(error_event=True), [("read", ("head",)), ("client stalls", None), ("upstream resets", None)])
@example(KEPT, [("read", ("event",)), ("client resets", None), ("turn", None), ("come back", None), ("read", ("end",))])
@example(KEPT, [("client stalls", None), MUCH, ("come back", None), ("read", ("end",)), ("client takes", None)])
@example(KEPT, [("read", ("event",)), ("come back", None), ("client stalls", None), MUCH, ("upstream ends", None)])
@example(KEPT, [("read", ("event",)), ("come back", None), ("read", ("event",)), ("finish", Outcome.DRAINING)])
@example(FRAMES, [MUCH, ("read", ("end",)), ("client takes", None)])
@example(FRAMES, [("client stalls", None), MUCH, ("upstream resets", None), ("client takes", None), ("turn", None)])
@example(FRAMES, [("client stalls", None), ("read", ("informational", "end")), ("client takes", None)])
@example(FRAMES, [("read", ("event",)), ("finish", Outcome.SILENCE_TIMEOUT), ("read", ("event", "end"))])
@example(Plan("upgrade", http2=True), [("read", ("switch", "half")), ("upstream ends", None), ("turn", None)])
def test_nothing_follows_the_outcome(plan: Plan, steps: Sequence[Step]) -> None:
    run(plan, steps)
