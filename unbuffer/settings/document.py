"""The settings file: YAML to values, each with its line.

Nothing is constructed from YAML. Nodes are composed, and every scalar is read from its text by the form of
its setting, so that `off`, `1:30` and `0x10` mean what stands there.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml
from yaml.events import CollectionEndEvent, CollectionStartEvent, ScalarEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from unbuffer.settings.fields import Block, Setting, every_setting, fields, join, long_form
from unbuffer.settings.files import open_file
from unbuffer.settings.given import Given, Written
from unbuffer.settings.kinds import Section
from unbuffer.settings.model import Settings
from unbuffer.settings.problems import did_you_mean, quote
from unbuffer.settings.values import show_size

# The settings are four levels deep. libyaml's composer recurses in C and would overflow the stack.
_DEEPEST = 20
_LARGEST = 1 << 20
"""Bytes. A wrong path may name anything."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


def read_file(given: Given, name: str) -> None:
    """Take the settings of the file with this name; an empty file has none."""
    try:
        with open_file(name) as file:
            data = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:  # no file has a name with NUL in it
        return given.refuse_all(name, f"cannot be read: {getattr(error, 'strerror', error)}")
    if len(data) > _LARGEST:
        return given.refuse_all(name, f"cannot be read: more than {show_size(_LARGEST)}")
    try:
        root = _compose(data.decode())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return given.refuse_all(f"{name}:{line}", f"not UTF-8: byte 0x{data[error.start]:02x}")
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        reason = ", ".join(filter(None, (error.context, error.problem)))
        return given.refuse_all(f"{name}:{line}", f"cannot be read as YAML: {reason}")
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        return given.refuse_all(name, f"cannot be read as YAML: {reason}")
    if root is None or _is_null(root):
        return None
    if not isinstance(root, MappingNode):
        message = f"want settings such as listen: 127.0.0.1:8080, got {_shown(root)}"
        return given.refuse_all(f"{name}:{_line(root)}", message)
    return _Reader(given, name).section(Settings, root, "")


class _Reader:
    """Walks the file and the model side by side; what the model has no place for is not walked into."""

    def __init__(self, given: Given, file: str) -> None:
        self._given = given
        self._file = file

    def section(self, section: type[Section], node: MappingNode, path: str) -> None:
        known = fields(section)
        for key, line, value in self._entries(node, path):
            field = known.get(key)
            if field is None:
                self._given.problem(self._at(line, path), f"unknown key {quote(key)}{_meant(key, known)}")
            elif isinstance(field, Setting):
                here = join(path, key)
                self._setting(field, value, here, self._at(line, here))
            elif field.many:
                self._sections(field, value, line)
            else:
                self._block(field, value, join(path, key), line)

    def _entries(self, node: MappingNode, path: str) -> Iterator[tuple[str, int, Node]]:
        lines: dict[str, int] = {}
        for key_node, value in node.value:
            line = _line(key_node)
            key = key_node.value
            if not isinstance(key_node, ScalarNode):
                self._given.problem(self._at(line, path), f"want the name of a setting, got {_shown(key_node)}")
            elif key in lines:
                first = f"line {lines[key]} has it already"
                self._given.problem(self._at(line, path), f"duplicate key {quote(key)}; {first}")
            else:
                lines[key] = line
                yield key, line, value

    def _block(self, block: Block, node: Node, path: str, line: int) -> None:
        where = self._at(line, path)
        if isinstance(node, MappingNode):
            self.section(block.section, node, path)
        elif _is_null(node):
            # Every setting below it is commented out.
            return
        elif long_form(path) != path:
            setting = dict(every_setting())[long_form(path)]
            self._setting(setting, node, long_form(path), where)
        else:
            example = next(iter(fields(block.section)))
            self._given.problem(where, f"want a block of settings such as {example}, got {_shown(node)}")

    def _sections(self, block: Block, node: Node, line: int) -> None:
        if _is_null(node):
            return
        if not isinstance(node, SequenceNode):
            self._given.problem(self._at(line, block.name), f"want a list, got {_shown(node)}")
            return
        paths = self._given.lists.setdefault(block.name, [])
        for number, item in enumerate(node.value):
            path = f"{block.name}[{number}]"
            where = self._at(_line(item), path)
            if not isinstance(item, MappingNode):
                self._given.problem(where, f"want a block of settings, got {_shown(item)}")
                continue
            paths.append(path)
            self._given.wheres[path] = where
            self.section(block.section, item, path)

    def _setting(self, setting: Setting, node: Node, path: str, where: str) -> None:
        if setting.many and isinstance(node, SequenceNode):
            written = [_written(item, self._at(_line(item), path)) for item in node.value]
        else:
            written = [_written(node, where)]
        self._given.put(path, setting, where, written)

    def _at(self, line: int, path: str) -> str:
        return f"{self._file}:{line} {path}".rstrip()


def _compose(text: str) -> Node | None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        mark: Any = event.start_mark
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.tag:
            raise yaml.MarkedYAMLError(problem=f"the tag {quote(event.tag)} is not used here", problem_mark=mark)
        if isinstance(event, ScalarEvent) and _SURROGATE.search(event.value):
            raise yaml.MarkedYAMLError(problem="half a character (a surrogate)", problem_mark=mark)
        depth += isinstance(event, CollectionStartEvent)
        depth -= isinstance(event, CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.MarkedYAMLError(problem="nested too deeply", problem_mark=mark)
    return yaml.compose(text, Loader=_LOADER)


def _written(node: Node, where: str) -> Written:
    if isinstance(node, ScalarNode) and not _is_null(node):
        return Written(where, node.value)
    return Written(where, None, _shown(node))


def _is_null(node: Node) -> bool:
    return node.tag == "tag:yaml.org,2002:null"


def _shown(node: Node) -> str:
    if _is_null(node):
        return "nothing"
    if isinstance(node, ScalarNode):
        return quote(node.value)
    return "a list" if isinstance(node, SequenceNode) else "a block of settings"


def _meant(key: str, known: Iterable[str]) -> str:
    """A close name in the same section, or the same name in another one."""
    elsewhere = (path for path, _ in every_setting() if path.endswith(f".{key}"))
    return did_you_mean(key, known) or did_you_mean(key, elsewhere)


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
