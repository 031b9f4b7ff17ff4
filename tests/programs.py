"""Where the programs are that tests run, and what becomes of a test where one is missing."""

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest


def find(name: str) -> str | None:
    """Beside Python, on the PATH, or where Debian keeps what only root has on the PATH."""
    folders = (str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin")
    return shutil.which(name, path=os.pathsep.join(folders))


def missing(name: str) -> NoReturn:
    """Skip the test; but CI has everything, and a test that is skipped there holds nothing."""
    assert os.environ.get("CI") != "true", f"{name} must be installed where CI=true"
    pytest.skip(f"{name} is not installed")


def installed(name: str) -> str:
    """Where it is."""
    return find(name) or missing(name)
