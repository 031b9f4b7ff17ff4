"""docs/clients.md names every client and application that is installed to be tried, with its version."""

import json
import re
from pathlib import Path

from tests.apps.installed import versions

ROOT = Path(__file__).parents[2]

# These serve the applications, are part of what LiteLLM's proxy needs, or look at pages.
SUPPORT = {
    *("apscheduler", "backoff", "expression", "fastapi", "fastapi-sso", "gradio-client", "orjson", "redis"),
    *("axe-core", "cloudcoil-models-keda", "soundfile", "uv", "uvicorn", "websockets"),
}


def rows() -> dict[str, str]:
    """The versions that the tables have, by package."""
    lines = (ROOT / "docs" / "clients.md").read_text().splitlines()
    cells = [line.split("|")[1:3] for line in lines if line.startswith("| ")]
    return {
        f"npm:{name}" if npm else name: version.strip()
        for what, version in cells
        for name, npm in re.findall(r"`([@\w/-]+)`( \(npm\))?", what)
        if name in versions() or npm
    }


def test_versions_are_those_of_the_locks() -> None:
    assert rows() == {name: versions()[name] for name in rows()}


def test_everything_that_is_installed_to_be_tried_is_there() -> None:
    wanted = re.findall(r"^([\w-]+)$", (ROOT / "tests" / "apps" / "requirements.in").read_text(), re.MULTILINE)
    packages = json.loads((ROOT / "tests" / "clients" / "package.json").read_text())["dependencies"]
    assert rows().keys() == {*wanted} - SUPPORT | {f"npm:{name}" for name in packages.keys() - SUPPORT}


def test_the_locks_name_no_registry() -> None:
    locks = (ROOT / "tests" / "clients" / "package-lock.json", ROOT / "tests" / "apps" / "requirements.txt")
    assert [lock.name for lock in locks if "://" in lock.read_text()] == []
