"""Samples as Markdown: one table per scene, and the targets."""

import operator
from collections.abc import Mapping, Sequence
from statistics import median

from benchmarks.samples import Sample
from benchmarks.scenes import TARGETS, Measure, Scene, Target

Rounds = Sequence[Sample | None]
"""The samples of one proxy in one scene, by round; None where the measurement failed."""

_RELATIONS = {">=": operator.ge, "<=": operator.le, "<": operator.lt}


def scene_table(scene: Scene, rounds: Mapping[str, Rounds]) -> str:
    """The medians of each proxy. A column `ratio` belongs to the one on its left."""
    header = ["proxy"]
    for measure in scene.measures:
        header += [measure.title, "ratio"] if measure.compared else [measure.title]
    rows = [_row(name, scene.measures, rounds) for name in rounds]
    return f"### {scene.name}\n\n{scene.shows}\n\n{_table(header, rows)}\n"


def _row(name: str, measures: Sequence[Measure], rounds: Mapping[str, Rounds]) -> list[str]:
    cells = [name]
    for measure in measures:
        values = [measure.of(sample) for sample in rounds[name] if sample]
        cells.append(f"{median(values):,.{measure.digits}f}" if values else "-")
        if measure.compared:
            cells.append("" if name == "unbuffer" else _spread(ratios(measure, rounds, name)))
    return cells


def ratios(measure: Measure, rounds: Mapping[str, Rounds], peer: str) -> list[float]:
    """unbuffer / peer of every round in which both have a number."""
    pairs = zip(rounds.get("unbuffer", ()), rounds.get(peer, ()), strict=False)
    values = [(measure.of(ours), measure.of(theirs)) for ours, theirs in pairs if ours and theirs]
    return [ours / theirs for ours, theirs in values if ours and theirs]


def _found(target: Target, samples: Mapping[str, Mapping[str, Rounds]]) -> list[float]:
    """What a target bounds, of every round."""
    rounds = samples.get(target.scene, {})
    if target.against in samples:  # Another scene, measured in the same run but not in turns.
        rounds = {"unbuffer": rounds.get("unbuffer", ()), target.against: samples[target.against]["unbuffer"]}
    if target.against:
        return ratios(target.measure, rounds, target.against)
    return [target.measure.of(sample) for sample in rounds.get("unbuffer", ()) if sample]


def targets_table(samples: Mapping[str, Mapping[str, Rounds]]) -> str:
    """Every target with what was measured; `samples` by scene and proxy."""
    rows = []
    for target in TARGETS:
        found = _found(target, samples)
        met = _RELATIONS[target.relation](median(found), target.bound) if found else None
        rows.append(
            [
                target.scene,
                target.measure.title,
                target.against,
                f"{target.relation} {target.bound:g}",
                _spread(found),
                {True: "met", False: "missed", None: "not measured"}[met],
            ]
        )
    header = ["scene", "measure", "against", "should be", "is", ""]
    return f"### Targets\n\n{_table(header, rows)}\n"


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    return f"{median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
