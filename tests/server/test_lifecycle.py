"""A process only moves on."""

import itertools

import pytest

from unbuffer.server.lifecycle import Lifecycle, State

WAYS = {
    State.STARTING: (),
    State.READY: (State.READY,),
    State.DRAINING: (State.READY, State.DRAINING),
    State.STOPPED: (State.READY, State.DRAINING, State.STOPPED),
}
ALLOWED = {
    (State.STARTING, State.READY),
    (State.STARTING, State.DRAINING),
    (State.STARTING, State.STOPPED),
    (State.READY, State.DRAINING),
    (State.DRAINING, State.STOPPED),
}


def at(state: State) -> Lifecycle:
    lifecycle = Lifecycle()
    for step in WAYS[state]:
        lifecycle.move(step)
    return lifecycle


@pytest.mark.parametrize(("here", "there"), [*itertools.product(State, State)])
def test_only_the_moves_of_the_table_are_made(here: State, there: State) -> None:
    lifecycle = at(here)
    if (here, there) in ALLOWED:
        lifecycle.move(there)
        assert lifecycle.state is there
        return
    with pytest.raises(ValueError, match=f"a process that is {here.value} cannot become {there.value}"):
        lifecycle.move(there)
    assert lifecycle.state is here


@pytest.mark.parametrize("state", [State.STARTING, State.READY])
def test_a_drain_begins_once(state: State) -> None:
    lifecycle = at(state)
    assert not lifecycle.ending.is_set()
    for _ in range(2):
        lifecycle.drain()
        assert lifecycle.state is State.DRAINING
        assert lifecycle.ending.is_set()


def test_what_has_stopped_does_not_drain_again() -> None:
    lifecycle = at(State.STOPPED)
    lifecycle.drain()
    assert lifecycle.state is State.STOPPED


def test_a_drain_that_has_begun_stays_begun() -> None:
    assert [at(state).draining for state in State] == [False, False, True, True]
