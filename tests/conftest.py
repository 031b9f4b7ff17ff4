"""What holds for all tests: no property has a stopwatch, on however busy a machine."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from hypothesis import settings

from tests import local

settings.register_profile("unhurried", settings.get_profile("ci" if "CI" in os.environ else "default"), deadline=None)
settings.load_profile("unhurried")


def pytest_collection_finish() -> None:
    """What the imports and the collection made stays: a test that has garbage collected looks at its own objects only,
    which takes a millisecond and not a third of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Whom all certificates are from."""
    return trustme.CA()


@pytest.fixture
def closed_port() -> Iterator[int]:
    with local.closed_port() as port:
        yield port


@pytest.fixture
def without_uvloop(tmp_path: Path) -> dict[str, str]:
    """An environment in which uvloop cannot be imported."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "uvloop.py").write_text("raise ImportError('not built for this system')\n")
    return {"PYTHONPATH": str(hidden)}
