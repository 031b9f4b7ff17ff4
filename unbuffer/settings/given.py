"""What the sources say about the settings: values, where each one stands, and every problem on the way.

A later source replaces the values of an earlier one; problems only add up.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from unbuffer.settings.fields import Setting, every_setting
from unbuffer.settings.problems import Problem


@dataclass(frozen=True, slots=True)
class Written:
    """One value as it stands in its source. Where it is no text, text is None and shown says what it is."""

    where: str
    text: str | None
    shown: str = ""


class Given:
    """Everything the sources said, by the paths of the settings.

    wheres: where each setting was given last.
    refused: settings with a wrong value in any source, and all where a source cannot be read.
    lists: the paths of the items of each list of sections.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.wheres: dict[str, str] = {}
        self.refused: set[str] = set()
        self.lists: dict[str, list[str]] = {}
        self.problems: list[Problem] = []

    def put(self, path: str, setting: Setting, where: str, written: Iterable[Written]) -> None:
        """Take what a source says about a setting: exactly one value, or any number where it is a list."""
        values = [self._value(path, setting, one) for one in written]
        self.wheres[path] = where
        self.values[path] = tuple(values) if setting.many else values[0]

    def where(self, paths: Iterable[str]) -> str:
        """Where the first of these settings that any source has stands; the first path if none has."""
        first, *others = paths
        return next((self.wheres[path] for path in (first, *others) if path in self.wheres), first)

    def refuse(self, path: str, where: str, message: str) -> None:
        """Report a setting that is wrong or missing."""
        self.refused.add(path)
        self.problem(where, message)

    def refuse_all(self, where: str, message: str) -> None:
        """Report a source that cannot be read: whatever it sets is not known."""
        self.refused.update(path for path, _ in every_setting())
        self.problem(where, message)

    def problem(self, where: str, message: str) -> None:
        """Report what is wrong."""
        self.problems.append(Problem(where, message))

    def _value(self, path: str, setting: Setting, written: Written) -> Any:
        if written.text is None:
            return self.refuse(path, written.where, f"want {setting.wanted}, got {written.shown}")
        try:
            return setting.parse(written.text)
        except ValueError as error:
            return self.refuse(path, written.where, str(error))
