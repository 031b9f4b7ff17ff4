"""Streams of an application's own, good and bad, on a real server: what is found, and what is not."""

from collections.abc import Callable

import pytest

from tests.check.conftest import Run

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    "path",
    [
        "tokens",
        "tokens?type=application/x-ndjson",
        "synchronous",
        # Speculative decoding: five tokens at a time, every 120 ms.
        "tokens?count=50&step=5&gap=120",
        "tokens?first=900",
        # Once, a thread had to be waited for.
        "queued?first=0",
        "gzip/tokens",
    ],
)
def test_what_streams_is_not_accused(check: Run, app: str, path: str) -> None:
    told = check("--json", f"{app}/{path}")
    assert (told.code, told.found) == (0, []), told.brief
    assert told.report["verdict"].startswith("streams: first bytes after ")


def test_what_is_as_fast_as_it_can_be_is_not_judged_and_not_accused(check: Run, app: str) -> None:
    told = check("--json", "--quick", f"{app}/tokens?count=400&gap=0&first=0")
    assert (told.code, told.found) == (0, []), told.brief
    assert "too_quick" in told.notes


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("collecting/tokens", "held_to_the_end"),
        ("burst", "held_to_the_end"),
        ("withheld", "head_withheld"),
        ("unfinished", "truncated"),
        ("tokens?count=60&step=10&gap=220", "beat"),
    ],
)
def test_what_is_wrong_is_found_in_one_request(check: Run, app: str, path: str, found: str) -> None:
    told = check("--json", "--quick", f"{app}/{path}")
    assert (told.code, told.found) == (1, [found]), told.brief
    (finding,) = [finding for finding in told.report["findings"] if finding["name"] == found]
    assert "uvicorn" in finding["where"]
    assert "--direct" in finding["where"]


def test_a_blocked_loop_is_seen_by_several_at_once(check: Run, app: str) -> None:
    told = check("--json", f"{app}/blocking")
    assert (told.code, told.found) == (1, ["blocked_loop"]), told.brief
    assert check("--quick", f"{app}/blocking").code == 0


def test_where_the_picture_changes_is_the_culprit(check: Run, app: str) -> None:
    told = check("--quick", f"{app}/collecting/tokens", "--direct", f"{app}/tokens")
    assert told.code == 1
    assert f"Where: between {app}/collecting/tokens and {app}/tokens." in " ".join(told.out.split())


def test_what_is_held_at_both_points_comes_from_behind_them(check: Run, app: str) -> None:
    told = check("--quick", f"{app}/collecting/tokens", "--direct", f"{app}/burst")
    assert told.code == 1
    assert f"Where: at {app}/burst or behind it." in " ".join(told.out.split())


def test_a_few_words_at_once_are_held_if_they_come_one_by_one_when_asked_otherwise(
    check: Run, only: Callable[..., None], app: str
) -> None:
    """By themselves they would be too little to be judged."""
    only("browser")
    told = check("--json", f"{app}/holds/browsers/words")
    assert told.found == ["held_to_the_end", "compression_holds"], told.brief
    told = check("--json", "--quick", "-H", "Accept-Encoding: gzip", f"{app}/holds/browsers/words")
    assert told.found == ["too_short"], told.brief
    told = check("--quick", f"{app}/collecting/words", "--direct", f"{app}/words")
    assert f"Where: between {app}/collecting/words and {app}/words." in " ".join(told.out.split())
