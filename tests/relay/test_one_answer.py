"""Whatever happens to a stream, in whatever order: one request has one answer, one outcome, one record; and nothing is
written or counted after the outcome.

The relay itself, between a client and upstreams in memory (`tests/fuzz/stage.py`); h11 reads what the client got. With
CI in the environment Hypothesis tries the same examples each time.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.stage import SETTINGS, Stage, play, read_answer
from tests.peers import chunk
from tests.relay.test_identity import Coder, fields
from unbuffer.histogram import Histogram
from unbuffer.outcome import WHOLE, Outcome
from unbuffer.record import Record
from unbuffer.settings.model import SSE, Settings, Timeouts
from unbuffer.settings.route import Route
from unbuffer.totals import Series, Totals

EVENT = b"data: a\n\n"
MARKED = b"data: [DONE]\n\n"
BIG = b"data: " + b"x" * 200_000 + b"\n\n"
"""Decoded in several steps, each in a turn of the loop."""

REQUESTS = {
    "get": b"GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
    "head": b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    "http10": b"GET / HTTP/1.0\r\n\r\n",
    "post": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
    "upgrade": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
}
FRAMINGS = {"chunked": b"Transfer-Encoding: chunked", "length": b"Content-Length: 40", "close": b"X: y"}
KINDS = (b"text/event-stream", b"application/x-ndjson", b"text/html")
PIECES = ("informational", "switch", "head", "event", "half", "marked", "big", "damage", "end", "trailers", "surplus")
SERIES = sorted(name for name in Series.__dict__ if not name.startswith("_") and name != "stalled_by")
"""What is counted of a route and kind; compiled, there is no `__slots__`."""
WITHOUT_CLIENT = {Outcome.ABANDONED, Outcome.CANCELLED}
"""Of a stream whose client has left: tests/resume."""
CAUSES = sorted(set(Outcome) - {*WHOLE, *WITHOUT_CLIENT, Outcome.INTERNAL_ERROR}, key=lambda outcome: outcome.label)


@dataclass(frozen=True)
class Plan:
    """What is asked and answered, and what the route asks for."""

    request: str = "get"
    framing: str = "chunked"
    kind: bytes = KINDS[0]
    coded: bool = False
    error_event: bool = False
    marker: bool = False


Step = tuple[str, Any]

reads = st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map(lambda pieces: ("read", tuple(pieces)))
others = st.sampled_from(
    (
        ("turn", None),
        ("request", None),  # the next one, or what is left of this one
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
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
steps = st.lists(st.one_of(reads, reads, others, looks, outcomes), max_size=12)


class Answering:
    """The upstream's response to one request, piece by piece; what comes after its end comes all the same."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._coder = Coder("gzip")
        self._begun = False

    def read(self, pieces: Sequence[str]) -> bytes:
        """What one read brings."""
        return b"".join(self._piece(piece) for piece in pieces)

    def _piece(self, piece: str) -> bytes:
        if piece == "informational":
            return b"" if self._begun else b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
        if piece == "switch" and not self._begun:
            self._begun = True
            return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"
        return self._head() + self._body(piece)

    def _head(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        lines = [FRAMINGS[self._plan.framing], b"Content-Type: " + self._plan.kind]
        return fields(*lines, *([b"Content-Encoding: gzip"] if self._plan.coded else []))

    def _body(self, piece: str) -> bytes:
        chunked = self._plan.framing == "chunked"
        content = {"event": EVENT, "half": b"data", "marked": MARKED, "big": BIG}.get(piece)
        if content is not None:
            data = self._coder.add(content) if self._plan.coded else content
            return chunk(data) if chunked else data
        if piece == "damage":
            return chunk(b"this is no gzip") if chunked and self._plan.coded else b"\xffthis is no chunk\r\n"
        if piece in ("end", "trailers"):
            rest = self._coder.end() if self._plan.coded else b""
            self._coder = Coder("gzip")
            if not chunked:
                return rest
            return (chunk(rest) if rest else b"") + (b"0\r\nX: y\r\n\r\n" if piece == "trailers" else b"0\r\n\r\n")
        return b"HTTP/1.1 200 OK\r\n" if piece == "surplus" else b""


class Scene:
    """One client that asks, an upstream that answers, and what there was when each outcome had been told."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._rest = b"0\r\n\r\n" if plan.request == "post" else b""
        """What is left of the request."""
        self._answering: tuple[object, Answering] | None = None
        self.marks: list[tuple[Record, int, object]] = []
        """Each record, with the bytes written by then and the numbers counted."""

    async def play(self, stage: Stage, steps: Sequence[Step]) -> None:
        """Go through all of it."""
        told = stage.plane.on_record

        def tell(record: Record) -> None:
            told(record)
            self.marks.append((record, len(stage.client.sent), numbers(stage.totals)))

        stage.plane.on_record = tell
        stage.client.deliver(REQUESTS[self._plan.request])
        await stage.turns()
        for what, which in steps:
            await self._step(stage, what, which)

    async def _step(self, stage: Stage, what: str, which: Any) -> None:
        exchange = stage.connection._exchange
        upstream = stage.loop.opened[-1] if stage.loop.opened else None
        if what == "turn":
            await stage.turns()
        elif what == "request" and not stage.client.gone:
            stage.client.deliver(self._rest or REQUESTS["get"])
            self._rest = b""
        elif what == "client stalls":
            stage.client.stall()
        elif what == "client takes":
            stage.client.take()
        elif what == "client ends" and not stage.client.gone:
            stage.client.end()
        elif what == "client resets":
            stage.client.reset()
        elif what == "drain":
            stage.plane.clients.drain()
        elif what == "streams end":
            stage.plane.clients.end_streams()
        elif what == "look":
            await stage.turns()  # while time passes the loop goes round
            stage.connection.look(time.monotonic() + which)
        elif what == "finish" and exchange is not None:
            exchange.finish(which, "of the test")
        elif upstream is None or upstream.gone:
            return
        elif what == "read":
            if self._answering is None or (exchange is not None and self._answering[0] is not exchange):
                self._answering = (exchange, Answering(self._plan))
            upstream.deliver(self._answering[1].read(which))
        elif what == "upstream ends":
            upstream.end()
        elif what == "upstream resets":
            upstream.reset()
        elif what == "upstream fails":
            upstream.lose(OSError(110, "timed out"))


def numbers(totals: Totals) -> object:
    """Everything that is counted of streams, but for gauges of connections."""

    def of(value: object) -> object:
        if isinstance(value, Histogram):
            return (tuple(value.counts), value.sum)
        return dict(value) if isinstance(value, dict) else tuple(value) if isinstance(value, list | set) else value

    names = ("requests", "request_bytes", "decoded", "upstream_silences", "verdicts", "reuses", "streams")
    own = [of(getattr(totals, name)) for name in names]
    return own, {key: [of(getattr(series, name)) for name in SERIES] for key, series in totals.series.items()}


def run(plan: Plan, steps: Sequence[Step]) -> Scene:
    """Play it to its end, and see that it ended well."""
    routes = (Route(name="marked", prefix="/", terminal_marker="[DONE]"),) if plan.marker else ()
    scene = Scene(plan)
    stage = play(
        lambda stage: scene.play(stage, steps),
        Settings(
            upstream=SETTINGS.upstream,
            limits=SETTINGS.limits,
            timeouts=Timeouts(response_head=30.0, silence=60.0),
            sse=SSE(heartbeat=15.0, error_event=plan.error_event),
            routes=routes,
        ),
    )
    sent, begin = bytes(stage.client.sent), 0
    for number, (record, end, _) in enumerate(scene.marks):
        part, begin = sent[begin:end], end
        assert record.outcome is not None
        if record.kind == "upgrade":
            continue
        if not part:
            assert record.outcome not in WHOLE
            continue
        last = number == len(scene.marks) - 1
        answer, after = read_answer(part, record.method, ends=last and stage.client.ended)
        assert not after, "more than one answer"
        assert answer.whole == (record.outcome in WHOLE or answer.own), (record.outcome, answer)
    assert begin == len(sent), f"written after the outcome: {sent[begin:]!r}"
    assert [record for record, _, _ in scene.marks] == stage.records
    assert len({id(record) for record in stage.records}) == len(stage.records), "two records of one stream"
    if scene.marks:
        assert scene.marks[-1][2] == numbers(stage.totals), "counted after the outcome"
    assert not any(series.stalling for series in stage.totals.series.values())
    return scene


CODED = Plan(coded=True, error_event=True)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(plans, steps)
@example(CODED, [("read", ("damage", "trailers"))])
@example(CODED, [("read", ("event",)), ("read", ("damage", "trailers"))])
@example(CODED, [("client stalls", None), ("read", ("big", "trailers")), ("turn", None), ("client takes", None)])
@example(Plan("upgrade"), [("read", ("switch", "half")), ("upstream ends", None), ("drain", None)])
@example(Plan("head"), [("client resets", None), ("read", ("head",))])
@example(Plan("http10"), [("read", ("event", "end")), ("look", 20.0)])
def test_nothing_follows_the_outcome(plan: Plan, steps: Sequence[Step]) -> None:
    run(plan, steps)
