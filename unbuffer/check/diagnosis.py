"""From observations to findings: a pure function. What each finding means and what to change is in `signatures.py`."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from statistics import median

from unbuffer.check import compare, evidence, variants
from unbuffer.check.evidence import Hop
from unbuffer.check.holding import holding
from unbuffer.check.observation import REDIRECTS, Observation
from unbuffer.check.shape import HEAD_DELAY, LINES, WAIT, Kind, Shape, lags, shape
from unbuffer.check.signatures import OF_A_FAILURE, OF_A_STATUS, TABLE, Level, Signature, who_cuts_after

PACED = 0.005
"""Seconds between two reads of a stream that waits for something, and not for a processor."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found at one URL. said: what was seen, in a sentence. variants: in which requests. where: the
    hop, as far as evidence goes; empty = it does not matter."""

    name: str
    url: str
    said: str
    variants: tuple[str, ...] = ()
    where: str = ""
    cures: tuple[str, ...] = ()

    @property
    def signature(self) -> Signature:
        """What the table says of it."""
        return TABLE[self.name]

    @property
    def level(self) -> Level:
        """How bad it is."""
        return self.signature.level


@dataclass(frozen=True, slots=True)
class View:
    """All that was seen at one URL. first: the request that was alone."""

    url: str
    seen: tuple[tuple[Observation, Shape], ...]
    hops: tuple[Hop, ...] = ()

    @property
    def first(self) -> Observation:
        """The request that was alone."""
        return self.seen[0][0]

    @property
    def probe(self) -> bool:
        """Whether unbuffer's probe answers here."""
        return any(one.marks for one, _ in self.seen)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found at each URL, in the order of the URLs; the gravest first."""

    views: tuple[View, ...]
    findings: tuple[Finding, ...] = field(default=())

    def of(self, view: View) -> tuple[Finding, ...]:
        """The findings of one URL."""
        return tuple(finding for finding in self.findings if finding.url == view.url)

    def worst(self, view: View) -> Level | None:
        """The gravest level at this URL; None = it streams."""
        levels = {finding.level for finding in self.of(view)}
        return next((level for level in (Level.BUFFERED, Level.ERROR) if level in levels), None)


def diagnose(observations: Sequence[Observation], noticed: Sequence[Finding] = (), one_way: bool = True) -> Diagnosis:
    """What these observations tell, of one URL or several.

    noticed: what was found without looking at a response. one_way: the URLs are points of the same way, the first one
    the outermost; else each is judged by itself.
    """
    urls = list(dict.fromkeys(one.url for one in observations))
    if not one_way:
        parts = [diagnose([one for one in observations if one.url == url], noticed) for url in urls]
        return Diagnosis(tuple(part.views[0] for part in parts), _ordered(f for part in parts for f in part.findings))
    shapes = dict(compare.beside([(one, shape(one)) for one in observations]))
    views = []
    for url in urls:
        own = [one for one in observations if one.url == url]
        hops = evidence.hops(next((one for one in own if one.status), own[0]))
        views.append(View(url, tuple((one, shapes[one]) for one in own), hops))
    found: list[Finding] = []
    for view in views:
        own_findings = [finding for look in LOOKS for finding in look(view)]
        own_findings += [finding for finding in noticed if finding.url == view.url]
        found += [_explained(view, finding) for finding in _once(own_findings)]
    # A point that gave no stream tells nothing of those beside it.
    failed = {finding.url for finding in found if finding.level is Level.ERROR}
    points = [url for url in urls if url not in failed]
    found = [_placed(finding, compare.between(finding.name, finding.url, points, found)) for finding in found]
    return Diagnosis(tuple(views), _ordered(found))


def _ordered(found: Iterable[Finding]) -> tuple[Finding, ...]:
    order = list(Level)
    return tuple(sorted(found, key=lambda finding: order.index(finding.level)))


def _placed(finding: Finding, where: str) -> Finding:
    """With the place that the comparison of several points gives, and whom a field names beside it."""
    if not where:
        return finding
    both = where.startswith("between ") and finding.where.startswith("likely ")
    return replace(finding, where=f"{where}; {finding.where}" if both else where)


def _once(findings: list[Finding]) -> list[Finding]:
    """Each name once, with all its variants."""
    kept: dict[str, Finding] = {}
    for finding in findings:
        before = kept.get(finding.name)
        if before is None:
            kept[finding.name] = finding
        else:
            kept[finding.name] = replace(before, variants=tuple(dict.fromkeys((*before.variants, *finding.variants))))
    return list(kept.values())


def _explained(view: View, finding: Finding) -> Finding:
    """With who it may be, and what to change."""
    signature = finding.signature
    vendors = signature.vendors or {}
    named = [(hop, vendors[hop.vendor]) for hop in view.hops if hop.vendor in vendors]
    cures = tuple(dict.fromkeys((*finding.cures, *(cure for _, cure in named), *signature.cures)))
    if finding.level is not Level.BUFFERED:
        return replace(finding, cures=cures)
    if named:
        who = " or ".join(f"{hop.vendor} ({hop.field})" for hop, _ in named)
        return replace(finding, cures=cures, where=f"likely {who}, which is on the way")
    if view.probe:
        where = "a hop between here and the unbuffer that sends the probe"
    elif server := evidence.server(view.first):
        where = f"the application, its server ({server}), or a hop that leaves no trace"
    else:
        where = "the application, its server, or a hop that leaves no trace"
    return replace(finding, cures=cures, where=f"{where}; --direct URL of a point behind it tells which")


# -- what there is to be found


def _no_answer(view: View) -> Iterator[Finding]:
    for one, _ in view.seen:
        if one.ending == "failed":
            yield _failure(view, one, "no_answer", one.detail, OF_A_FAILURE[one.failure])
        elif one.ending in ("silent", "interrupted") and (one.plan is None or not one.reads):
            what = "no response head" if one.head is None else "no more of the body" if one.reads else "no body"
            if one.ending == "silent":
                yield _failure(view, one, "silent", f"{what} came within {one.end:.1f} s")
            elif one.head is None or not one.reads:
                yield _failure(view, one, "silent", f"{what} had come after {one.end:.1f} s, when it was interrupted")


def _status(view: View) -> Iterator[Finding]:
    for one, _ in view.seen:
        if one.status in REDIRECTS:
            where = one.value("location").partition("?")[0]
            said = f"it answers {one.status}{f', to {where}' if where else ' and does not say where to'}"
            said += f"; {one.detail}" if one.detail else ""
            cures = ("Follow it: -L.",) if where and not one.detail else ()
            yield _failure(view, one, "redirect", said, cures)
        elif one.status and not 200 <= one.status < 300:
            hint = f"; {one.detail}" if one.status == 400 and one.detail else ""
            said = f"it answers {one.status}{_advice(one)}{hint}"
            yield _failure(view, one, "status", said, OF_A_STATUS.get(one.status, ()))


def _failure(view: View, one: Observation, name: str, said: str, cures: tuple[str, ...] = ()) -> Finding:
    """Of the first request it is grave; where another one fails, all that is known of the first still holds."""
    if one is view.first:
        return Finding(name, view.url, said, (one.variant,), cures=cures)
    return Finding("variant_failed", view.url, f"{one.variant}: {said}", (one.variant,))


def _advice(one: Observation) -> str:
    allowed = one.value("allow")
    return {
        401: "; send a credential, as in --header 'Authorization: Bearer ...'",
        404: "; is the path right?",
        405: f"; allowed are {allowed}, see --method" if allowed else "; see --method",
        501: "; Caddy with response_buffers says so of `Incremental`, which unbuffer sends"
        if one.plan or "caddy" in one.value("server").lower()
        else "",
        503: "; the limit of streams or of probe.streams may be reached" if one.plan else "",
    }.get(one.status, "")


def _no_stream(view: View) -> Iterator[Finding]:
    one, form = view.seen[0]
    if one.damage:
        return  # what it would have said is not known
    if form.kind is Kind.WHOLE:
        if form.late >= 0.5:
            said = f"an answer of {one.content} bytes with a Content-Length came at once, after {form.late:.1f} s"
            yield Finding("held_to_the_end", view.url, said, (one.variant,))
        else:
            yield Finding("no_stream", view.url, f"{one.content} bytes came at once", (one.variant,))
    elif one.plan is not None and one.status == 200 and not view.probe:
        yield Finding("no_probe", view.url, "the answer has no events of a probe", (one.variant,))
    elif form.kind is Kind.SHORT and one.plan is None and one.ending in ("complete", "closed", "enough"):
        name = "too_quick" if one.reads[0].at < WAIT else "too_short"
        said = f"{one.content} bytes from {one.reads[0].at:.2f} s to {one.reads[-1].at:.2f} s"
        yield Finding(name, view.url, said, (one.variant,))
    elif form.kind is Kind.NONE and one.status == 200 and one.ending in ("complete", "closed"):
        yield Finding("no_stream", view.url, "the response has no body", (one.variant,))


def _held(view: View) -> Iterator[Finding]:
    for name, said, asked in holding(view.seen):
        if name == "held_to_the_end" and any(hop.vendor == "Google Frontend" for hop in view.hops):
            yield Finding("app_engine", view.url, said, asked)
        else:
            yield Finding(name, view.url, said, asked)


def _head(view: View) -> Iterator[Finding]:
    late = [(one, form) for one, form in view.seen if form.head_late and not one.group and form.kind is Kind.STREAMED]
    others = [
        one
        for one, form in view.seen
        if not form.head_late and not one.group and form.kind not in (Kind.NONE, Kind.SHORT) and _tells_of_heads(one)
    ]
    types = {one.media_type for one, _ in late}
    only = ""
    if any(one.encoding == "identity" for one in others) and all(one.encoding != "identity" for one, _ in late):
        only = ", only for requests that accept compression"
    elif others and types.isdisjoint(one.media_type for one in others):
        only = f", only for {' and '.join(sorted(types))}"
    for one, form in late:
        said = f"the head came {form.head_late:.1f} s late, together with the first of the body{only}"
        yield Finding("head_withheld", view.url, said, (one.variant,))


def _tells_of_heads(one: Observation) -> bool:
    return one.plan is None or one.plan.delay >= HEAD_DELAY


def _cuts(view: View) -> Iterator[Finding]:
    cuts = [one for one, _ in view.seen if one.ending == "cut"]
    # What cuts a stream that flows as well, after the same time, counts the whole.
    whole = [one.end for one in cuts if not _fell_silent(one)]
    for one in cuts:
        silent = _fell_silent(one) and not any(abs(one.end - seconds) < 2.0 for seconds in whole)
        seconds = _silence(one) if silent else one.end
        who = who_cuts_after(seconds)
        kind = f"after {_seconds(seconds)} without a byte" if silent else f"after {_seconds(seconds)} in all"
        said = f"cut {kind}: {one.detail}" + (f". That is the default of {who}" if who else "")
        yield Finding("cut", view.url, said, (one.variant,))


def _silence(one: Observation) -> float:
    """Seconds from its last byte to its end."""
    return one.end - (one.reads[-1].at if one.reads else one.head or 0.0)


def _fell_silent(one: Observation) -> bool:
    """Whether it was silent before its end as it never was before."""
    gaps = [later.at - earlier.at for earlier, later in pairwise(one.reads)]
    return _silence(one) >= max(1.0, 0.3 * one.end, 3 * max(gaps, default=0.0))


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _damaged(view: View) -> Iterator[Finding]:
    for one, _ in view.seen:
        if one.damage:
            said = f"Content-Encoding: {one.value('content-encoding')}; {one.damage}"
            yield Finding("damaged", view.url, said, (one.variant,))


def _truncated(view: View) -> Iterator[Finding]:
    for one, _ in view.seen:
        if one.ending not in ("complete", "closed"):
            continue
        last = one.marks[-1].number + 1 if one.marks else 0
        if one.of and last < one.of:
            said = f"it ended cleanly after {_seconds(one.end)} and event {last} of {one.of}"
            who = who_cuts_after(one.end)
            said += f". That is the default of {who}" if who else ""
            yield Finding("truncated", view.url, said, (one.variant,))
        elif one.unended:
            said = f"it ended cleanly, inside what its Content-Encoding: {one.value('content-encoding')} began"
            yield Finding("truncated", view.url, said, (one.variant,))
        elif one.partial and one.media_type in LINES:
            yield Finding("truncated", view.url, "it ended cleanly, inside an event", (one.variant,))


def _heartbeats(view: View) -> Iterator[Finding]:
    for one, _ in view.seen:
        if one.plan is None or not one.plan.beat or len(one.marks) < 2 or one.ending != "complete":
            continue
        if not one.beats:
            yield Finding(
                "heartbeats_swallowed", view.url, "events came, of the comments between them none", (one.variant,)
            )
            continue
        both = sorted((*one.marks, *one.beats), key=lambda mark: mark.sent)
        late = dict(zip(both, lags(both), strict=True))
        held = [beat for beat in one.beats if late[beat] > 0.1]
        if len(held) > len(one.beats) / 2 and all(late[mark] < 0.1 for mark in one.marks):
            said = "comments came with the next event only, and not when they were sent"
            yield Finding("heartbeats_swallowed", view.url, said, (one.variant,))


def _several(view: View) -> Iterator[Finding]:
    alone = next((one for one, _ in view.seen if not one.group and one.reads), None)
    group = [one for one, _ in view.seen if one.group and one.reads]
    if alone is None or len(group) < 2 or view.seen[0][1].held:
        return  # of what is held nobody knows when it was made
    lasted = alone.reads[-1].at
    if lasted - alone.reads[0].at < 0.3:
        return  # so short that three of them are over before they can meet
    spans = sorted((one.began + one.reads[0].at, one.began + one.reads[-1].at) for one in group)
    begun = min(one.began for one in group)
    if all(later[0] >= earlier[1] - 0.02 for earlier, later in pairwise(spans)):
        said = f"of {len(group)} streams at once, each began when the one before had ended"
        yield Finding("blocked_loop", view.url, said, ("several",))
    elif not _paced(alone) or compare.hears_the_same(group):
        return
    elif spans[-1][1] - begun >= 0.75 * len(group) * lasted and alone.ending != "enough":
        said = f"{len(group)} streams at once took {spans[-1][1] - begun:.1f} s; one alone took {lasted:.1f} s"
        yield Finding("blocked_loop", view.url, said, ("several",))
    else:
        own = max((later.at - earlier.at for earlier, later in pairwise(alone.reads)), default=0.0)
        own = max(own, alone.reads[0].at)
        silent = compare.common_silences(group, 1.5 * own + 0.25)
        still = compare.stood_still(group)
        if len(silent) >= 2:  # once may be a machine that had no time
            said = f"{len(group)} streams at once were silent together for {max(silent):.1f} s; one alone never was"
            yield Finding("blocked_loop", view.url, said, ("several",))
        elif len(still) >= 2:
            said = f"{len(group)} streams at once stood still and went on together, {len(still)} times, for up to "
            yield Finding("blocked_loop", view.url, f"{said}{max(still):.1f} s", ("several",))


def _paced(one: Observation) -> bool:
    """Whether it waits between its events. One that comes as fast as it can shares a processor with its neighbours."""
    return median([later.at - earlier.at for earlier, later in pairwise(one.reads)]) >= PACED


def _notes(view: View) -> Iterator[Finding]:
    one = view.first
    if not 200 <= one.status < 300 or one.head is None:
        return
    cache = one.value("cache-control").lower()
    codings = {
        other.value("content-encoding"): other.variant
        for other, form in view.seen
        if not form.held and not other.damage
    }
    for coding, variant in codings.items():
        if coding:
            yield Finding("compressed", view.url, f"Content-Encoding: {coding}", (variant,))
    if one.http == "1.0" or (one.http == "1.1" and one.ending == "closed"):
        what = "HTTP/1.0" if one.http == "1.0" else "HTTP/1.1 without a length or chunks"
        yield Finding("http_1_0", view.url, f"it answers in {what}", (one.variant,))
    if one.media_type == "text/plain" and "nosniff" not in one.value("x-content-type-options").lower():
        yield Finding("sniffable", view.url, "text/plain without X-Content-Type-Options: nosniff", (one.variant,))
    if "no-transform" not in cache and not one.value("content-length"):
        yield Finding("no_transform_missing", view.url, f"Cache-Control: {cache or 'none'}", (one.variant,))
    for other, form in view.seen:
        if (
            other.value("content-length")
            and (other.plan or form.kind not in (Kind.WHOLE, Kind.NONE))
            and other.status == 200
        ):
            said = f"Content-Length: {other.value('content-length')}"
            yield Finding("length_on_stream", view.url, said, (other.variant,))
    if one.method != "GET" and one.media_type == "text/event-stream" and one.plan is None:
        yield Finding("post_and_eventsource", view.url, f"an event-stream for {one.method}", (one.variant,))
    for other, _ in view.seen:
        if other.detail and other.ending in ("complete", "closed", "enough"):
            yield Finding("uncoded", view.url, other.detail, (other.variant,))
        if other.plan and other.plan.gap == variants.SILENCE and len(other.marks) > 1:
            said = f"a silence of {_seconds(other.plan.gap)} was survived; longer ones were not tried"
            yield Finding("silence_bounded", view.url, said, (other.variant,))


LOOKS: tuple[Callable[[View], Iterator[Finding]], ...] = (
    _no_answer, _status, _no_stream, _damaged, _held, _head, _cuts, _truncated, _heartbeats, _several, _notes,
)  # fmt: skip
"""What is looked for, in this order. To find something else, add a function here and its name to `signatures.TABLE`."""
