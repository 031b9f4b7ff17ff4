"""What docs/metrics.md and docs/incidents.md say is held to the code, the rules and the dashboard."""

import re
from pathlib import Path

import pytest

from tests.deploy.queries import faults, selectors
from tests.deploy.test_grafana import PANELS
from tests.deploy.test_prometheus import ALERTS
from unbuffer.judgement import Verdict
from unbuffer.observe import causes
from unbuffer.observe.metrics import FAMILIES, table

DOCS = Path(__file__).parents[2] / "docs"
METRICS = (DOCS / "metrics.md").read_text()
INCIDENTS = (DOCS / "incidents.md").read_text()


def section(title: str) -> str:
    """The text below a heading of docs/metrics.md."""
    return re.split(r"^#+ ", METRICS.partition(f"\n## {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\|) \| ", line.strip("| "))] for line in lines[1:]]


QUESTIONS = {question: query.strip("`") for question, query in rows(section("Which question it answers"))}


def test_the_table_is_what_the_program_writes() -> None:
    # python -m unbuffer.observe.metrics
    written = re.search(r"<!-- Written by: .*? -->\n(.*?)<!-- end of the table -->", METRICS, re.DOTALL)
    assert written is not None
    assert written[1] == table()


@pytest.mark.parametrize("query", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_a_query_is_of_our_metrics(query: str) -> None:
    assert list(faults(query)) == []


def test_the_native_queries_are_of_the_same_metrics_as_the_classic_ones() -> None:
    pairs = [(one.strip("`"), other.strip("`")) for one, other in rows(section("Quantiles are estimates")[-2000:])]
    assert len(pairs) == 5
    for classic, native in pairs:
        assert list(faults(classic)) == list(faults(native)) == []
        names = {re.sub("_(bucket|sum|count)$", "", selector.name or "") for selector in selectors(classic)}
        assert names == {selector.name for selector in selectors(native)}


def test_the_panels_that_stay_empty_without_classic_histograms_are_named() -> None:
    named = re.search(r"Without them five panels stay empty: (.*?)\. All others", METRICS, re.DOTALL)
    assert named is not None
    histograms = {family.name for family in FAMILIES if family.type == "histogram"}
    classic = set()
    for panel in PANELS:
        for target in panel["targets"]:
            names = {s.name or "" for s in selectors(target["expr"].replace("$__rate_interval", "1m"))}
            parts = {name for name in names if re.sub("_(bucket|sum|count)$", "", name) in histograms}
            if parts and not parts & histograms:
                classic.add(panel["title"])
    assert set(re.findall(r"\*(.*?)\*", re.sub(r"\s+", " ", named[1]))) == classic


def test_every_metric_answers_a_question() -> None:
    asked = {selector.name or "" for query in QUESTIONS.values() for selector in selectors(query)}
    names = {re.sub("_(bucket|sum|count)$", "", name) for name in asked}
    assert names == {family.name for family in FAMILIES}


def test_every_alert_says_what_to_do() -> None:
    documented = [(name.strip("`"), severity) for name, severity, _ in rows(section("Alerts"))]
    assert documented == [(rule["alert"], rule["labels"]["severity"]) for rule in ALERTS]


def test_every_verdict_is_explained() -> None:
    explained = [name.strip("`") for name, *_ in rows(section("Verdicts"))]
    assert [name for name in explained if name in {verdict.value for verdict in Verdict}] == [v.value for v in Verdict]


def test_every_cause_has_its_remedy() -> None:
    # python -m unbuffer.observe.causes
    written = re.search(r"<!-- Written by: \S+ -m unbuffer.observe.causes -->\n(.*?)<!-- end", METRICS, re.DOTALL)
    assert written is not None
    assert written[1] == causes.table()


def test_the_incidents_send_nobody_to_a_panel_that_is_not_there() -> None:
    panels = set(re.findall(r"\*([A-Z][^*]+)\*", INCIDENTS.replace("\n   ", " ").replace("\n", " ")))
    assert panels - {panel["title"] for panel in PANELS} == set()
    assert len(panels) > 20
