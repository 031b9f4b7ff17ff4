"""The paths of routes: what could never match is refused with what to write, and who hides whom is found."""

import re
import string
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.settings.conftest import Problems, Write
from unbuffer.relay.policy import RouteTable
from unbuffer.settings.load import load
from unbuffer.settings.model import Settings
from unbuffer.settings.problems import Problem
from unbuffer.settings.route import Route
from unbuffer.settings.route_paths import glob_pattern, hidden, mistake

TARGET = Settings().limits.target


def route(kind: str, path: str, name: str = "r") -> Route:
    """A route that has this prefix or glob."""
    return Route(name=name, prefix=path) if kind == "prefix" else Route(name=name, glob=path)


def says(kind: str, path: str) -> str | None:
    """What is wrong with a route that has this prefix or glob."""
    return mistake(route(kind, path), TARGET)


def matches(kind: str, path: str, target: str) -> bool:
    """Whether a route with this prefix or glob takes a request with this target."""
    table = RouteTable(Settings(routes=(route(kind, path),)))
    return table.match(b"GET", target.encode()).route == "r"


SEGMENTS = "requests are compared without empty, . and .. segments and %2F: write"


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("/a//b", f'{SEGMENTS} "/a/b"'),
        ("//a", f'{SEGMENTS} "/a"'),
        ("/a//", f'{SEGMENTS} "/a"'),
        ("//", f'{SEGMENTS} "/"'),
        ("/a/./b", f'{SEGMENTS} "/a/b"'),
        ("/a/.", f'{SEGMENTS} "/a"'),
        ("/a/../b", f'{SEGMENTS} "/b"'),
        ("/..", f'{SEGMENTS} "/"'),
        ("/../../b", f'{SEGMENTS} "/b"'),
        ("/a/%2e%2E/b", f'{SEGMENTS} "/b"'),
        ("/a%2Fb", f'{SEGMENTS} "/a/b"'),
        ("/a%2f%2e%2e/%C3%A4", f'{SEGMENTS} "/%C3%A4"'),
        ("/a?b=1", "a route is told by the path, not by the query; %3F is a question mark in the path"),
        ("/a#b", "no request has a fragment; %23 is a # in the path"),
        ("/a/{id}", "a parameter is written as * in a glob; %7B is a { in the path"),
    ],
)
@pytest.mark.parametrize("kind", ["prefix", "glob"])
def test_a_path_that_no_request_has_is_refused_with_what_to_write(kind: str, path: str, end: str) -> None:
    assert says(kind, path) == f'want the path of requests, got "{path}"; {end}'


@pytest.mark.parametrize(
    ("glob", "instead"),
    [("/v1/./*", "/v1/*"), ("/v1/*/../x", "/v1/x"), ("/**//x", "/**/x"), ("/*%2F*", "/*/*"), ("/**/..", "/")],
)
def test_beside_a_wildcard_too(glob: str, instead: str) -> None:
    assert says("glob", glob) == f'want the path of requests, got "{glob}"; {SEGMENTS} "{instead}"'


def test_a_wildcard_in_a_prefix_is_refused() -> None:
    assert says("prefix", "/v1/*") == (
        'want the path of requests, got "/v1/*"; a prefix has no wildcards: write it as a glob, or %2A for a * in the'
        " path"
    )


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/", "/"),
        ("/a/", "/a"),
        ("/a%2Db", "/a-b"),
        ("/a%2eb", "/a.b"),
        ("/.well-known", "/.well-known"),
        ("/...", "/..."),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%20b"),
        ("/\u00e4", "/%C3%A4"),
        ("/%C3%A4", "/%C3%A4"),
        ("/100%", "/100%25"),
        ("/%2541", "/%2541"),
        ("/a%3Fb", "/a%3Fb"),
        ("/a%23b", "/a%23b"),
        ("/%7Bid}", "/%7Bid%7D"),
        ("/a%2Ab", "/a*b"),
        ("/a%", "/a%"),
        ("/%zz", "/%zz"),
        ("/a;b=1", "/a;b=1"),
    ],
)
@pytest.mark.parametrize("kind", ["prefix", "glob"])
def test_a_path_is_read_as_in_a_url(kind: str, path: str, target: str) -> None:
    assert says(kind, path) is None
    assert matches(kind, path, target)


@pytest.mark.parametrize(
    ("glob", "target"),
    [("/.*", "/.env"), ("/*.", "/a."), ("/..*", "/..a"), ("/**..", "/a/b.."), ("/***", "/a/b"), ("/*/", "/a")],
)
def test_dots_beside_a_wildcard_are_text(glob: str, target: str) -> None:
    assert says("glob", glob) is None
    assert matches("glob", glob, target)


def test_a_path_longer_than_a_target_is_refused(problems: Problems, write: Write) -> None:
    fits = "/" + "\u00e4" * ((TARGET - 1) // 6)
    assert load(write(f"routes: [{{name: a, prefix: {fits}}}]"), {}, {}).routes
    (problem,) = problems(f"routes: [{{name: a, prefix: {fits}\u00e4}}]")
    assert problem.endswith("...; it is longer than limits.target allows")
    assert len(problem) < 200


def test_the_report_names_the_setting(problems: Problems) -> None:
    assert problems("routes:\n  - name: a\n    glob: /a//b\n  - name: b\n    prefix: /a?\n") == [
        f'unbuffer.yaml:3 routes[0].glob: want the path of requests, got "/a//b"; {SEGMENTS} "/a/b"',
        'unbuffer.yaml:5 routes[1].prefix: want the path of requests, got "/a?"; a route is told by the path, not by'
        " the query; %3F is a question mark in the path",
    ]


@pytest.mark.parametrize("name", ["default", "_other"])
def test_the_names_of_what_no_route_matches_are_taken(problems: Problems, name: str) -> None:
    (problem,) = problems(f"routes: [{{name: {name}, prefix: /a}}]")
    assert problem.startswith("unbuffer.yaml:1 routes[0].name: ")
    assert f'"{name}"' in problem


# -- whatever loads

PIECE = st.sampled_from([*"abA/.*%-~+@: ", "%2F", "%2f", "%2E", "..", "/.", "//", "**", "%41", "%25", "%3F", "\u00e4"])
TEXTS = st.lists(PIECE | st.text(string.printable, max_size=3), max_size=6).map("".join)
KINDS = st.sampled_from(["prefix", "glob"])
SLASHES = st.sampled_from(["/", "//", "/./", "/y/../", "/%2e/", "/y/%2E%2e/", "/%2F", "/%2f./"])
ENDS = st.sampled_from(["", "/", "//", "/.", "/%2e", "/y/..", "/y/%2e%2e", "?a=/..", "/?"])


def spelling(byte: int) -> st.SearchStrategy[str]:
    """The ways to write a byte of a path in a request."""
    if byte == ord("/"):
        return SLASHES
    codes = [f"%{byte:02x}", f"%{byte:02X}"]
    return st.sampled_from([chr(byte), *codes] if 0x20 < byte < 0x7F and byte not in b"%?#" else codes)


@given(KINDS, TEXTS, st.data())
def test_a_route_that_loads_takes_a_request_and_no_other_spelling_of_it_slips_past(
    kind: str, text: str, data: st.DataObject
) -> None:
    assume(says(kind, f"/{text}") is None)
    path = unquote_to_bytes(f"/{text}".replace("*", "x"))
    assert matches(kind, f"/{text}", quote(path))
    assert matches(kind, f"/{text}", "".join(data.draw(spelling(byte)) for byte in path) + data.draw(ENDS))


PLAIN = st.lists(st.sampled_from([*"abA/.%-~+@: ", "..", "/.", "%2F", "%41", "%25", "\u00e4"]), max_size=6).map("".join)


@given(KINDS, PLAIN, st.sampled_from(["//", "/./", "/../", "%2F", "%2f..%2F", "/%2e/"]), PLAIN)
def test_what_a_report_says_to_write_loads_and_means_the_same(kind: str, before: str, odd: str, after: str) -> None:
    path = f"/{before}{odd}x{after}"
    why = says(kind, path) or ""
    assert SEGMENTS in why
    instead = why.rpartition('write "')[2].removesuffix('"')
    assert says(kind, instead) is None
    assert matches(kind, instead, quote(unquote_to_bytes(path)))


# -- who hides whom


def found(*routes: Route) -> list[tuple[str, str]]:
    return list(hidden({one.name: one for one in routes}))


def prefix(name: str, path: str, *methods: str) -> Route:
    return Route(name=name, prefix=path, methods=methods)


def glob(name: str, path: str, *methods: str) -> Route:
    return Route(name=name, glob=path, methods=methods)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (prefix("a", "/"), prefix("b", "/v1")),
        (prefix("a", "/"), prefix("b", "/")),
        (prefix("a", "/"), glob("b", "/**/x")),
        (prefix("a", "/v1"), prefix("b", "/v1/")),
        (prefix("a", "/v1"), prefix("b", "/v%31/chat")),
        (prefix("a", "/v1"), glob("b", "/v1/*")),
        (prefix("a", "/v1"), glob("b", "/v1")),
        (prefix("a", "/a%2Db"), glob("b", "/a-b/**")),
        (prefix("a", "/", "GET", "POST"), prefix("b", "/v1", "POST")),
        (glob("a", "/**"), prefix("b", "/")),
        (glob("a", "/v1/**"), prefix("b", "/v1/chat")),
        (glob("a", "/v1/**"), glob("b", "/v1/*/x")),
        (glob("a", "/*"), glob("b", "/x")),
        (glob("a", "/x/"), glob("b", "/x")),
        (glob("a", "/**/x"), glob("b", "/a/**/x")),
        (glob("a", "/*/*"), glob("b", "/a/*")),
        (glob("a", "/a*"), glob("b", "/ab*")),
    ],
)
def test_a_route_that_takes_all_before_another_one_is_found(first: Route, second: Route) -> None:
    assert found(first, second) == [("b", "a")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (prefix("a", "/v1/chat"), prefix("b", "/v1")),
        (prefix("a", "/v1"), prefix("b", "/v10")),
        (prefix("a", "/v1"), glob("b", "/v1*")),
        (prefix("a", "/v1"), glob("b", "/**")),
        (prefix("a", "/", "GET"), prefix("b", "/v1")),
        (prefix("a", "/", "GET"), prefix("b", "/v1", "GET", "POST")),
        (prefix("a", "/", "OPTIONS"), prefix("b", "/", "POST")),
        (glob("a", "/v1/**"), prefix("b", "/v1")),
        (glob("a", "/*"), prefix("b", "/x")),
        (glob("a", "/*"), glob("b", "/**")),
        (glob("a", "/*/*"), glob("b", "/**")),
        (glob("a", "/*/*/*/*/*/*/*/*/*"), glob("b", "/**")),
        (glob("a", "/a*"), glob("b", "/*")),
        (glob("a", "/*x"), glob("b", "/*")),
        (glob("a", "/x"), prefix("b", "/x")),
        (glob("a", "/**/x"), glob("b", "/**")),
    ],
)
def test_and_one_that_leaves_something_is_not(first: Route, second: Route) -> None:
    assert found(first, second) == []


def test_the_first_that_hides_a_route_is_named_and_each_hidden_one_once() -> None:
    routes = [prefix("a", "/v1"), prefix("b", "/"), prefix("c", "/v1/chat"), prefix("d", "/v2")]
    assert found(*routes) == [("c", "a"), ("d", "b")]


SIMPLE = st.tuples(KINDS, st.lists(st.sampled_from(["/a", "/b", "/*", "/**", "/a*", "/*b"]), min_size=1, max_size=3))
REQUESTS = st.lists(st.sampled_from(["/a", "/b", "/c", "/ab", "/"]), min_size=1, max_size=4).map("".join)


@given(SIMPLE, SIMPLE, st.lists(REQUESTS, min_size=20, max_size=20))
def test_what_is_hidden_is_never_taken(
    one: tuple[str, list[str]], two: tuple[str, list[str]], requests: list[str]
) -> None:
    routes = tuple(route(kind, "".join(parts), f"r{n}") for n, (kind, parts) in enumerate((one, two)))
    table = RouteTable(Settings(routes=routes))
    taken = {table.match(b"GET", path.encode()).route for path in requests}
    assert not (found(*routes) and "r1" in taken)


def test_a_warning_at_the_load_names_both(write: Write) -> None:
    said: list[Problem] = []
    content = "routes:\n  - {name: all, prefix: /}\n  - name: chat\n    prefix: /v1/chat\n"
    load(write(content), {}, {}, warn=said.append)
    assert list(map(str, said)) == [
        'unbuffer.yaml:3 routes[1]: the route "chat" gets no request: "all" (routes[0]) takes them all before it; put'
        " it further up"
    ]


def test_the_routes_of_our_own_files_hide_nobody() -> None:
    said: list[Problem] = []
    load("config/llm.yaml", {}, {}, warn=said.append)
    assert said == []


@given(
    pieces=st.lists(st.sampled_from(["a", "b", "/", "ab", "*", "**", "a/b", "%2A"]), max_size=7),
    path=st.text("ab/*", max_size=10),
)
@example(pieces=["a", "*", "b", "**", "a", "*", "b"], path="ab/aab")
def test_a_glob_matches_as_its_backtracking_pattern_would(pieces: list[str], path: str) -> None:
    glob = "/" + "".join(pieces)
    wild = {"**": b".*", "*": b"[^/]*"}
    parts = re.split(r"(\*\*|\*)", glob.rstrip("/"))
    plain = b"".join(wild.get(part) or re.escape(unquote_to_bytes(part)) for part in parts) + b"/?"
    target = b"/" + path.encode()
    assert bool(glob_pattern(glob).fullmatch(target)) == bool(re.fullmatch(plain, target, re.DOTALL))


def test_what_a_client_writes_does_not_multiply_the_time_of_a_glob() -> None:
    """With backtracking this takes as many steps as there are ways to choose ten of 2,000 places: it never ends."""
    glob = glob_pattern("/" + "**/a" * 5 + "a*" * 5 + "**/b")
    assert not glob.fullmatch(b"/aa" * 2000)
