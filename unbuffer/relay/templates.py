"""Path templates of the application, such as `/chat/{id}`, as a look-up that costs a request little.

A parameter stands for one or more characters inside a segment, never for a slash. Where several templates fit, the one
with text where the others have a parameter is taken, as OpenAPI 3 asks for.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import NamedTuple

MOST = 1000
"""Templates that are looked up, as many as metrics.max_routes may be."""

LENGTH = 200
"""Characters of a template that may become a label value."""

# From the first parameter of a segment to its last: several would let a long path be tried in very many ways.
_PARAMETER = re.compile(r"\{[^/]*\}")
_BALANCED = re.compile(r"(?:[^{}]|\{[^{}/]+\})+")


class Templates:
    """The templates of one application. What is no path, or could spoil a log line, is left out."""

    def __init__(self, paths: Iterable[str] = (), prefixes: Sequence[str] = ("",)) -> None:
        """prefixes: what may stand before a path in a request."""
        self.names = [path for path in dict.fromkeys(paths) if _usable(path)][:MOST]
        self._exact: dict[bytes, str] = {}
        self._patterns: dict[int, list[tuple[re.Pattern[bytes], str]]] = {}
        self._shapes: dict[int, list[_Shape]] = {}
        """Both by the number of segments."""
        for prefix in prefixes:
            for name in self.names:
                self._add(prefix + name, name)
        for shapes in self._shapes.values():
            shapes.sort(key=attrgetter("parameters"))

    def find(self, path: bytes) -> str | None:
        """The template that stands for this path, given without query and percent-encoding."""
        template = self._exact.get(path)
        if template is not None or not (self._shapes or self._patterns):
            return template
        segments = path.split(b"/")
        if self._patterns:
            for pattern, template in self._patterns.get(len(segments), ()):
                if pattern.fullmatch(path):
                    return template
        for _, open_end, literals, templates in self._shapes.get(len(segments), ()):
            template = templates.get(literals(segments))
            if template is not None and (segments[-1] or not open_end):
                return template
        return None

    def _add(self, template: str, name: str) -> None:
        segments = template.split("/")
        parameters = tuple(_PARAMETER.fullmatch(segment) is not None for segment in segments)
        if "{" not in template:
            self._exact.setdefault(template.encode(), name)
        elif any("{" in segment and not whole for segment, whole in zip(segments, parameters, strict=True)):
            # `/models/{model}:generate`: a parameter that shares its segment.
            text = "[^/]+".join(map(re.escape, _PARAMETER.split(template)))
            self._patterns.setdefault(len(segments), []).append((re.compile(text.encode()), name))
        else:
            shapes = self._shapes.setdefault(len(segments), [])
            shape = next((shape for shape in shapes if shape.parameters == parameters), None)
            if shape is None:
                shape = _shape(parameters)
                shapes.append(shape)
            shape.templates.setdefault(shape.literals([segment.encode() for segment in segments]), name)


class _Shape(NamedTuple):
    """Templates that have parameters in the same segments: the other segments are a key.

    parameters: whether each segment is one. open_end: the last one is, and must not be empty; inside a path none is.
    """

    parameters: tuple[bool, ...]
    open_end: bool
    literals: Callable[[Sequence[bytes]], object]
    templates: dict[object, str]


def _shape(parameters: tuple[bool, ...]) -> _Shape:
    # What stands before the first slash is a literal always: nothing.
    literals = itemgetter(*(index for index, parameter in enumerate(parameters) if not parameter))
    return _Shape(parameters, parameters[-1], literals, {})


def _usable(path: str) -> bool:
    if not path.startswith("/") or len(path) > LENGTH:
        return False
    return path.isprintable() and " " not in path and _BALANCED.fullmatch(path) is not None
