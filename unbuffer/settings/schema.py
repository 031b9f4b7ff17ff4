"""The JSON Schema of the settings file, for editors.

Derived from the model alone: a description is the text that stands below the field there. Written by
`python -m unbuffer.settings.schema > config/unbuffer.schema.json`.
"""

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec

from unbuffer.settings import model, route
from unbuffer.settings.fields import Block, Setting, fields
from unbuffer.settings.kinds import Section
from unbuffer.settings.model import SHORT_FORMS, Settings

JSON = dict[str, Any]


def schema() -> JSON:
    """The schema as plain data (JSON Schema 2020-12)."""
    docs = _docs()
    sections = {section.__name__: _section(section, docs) for section in _sections(Settings)}
    root = sections.pop("Settings")
    for name, key in SHORT_FORMS.items():
        parent: JSON = root
        section: type[Section] = Settings
        *above, last = name.split(".")
        for step in above:
            within = fields(section)[step]
            assert isinstance(within, Block)
            section, parent = within.section, sections[within.section.__name__]
        block = fields(section)[last]
        assert isinstance(block, Block)
        short = fields(block.section)[key]
        assert isinstance(short, Setting)
        described = {"description": sections[block.section.__name__]["description"]}
        parent["properties"][last] = described | {"oneOf": [*_written(short), parent["properties"][last]]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "title": "Settings of unbuffer",
        "$defs": sections,
    }


def _sections(section: type[Section]) -> Iterator[type[Section]]:
    yield section
    for field in fields(section).values():
        if isinstance(field, Block):
            yield from _sections(field.section)


def _section(section: type[Section], docs: dict[tuple[str, str], str]) -> JSON:
    definition: JSON = msgspec.json.schema(section)["$defs"][section.__name__]
    definition["description"] = _one_line(definition["description"])
    definition["properties"] = {}
    for name, field in fields(section).items():
        doc = docs.get((section.__name__, name))
        described = {"description": doc} if doc else {}
        definition["properties"][name] = described | (_block(field) if isinstance(field, Block) else _setting(field))
    return definition


def _block(block: Block) -> JSON:
    reference = {"$ref": f"#/$defs/{block.section.__name__}"}
    return {"type": "array", "items": reference} if block.many else reference


def _setting(setting: Setting) -> JSON:
    forms = _written(setting)
    value = forms[0] if len(forms) == 1 else {"oneOf": forms}
    if setting.required or setting.default is None:
        return value
    default = [setting.show(one) for one in setting.default] if setting.many else setting.show(setting.default)
    return value | {"default": default}


def _written(setting: Setting) -> list[JSON]:
    """The ways to write a setting, of which exactly one fits."""
    one = _one_value(setting)
    if not setting.many:
        return one
    return [*one, {"type": "array", "items": one[0] if len(one) == 1 else {"oneOf": one}}]


def _one_value(setting: Setting) -> list[JSON]:
    value: JSON = msgspec.json.schema(setting.type)
    text = {"type": "string", "pattern": setting.form.pattern}
    match setting.form.name:
        case "duration":
            return [{"const": 0}, text]
        case "size":
            return [value, text]
        case "decoding":
            return [value, {"type": "boolean"}]
        case _:
            return [value | text if setting.form.pattern else value]


def _docs() -> dict[tuple[str, str], str]:
    """The text below each field of the model, by class and field. A Struct does not keep it at run time."""
    docs = {}
    for node in (node for module in (model, route) for node in ast.parse(inspect.getsource(module)).body):
        if isinstance(node, ast.ClassDef):
            for field, below in pairwise(node.body):
                match field, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        docs[node.name, name] = _one_line(text)
    return docs


def _one_line(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
