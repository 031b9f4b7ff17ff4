"""A few of the chains of blind.py, quick ones; `python -m tests.check.blind` has all of them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.check import blind
from tests.check.chains.table import CLEAN, CULPRITS

pytestmark = pytest.mark.process

QUICK = (
    "a collecting middleware",
    "nginx 1.31 as it comes",
    "an application that awaits its first item",
    "speculative decoding",
)


def test_the_cause_is_named_and_what_holds_nothing_is_not_accused() -> None:
    chains = [chain for chain in (*CULPRITS, *CLEAN) if chain.name in QUICK]
    assert len(chains) == len(QUICK)
    with ThreadPoolExecutor(len(chains)) as pool:
        runs = [run for each in pool.map(blind.run, chains) for run in each]
    assert [run for run in runs if not run.right] == []


def test_there_are_as_many_chains_as_promised() -> None:
    assert len(CULPRITS) >= 24
    assert len({chain.name for chain in (*CULPRITS, *CLEAN)}) == len(CULPRITS) + len(CLEAN)
