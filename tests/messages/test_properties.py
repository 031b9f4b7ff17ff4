"""Damaged messages through the whole relay, in memory: one meaning wherever they are split, the one h11 finds, or none.

That h11 finds the same is what the fuzzer's targets check of every input, beside much else.
The readers' own properties stand in tests/relay/test_readers.py, the decoders' in tests/http/test_coding.py. With CI in
the environment Hypothesis tries the same examples each time.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import downstream, upstream
from tests.fuzz.stage import Message, Stage, write_script
from tests.messages.requests import CHUNKED, X, get
from tests.messages.responses import OK, reply
from tests.relay.test_readers import Request, Response, mutated, requests, responses

examples = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with a few bytes changed, or with a line that is lost, doubled or moved."""
    if draw(st.booleans()):
        return draw(mutated(data))
    lines = data.splitlines(keepends=True)
    line = lines[draw(st.integers(0, len(lines) - 1))]
    if draw(st.booleans()):
        lines.remove(line)
    if draw(st.booleans()):
        lines.insert(draw(st.integers(0, len(lines))), line)
    return b"".join(lines)


@st.composite
def cuts(draw: st.DrawFn, length: int) -> list[tuple[int, int]]:
    """Where a message is cut, in rising order, and whether the loop goes round in between."""
    return [(place, draw(st.integers(0, 1))) for place in sorted(draw(st.sets(st.integers(0, length), max_size=8)))]


def relayed(stage: Stage) -> tuple[list[Message], list[bytes]]:
    """What reached the upstreams whole, and with what status each answer to the client begins."""
    messages = [request for server in stage.servers for request in server.requests if request.whole]
    return messages, [answer.start[0] for _, answer in stage.answers]


@examples
@given(st.data(), st.lists(requests(), min_size=1, max_size=3))
def test_requests_mean_one_thing_wherever_they_are_split(
    data: st.DataObject, sent: list[tuple[bytes, Request]]
) -> None:
    stream = data.draw(damaged(b"".join(coded for coded, _ in sent)))
    expected = relayed(downstream.run(write_script(stream)))
    assert relayed(downstream.run(write_script(stream, 0, data.draw(cuts(len(stream)))))) == expected


@pytest.mark.parametrize("action", [0, 1], ids=["at once", "one by one"])
def test_the_requests_of_the_catalogue_may_come_in_single_bytes(action: int) -> None:
    for stream in downstream.seeds():
        if action and len(stream) > 300:
            continue
        pieces = [(bytes((byte,)), action) for byte in stream]
        assert relayed(downstream.run_script((0, pieces))) == relayed(downstream.run_script((0, [(stream, 0)]))), stream


def test_empty_lines_before_a_request_may_be_cut_and_have_an_end() -> None:
    stage = downstream.run_script((0, [(b"\r", 1), (b"\n", 1), (b"\r\n", 1), (get(), 1)]))
    assert relayed(stage)[1] == [b"200"]
    stage = downstream.run_script((0, [*[(b"\r\n", 1)] * 5, (get(), 1)]))
    assert relayed(stage) == ([], [b"400"])


def told(stage: Stage) -> tuple[list[tuple[tuple[bytes, ...], bool, bytes]], int]:
    """What the client was told, but for the words in unbuffer's own answers and how much of a cut body came; and how
    many upstream connections that took: the next request goes where nothing is left of this one."""
    answers = [(a.start, a.whole, a.body if a.whole and not a.own else b"") for _, a in stage.answers]
    return answers, len(stage.loop.opened)


@pytest.mark.parametrize("ending", [0, 1, 2], ids=["stays", "closes", "resets"])
def test_the_responses_of_the_catalogue_may_come_in_single_bytes(ending: int) -> None:
    for number, stream in enumerate(upstream.seeds()):
        options = number & 7 | ending << 3
        pieces = [(bytes((byte,)), 0) for byte in stream]
        assert told(upstream.run_script((options, pieces))) == told(upstream.run_script((options, [(stream, 0)]))), (
            stream
        )


@pytest.mark.parametrize("after", [b"\r\n", b"\r", b"\n", b"y", OK])
def test_what_stands_after_a_chunked_body_is_noticed_wherever_it_is_cut(after: bytes) -> None:
    stream = reply(CHUNKED, body=X + after)
    for cut in range(len(stream)):
        stage = upstream.run_script((0, [(stream[:cut], 0), (stream[cut:], 0)]))
        assert [answer.body for _, answer in stage.answers] == [b"x", b"probed"]
        assert len(stage.loop.opened) == 2, f"cut at {cut}, the connection was used again"


@examples
@given(st.data(), responses(), st.integers(0, 7), st.integers(0, 2))
def test_a_response_means_one_thing_wherever_it_is_split(
    data: st.DataObject, sent: tuple[bytes, bool, Response], request_number: int, ending: int
) -> None:
    stream = data.draw(damaged(sent[0]))
    options = request_number | ending << 3
    expected = told(upstream.run(write_script(stream, options)))
    assert told(upstream.run(write_script(stream, options, data.draw(cuts(len(stream)))))) == expected
