"""The build backend: setuptools', with mypyc asked for only where it can be used.

A wheel is compiled where the machine has a C compiler and the headers of this Python, and UNBUFFER_COMPILE is not 0;
`setup.py` has the rest. A source distribution and an editable installation never are, so they need no mypyc, which is a
download of 20 MB.

A source distribution is the same to the byte whenever it is built from the same commit with the same SOURCE_DATE_EPOCH;
a wheel is by itself.
"""

import gzip
import io
import os
import shlex
import shutil
import sysconfig
import tarfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401 - the hooks that stay as they are
    build_editable,
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


def build_sdist(sdist_directory: str, config_settings: Any = None) -> str:
    """The name of the file; with SOURCE_DATE_EPOCH its times are that one, and its owners nobody's."""
    name: str = build_meta.build_sdist(sdist_directory, config_settings)
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        _date(Path(sdist_directory, name), int(epoch))
    return name


def _date(archive: Path, epoch: int) -> None:
    """Write a .tar.gz anew, in the order of names and with nothing of the machine that made it."""
    plain = io.BytesIO()
    with tarfile.open(archive) as old, tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode, member.pax_headers = 0o755 if member.isdir() else 0o644, {}
            new.addfile(member, old.extractfile(member))
    with archive.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as packed:
        packed.write(plain.getvalue())


def _can_compile() -> bool:
    """Whether there are a C compiler, the one that Python names, and Python's headers."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "")
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return bool(compiler) and shutil.which(compiler[0]) is not None and headers.is_file()
