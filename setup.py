"""Compiles the way of a request, of a chunk and of a log line; all else is in pyproject.toml.

UNBUFFER_COMPILE=0 leaves the sources as they are; =1 makes it a mistake if they cannot be compiled. Without it they are
where that works (`build_backend.py` asks for mypyc where it may), and the same sources are installed where not:
`unbuffer --version` says which.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

WANTED = os.environ.get("UNBUFFER_COMPILE", "")
MODULES = [
    "unbuffer/histogram.py",
    "unbuffer/judgement.py",
    "unbuffer/record.py",
    "unbuffer/rhythm.py",
    "unbuffer/timeline.py",
    "unbuffer/totals.py",
    "unbuffer/observe/access_log.py",
    "unbuffer/observe/log_writer.py",
    "unbuffer/observe/observer.py",
    "unbuffer/observe/recent.py",
    "unbuffer/observe/stream_line.py",
    "unbuffer/observe/verdict.py",
    *(
        str(path)
        for package in ("http", "relay", "relay/http2", "resume")
        for path in sorted(Path("unbuffer", package).glob("[!_]*.py"))
        if path.name != "session.py"  # classes of h2 and hpack, which are not compiled, are its bases
    ),
]


def extensions() -> list[Extension]:
    """What mypyc makes of the modules, if this is the step that builds a wheel."""
    if WANTED == "0" or "bdist_wheel" not in sys.argv:
        return []
    try:
        from mypyc.build import mypycify

        # The dependencies are not there, and their types not needed: `make check` has seen to all of that.
        options = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
        return mypycify([*options, *MODULES], opt_level="3", debug_level="0")
    except (Exception, SystemExit) as error:  # an import that fails, or whatever another version of it does not like
        _go_on(error)
        return []


def _go_on(error: BaseException) -> None:
    """Install the sources as they are, unless the other was asked for."""
    if WANTED == "1":
        raise error
    print(f"unbuffer: not compiled, so it will be slower: {error or type(error).__name__}", file=sys.stderr)


class BuildIfPossible(build_ext):
    """All extensions or none: they need each other."""

    def run(self) -> None:
        """See `setuptools.Command`."""
        try:
            super().run()
        except Exception as error:
            _go_on(error)
            for built in Path(self.build_lib).rglob("*.so"):
                built.unlink()
            self.extensions = []


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildIfPossible})
