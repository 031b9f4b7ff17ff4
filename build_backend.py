"""The build backend: setuptools', with mypyc asked for only where it can be used.

A wheel is compiled where the machine has a C compiler and the headers of this Python, and UNBUFFER_COMPILE is not 0;
`setup.py` has the rest. A source distribution and an editable installation never are, so they need no mypyc, which is a
download of 20 MB.
"""

import os
import shlex
import shutil
import sysconfig
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401 - the hooks that stay as they are
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

MYPYC = "mypy[mypyc]>=1.15"


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What has to be installed before a wheel is built."""
    wanted = os.environ.get("UNBUFFER_COMPILE", "")
    compiles = wanted == "1" or (wanted != "0" and _can_compile())
    return [*build_meta.get_requires_for_build_wheel(config_settings), *([MYPYC] if compiles else [])]


def _can_compile() -> bool:
    """Whether there are a C compiler, the one that Python names, and Python's headers."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "")
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return bool(compiler) and shutil.which(compiler[0]) is not None and headers.is_file()
