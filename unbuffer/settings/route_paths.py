"""The path of a route, `prefix` or `glob`: how it is read, what could never match, and which routes hide others.

It is written as in a URL, so that `%20`, `%3F` and `%2A` stand for characters that could not stand there themselves.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations, islice
from urllib.parse import unquote_to_bytes

from unbuffer.settings.problems import quote
from unbuffer.settings.route import Route

# What people write who take the path for something else, and what to write instead.
_MISTAKEN = {
    "?": "a route is told by the path, not by the query; %3F is a question mark in the path",
    "#": "no request has a fragment; %23 is a # in the path",
    "{": "a parameter is written as * in a glob; %7B is a { in the path",
}
_WILDCARD = re.compile(r"(\*\*|\*)")
# What wildcards are filled with, to see whether another route takes that too: nothing, and more than a route asks for,
# with a character that hardly stands in one.
_FILLED = (("", ""), ("\x7f", "\x7f"), ("\x7f\x7f", "/".join(["\x7f"] * 9)))
_MANY_WILDCARDS = 4
_MANY_ROUTES = 1000
"""More are not compared: the time goes up with the square of their number."""


def prefix_bytes(prefix: str) -> bytes:
    """What the canonical path begins with; a slash or nothing follows it."""
    return unquote_to_bytes(prefix).rstrip(b"/")


def glob_pattern(glob: str) -> re.Pattern[bytes]:
    """What the whole canonical path matches. As with a prefix, a slash at the end makes no difference.

    A wildcard takes as little as it can and never more later on (an atomic group): where what follows it stands for the
    first time is the best place, since it leaves the most to the others. So the time does not multiply with each
    wildcard, as it would with backtracking, on a path that a client chooses.
    """
    *before, last = glob.rstrip("/").split("**")
    text = b""
    if before:
        text = _run(before[0]) + b"".join(b"(?>.*?%b)" % _run(piece) for piece in before[1:]) + b".*"
    begin, star, end = last.rpartition("*")
    if star:
        text += _run(begin) + b"[^/]*"
    return re.compile(text + _literal(end) + b"/?", re.DOTALL)


def _run(piece: str) -> bytes:
    """What is between two `**`, up to its first end."""
    first, *others = map(_literal, piece.split("*"))
    return first + b"".join(b"(?>[^/]*?%b)" % other for other in others)


def _literal(text: str) -> bytes:
    return re.escape(unquote_to_bytes(text))


def mistake(route: Route, target: int) -> str | None:
    """Why the path of this route would match no request, or not what it seems to; None = it is well.

    target: bytes that a request target may have.
    """
    path = route.prefix or route.glob or "/"
    wanted = f"want the path of requests, got {quote(path)}"
    for character, meant in _MISTAKEN.items():
        if character in path:
            return f"{wanted}; {meant}"
    if route.prefix and "*" in path:
        return f"{wanted}; a prefix has no wildcards: write it as a glob, or %2A for a * in the path"
    plain = re.sub("%2f", "/", re.sub("%2e", ".", path, flags=re.IGNORECASE), flags=re.IGNORECASE)
    steps = plain.split("/")[1:]
    if re.search("%2f", path, re.IGNORECASE) or {".", ".."} & set(steps) or "" in steps[:-1]:
        return f"{wanted}; requests are compared without empty, . and .. segments and %2F: write {quote(_plain(steps))}"
    if _shortest(path) > target:
        return f"{wanted[:80]}...; it is longer than limits.target allows"
    return None


def hidden(routes: Mapping[str, Route]) -> Iterator[tuple[str, str]]:
    """The routes that are never taken: each with the first one before it that takes all its requests."""
    found: set[str] = set()
    compared = [(path, route, _samples(route)) for path, route in islice(routes.items(), _MANY_ROUTES)]
    takes = {path: _taking(route) for path, route, _ in compared}
    for (first, one, _), (path, other, samples) in combinations(compared, 2):
        if path not in found and samples and _every_method(one, other) and all(map(takes[first], samples)):
            found.add(path)
            yield path, first


def _plain(steps: list[str]) -> str:
    """The segments without empty and dot segments (RFC 3986, section 5.2.4)."""
    kept: list[str] = []
    for step in steps:
        if step == "..":
            del kept[-1:]
        elif step not in ("", "."):
            kept.append(step)
    return "/" + "/".join(kept)


def _shortest(path: str) -> int:
    """Bytes of the shortest request target that matches."""
    literal = unquote_to_bytes(path.replace("*", ""))
    return sum(1 if 0x20 < byte < 0x7F and byte not in b"%?#" else 3 for byte in literal)


def _every_method(one: Route, other: Route) -> bool:
    return not one.methods or (bool(other.methods) and set(other.methods) <= set(one.methods))


def _taking(route: Route) -> Callable[[bytes], object]:
    """Whether the route takes this path."""
    if route.glob is not None:
        return glob_pattern(route.glob).fullmatch
    begin = prefix_bytes(route.prefix or "/")
    return lambda path: path == begin or path.startswith(begin + b"/")


def _samples(route: Route) -> list[bytes]:
    """Paths that stand for all that the route takes; none where they would be too many kinds."""
    if route.glob is None:
        begin = prefix_bytes(route.prefix or "/")
        return [begin + b"/", *(begin + b"/" + two.encode() for _, two in _FILLED), *([begin] if begin else [])]
    pieces = _WILDCARD.split(route.glob.rstrip("/"))
    if len(pieces) > 2 * _MANY_WILDCARDS:
        return []
    filled = ([{"*": one, "**": two}.get(piece, piece) for piece in pieces] for one, two in _FILLED)
    return [unquote_to_bytes("".join(parts)) or b"/" for parts in filled]
