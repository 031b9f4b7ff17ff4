"""What the limit of open files means for limits.connections, and how a shortage is told. Real ones: tests/faults."""

import asyncio
import errno
import logging
import resource

import pytest

from unbuffer.server import open_files
from unbuffer.settings.model import Limits, Settings


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, int]]:
    """The limit of this process, as the code sees it."""
    limit = {"now": (100, 1160)}
    monkeypatch.setattr(resource, "getrlimit", lambda _: limit["now"])
    monkeypatch.setattr(resource, "setrlimit", lambda _, value: limit.update(now=value))
    monkeypatch.setattr(open_files, "_told", (0, 0))
    return limit


@pytest.mark.parametrize(("wanted", "given"), [(499, 499), (500, 500), (501, 500), (0, 500)])
def test_half_of_what_is_allowed_beyond_the_reserve(
    limit: dict[str, tuple[int, int]], caplog: pytest.LogCaptureFixture, wanted: int, given: int
) -> None:
    wish = Settings(limits=Limits(connections=wanted))
    assert open_files.within_the_limit(wish) == open_files.within_the_limit(wish)
    settings = open_files.within_the_limit(wish)

    assert settings.limits.connections == given
    assert limit["now"] == (1160, 1160), "the soft limit is lifted"
    assert len(caplog.records) == (wanted == 501), "told once"


def test_somebody_is_always_served(limit: dict[str, tuple[int, int]]) -> None:
    limit["now"] = (50, 50)
    assert open_files.within_the_limit(Settings()).limits.connections == 1


@pytest.mark.parametrize(("soft", "given"), [(1160, 500), (resource.RLIM_INFINITY, 0)])
def test_a_limit_that_cannot_be_lifted(
    limit: dict[str, tuple[int, int]], monkeypatch: pytest.MonkeyPatch, soft: int, given: int
) -> None:
    def refuse(_: int, value: tuple[int, int]) -> None:
        raise ValueError("current limit exceeds maximum limit")

    limit["now"] = (soft, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert open_files.within_the_limit(Settings(limits=Limits(connections=0))).limits.connections == given


def test_a_thousand_complaints_are_one_line(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    complaints = open_files.Complaints()
    loop = asyncio.new_event_loop()
    try:
        for _ in range(1000):
            complaints.handle(loop, {"message": "", "exception": OSError(errno.EMFILE, "Too many open files")})
        assert [record.levelno for record in caplog.records] == [logging.ERROR]
        assert "Too many open files" in caplog.text
        assert "Traceback" not in caplog.text
        clock[0] += open_files.QUIET
        complaints.handle(loop, {"message": "", "exception": OSError(errno.ENFILE, "none in the system")})
        assert len(caplog.records) == 2
    finally:
        loop.close()


def test_any_other_complaint_is_told_in_full(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    try:
        open_files.Complaints().handle(loop, {"message": "it broke", "exception": ValueError("so")})
    finally:
        loop.close()
    assert "it broke" in caplog.text
    assert "ValueError: so" in caplog.text
