"""The dashboard: Grafana knows every field of it, and every panel says what it shows, of our metrics."""

import json
import re
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
INCIDENTS = (DIRECTORY.parents[1] / "docs/incidents.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((DIRECTORY / "unbuffer.json").read_text())
ROWS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] == "row"]
OPEN: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
PANELS = [*OPEN, *(panel for row in ROWS for panel in row["panels"])]
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


GRID = 38
"""Pixels of one unit of height: 30, and the gap of 8 that comes after it."""

CHROME = 200
"""Pixels of what stands above the first row: navigation (two bars of 40), the variables (two lines of 40, where one is
too narrow for all five), and the margins."""

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


def _cells(panels: list[dict[str, Any]]) -> Counter[tuple[int, int]]:
    """How many panels lie on each cell of the grid."""
    places = [panel["gridPos"] for panel in panels]
    return Counter(
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )


def test_nothing_lies_over_another_panel() -> None:
    for panels in (DASHBOARD["panels"], *(row["panels"] for row in ROWS if row["collapsed"])):
        cells = _cells(panels)
        assert max(cells.values()) == 1
        assert max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in (*ROWS, *PANELS)]
    assert len(ids) == len(set(ids))


def test_the_first_row_fits_one_screen_and_the_others_are_folded() -> None:
    first, *others = ROWS
    assert DASHBOARD["panels"] == [first, *OPEN, *others]
    assert (first["collapsed"], first["panels"]) == (False, [])
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in OPEN)
    assert CHROME + bottom * GRID <= 720
    # Folded, each is a line below the one before; what is in it opens right under it.
    for place, row in enumerate(others, bottom):
        assert row["collapsed"]
        assert row["gridPos"] == {"x": 0, "y": place, "w": 24, "h": 1}
        assert min(panel["gridPos"]["y"] for panel in row["panels"]) == place + 1


def test_the_rows_are_the_questions_of_an_incident() -> None:
    asked = re.findall(r'^## "(.*)"$', INCIDENTS, re.MULTILINE)
    titles = [row["title"] for row in ROWS]
    assert titles[1 : 1 + len(asked)] == asked


def test_what_a_question_sends_people_to_is_in_its_row_or_common_to_all() -> None:
    _, *asked = re.split(r'^## "(.*)"$', INCIDENTS.partition("\n## After it")[0], flags=re.MULTILINE)
    folded = {row["title"]: {_title(panel) for panel in row["panels"]} for row in ROWS}
    common = {*map(_title, OPEN), *folded["Is it unbuffer?"]}
    for question, text in zip(asked[::2], asked[1::2], strict=True):
        named = {re.sub(r"\s+", " ", name) for name in re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", text)}
        assert named
        assert named - common - folded[question] == set(), question


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


def test_quantiles_are_asked_of_classic_and_of_native_histograms() -> None:
    queries = [target["expr"] for panel in PANELS for target in panel["targets"] if "quantile" in target["expr"]]
    assert len(queries) == 22
    for query in queries:
        names = [selector.name or "" for selector in selectors(query.replace("$__rate_interval", "1m"))]
        assert names == [f"{names[1]}_bucket", names[1]]


def test_traces_are_a_click_away() -> None:
    exemplary = {panel["title"] for panel in PANELS for target in panel["targets"] if target["exemplar"]}
    assert exemplary == {"Duration", "First byte and first chunk", "First chunk by route, p95"}


@pytest.mark.parametrize("file", sorted((DIRECTORY / "provisioning").rglob("*.yml")), ids=lambda file: file.stem)
def test_a_provisioning_file_is_yaml_of_version_1(file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    assert content["apiVersion"] == 1
    assert content.keys() & {"datasources", "providers"} == {file.parent.name.replace("dashboards", "providers")}
