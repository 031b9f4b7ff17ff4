"""SECURITY.md promises nothing without a test, and every test that it names exists."""

import re
from pathlib import Path

from unbuffer.settings.model import Settings

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "SECURITY.md").read_text()


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[a-z_/]+\.py)(?:::(\w+))?`", TEXT)
    assert len(named) > 15
    for file, name in named:
        source = (ROOT / file).read_text()
        assert f"def {name or 'test_'}" in source, f"{file} {name}"


def test_every_promise_names_its_tests() -> None:
    promises = TEXT.partition("## What is promised")[2].partition("## The admin port")[0]
    for promise in promises.split("\n\n**")[1:]:
        assert "`tests/" in promise, promise.partition("\n")[0]


def test_by_default_nothing_is_open_and_nobody_trusted() -> None:
    settings = Settings()
    assert all(address.startswith("127.0.0.1:") for address in (*settings.listen.address, settings.admin.address))
    assert settings.forwarded.trusted_proxies == ()
    assert settings.upstream.tls.verify
