"""The dashboard: Grafana knows every field of it, and every panel says what it shows, of our metrics."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.deploy.queries import faults, selectors

DIRECTORY = Path(__file__).parents[2] / "deploy/grafana"
DASHBOARD: dict[str, Any] = json.loads((DIRECTORY / "unbuffer.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
UNITS = {"Bps", "bytes", "cps", "ops", "percentunit", "reqps", "s", "short"}

# What Grafana itself writes and reads, and its SDK has no field for.
UNKNOWN_TO_THE_SDK = {
    ".__inputs": "asked for at the import",
    ".__requires": "checked at the import",
    ".annotations.list[].titleFormat": "of the data source's own query",
    ".templating.list[].definition": "what the list of variables shows",
}


def _title(panel: dict[str, Any]) -> str:
    return str(panel["title"])


each_panel = pytest.mark.parametrize("panel", PANELS, ids=_title)


def _lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """The paths of what is not there any more, or is something else."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            yield from _lost(value, after.get(key), f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for one, other in zip(before, after, strict=True):
            yield from _lost(one, other, f"{path}[]")
    elif before != after:
        yield path


def test_grafanas_own_model_knows_every_field() -> None:
    plugins.register_default_plugins()
    model = Dashboard.from_json(DASHBOARD)
    after = json.loads(JSONEncoder().encode(model))
    assert set(_lost(DASHBOARD, after)) == UNKNOWN_TO_THE_SDK.keys()


def test_a_field_that_grafana_does_not_know_is_found() -> None:
    plugins.register_default_plugins()
    wrong = json.loads(json.dumps(DASHBOARD))
    wrong["panels"][1]["fieldConfig"]["defaults"]["units"] = "s"
    after = json.loads(JSONEncoder().encode(Dashboard.from_json(wrong)))
    assert set(_lost(wrong, after)) - UNKNOWN_TO_THE_SDK.keys() == {".panels[].fieldConfig.defaults.units"}


def test_it_imports_into_any_grafana_from_10_4_on() -> None:
    assert (DASHBOARD["uid"], DASHBOARD["schemaVersion"]) == ("unbuffer-streams", 39)
    assert "id" not in DASHBOARD
    assert [asked["name"] for asked in DASHBOARD["__inputs"]] == ["DS_PROMETHEUS"]
    required = {entry["id"] for entry in DASHBOARD["__requires"] if entry["type"] == "panel"}
    assert required == {panel["type"] for panel in PANELS}


def test_nothing_lies_over_another_panel() -> None:
    places = [panel["gridPos"] for panel in DASHBOARD["panels"]]
    cells = Counter(
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    assert max(cells.values()) == 1
    assert max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


@each_panel
def test_a_panel_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    unit = panel["options"]["yAxis"]["unit"] if panel["type"] == "heatmap" else panel["fieldConfig"]["defaults"]["unit"]
    assert unit in UNITS
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


@each_panel
def test_a_query_is_of_our_metrics_and_of_the_chosen_instances(panel: dict[str, Any]) -> None:
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert "[" not in target["expr"].replace("[$__rate_interval]", ""), "a rate over a window of its own"
        query = target["expr"].replace("$__rate_interval", "1m")
        assert list(faults(query)) == []
        for selector in selectors(query):
            matchers = {matcher.name: matcher.value for matcher in selector.matchers.matchers}
            assert (matchers["job"], matchers["instance"]) == ("$job", "$instance")


def test_every_variable_is_used_and_defined() -> None:
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert names == {"datasource", "job", "instance", "route", "kind"}
    text = json.dumps(DASHBOARD["panels"])
    assert [name for name in names if f"${name}" not in text and f"${{{name}}}" not in text] == []


def test_traces_are_a_click_away() -> None:
    exemplary = {panel["title"] for panel in PANELS for target in panel["targets"] if target["exemplar"]}
    assert exemplary == {"Duration", "First byte and first chunk"}


@pytest.mark.parametrize("file", sorted((DIRECTORY / "provisioning").rglob("*.yml")), ids=lambda file: file.stem)
def test_a_provisioning_file_is_yaml_of_version_1(file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    assert content["apiVersion"] == 1
    assert content.keys() & {"datasources", "providers"} == {file.parent.name.replace("dashboards", "providers")}
