"""Path templates of the application, such as `/chat/{id}`, as a look-up that costs a request little.

A parameter stands for one or more characters inside a segment, never for a slash. Where several templates fit, the one
with text where the others have a parameter is taken, as OpenAPI 3 asks for.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from operator import attrgetter, itemgetter
from typing import NamedTuple

MOST = 1000
"""Templates that are looked up, as many as metrics.max_routes may be."""

LENGTH = 200
"""Characters of a template that may become a label value."""

PREFIXES = 4
"""What may stand before a template, beside nothing: each is looked up like a template of its own."""

TRIED = 64
"""What a look-up tries one after the other; templates of more kinds are left out. It runs on the event loop."""

# From the first parameter of a segment to its last: with text between several, a path would be tried in many ways.
_PARAMETER = re.compile(r"\{[^/]*\}")
_BALANCED = re.compile(r"(?:[^{}]|\{[^{}/]+\})+")


class Templates:
    """The templates of one application. What is no path, or could spoil a log line, is left out."""

    def __init__(self, paths: Iterable[str] = (), prefixes: Sequence[str] = ()) -> None:
        """prefixes: what may stand before a path in a request, beside nothing."""
        self.names = list(islice(filter(_usable, dict.fromkeys(paths)), MOST))
        self._exact: dict[bytes, str] = {}
        self._mixed: dict[int, list[_Shape]] = {}
        """Those with a parameter that shares its segment: `/models/{model}:generate`."""
        self._shapes: dict[int, list[_Shape]] = {}
        """All others; both by the number of segments."""
        for prefix in list(dict.fromkeys(("", *prefixes)))[: PREFIXES + 1]:
            for name in self.names:
                self._add(prefix + name, name)
        for by_length in (self._mixed, self._shapes):
            for shapes in by_length.values():
                shapes.sort(key=attrgetter("parameters"))

    def find(self, path: bytes) -> str | None:
        """The template that stands for this path, given without query and percent-encoding."""
        template = self._exact.get(path)
        if template is not None or not (self._shapes or self._mixed):
            return template
        segments = path.split(b"/")
        if self._mixed:
            for _, _, literals, templates in self._mixed.get(len(segments), ()):
                for places, template in templates.get(literals(segments), ()):
                    if _fits(segments, places):
                        return template
        for _, open_end, literals, templates in self._shapes.get(len(segments), ()):
            found = templates.get(literals(segments))
            if found is not None and (segments[-1] or not open_end):
                return found[0][1]
        return None

    def _add(self, template: str, name: str) -> None:
        if "{" not in template:
            self._exact.setdefault(template.encode(), name)
            return
        segments = template.split("/")
        around = [_PARAMETER.split(segment) for segment in segments]
        parameters = tuple(len(both) == 2 for both in around)
        places = [(n, both[0].encode(), both[1].encode()) for n, both in enumerate(around) if len(both) == 2]
        mixed = any(before or after for _, before, after in places)
        shapes = (self._mixed if mixed else self._shapes).setdefault(len(segments), [])
        shape = next((shape for shape in shapes if shape.parameters == parameters), None)
        if shape is None:
            if len(shapes) == TRIED:
                return
            shape = _shape(parameters)
            shapes.append(shape)
        alike = shape.templates.setdefault(shape.literals([segment.encode() for segment in segments]), [])
        if len(alike) < TRIED:
            alike.append((places, name))


Places = list[tuple[int, bytes, bytes]]
"""The segments with a parameter: which one, and the text before and after the parameter."""


class _Shape(NamedTuple):
    """Templates that have parameters in the same segments: the other segments are a key.

    parameters: whether each segment has one. open_end: the last one has, and must not be empty; inside a path none is.
    templates: those that are alike but for the text around their parameters.
    """

    parameters: tuple[bool, ...]
    open_end: bool
    literals: Callable[[Sequence[bytes]], object]
    templates: dict[object, list[tuple[Places, str]]]


def _shape(parameters: tuple[bool, ...]) -> _Shape:
    # What stands before the first slash is a literal always: nothing.
    literals = itemgetter(*(index for index, parameter in enumerate(parameters) if not parameter))
    return _Shape(parameters, parameters[-1], literals, {})


def _fits(segments: Sequence[bytes], places: Places) -> bool:
    for index, before, after in places:
        segment = segments[index]
        if len(segment) <= len(before) + len(after) or not (segment.startswith(before) and segment.endswith(after)):
            return False
    return True


def _usable(path: str) -> bool:
    if not path.startswith("/") or len(path) > LENGTH:
        return False
    return path.isprintable() and " " not in path and _BALANCED.fullmatch(path) is not None
