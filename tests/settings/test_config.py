"""The files in config/: each one loads, fits the schema, and the annotated one is the whole truth."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.settings.conftest import Write
from unbuffer.settings.fields import Block, every_setting, fields
from unbuffer.settings.kinds import Section
from unbuffer.settings.load import load
from unbuffer.settings.model import Settings
from unbuffer.settings.route import Route

CONFIG = Path(__file__).parents[2] / "config"
ANNOTATED = CONFIG / "unbuffer.yaml"


def _with_routes() -> str:
    """The annotated file with its example of routes taken out of the comment."""
    above, marker, example = ANNOTATED.read_text().partition("# routes:\n")
    assert marker
    return above + re.sub("^# ", "", marker + example, flags=re.MULTILINE)


def _paths(section: type[Section], path: str = "") -> Iterator[str]:
    for name, field in fields(section).items():
        if isinstance(field, Block):
            yield from _paths(field.section, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def _written(plain: Any, path: str = "") -> Iterator[str]:
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from _written(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def test_the_annotated_file_has_the_defaults() -> None:
    assert load(str(ANNOTATED), {}, {}) == Settings()


def test_the_annotated_file_has_every_setting_in_the_order_of_the_model() -> None:
    assert list(_written(yaml.safe_load(ANNOTATED.read_text()))) == [path for path, _ in every_setting()]


def test_the_annotated_file_explains_every_setting() -> None:
    """A comment stands right above each setting, and above each section."""
    lines = ANNOTATED.read_text().splitlines()
    for above, line in pairwise(lines):
        if re.match(r" *[a-z_0-9]+:", line):
            assert above.lstrip().startswith("# "), line


def test_the_example_of_routes_loads_and_has_every_setting_of_a_route(write: Write) -> None:
    content = _with_routes()
    routes = load(write(content), {}, {}).routes
    assert [(route.name, route.prefix, route.glob) for route in routes] == [
        ("chat", "/v1/chat", None),
        ("uploads", None, "/files/*/upload/**"),
    ]
    written = {path for route in yaml.safe_load(content)["routes"] for path in _written(route)}
    assert written == set(_paths(Route))


@pytest.mark.parametrize("file", sorted(CONFIG.glob("*.yaml")), ids=lambda file: file.name)
def test_editors_find_the_schema(file: Path) -> None:
    assert file.read_text().startswith("# yaml-language-server: $schema=unbuffer.schema.json\n")
    assert (CONFIG / "unbuffer.schema.json").exists()


def test_the_minimal_file_is_three_settings() -> None:
    file = CONFIG / "minimal.yaml"
    assert list(_written(yaml.safe_load(file.read_text()))) == ["listen", "upstream", "admin"]
    settings = load(str(file), {}, {})
    assert settings.listen.address == (":8080",)
    assert settings.upstream.url == "http://127.0.0.1:8000"


def test_the_file_for_language_models_names_the_routes_of_the_api() -> None:
    settings = load(str(CONFIG / "llm.yaml"), {}, {})
    routes = {route.prefix: route for route in settings.routes}
    assert {"/v1/chat/completions", "/v1/responses", "/v1/messages", "/v1/embeddings"} <= routes.keys()
    assert routes["/v1/embeddings"].timeouts.silence is not None
    assert routes["/v1/embeddings"].timeouts.silence < settings.timeouts.silence
