"""Where frames begin and end, however they are split: frames are those that the `websockets` library writes."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, CloseCode, Frame, Opcode

from unbuffer.http.websocket import GOING_AWAY, FrameReader

# Both sides of each border between the three ways to write a length.
SIZES = (0, 1, 2, 125, 126, 127, 128, 255, 256, 65535, 65536, 65537, 70000)


@st.composite
def frames(draw: st.DrawFn) -> tuple[bytes, bool]:
    """A frame as it is sent, and whether it is a Close."""
    opcode = draw(st.sampled_from(list(Opcode)))
    control = opcode >= Opcode.CLOSE
    size = draw(st.sampled_from(SIZES[:4] if control else SIZES) | st.integers(0, 125))
    if opcode is Opcode.CLOSE:
        size = max(size, 2)
    data = (b"\x03\xe8" if opcode is Opcode.CLOSE else b"") + bytes([draw(st.sampled_from([0, 8, 0x88]))]) * size
    frame = Frame(opcode, data[:size], fin=control or draw(st.booleans()))
    extensions = [PerMessageDeflate(False, False, 15, 15)] if draw(st.booleans()) else []
    return frame.serialize(mask=draw(st.booleans()), extensions=extensions), opcode is Opcode.CLOSE


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.lists(frames(), min_size=1, max_size=6))
def test_frames_end_where_they_end_however_they_are_split(
    data: st.DataObject, written: list[tuple[bytes, bool]]
) -> None:
    stream = b"".join(frame for frame, _ in written)
    ends, position = {0}, 0
    for frame, _ in written:
        position += len(frame)
        ends.add(position)
    near = [place for end in ends for place in range(end - 15, end + 16) if 0 < place < len(stream)]
    cuts = sorted(data.draw(st.sets(st.sampled_from(near), max_size=12))) if near else []
    reader = FrameReader()
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        part = reader.read(stream[start:stop])
        latest = max(end for end in ends if end <= stop)
        assert part == max(latest - start, 0)
        assert reader.between_frames == (stop in ends)
        read = [close for (_, close), end in zip(written, sorted(ends)[1:], strict=True) if end <= latest]
        assert reader.closed == any(read)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mask", [False, True], ids=["from the server", "masked"])
def test_byte_by_byte(size: int, mask: bool) -> None:
    reader = FrameReader()
    for _ in range(2):
        frame = Frame(Opcode.BINARY, b"\x88" * size).serialize(mask=mask)
        assert reader.between_frames
        assert [reader.read(frame[n : n + 1]) for n in range(len(frame))] == [0] * (len(frame) - 1) + [1]
    assert not reader.closed


def test_a_close_counts_when_it_is_complete() -> None:
    reader = FrameReader()
    close = Frame(Opcode.CLOSE, Close(CloseCode.NORMAL_CLOSURE, "bye").serialize()).serialize(mask=False)
    assert reader.read(b"\x81\x01x" + close[:-1]) == 3
    assert not reader.closed
    assert reader.read(close[-1:]) == 1
    assert reader.closed


def test_going_away_is_the_close_frame_that_websockets_writes() -> None:
    close = Close(CloseCode.GOING_AWAY, "the server is restarting")
    assert Frame(Opcode.CLOSE, close.serialize()).serialize(mask=False) == GOING_AWAY
