"""The documentation as a site, in build/site: every page of this repository, with search.

The pages are those that are read in the repository, links and all. What a link leads to there and cannot be a page
(a folder without README, a program) is a file of the site or plain text. Exit code 1 names links and anchors that lead
nowhere, and images without a description.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "build" / "site"
PAGES = SITE / "pages"
FOLDERS = ("docs", "deploy", "benchmarks", "findings")
LEFT_OUT = {"RELEASING.md"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?\)")
# Of a drawing that there is for light pages and for dark ones, which Markdown cannot say.
DRAWING = re.compile(r"""<(?:img|source)\b[^>]*?\b(?:src|srcset)="([^":]+)"[^>]*>""")
FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def main() -> int:
    """Lay the pages out and build."""
    shutil.rmtree(SITE, ignore_errors=True)
    pages = [path for path in ROOT.glob("*.md") if path.name not in LEFT_OUT]
    pages += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md")]
    complaints = [complaint for page in pages for complaint in lay_out(page)]
    if complaints:
        print(*complaints, sep="\n", file=sys.stderr)
        return 1
    command = (sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", str(ROOT / "zensical.toml"))
    built = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    if built.returncode or not (SITE / "html" / "index.html").is_file():
        print(re.sub(r"\x1b\[[0-9;]*m", "", built.stdout + built.stderr), file=sys.stderr)
        return 1
    print(f"{len(pages)} pages: {SITE / 'html' / 'index.html'}")
    return 0


def lay_out(page: Path) -> list[str]:
    """Copy a page and what it links to that is no page. Returns what is wrong with its links."""
    complaints: list[str] = []

    def led(found: re.Match[str]) -> str:
        image, label, target, anchor = found.groups()
        name, there = page.relative_to(ROOT), (page.parent / target).resolve()
        if image and not label:
            complaints.append(f"{name}: {target} has no description")
        if not there.is_relative_to(ROOT) or not there.exists():
            complaints.append(f"{name}: {target} does not exist")
        elif (there / "README.md").is_file():
            return f"[{label}]({target.rstrip('/')}/README.md{anchor or ''})"
        elif there.is_dir() or there.name in LEFT_OUT:
            return label
        elif there.suffix != ".md":
            with_page(there)
        return found[0]

    def drawn(found: re.Match[str]) -> str:
        name, there = page.relative_to(ROOT), (page.parent / found[1]).resolve()
        if found[0].startswith("<img") and not re.search(r'\balt="[^"]', found[0]):
            complaints.append(f"{name}: {found[1]} has no description")
        if there.is_relative_to(ROOT) and there.exists():
            with_page(there)
        else:
            complaints.append(f"{name}: {found[1]} does not exist")
        return found[0]

    copy = PAGES / page.relative_to(ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    parts = FENCED.split(page.read_text())
    copy.write_text(
        "".join(part if part.startswith("```") else DRAWING.sub(drawn, LINK.sub(led, part)) for part in parts)
    )
    return complaints


def with_page(file: Path) -> None:
    """Copy a file that is no page."""
    copy = PAGES / file.relative_to(ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, copy)


if __name__ == "__main__":
    sys.exit(main())
