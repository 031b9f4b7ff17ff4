"""`python -m benchmarks.chart RESULTS.json FOLDER`: draws what `python -m benchmarks --json` has written, as SVG.

One drawing for each of `CHARTS` and each of two themes: FOLDER/NAME-light.svg and FOLDER/NAME-dark.svg. A bar is a
median over the rounds; the line across its end goes from the lowest round to the highest.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.samples import Sample
from benchmarks.scenes import SCENES, Measure

Samples = Mapping[str, Mapping[str, Sequence[Sample | None]]]
"""By scene and proxy, by round; None where a measurement failed."""


class Results(msgspec.Struct, frozen=True):
    """The file."""

    about: dict[str, str]
    samples: dict[str, dict[str, list[Sample | None]]]


@dataclass(frozen=True, slots=True)
class Chart:
    """One drawing: one number of one scene, a bar for each proxy."""

    name: str
    scene: str
    measure: str
    """The title of one of the scene's measures."""
    title: str
    less_is_better: bool


CHARTS = (
    Chart("delay", "paced", "delay p99 µs", "Delay of a chunk, 99th percentile, at 20,000 chunks/s", True),
    Chart("chunk", "heavy", "CPU µs per chunk", "CPU time per chunk, at 40,000 chunks/s", True),
    Chart("requests", "requests", "requests/s", "Small requests per second, one core", False),
    Chart("memory", "open", "KB per open stream", "Memory per open stream", True),
)


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours, on a ground that shines through."""

    name: str
    text: str
    muted: str
    bar: str
    own_bar: str


THEMES = (
    Theme("light", text="#1f2328", muted="#59636e", bar="#afb8c1", own_bar="#0969da"),
    Theme("dark", text="#f0f6fc", muted="#9198a1", bar="#4d5560", own_bar="#4493f8"),
)

WIDTH, LABELS, NUMBERS, ROW, TOP = 720, 92, 110, 26, 56


def drawing(chart: Chart, theme: Theme, samples: Samples) -> str:
    """The SVG of a chart; raises LookupError if the file has no number for it."""
    measure = _measure(chart)
    values = {
        name: [measure.of(sample) for sample in rounds if sample]
        for name, rounds in samples[chart.scene].items()
        if name != "direct" and any(rounds)
    }
    if "unbuffer" not in values:
        raise LookupError(f"no number of unbuffer in scene {chart.scene}")
    ordered = sorted(values, key=lambda name: median(values[name]), reverse=not chart.less_is_better)
    longest = max(max(each) for each in values.values())
    scale = (WIDTH - LABELS - NUMBERS) / longest
    unit = measure.title.rpartition(" ")[2] if chart.name == "delay" else measure.title
    told = "; ".join(f"{name} {median(values[name]):,.{measure.digits}f}" for name in ordered)
    height = TOP + ROW * len(ordered) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        f' role="img" aria-label="{escape(f"{chart.title} ({unit}): {told}")}"'
        ' font-family="system-ui, sans-serif" font-size="13">',
        f'<text x="0" y="18" font-size="15" font-weight="600" fill="{theme.text}">{escape(chart.title)}</text>',
        f'<text x="0" y="38" fill="{theme.muted}">{escape(unit)}, {"less" if chart.less_is_better else "more"}'
        " is better</text>",
    ]
    for number, name in enumerate(ordered):
        parts += _bar(TOP + ROW * number, name, values[name], scale, measure.digits, theme)
    return "\n".join([*parts, "</svg>", ""])


def _bar(top: int, name: str, values: Sequence[float], scale: float, digits: int, theme: Theme) -> list[str]:
    middle = median(values)
    own = name == "unbuffer"
    weight = ' font-weight="600"' if own else ""
    y = top + ROW / 2
    low, high = LABELS + min(values) * scale, LABELS + max(values) * scale
    return [
        f'<text x="{LABELS - 8}" y="{y + 4:.0f}" text-anchor="end" fill="{theme.text}"{weight}>{escape(name)}</text>',
        f'<rect x="{LABELS}" y="{top + 4}" width="{middle * scale:.1f}" height="{ROW - 8}" rx="2"'
        f' fill="{theme.own_bar if own else theme.bar}"/>',
        f'<path d="M{low:.1f} {y:.0f}H{high:.1f}" stroke="{theme.muted}" stroke-width="1.5"/>',
        f'<text x="{high + 8:.1f}" y="{y + 4:.0f}" fill="{theme.text}"{weight}>{middle:,.{digits}f}</text>',
    ]


def _measure(chart: Chart) -> Measure:
    scene = next(scene for scene in SCENES if scene.name == chart.scene)
    return next(measure for measure in scene.measures if measure.title == chart.measure)


def main() -> int:
    """Draw what the file has numbers for; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chart", description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    samples = msgspec.json.decode(options.results.read_bytes(), type=Results).samples
    for chart in CHARTS:
        if chart.scene not in samples:
            print(f"{chart.name}: the file has no scene {chart.scene}", file=sys.stderr)
            continue
        for theme in THEMES:
            (options.folder / f"{chart.name}-{theme.name}.svg").write_text(drawing(chart, theme, samples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
