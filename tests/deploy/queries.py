"""PromQL as the deploy files write it, held to what unbuffer exposes."""

import re
from collections.abc import Iterable, Iterator
from types import SimpleNamespace

import promql_parser
from promql_parser import AggregateExpr, BinaryExpr, Call, Expr, NumberLiteral, VectorSelector

from unbuffer.histogram import Histogram
from unbuffer.judgement import Verdict
from unbuffer.observe.family import Snapshot
from unbuffer.observe.metrics import FAMILIES
from unbuffer.outcome import Outcome
from unbuffer.totals import ATTACH_RESULTS, CONNECT_RESULTS, KINDS, REJECT_REASONS, STORE_ERRORS, Totals

_TARGET = {"job", "instance"}

# What prometheus_client and Prometheus itself add.
_OTHERS = ("up", "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds")

VALUES = {
    "kind": KINDS,
    "outcome": [outcome.label for outcome in Outcome],
    "reason": (*REJECT_REASONS, *STORE_ERRORS),
    "result": (*CONNECT_RESULTS, *ATTACH_RESULTS, "ok", "error", "passed_through"),
    "scope": ("stream", "upstream"),
    "state": ("active", "idle"),
    "verdict": [verdict.value for verdict in Verdict],
}
"""What the labels with closed sets of values may say."""


def _bounds() -> dict[str, tuple[float, ...]]:
    totals = Totals()
    totals.of("default", "sse")
    snapshot = Snapshot(totals, False, True, 0, SimpleNamespace(successful=True, at=0.0), ("", "", "", ""))
    histograms = (family for family in FAMILIES if family.type == "histogram")
    found = {}
    for family in histograms:
        _, value = next(iter(family.read(snapshot)))
        assert isinstance(value, Histogram)
        found[family.name] = value.bounds
    return found


BOUNDS = _bounds()
"""The bucket boundaries of each histogram."""


def _labels() -> dict[str, set[str]]:
    found = {name: set(_TARGET) for name in _OTHERS}
    for family in FAMILIES:
        labels = _TARGET | set(family.labels)
        if family.type == "histogram":
            found |= {f"{family.name}_count": labels, f"{family.name}_sum": labels}
            found[f"{family.name}_bucket"] = labels | {"le"}
            # As a native histogram, where Prometheus converts it.
            found[family.name] = labels
        else:
            found[family.name] = labels
    return found


LABELS = _labels()
"""The labels of each time series, by its name."""


def parts(query: str) -> list[Expr]:
    """Every expression inside a query. Fails when it is no PromQL."""
    found: list[Expr] = []
    promql_parser.walk(promql_parser.parse(query), pre_visit=found.append)
    return found


def selectors(query: str) -> list[VectorSelector]:
    """What a query reads."""
    return [part for part in parts(query) if isinstance(part, VectorSelector)]


def faults(query: str, recorded: Iterable[str] = ()) -> Iterator[str]:
    """What would find nothing: names that are not exposed, labels that a metric lacks, values that no label has."""
    known = LABELS | {name: {"job", "route"} for name in recorded}
    for selector in selectors(query):
        labels = known.get(selector.name or "")
        if labels is None:
            yield f"{selector.name}: no such metric"
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name not in labels:
                yield f"{selector.name}: no label {matcher.name}"
            elif matcher.name == "le":
                if matcher.value not in map(str, BOUNDS[(selector.name or "").removesuffix("_bucket")]):
                    yield f"{selector.name}: no bucket {matcher.value}"
            elif not matcher.value.startswith("$"):
                yield from _no_such_values(matcher.name, matcher.value)
    yield from _wrong_groups(query, known)


def _no_such_values(label: str, pattern: str) -> Iterator[str]:
    for alternative in pattern.split("|"):
        if label in VALUES and not any(re.fullmatch(alternative, value) for value in VALUES[label]):
            yield f"{label}: nothing matches {alternative}"


def _wrong_groups(query: str, known: dict[str, set[str]]) -> Iterator[str]:
    for part in parts(query):
        if isinstance(part, AggregateExpr) and part.modifier is not None:
            for selector in selectors(part.expr.prettify()):
                missing = set(part.modifier.labels) - known.get(selector.name or "", set())
                if missing:
                    yield f"{selector.name}: cannot be grouped by {', '.join(sorted(missing))}"


def thresholds(query: str) -> Iterator[tuple[str, float]]:
    """The histograms whose quantiles are compared with a number, and the numbers."""
    for part in parts(query):
        match part:
            case BinaryExpr(lhs=Call() as call, rhs=NumberLiteral() as limit) if call.func.name == "histogram_quantile":
                (selector,) = selectors(call.prettify())
                yield (selector.name or "").removesuffix("_bucket"), limit.val
