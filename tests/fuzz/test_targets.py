"""The fuzzer's targets without a fuzzer: what they begin with, what once broke them, and that they can fail."""

import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.fuzz import downstream, http2, upstream
from tests.fuzz.stage import read_script, write_script
from unbuffer.http import request
from unbuffer.relay import exchange
from unbuffer.relay.http2 import heads
from unbuffer.relay.response_reader import ResponseReader
from unbuffer.relay.upstream import UpstreamConnection

TARGETS = {"downstream": downstream, "http2": http2, "upstream": upstream}
CRASHES = sorted((Path(__file__).parent / "crashes").glob("*/*"))


@pytest.mark.parametrize("crash", CRASHES, ids=lambda path: "/".join(path.parts[-2:]))
def test_what_broke_a_target_once_does_so_no_more(crash: Path) -> None:
    TARGETS[crash.parent.name].run(crash.read_bytes())


# Frames cost more than lines: of those, every fourth.
PLAYED = [(name, options) for options in range(32) for name in TARGETS if name != "http2" or not options % 4]


@pytest.mark.parametrize(("name", "options"), PLAYED)
def test_the_catalogue_breaks_no_target(name: str, options: int) -> None:
    target = TARGETS[name]
    for stream in target.seeds():
        target.run(write_script(stream, options))
        target.run(write_script(stream, options, [(len(stream) * part // 4, part) for part in (1, 2, 3)]))


def test_a_script_is_read_as_it_was_written() -> None:
    assert read_script(write_script(b"abcdef", 5, [(2, 1), (2, 3), (6, 0)])) == (
        5,
        [(b"ab", 1), (b"", 3), (b"cdef", 0), (b"", 0)],
    )
    for short in (b"", b"\x01", b"\x01\xff", b"\x01\x0f\x00"):
        read_script(short)


def breaks(target: ModuleType) -> bool:
    """Whether the target notices something with any of its seeds."""
    try:
        for stream in target.seeds():
            for options in (0, 8):  # the upstream stays, or closes
                target.run(write_script(stream, options))
    except Exception:
        return True
    return False


def test_an_exception_of_the_relay_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResponseReader, "read_body", lambda *_: 1 // 0)
    assert breaks(upstream)


def test_framing_that_is_passed_on_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(request._SPECIAL, b"content-length")
    monkeypatch.delitem(request._meanings, b"Content-Length", raising=False)
    assert breaks(downstream)


def test_lines_in_a_field_of_http_2_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_VALUE", re.compile(rb".*", re.DOTALL))
    monkeypatch.setattr(heads, "_PATH", re.compile(rb"/.*", re.DOTALL))
    assert breaks(http2)


def test_an_end_that_was_none_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        exchange.Exchange, "upstream_lost", lambda self, *_, **__: self.answer.end([]) if self.record.head_at else None
    )
    assert breaks(upstream)


def test_bytes_after_an_end_that_are_used_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(UpstreamConnection, "reusable", True)
    assert breaks(upstream)
