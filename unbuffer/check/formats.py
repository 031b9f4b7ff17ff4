"""The report for programs: JSON, JUnit's XML, annotations of GitHub's actions, one line for a pipeline."""

import json
from dataclasses import replace
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from unbuffer import __version__, documents
from unbuffer.check.diagnosis import Diagnosis, Finding, View
from unbuffer.check.evidence import noted
from unbuffer.check.observation import as_data
from unbuffer.check.signatures import Level
from unbuffer.check.words import heading, seen, verdict

SCHEMA = 1
"""Raised when a key of the JSON report changes its meaning or goes."""


def as_json(diagnosis: Diagnosis) -> str:
    """The whole report: for each URL its verdict, its findings, and every request with sizes and times."""
    urls = [_of_url(diagnosis, view) for view in diagnosis.views]
    return json.dumps({"unbuffer": __version__, "schema": SCHEMA, "urls": urls})


def _of_url(diagnosis: Diagnosis, view: View) -> dict[str, Any]:
    return {
        "url": view.url,
        "result": diagnosis.worst(view) or "streamed",
        "verdict": verdict(diagnosis, view),
        "hops": [{"vendor": hop.vendor, "evidence": hop.field} for hop in view.hops],
        "findings": [_of_finding(finding) for finding in diagnosis.of(view)],
        "requests": [as_data(replace(one, fields=noted(one))) | {"shape": form.kind} for one, form in view.seen],
    }


def _of_finding(finding: Finding) -> dict[str, Any]:
    return {
        "name": finding.name,
        "level": finding.level,
        "said": finding.said,
        "meaning": finding.signature.meaning,
        "where": finding.where,
        "variants": finding.variants,
        "cures": finding.cures,
        "docs": documents.section(finding.name),
    }


def as_lines(diagnosis: Diagnosis) -> str:
    """One line for each URL."""
    lines = []
    for view in diagnosis.views:
        worst = diagnosis.worst(view)
        sign = "ok" if worst is None else "FAILED"
        where = next((f" ({f.where})" for f in diagnosis.of(view) if f.level is worst and f.where), "")
        lines.append(f"{sign} {view.url} {verdict(diagnosis, view)}{where}")
    return "\n".join(lines)


def as_annotations(diagnosis: Diagnosis) -> str:
    """Workflow commands of GitHub's actions, one for each finding that is no note."""
    lines = []
    for finding in diagnosis.findings:
        if finding.level is not Level.NOTE:
            why = finding.where or finding.signature.meaning
            text = f"{finding.url}: {seen(finding)}. {why}. {documents.where(finding.name)}"
            lines.append(f"::error title=unbuffer check%3A {finding.name}::{_escaped(text)}")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def as_junit(diagnosis: Diagnosis) -> str:
    """A suite with one case for each URL."""
    failures = sum(diagnosis.worst(view) is Level.BUFFERED for view in diagnosis.views)
    errors = sum(diagnosis.worst(view) is Level.ERROR for view in diagnosis.views)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuite name="unbuffer check" tests="{len(diagnosis.views)}" failures="{failures}" errors="{errors}">',
    ]
    for view in diagnosis.views:
        worst = diagnosis.worst(view)
        lasted = max((one.end for one, _ in view.seen), default=0.0)
        lines.append(f'  <testcase classname="unbuffer.check" name={quoteattr(view.url)} time="{lasted:.3f}">')
        if worst is not None:
            tag = "failure" if worst is Level.BUFFERED else "error"
            graves = [finding for finding in diagnosis.of(view) if finding.level is worst]
            text = "\n".join("\n".join((heading(diagnosis, f), f"Where: {f.where}", *f.cures)) for f in graves)
            message = quoteattr(verdict(diagnosis, view))
            lines.append(f'    <{tag} type="{graves[0].name}" message={message}>{escape(text)}</{tag}>')
        lines.append("  </testcase>")
    return "\n".join([*lines, "</testsuite>", ""])
