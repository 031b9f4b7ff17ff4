"""`pip install .` asks for what compiles the relay where the machine can use it, and for nothing where it cannot."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("wanted", "compiler", "asked"),
    [
        ("", sys.executable, True),  # anything that can be run stands for a compiler here
        ("", "no-such-compiler", False),
        ("0", sys.executable, False),
        ("1", "no-such-compiler", True),
    ],
)
def test_mypyc_is_asked_for_where_it_can_be_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wanted: str, compiler: str, asked: bool
) -> None:
    pytest.importorskip("setuptools")
    (tmp_path / "Python.h").touch()
    monkeypatch.syspath_prepend(ROOT)
    backend = importlib.import_module("build_backend")
    monkeypatch.setattr(backend.build_meta, "get_requires_for_build_wheel", lambda settings: [])
    monkeypatch.setattr(backend.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("CC", compiler)
    monkeypatch.setenv("UNBUFFER_COMPILE", wanted)
    assert backend.get_requires_for_build_wheel() == ([backend.MYPYC] if asked else [])
