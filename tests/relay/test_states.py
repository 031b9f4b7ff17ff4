"""The table of a connection's states: what it has and what it refuses."""

import pytest

from unbuffer.relay.states import ANSWER, BODY, CLOSED, ENDING, HEAD, IDLE, NAMES, TUNNEL, moved

ALL = range(len(NAMES))


@pytest.mark.parametrize(
    "way",
    [
        (IDLE, ANSWER, IDLE, ANSWER, ENDING, CLOSED),  # two requests without a body, in one read each; "close"
        (IDLE, HEAD, BODY, ANSWER, IDLE, CLOSED),  # a request in pieces
        (IDLE, BODY, ENDING, CLOSED),  # answered before its end
        (IDLE, ANSWER, TUNNEL, ENDING, CLOSED),
    ],
)
def test_the_ways_of_a_connection(way: tuple[int, ...]) -> None:
    state = way[0]
    for to in way[1:]:
        state = moved(state, to)
    assert state == CLOSED


@pytest.mark.parametrize("state", [state for state in ALL if state != CLOSED])
def test_every_connection_may_be_lost(state: int) -> None:
    assert moved(state, CLOSED) == CLOSED


@pytest.mark.parametrize(
    ("state", "to"),
    [
        *((CLOSED, to) for to in ALL),
        *((ENDING, to) for to in ALL if to != CLOSED),  # no request is read any more
        (BODY, IDLE),  # no next request before the end of this one
        (BODY, TUNNEL),
        (TUNNEL, IDLE),
        (IDLE, TUNNEL),
    ],
)
def test_what_the_protocol_does_not_know_is_a_mistake_of_ours(state: int, to: int) -> None:
    with pytest.raises(RuntimeError, match=f"in the state {NAMES[state]} cannot come to {NAMES[to]}"):
        moved(state, to)
