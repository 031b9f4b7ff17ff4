"""What a reload may change and what it may not."""

from collections.abc import Iterable
from operator import attrgetter
from typing import TypeVar

from msgspec import structs

from unbuffer.settings.kinds import Section
from unbuffer.settings.model import Settings

_S = TypeVar("_S", bound=Section)


def keep(old: Settings, new: Settings, paths: Iterable[str]) -> tuple[Settings, list[str]]:
    """The new settings with the old values at these paths, and the paths where that made a difference."""
    changed = [path for path in paths if attrgetter(path)(old) != attrgetter(path)(new)]
    for path in changed:
        new = replaced(new, path, attrgetter(path)(old))
    return new, changed


def replaced(section: _S, path: str, value: object) -> _S:
    """A copy with another value at this path."""
    name, _, rest = path.partition(".")
    return structs.replace(section, **{name: replaced(getattr(section, name), rest, value) if rest else value})
