"""`make dist`: what a release has for this machine, in dist/, built twice and tried as users will have it.

The source distribution, the pure wheel and the compiled wheel of this Python. Both builds of each must be the same to
the byte; each is installed into an environment of its own, where `unbuffer demo --once` and a stream in lock-step run.
Needs what the extra `release` has. Exit code 1 says at the first thing that does not hold what it was.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
KINDS = {"sdist": "", "pure wheel": "0", "compiled wheel": "1"}


def main() -> None:
    """Build, compare, check, try."""
    os.environ.setdefault("SOURCE_DATE_EPOCH", run("git", "log", "-1", "--format=%ct").strip())
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        once, again = (build(Path(scratch, name)) for name in ("once", "again"))
        for kind, file in once.items():
            if digest(file) != digest(again[kind]):
                sys.exit(f"{kind}: two builds differ: {file} {digest(file)}, {again[kind].name} {digest(again[kind])}")
            print(f"{kind}: {file.name}, {file.stat().st_size:,} bytes, built twice, sha256 {digest(file)}")
        DIST.mkdir()
        files = {kind: shutil.copy2(file, DIST) for kind, file in once.items()}
        print(python("twine", "check", "--strict", *map(str, files.values())))
        print(python("check_wheel_contents", str(files["pure wheel"])))
        # W009: what mypyc makes of all modules is one library, which is beside the package.
        print(python("check_wheel_contents", "--ignore", "W009", str(files["compiled wheel"])))
        if sys.platform == "linux":
            print(python("auditwheel", "show", str(files["compiled wheel"])))
        for kind, file in files.items():
            print(f"{kind}: {try_out(file, kind, Path(scratch, 'environment'))}")
    if not any(line.startswith("Project-URL:") for line in metadata(files["pure wheel"])):
        print("no links: pyproject.toml's tool.unbuffer.repository is empty (RELEASING.md)")


def build(into: Path) -> dict[str, Path]:
    """All kinds, the wheels from the source distribution, as the index would have them built."""
    python("build", "--sdist", "--outdir", str(into), str(ROOT))
    (sdist,) = into.glob("*.tar.gz")
    built = {"sdist": sdist}
    for kind, compiled in list(KINDS.items())[1:]:
        folder = into / compiled
        command = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(sdist))
        run(*command, UNBUFFER_COMPILE=compiled)
        (built[kind],) = folder.glob("*.whl")
    return built


def try_out(file: Path, kind: str, environment: Path) -> str:
    """Install it where nothing else is, run it, and return what it says of itself."""
    venv.create(environment, clear=True, with_pip=True)
    own = environment / "bin" / "python"
    # The compiled relay is tried as a wheel; from the source distribution it would take minutes and be the same.
    run(str(own), "-m", "pip", "install", "--quiet", f"{file}[demo]", UNBUFFER_COMPILE="0")
    said = run(str(own), str(ROOT / ".ci" / "try_installed.py"), cwd=environment)
    if ("compiled: yes" in said) != (kind == "compiled wheel"):
        sys.exit(f"{kind}: {said}")
    run(str(environment / "bin" / "unbuffer"), "demo", "--once", cwd=environment)
    return f"{said.strip()}; unbuffer demo --once ran"


def metadata(wheel: Path) -> list[str]:
    """The lines of METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return archive.read(name).decode().splitlines()


def digest(file: Path) -> str:
    """SHA-256."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def python(module: str, *arguments: str) -> str:
    """What a module of this environment prints."""
    return run(sys.executable, "-m", module, *arguments)


def run(*command: str, cwd: Path = ROOT, **variables: str) -> str:
    """What a command prints; its failure is ours."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run(command, cwd=cwd, env=os.environ | variables, text=True, check=False, **streams)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


if __name__ == "__main__":
    main()
