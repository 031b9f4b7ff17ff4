"""What of the metadata depends on where this repository is published: the links of a release and its description.

The address stands in pyproject.toml, `tool.unbuffer.repository`, and nowhere else. While it is empty a distribution has
no links, and its description none that lead into the repository.
"""

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent
# A link or an image of Markdown, without those that have a scheme or stay on the page.
RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?![a-z]+:|#)([^)\s]+)\)")
# A drawing that there is for light pages and for dark ones, which Markdown cannot say.
PICTURE = re.compile(r"<picture>.*?</picture>\n*", re.DOTALL)
SOURCE = re.compile(r'(src|srcset)="([^"]+)"')


def repository() -> str:
    """The address of the repository without a slash at its end, or "" as long as it has none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return str(project["tool"]["unbuffer"]["repository"]).removesuffix("/")


def urls(address: str) -> dict[str, str]:
    """The links that an index shows beside a release."""
    if not address:
        return {}
    return {
        "Source": address,
        "Documentation": f"{address}/tree/HEAD/docs",
        "Changelog": f"{address}/blob/HEAD/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }


def description(text: str, address: str) -> str:
    """README for an index, which has none of the files beside it: links lead to the repository, or are none."""

    def absolute(found: re.Match[str]) -> str:
        image, label, target = found.groups()
        if address:
            return f"{image}[{label}]({address}/{'raw' if image else 'blob'}/HEAD/{target})"
        return "" if image else label

    def picture(found: re.Match[str]) -> str:
        return SOURCE.sub(rf'\1="{address}/raw/HEAD/\2"', found[0]) if address else ""

    return RELATIVE.sub(absolute, PICTURE.sub(picture, text))


def stamped(text: str, name: str, value: str) -> str:
    """A module in which this constant has this value. Raises ValueError if it has no such line."""
    made, lines = re.subn(rf"^{name} = .*$", f"{name} = {json.dumps(value)}", text, flags=re.MULTILINE)
    if lines != 1:
        raise ValueError(f"{name} is not set in one line")
    return made
