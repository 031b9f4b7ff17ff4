"""The report as one page of HTML that needs nothing else: to be sent to whoever runs the hop."""

from collections.abc import Iterator
from html import escape

from unbuffer import __version__, documents
from unbuffer.check.diagnosis import Diagnosis, Finding, View
from unbuffer.check.evidence import noted
from unbuffer.check.observation import Observation
from unbuffer.check.picture import lanes, span
from unbuffer.check.signatures import Level
from unbuffer.check.words import facts, heading, verdict

_STYLE = """
:root { color-scheme: light dark; --sent: #888; --came: #0a7; --bad: #c22; --odd: #a60; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { overflow-wrap: anywhere; margin-top: 2.5rem; font-size: 1.2rem; }
.verdict { font-weight: 600; padding: .6rem .8rem; border-left: .4rem solid var(--came); background: #8881; }
.verdict.buffered { border-color: var(--bad); } .verdict.error { border-color: var(--odd); }
svg { width: 100%; height: auto; display: block; } svg text { font: 11px system-ui, sans-serif; fill: currentColor; }
.sent { stroke: var(--sent); } .came { stroke: var(--came); }
.held { stroke: var(--bad); stroke-width: .6; opacity: .5; }
dt { font-weight: 600; } dd { margin: 0 0 .4rem 1rem; overflow-wrap: anywhere; } code { overflow-wrap: anywhere; }
li { margin-bottom: .8rem; } .note { opacity: .85; } small { opacity: .7; }
"""
_LEFT, _RIGHT, _ROW = 180, 860, 44


def as_page(diagnosis: Diagnosis, made: str) -> str:
    """made: when, for the footer."""
    body = "".join(_view(diagnosis, view) for view in diagnosis.views)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>unbuffer check</title>\n'
        f'<meta name="viewport" content="width=device-width">\n<style>{_STYLE}</style>\n'
        f"<h1>How the stream arrived</h1>\n{body}"
        f"<p><small>unbuffer {escape(__version__)}, {escape(made)}. Times and sizes only: nothing of what the stream "
        "says is in this page.</small></p>\n</html>\n"
    )


def _view(diagnosis: Diagnosis, view: View) -> str:
    worst = diagnosis.worst(view)
    fields = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in noted(view.first))
    findings = "".join(_finding(diagnosis, finding) for finding in diagnosis.of(view))
    return (
        f"<h2>{escape(view.url)}</h2>\n<p>{escape(facts(view))}</p>\n"
        f'<p class="verdict {worst or ""}">{escape(verdict(diagnosis, view))}</p>\n{_picture(view)}\n'
        f"<ol>{findings}</ol>\n<details><summary>Fields of the response that tell something</summary>"
        f"<dl>{fields}</dl></details>\n"
    )


def _finding(diagnosis: Diagnosis, finding: Finding) -> str:
    kind = "Note: " if finding.level is Level.NOTE else ""
    where = f"<br>Where: {escape(finding.where)}." if finding.where else ""
    cures = "".join(f"<li>{_coded(cure)}</li>" for cure in finding.cures)
    said = f"{kind}{escape(heading(diagnosis, finding))}"
    return (
        f'<li class="{finding.level}"><b>{said}</b><br>{escape(finding.signature.meaning)}.'
        f"{where}<ul>{cures}</ul><small>{finding.name}, {_more(finding.name)}</small></li>"
    )


def _more(name: str) -> str:
    place = escape(documents.where(name))
    return f'<a href="{place}">{place}</a>' if documents.REPOSITORY else place


def _coded(text: str) -> str:
    """Escaped, with what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _picture(view: View) -> str:
    seen = [one for one, _ in view.seen if one.reads and one.status < 300]
    seconds = span(seen) or 1.0
    height = _ROW * len(seen) + 24
    rows = "".join(line for number, one in enumerate(seen) for line in _row(one, number * _ROW + 8, seconds))
    ticks = "".join(
        f'<text x="{_x(seconds * part / 4, seconds):.1f}" y="{height - 4}" text-anchor="middle">'
        f"{seconds * part / 4:.2f} s</text>"
        for part in range(5)
    )
    return f'<svg viewBox="0 0 {_RIGHT + 30} {height}" role="img" aria-label="arrivals in time">{rows}{ticks}</svg>'


def _row(one: Observation, top: int, seconds: float) -> Iterator[str]:
    name = f"{one.variant} {one.group}" if one.group else one.variant
    yield f'<text x="0" y="{top + 18}">{escape(name)}</text>'
    drawn = lanes(one)
    for lane in drawn:
        above = lane.title == "sent"
        y = top if above else top + 16
        yield f'<text x="{_LEFT - 6}" y="{y + 12}" text-anchor="end">{lane.title}</text>'
        for time in lane.times[:2000]:
            x = _x(time, seconds)
            yield f'<line class="{lane.title}" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + 14}" />'
    if len(drawn) == 2:
        for sent, came in list(zip(drawn[0].times, drawn[1].times, strict=False))[:2000]:
            if came - sent > 0.06:
                ends = f'x1="{_x(sent, seconds):.1f}" y1="{top + 14}" x2="{_x(came, seconds):.1f}" y2="{top + 16}"'
                yield f'<line class="held" {ends} />'


def _x(time: float, seconds: float) -> float:
    return _LEFT + (_RIGHT - _LEFT) * time / seconds
