"""The verdict on one URL in a sentence, for every kind of report."""

from itertools import pairwise

from unbuffer.check.diagnosis import Diagnosis, Finding, View
from unbuffer.check.shape import lags
from unbuffer.check.signatures import Level

_WORDS = {
    "cut": "",
    "damaged": "damaged",
    "truncated": "truncated",
    "blocked_loop": "blocked event loop",
    "head_withheld": "head withheld",
    "heartbeats_swallowed": "heartbeats swallowed",
}
"""What a verdict calls a finding, where it is not that something is buffered; a cut says it itself."""


def verdict(diagnosis: Diagnosis, view: View) -> str:
    """What is to be said of this URL, in one sentence."""
    worst = diagnosis.worst(view)
    if worst is None:
        return f"streams: {promptness(view)}"
    graves = [finding for finding in diagnosis.of(view) if finding.level is worst]
    if worst is Level.ERROR:
        return graves[0].said
    said: dict[str, list[str]] = {}
    for finding in graves:
        said.setdefault(_WORDS.get(finding.name, "buffered"), []).append(finding.said)
    return "; ".join(f"{word}: {'; '.join(texts)}" if word else "; ".join(texts) for word, texts in said.items())


def promptness(view: View) -> str:
    """How prompt the first request was."""
    one = view.first
    if one.marks:
        late = sorted(lags(one.marks))
        first = one.marks[0].came - one.marks[0].sent - min(mark.came - mark.sent for mark in one.marks)
        return (
            f"first event within {_ms(first)} of its emission, all {len(late)} within {_ms(late[-1])} "
            "(beside the fastest one)"
        )
    if not one.reads:
        return "nothing came"
    gap = max((later.at - earlier.at for earlier, later in pairwise(one.reads)), default=0.0)
    reads = f"{len(one.reads)} read{'s' * (len(one.reads) != 1)}"
    return f"first bytes after {_ms(one.reads[0].at)}, {reads}, largest gap {_ms(gap)}"


def _ms(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))} ms" if seconds < 1 else f"{seconds:.1f} s"


def facts(view: View) -> str:
    """What the first response was."""
    one = view.first
    if one.head is None:
        return f"{one.method}, no response"
    parts = [one.method, f"HTTP/{one.http}", str(one.status), one.media_type or "no Content-Type"]
    return ", ".join(parts)


def seen(finding: Finding) -> str:
    """What was seen, and in which requests."""
    return f"{finding.said} ({', '.join(finding.variants)})" if finding.variants else finding.said


def heading(diagnosis: Diagnosis, finding: Finding) -> str:
    """The finding in a line: what was seen, and where, if there is more than one URL."""
    return f"{seen(finding)}; at {finding.url}" if len(diagnosis.views) > 1 else seen(finding)
