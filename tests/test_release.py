"""What a release says of itself, and what its workflows may run."""

import importlib
import io
import re
import tarfile
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def build_module(monkeypatch: pytest.MonkeyPatch, name: str) -> ModuleType:
    """A module of the build, which is no part of the package."""
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module(name)


@pytest.mark.parametrize("address", ["https://code.example/unbuffer", ""])
def test_the_description_leads_nowhere_that_is_not(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    metadata = build_module(monkeypatch, "build_metadata")
    text = metadata.description((ROOT / "README.md").read_text(), address)
    drawings = re.findall(r'(?:src|srcset)="([^"]+)"', text)
    assert bool(drawings) == bool(address)
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + drawings
    assert targets
    assert [target for target in targets if not re.match(r"https?://|#", target)] == []
    images = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert bool(images) == bool(address)
    assert all(image.startswith(f"{address}/raw/HEAD/docs/images/") for image in images)
    for target in targets:
        if address and target.startswith(address):
            assert (ROOT / re.sub(r"/(blob|raw)/HEAD/|#.*", "", target.removeprefix(address))).exists(), target
    assert bool(metadata.urls(address)) == bool(address)


def test_a_source_distribution_has_nothing_of_the_machine_that_made_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("setuptools")
    backend = build_module(monkeypatch, "build_backend")
    archives = []
    for number, names in enumerate((["a", "b"], ["b", "a"])):
        archives.append(tmp_path / f"{number}.tar.gz")
        with tarfile.open(archives[-1], "w:gz") as archive:
            for name in names:
                member = tarfile.TarInfo(name)
                member.mtime, member.uid, member.uname, member.size = 1000.5 + number, 500 + number, f"user{number}", 1
                archive.addfile(member, io.BytesIO(name.encode()))
        backend._date(archives[-1], 1_700_000_000)
    assert archives[0].read_bytes() == archives[1].read_bytes()
    with tarfile.open(archives[0]) as archive:
        assert [(m.name, m.mtime, m.uid, m.uname) for m in archive] == [(n, 1_700_000_000, 0, "") for n in "ab"]


def test_what_is_built_knows_its_version_and_its_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = build_module(monkeypatch, "build_metadata")
    for file, name in (("__init__", "__version__"), ("documents", "REPOSITORY")):
        values: dict[str, str] = {}
        exec(metadata.stamped((ROOT / f"unbuffer/{file}.py").read_text(), name, "https://code.example/u"), values)
        assert values[name] == "https://code.example/u"
    with pytest.raises(ValueError, match="OTHER is not set"):
        metadata.stamped("NAME = 1\n", "OTHER", "x")


def test_the_version_stands_in_no_file() -> None:
    assert PROJECT["project"]["dynamic"][0] == "version"
    lines = re.findall(r"^__version__ = (\S+)", (ROOT / "unbuffer/__init__.py").read_text(), re.MULTILINE)
    assert lines == [f'"{PROJECT["tool"]["setuptools_scm"]["fallback_version"]}"']


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_is_pinned_and_has_its_version_beside_it(workflow: Path) -> None:
    uses = [line.strip(" -") for line in workflow.read_text().splitlines() if "uses:" in line]
    assert uses
    for line in uses:
        assert re.fullmatch(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line
    jobs = yaml.safe_load(workflow.read_text())
    assert jobs["permissions"] == {}
    assert all("timeout-minutes" in job and "permissions" in job for job in jobs["jobs"].values())


def test_wheels_are_built_for_what_the_classifiers_name() -> None:
    named = [text.rpartition(" ")[2] for text in PROJECT["project"]["classifiers"] if ":: 3." in text]
    built = re.findall(r"cp3(\d+)-", PROJECT["tool"]["cibuildwheel"]["build"])
    assert {f"3.{minor}" for minor in built} == set(named)


def texts() -> list[Path]:
    """Every file of this repository that may tell somebody to install an extra."""
    kinds = {".py", ".md", ".yaml", ".yml", ".toml", ".Dockerfile", ".html", ".js", ""}
    folders = ("unbuffer", "docs", "deploy", "config", "benchmarks", ".ci", ".github")
    found = [path for name in folders for path in (ROOT / name).rglob("*") if path.is_file() and path.suffix in kinds]
    return [*found, *ROOT.glob("*.md"), ROOT / "pyproject.toml", ROOT / "Makefile"]


def test_every_extra_that_a_text_names_is_one() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    asked = r"(?:\bunbuffer|(?:install|wheel|--editable|-e|--from)[^\n]*?['\" ]\.|['\"`]\.)\[([a-z0-9_,]+)\]"
    named = {
        (str(path.relative_to(ROOT)), extra)
        for path in texts()
        for match in re.findall(asked, path.read_text(errors="replace"))
        for extra in match.split(",")
    }
    assert ("docs/tracing.md", "otel") in named
    assert {(path, extra) for path, extra in named if extra not in extras} == set()


def test_no_text_installs_from_an_index_what_no_release_has_put_there() -> None:
    """Before the first release everything is installed from a clone."""
    released = re.search(r"^## \d", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    told = re.compile(r"\b(?:install|uvx|--from)[ =]+['\"`]?unbuffer\b(?!@)")
    assert told.search("pip install 'unbuffer[resume]'")
    found = [str(path.relative_to(ROOT)) for path in texts() if told.search(path.read_text(errors="replace"))]
    assert released or found == []
    assert bool(released) != ("There is no release yet" in (ROOT / "README.md").read_text())
