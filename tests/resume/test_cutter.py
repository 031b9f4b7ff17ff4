"""Events are numbered alike wherever a read is cut, and what a reader makes of them stays the same."""

import re

from hypothesis import given
from hypothesis import strategies as st

from unbuffer.resume.cutter import Cutter

PARTS = st.sampled_from(
    [
        b"data: a",
        b"data",
        b": hi",
        b"event: x",
        b"id: 7",
        b"id:",
        b"retry: 9",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b"idea: b",
    ]
)


def events(text: bytes) -> list[tuple[bytes, ...]]:
    """The lines of each event that has data, without ids."""
    found = []
    for block in re.split(rb"(?<=\n)\n", text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")):
        lines = [line for line in block.split(b"\n") if line and not line.startswith(b":")]
        if any(re.match(rb"data(:|$)", line) for line in lines):
            found.append(tuple(line for line in lines if not line.startswith(b"id: ub.")))
    return found


def through(text: bytes, cuts: list[int]) -> tuple[bytes, int]:
    cutter, out, at = Cutter(b"ub.N."), b"", 0
    for cut in [*sorted(cuts), len(text)]:
        part, at = text[at:cut], max(at, cut)
        if part:
            one = cutter.between and cutter.is_one(part)
            out += cutter.numbered(part) if one else cutter.cut(part)
    return out, cutter.count


@given(st.lists(PARTS, max_size=24).map(b"".join), st.lists(st.integers(0, 80), max_size=6))
def test_a_cut_changes_neither_numbers_nor_events(text: bytes, cuts: list[int]) -> None:
    whole, count = through(text, [])
    parted, counted = through(text, [min(cut, len(text)) for cut in cuts])
    assert counted == count
    assert events(parted) == events(whole) == events(text)


def test_our_id_is_the_last_line_of_an_event() -> None:
    assert through(b"data: a\n\nid: 7\ndata: b\n\n", [9])[0] == b"data: a\nid: ub.N.1\n\nid: 7\ndata: b\n\n"
