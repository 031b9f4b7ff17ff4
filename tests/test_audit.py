"""`make audit` says "no known vulnerability" only where every package was looked up."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

AUDIT = Path(__file__).parents[1] / ".ci" / "audit.py"

# Stands in for pip-audit: the real one asks a service that a test must not depend on.
PIP_AUDIT = """
import json, sys
from pathlib import Path

option = dict(zip(sys.argv, sys.argv[1:]))
packages = [line.split("==") for line in Path(option["--requirement"]).read_text().split()]
answers = [{"name": name, "version": version, "vulns": []} for name, version in packages]
uvloop = next(answer for answer in answers if answer["name"] == "uvloop")
{script}
Path(option["--output"]).write_text(json.dumps({"dependencies": answers, "fixes": []}))
"""
VULNERABLE = 'uvloop["vulns"] = [{"id": "PYSEC-0", "fix_versions": ["4.0", "3.99"]}]'
SKIPPED = 'hpack = next(a for a in answers if a["name"] == "hpack"); del hpack["vulns"]; hpack["skip_reason"] = "why"'


def audit(directory: Path, script: str) -> subprocess.CompletedProcess[str]:
    (directory / "pip_audit.py").write_text(PIP_AUDIT.replace("{script}", script))
    environment = os.environ | {"PYTHONPATH": str(directory)}
    return subprocess.run((sys.executable, AUDIT), env=environment, capture_output=True, text=True, check=False)


def test_every_package_looked_up_and_none_vulnerable_is_0(tmp_path: Path) -> None:
    done = audit(tmp_path, "")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no known vulnerability" in done.stdout
    # What is needed at run time, directly or not, and nothing that is needed for the tests.
    named = set(re.findall(r"([a-z-]+) [0-9]", done.stdout.partition(": ")[2]))
    assert {"uvloop", "hpack", "pyyaml", "msgspec", "httptools"} <= named
    assert named.isdisjoint({"unbuffer", "fastapi", "pytest", "hypothesis", "pip-audit"})


@pytest.mark.parametrize("also", ["", f"\n{SKIPPED}"])
def test_a_vulnerability_is_1(tmp_path: Path, also: str) -> None:
    done = audit(tmp_path, VULNERABLE + also)
    assert done.returncode == 1
    assert re.search(r"^uvloop [0-9.]+: PYSEC-0, fixed in 4\.0, 3\.99$", done.stdout, re.MULTILINE)
    assert ("NOT AUDITED" in done.stderr) == bool(also)


@pytest.mark.parametrize(
    ("script", "unknown", "why"),
    [
        (SKIPPED, "hpack", "why"),
        ("answers.remove(uvloop)", "uvloop", "left them out"),
        ('sys.exit("no\\nnetwork")', "uvloop", "network"),
        ("sys.exit(0)", "uvloop", "said nothing"),
    ],
)
def test_what_could_not_be_looked_up_is_not_passed_over(tmp_path: Path, script: str, unknown: str, why: str) -> None:
    done = audit(tmp_path, script)
    assert (done.returncode, done.stdout) == (69, "")
    assert re.fullmatch(rf"NOT AUDITED, .*\b{unknown}\b.*: .*{why}\n", done.stderr)
