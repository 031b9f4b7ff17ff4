"""Settings of `resume` that make no sense, and what is said of them."""

import pytest

from tests.settings.conftest import Problems, Write
from unbuffer.settings import checks
from unbuffer.settings.load import load


def test_what_has_no_window_has_no_effect(problems: Problems) -> None:
    found = problems(
        """
        resume:
          bytes: 2MiB
          total: 1GiB
        routes:
          - name: chat
            prefix: /chat
            resume: {linger: 10s}
        """
    )
    assert found == [
        "unbuffer.yaml:8 routes[0].resume.linger: has no effect: resume.window is 0, here and above; say how long "
        "streams are kept, such as 2m",
        "unbuffer.yaml:3 resume.bytes: has no effect: resume.window is 0, here and on every route; say how long "
        "streams are kept",
        "unbuffer.yaml:4 resume.total: has no effect: resume.window is 0, here and on every route; say how long "
        "streams are kept",
    ]


def test_one_stream_is_no_larger_than_all(problems: Problems) -> None:
    found = problems(
        """
        resume: {window: 2m, total: 512KiB}
        routes:
          - name: chat
            prefix: /chat
            resume: {bytes: 16MiB}
          - name: small
            prefix: /small
            resume: {bytes: 64KiB}
        """
    )
    assert found == [
        "unbuffer.yaml:2 resume.total: a stream may hold 1MiB, but all together 512KiB (resume.total)",
        "unbuffer.yaml:6 routes[0].resume.bytes: a stream may hold 16MiB, but all together 512KiB (resume.total)",
    ]


def test_what_is_no_value_is_refused(problems: Problems) -> None:
    found = problems(
        """
        resume:
          window: soon
          bytes: 1KiB
          credentials: ["Author ization"]
        """
    )
    assert [line.partition(" ")[2].partition(",")[0] for line in found] == [
        "resume.window: want a duration such as 30s",
        "resume.bytes: want a size such as 64KiB",
        "resume.credentials: want the name of a header field such as Authorization",
    ]


def test_off_on_one_route_and_on_for_the_others(write: Write) -> None:
    file = write(
        """
        resume: {window: 2m, linger: 10s}
        routes:
          - name: feed
            prefix: /feed
            resume: {window: 0}
        """
    )
    settings = load(str(file), {}, {})
    assert settings.resume.window == 120.0
    assert settings.routes[0].resume.window == 0.0


def test_a_store_needs_its_library(problems: Problems, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    assert problems("resume: {window: 2m, store: {url: 'redis://store'}}") == [
        "unbuffer.yaml:1 resume.store.url: needs the library redis, which is not installed: in a clone, pip install "
        "'.[resume]'"
    ]
