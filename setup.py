"""Compiles the way of a request and of a chunk where UNBUFFER_COMPILE=1 asks for it; all else is in pyproject.toml."""

import os
from pathlib import Path

from setuptools import Extension, setup

COMPILE = os.environ.get("UNBUFFER_COMPILE") == "1"
MODULES = [
    "unbuffer/histogram.py",
    "unbuffer/judgement.py",
    "unbuffer/record.py",
    "unbuffer/rhythm.py",
    "unbuffer/timeline.py",
    "unbuffer/totals.py",
    "unbuffer/observe/observer.py",
    "unbuffer/observe/verdict.py",
    *(
        str(path)
        for package in ("http", "relay", "relay/http2")
        for path in sorted(Path("unbuffer", package).glob("[!_]*.py"))
    ),
]


def extensions() -> list[Extension]:
    """What mypyc makes of the modules. Without it, none: setuptools asks first what there is to be installed."""
    if not COMPILE:
        return []
    try:
        from mypyc.build import mypycify
    except ImportError:
        return []
    # The dependencies are not there, and their types not needed: `make check` has seen to all of that.
    options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
    return mypycify([*options, *MODULES], opt_level="3", debug_level="0")


setup(ext_modules=extensions(), setup_requires=["mypy[mypyc]>=1.15"] if COMPILE else [])
