"""`make audit`: known vulnerabilities in what unbuffer needs at run time, in the versions that are installed here.

Exit codes: 0 every package was looked up and none has one, 1 some has, 69 (sysexits.h: unavailable) not every package
could be looked up, so that nothing is known. pip-audit itself ends with 0 when it has looked up none.
"""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

EX_UNAVAILABLE = 69


def main() -> int:
    """Ask about every package, say what came of it."""
    pinned = runtime("unbuffer")
    answers, complaint = ask(pinned)
    vulnerable = [(package, vulnerability) for package in answers for vulnerability in package.get("vulns", ())]
    for package, vulnerability in vulnerable:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in {fixed}")
    looked_up = {canonicalize_name(package["name"]) for package in answers if "vulns" in package}
    unknown = sorted(pinned.keys() - looked_up)
    if unknown:
        why = [package["skip_reason"] for package in answers if "skip_reason" in package][:1] or [complaint]
        print(f"NOT AUDITED, the advisories could not be asked about {', '.join(unknown)}: {why[0]}", file=sys.stderr)
    if vulnerable:
        return 1
    if unknown:
        return EX_UNAVAILABLE
    print(f"{len(pinned)} packages, no known vulnerability: {', '.join(f'{n} {v}' for n, v in sorted(pinned.items()))}")
    return 0


def runtime(root: str) -> dict[str, str]:
    """Names and versions of all that this distribution needs, and of what those need."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(root, "")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        package = distribution(name)
        found[name] = package.version
        for requirement in map(Requirement, package.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(canonicalize_name(requirement.name), of) for of in ("", *requirement.extras)]
    del found[root]
    return found


def ask(pinned: dict[str, str]) -> tuple[list[dict[str, Any]], str]:
    """What pip-audit says of each package, or nothing and the last line of its complaint."""
    with tempfile.TemporaryDirectory() as directory:
        wanted, told = Path(directory, "requirements.txt"), Path(directory, "answers.json")
        wanted.write_text("".join(f"{name}=={version}\n" for name, version in pinned.items()))
        options = ("--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json")
        files = ("--requirement", str(wanted), "--output", str(told))
        command = (sys.executable, "-m", "pip_audit", *options, *files)
        errors = subprocess.run(command, capture_output=True, text=True, check=False).stderr.strip()
        if not told.exists():
            return [], errors.rpartition("\n")[2] or "pip-audit said nothing"
        answers: list[dict[str, Any]] = json.loads(told.read_text())["dependencies"]
        return answers, "pip-audit left them out"


if __name__ == "__main__":
    sys.exit(main())
