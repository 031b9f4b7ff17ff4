"""The rules for Prometheus: valid, of our metrics, and tested, each alert both ways."""

import re
import shutil
import subprocess
from os import environ
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.queries import BOUNDS, faults, thresholds

DIRECTORY = Path(__file__).parents[2] / "deploy/prometheus"

PROMTOOL = 300.0
"""Seconds. It computes for three, which take a minute where twenty others want the same core."""

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None and not environ.get("CI"), reason="promtool (Debian: prometheus) is missing"
)


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DIRECTORY / "rules.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


RULES = _rules()
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = [rule["record"] for rule in RULES if "record" in rule]


def _name(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


@needs_promtool
@pytest.mark.parametrize("check", ["check rules rules.yml", "test rules rules_test.yml", "check config prometheus.yml"])
def test_promtool_passes(check: str) -> None:
    checked = subprocess.run(
        ["promtool", *check.split()], cwd=DIRECTORY, capture_output=True, text=True, timeout=PROMTOOL, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@needs_promtool
def test_the_share_of_requests_that_need_a_new_connection_is_that_share(tmp_path: Path) -> None:
    """Of four requests a second one needs a new one. The query stands in docs/metrics.md."""
    document = (DIRECTORY.parents[1] / "docs/metrics.md").read_text()
    query = re.search(r"^\| What share of requests needs a new connection\? \| `(.*)` \|$", document, re.MULTILINE)
    assert query is not None
    asked = {"expr": query[1], "eval_time": "30m", "exp_samples": [{"labels": "{}", "value": 0.25}]}
    series = {
        'unbuffer_upstream_connects_total{instance="a", result="ok"}': "0+60x30",
        'unbuffer_upstream_connects_total{instance="a", result="refused"}': "0+60x30",
        'unbuffer_upstream_connection_reuse_total{instance="a"}': "0+180x30",
    }
    given = [{"series": name, "values": values} for name, values in series.items()]
    test = {"tests": [{"interval": "1m", "input_series": given, "promql_expr_test": [asked]}]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    checked = subprocess.run(
        ["promtool", "test", "rules", "test.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PROMTOOL,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_a_rule_reads_what_is_there(rule: dict[str, Any]) -> None:
    assert list(faults(rule["expr"], RECORDED)) == []


def test_a_threshold_is_a_bucket_boundary_of_its_histogram() -> None:
    # Between two boundaries a quantile is a guess.
    found = {metric: limit for rule in ALERTS for metric, limit in thresholds(rule["expr"])}
    assert found.keys() == {"unbuffer_relay_delay_seconds", "unbuffer_event_loop_lag_seconds"}
    assert [metric for metric, limit in found.items() if limit not in BOUNDS[metric]] == []


@pytest.mark.parametrize("rule", ALERTS, ids=_name)
def test_an_alert_says_whom_it_wakes_and_why(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert rule["annotations"].keys() == {"summary", "description"}


def test_every_alert_is_tested_silent_and_firing() -> None:
    tests = yaml.safe_load((DIRECTORY / "rules_test.yml").read_text())["tests"]
    cases = [(case["alertname"], bool(case["exp_alerts"])) for test in tests for case in test["alert_rule_test"]]
    assert set(cases) == {(rule["alert"], firing) for rule in ALERTS for firing in (True, False)}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("rate(unbuffer_strems_total[5m])", "unbuffer_strems_total: no such metric"),
        ('unbuffer_streams_total{verdict="lump"}', "unbuffer_streams_total: no label verdict"),
        ('unbuffer_streams_total{outcome=~"completed|client_gone"}', "outcome: nothing matches client_gone"),
        ('unbuffer_relay_delay_seconds_bucket{le="0.03"}', "unbuffer_relay_delay_seconds_bucket: no bucket 0.03"),
        ("sum by (route) (unbuffer_upstream_up)", "unbuffer_upstream_up: cannot be grouped by route"),
    ],
)
def test_the_check_of_queries_finds_what_is_wrong(query: str, found: str) -> None:
    assert list(faults(query)) == [found]
