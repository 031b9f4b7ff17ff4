"""Where a reader finds the documents, which no wheel has."""

REPOSITORY = ""  # of a source tree, which has them itself: what is built knows its address, if there is one (setup.py)

_LUMP = "docs/lump.md"


def address() -> str:
    """The URL of the document that has a section for each finding; empty = nobody has said where it is."""
    return f"{REPOSITORY}/blob/HEAD/{_LUMP}" if REPOSITORY else ""


def section(name: str) -> str:
    """The section of a finding, as a URL or as a path in the repository."""
    return f"{address() or _LUMP}#{name}"


def where(name: str) -> str:
    """The same for people, who may not know what the path begins at."""
    return section(name) if REPOSITORY else f"{section(name)} in unbuffer's repository"
