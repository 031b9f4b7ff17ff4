"""Durations and sizes: the texts people write, the texts they should not, and the way back."""

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from unbuffer.settings.values import parse_duration, parse_size, show_duration, show_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("0s", 0.0),
        ("15s", 15.0),
        ("250ms", 0.25),
        ("100ms", 0.1),
        ("2m", 120.0),
        ("1h", 3600.0),
        ("1m30s", 90.0),
        ("1h1ms", 3600.001),
        ("1h2m3s4ms", 3723.004),
        ("620s", 620.0),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["30", "1:30", "1.5", "007"])
def test_a_duration_without_a_unit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f'^want a duration such as 30s, got "{text}"'):
        parse_duration(text)


def test_a_bare_number_is_answered_with_what_to_write() -> None:
    with pytest.raises(ValueError, match=r'; write "30s" for seconds$'):
        parse_duration("30")


@pytest.mark.parametrize(
    "text",
    ["", "s", "ms", "30 sec", "30 s", "30S", "1.5s", "-1s", "+1s", "30s1m", "1s1s", "1d", "inf", "1e3s", "٣s"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^want a duration such as 30s, got "):
        parse_duration(text)


@pytest.mark.parametrize("text", ["9" * 400 + "s", "9999999999999h", "277778h", "1000000000s1ms"])
def test_a_duration_longer_than_thirty_one_years_is_refused(text: str) -> None:
    assert parse_duration("277777h") == 277777 * 3600
    with pytest.raises(ValueError, match=r"^want a duration such as 30s, got "):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, 0),
        (0.25, "250ms"),
        (1.5, "1500ms"),
        (15.0, "15s"),
        (60.0, "1m"),
        (90.0, "90s"),
        (620.0, "620s"),
        (5400.0, "90m"),
        (7200.0, "2h"),
    ],
)
def test_a_duration_is_shown_in_the_largest_unit_without_a_fraction(seconds: float, shown: str | int) -> None:
    assert show_duration(seconds) == shown


@examples(deadline=None)
@given(st.integers(0, 10**12), st.sampled_from([1, 1000, 60_000, 3_600_000]))
def test_every_duration_survives_being_shown(milliseconds: int, unit: int) -> None:
    seconds = (milliseconds - milliseconds % unit) / 1000
    assert parse_duration(str(show_duration(seconds))) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("512B", 512),
        ("64KiB", 65536),
        ("1MiB", 1 << 20),
        ("2GiB", 1 << 31),
        ("10kB", 10_000),
        ("10MB", 10_000_000),
        ("1GB", 10**9),
    ],
)
def test_a_size_is_read_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "KiB", "64 KiB", "64K", "64k", "4KB", "64kib", "1.5MiB", "-1", "+1", "0x10", "1_000", "9" * 400]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^want a size such as 64KiB, 10MB or a number of bytes, got "):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, 0), (1, 1), (1025, 1025), (65536, "64KiB"), (10_000_000, "10MB"), (8000, "8kB"), (1 << 31, "2GiB")],
)
def test_a_size_is_shown_in_the_largest_unit_without_a_fraction(size: int, shown: str | int) -> None:
    assert show_size(size) == shown


@examples(deadline=None)
@given(st.integers(0, 10**15 - 1), st.sampled_from(["B", "kB", "KiB", "MB", "MiB", "GB", "GiB"]))
def test_every_size_survives_being_shown(count: int, unit: str) -> None:
    size = parse_size(f"{count}{unit}")
    assert parse_size(str(show_size(size))) == size
