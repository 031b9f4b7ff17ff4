"""Compiles the way of a request, of a chunk and of a log line, and writes the version and the repository's
address into what is built.

All else is in pyproject.toml, except what depends on the repository's address (`build_metadata.py`).

UNBUFFER_COMPILE=0 leaves the sources as they are; =1 makes it a mistake if they cannot be compiled. Without it they are
where that works (`build_backend.py` asks for mypyc where it may), and the same sources are installed where not:
`unbuffer --version` says which.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent))
import build_metadata

WANTED = os.environ.get("UNBUFFER_COMPILE", "")
MODULES = [
    "unbuffer/clock.py",
    "unbuffer/histogram.py",
    "unbuffer/judgement.py",
    "unbuffer/outcome.py",
    "unbuffer/presence.py",
    "unbuffer/record.py",
    "unbuffer/rhythm.py",
    "unbuffer/timeline.py",
    "unbuffer/totals.py",
    "unbuffer/observe/access_log.py",
    "unbuffer/observe/causes.py",
    "unbuffer/observe/log_writer.py",
    "unbuffer/observe/observer.py",
    "unbuffer/observe/recent.py",
    "unbuffer/observe/stream_line.py",
    "unbuffer/observe/turns.py",
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
        made = mypycify([*options, *MODULES], opt_level="2", debug_level="0")
    except (Exception, SystemExit) as error:  # an import that fails, or whatever another version of it does not like
        _go_on(error)
        return []
    if os.name == "posix":
        for one in made:
            # Nobody else calls these functions: they need neither names at run time nor a way around by a table.
            one.extra_compile_args.append("-fvisibility=hidden")
    return made


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


class BuildWithValues(build_py):
    """What is built knows its version and its repository without looking them up: a start is not slower for it."""

    def run(self) -> None:
        """See `setuptools.Command`."""
        super().run()
        if self.editable_mode:
            return
        version = self.distribution.get_version()
        for file, name, value in (("__init__", "__version__", version), ("documents", "REPOSITORY", ADDRESS)):
            built = Path(self.build_lib, "unbuffer", f"{file}.py")
            built.write_text(build_metadata.stamped(built.read_text(), name, value))


ADDRESS = build_metadata.repository()

setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildIfPossible, "build_py": BuildWithValues},
    long_description=build_metadata.description(Path("README.md").read_text(), ADDRESS),
    long_description_content_type="text/markdown",
    project_urls=build_metadata.urls(ADDRESS),
)
