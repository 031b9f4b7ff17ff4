"""Who is held, and how: the requests of one URL side by side tell a size from a timer, and a type from a coding."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

from unbuffer.check.observation import Observation
from unbuffer.check.shape import Kind, Shape

Judged = tuple[Observation, Shape]
Held = tuple[str, str, tuple[str, ...]]
"""The name of a finding, what was seen, and the variants."""

_NAMES = {
    Kind.HELD: "held_to_the_end",
    Kind.STEPS: "steps",
    Kind.BEAT: "beat",
    Kind.FIRST_BYTES: "first_bytes_held",
    Kind.LATE: "held_irregularly",
}
_TELLING = (Kind.BEAT, Kind.STEPS, Kind.FIRST_BYTES, Kind.HELD, Kind.LATE)
"""What says more comes first: a buffer that a small stream does not fill looks like one that holds to the end."""


def holding(seen: Sequence[Judged]) -> Iterator[Held]:
    """What is held: how, and, where that is only so for some requests, what these have in common."""
    judged = [
        (one, form) for one, form in seen if not one.group and form.kind not in (Kind.NONE, Kind.SHORT, Kind.WHOLE)
    ]
    held = [(one, form) for one, form in judged if form.held]
    if not held:
        return
    names = tuple(one.variant for one, _ in held)
    yield (*_how(held), names)
    streamed = [(one, form) for one, form in judged if not form.held]
    if streamed and (common := _common(held, streamed)):
        yield (*common, names)


def _how(held: Sequence[Judged]) -> tuple[str, str]:
    kinds = Counter(form.kind for _, form in held)
    kind = next(kind for kind in _TELLING if kind in kinds)
    if kind is Kind.BEAT and kinds[Kind.STEPS] > kinds[Kind.BEAT]:
        kind = Kind.STEPS
    forms = [form for _, form in held if form.kind is kind]
    return _NAMES[kind], _said(kind, forms, held)


def _said(kind: Kind, forms: Sequence[Shape], held: Sequence[Judged]) -> str:
    late = max(form.late for _, form in held)
    waited = f", up to {late:.1f} s late" if late else ""
    match kind:
        case Kind.STEPS:
            return f"it comes in steps of {size_text(round(median(form.size for form in forms)))}{waited}"
        case Kind.BEAT:
            return f"it comes on a beat of {median(form.beat for form in forms) * 1000:.0f} ms{waited}"
        case Kind.FIRST_BYTES:
            return f"its first {size_text(round(median(form.size for form in forms)))} are held{waited}; the rest flows"
        case Kind.HELD:
            one = held[0][0]
            body = sum(read.body for read in one.reads)
            return f"it is held to the end: {size_text(body)} came at once after {one.reads[-1].at:.1f} s"
        case _:
            return f"events come late, several at a time{waited}"


def _common(held: Sequence[Judged], streamed: Sequence[Judged]) -> tuple[str, str] | None:
    """What those that are held have in common, and those that are not do not."""
    if all(one.encoding != "identity" for one, _ in held):
        kinds = {one.media_type for one, _ in held}
        if any(one.encoding == "identity" and one.media_type in kinds for one, _ in streamed):
            of = f" ({', '.join(sorted(kinds))})" if len(kinds) == 1 else ""
            return "compression_holds", f"only requests that accept compression are held{of}"
    kinds = {one.media_type for one, _ in held}
    others = {one.media_type for one, _ in streamed}
    if kinds.isdisjoint(others):
        return "one_media_type", f"only {_list(kinds)} is held; {_list(others)} streams"
    methods, other_methods = {one.method for one, _ in held}, {one.method for one, _ in streamed}
    if methods.isdisjoint(other_methods):
        return "one_method", f"only {_list(methods)} is held; {_list(other_methods)} streams"
    versions, other_versions = {one.http for one, _ in held}, {one.http for one, _ in streamed}
    if versions.isdisjoint(other_versions):
        return "one_http_version", f"only HTTP/{_list(versions)} is held; HTTP/{_list(other_versions)} streams"
    return None


def _list(names: set[str]) -> str:
    return " and ".join(sorted(name or "no type" for name in names))


def size_text(size: int) -> str:
    """A size as people name buffers."""
    for unit in (65536, 32768, 16384, 8192, 4096, 1024):
        times = round(size / unit)
        if times and abs(size - times * unit) <= 0.03 * unit * times and (times == 1 or unit == 1024):
            return f"{times * unit // 1024} KiB"
    return f"{size} bytes"
