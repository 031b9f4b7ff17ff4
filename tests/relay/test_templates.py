"""Path templates: which one stands for a path, and how many become labels."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unbuffer.relay.policy import RouteTable
from unbuffer.relay.templates import LENGTH, MOST, PREFIXES, TRIED, Templates
from unbuffer.settings.model import Limits, Metrics, Settings
from unbuffer.settings.route import Route
from unbuffer.totals import DEFAULT_ROUTE, OVERFLOW_ROUTE


@pytest.mark.parametrize(
    ("template", "inside", "outside"),
    [
        ("/", [b"/"], [b"/a", b"//", b""]),
        ("/chat", [b"/chat"], [b"/chat/", b"/cha", b"/chat/x", b"/Chat"]),
        ("/chat/{id}", [b"/chat/1", b"/chat/a b\n\xff", b"/chat/{id}"], [b"/chat/", b"/chat", b"/chat/1/", b"/x/1"]),
        ("/chat/{id}/", [b"/chat/1/"], [b"/chat/1", b"/chat/"]),
        ("/{a}/{b}", [b"/x/y"], [b"/x/", b"/x", b"/x/y/z", b"/"]),
        ("/{a}/b/{c}/d", [b"/1/b/2/d"], [b"/1/b/2/e", b"/1/x/2/d"]),
        (
            "/models/{model}:generate",
            [b"/models/m:generate", b"/models/m\n:generate"],
            [b"/models/:generate", b"/models/m:x", b"/models/m"],
        ),
        (
            "/models/{model}:generate/{id}",
            [b"/models/m:generate/1"],
            [b"/models/m:generate/", b"/models/a/b:generate/1"],
        ),
        ("/f/{name}.json", [b"/f/a.json", b"/f/a.b.json"], [b"/f/.json", b"/f/axjson", b"/f/a/b.json"]),
        ("/compare/{base}...{head}", [b"/compare/a...b"], [b"/compare/", b"/compare/a/b"]),
        ("/\u00e4/{x}", ["/\u00e4/1".encode()], [b"/a/1"]),
    ],
)
def test_a_parameter_stands_for_something_inside_a_segment(
    template: str, inside: list[bytes], outside: list[bytes]
) -> None:
    templates = Templates([template])
    assert [path for path in inside if templates.find(path) != template] == []
    assert [path for path in outside if templates.find(path) is not None] == []


@pytest.mark.parametrize(
    ("path", "template"),
    [
        (b"/users/me", "/users/me"),
        (b"/users/7", "/users/{id}"),
        (b"/users/7:lock", "/users/{id}:lock"),
        (b"/users/me/posts", "/users/me/{kind}"),
        (b"/users/7/posts", "/users/{id}/posts"),
        (b"/users/7/likes", "/users/{id}/{kind}"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_text_comes_before_a_parameter_in_any_order_of_the_document(path: bytes, template: str, order: int) -> None:
    names = [
        *("/users/{id}", "/users/me", "/users/{id}:lock"),
        *("/users/{id}/{kind}", "/users/me/{kind}", "/users/{id}/posts"),
    ]
    assert Templates(names[::order]).find(path) == template


def test_of_two_that_mean_the_same_the_first_one_counts() -> None:
    assert Templates(["/a/{x}", "/a/{y}"]).find(b"/a/1") == "/a/{x}"


def test_a_prefix_may_stand_before_a_path_or_not() -> None:
    templates = Templates(["/items/{id}", "/items"], ("", "/api/v1"))
    assert templates.find(b"/items/1") == templates.find(b"/api/v1/items/1") == "/items/{id}"
    assert templates.find(b"/items") == templates.find(b"/api/v1/items") == "/items"
    assert templates.find(b"/api/items") is None


@pytest.mark.parametrize(
    "path",
    [
        "",
        "chat",
        "chat/{id}",
        "/a b",
        "/a\nb",
        "/\u2028",
        "/{",
        "/}",
        "/{a/b}",
        "/{}",
        "/{{a}}",
        "/a{",
        "/" + "x" * LENGTH,
    ],
)
def test_what_could_spoil_a_line_or_is_no_template_is_left_out(path: str) -> None:
    assert Templates([path, "/ok"]).names == ["/ok"]


def test_their_number_is_bounded() -> None:
    templates = Templates(f"/p{number}/{{x}}" for number in range(MOST + 5))
    assert len(templates.names) == MOST
    assert templates.find(b"/p%d/1" % (MOST - 1)) is not None
    assert templates.find(b"/p%d/1" % MOST) is None


SEGMENTS = st.sampled_from(["a", "b", "{x}", "{y}", "{x}:go", ""])


@settings(deadline=None, max_examples=300)
@given(
    names=st.lists(st.lists(SEGMENTS, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts)), max_size=6),
    path=st.lists(st.sampled_from(["a", "b", "c", "c:go"]), min_size=1, max_size=4).map(
        lambda parts: "/" + "/".join(parts)
    ),
)
def test_it_finds_what_trying_each_as_a_pattern_finds(names: list[str], path: str) -> None:
    fitting = [n for n in names if re.fullmatch("[^/]+".join(map(re.escape, re.split(r"\{.\}", n))), path)]
    found = Templates(names).find(path.encode())
    assert found in fitting if fitting else found is None


# -- as names of routes


def test_they_name_what_no_route_matches_and_change_no_setting() -> None:
    table = RouteTable(Settings(limits=Limits(body=5), routes=(Route(name="chat", prefix="/chat"),)))
    table.know(Templates(["/chat/{id}", "/items/{id}"]))
    assert table.match(b"GET", b"/chat/1").route == "chat"
    policy = table.match(b"GET", b"/items/1?x=/y")
    assert (policy.route, policy.body_limit) == ("/items/{id}", 5)
    assert table.match(b"GET", b"/items/2") is policy
    assert table.match(b"GET", b"/other").route == DEFAULT_ROUTE


@pytest.mark.parametrize("target", [b"/items/%31", b"//items/1", b"/x/../items/1", b"/%69tems/a%20b", b"/items/1?a=b"])
def test_every_spelling_of_a_path_is_the_same_path(target: bytes) -> None:
    table = RouteTable(Settings())
    table.know(Templates(["/items/{id}"]))
    assert table.match(b"GET", target).route == "/items/{id}"


def test_first_come_first_labelled_and_the_rest_shares_one() -> None:
    settings = Settings(metrics=Metrics(max_routes=3), routes=(Route(name="chat", prefix="/chat"),))
    table = RouteTable(settings)
    table.know(Templates(["/a/{x}", "/b/{x}", "/c/{x}"]))
    found = [table.match(b"GET", path).route for path in (b"/c/1", b"/a/1", b"/b/1", b"/b/2", b"/c/2", b"/chat")]
    assert found == ["/c/{x}", "/a/{x}", OVERFLOW_ROUTE, OVERFLOW_ROUTE, "/c/{x}", "chat"]


def test_a_label_once_given_keeps_its_place_when_the_document_changes() -> None:
    table = RouteTable(Settings(metrics=Metrics(max_routes=2)))
    table.know(Templates(["/a/{x}", "/b/{x}"]))
    assert table.match(b"GET", b"/a/1").route == "/a/{x}"
    table.know(Templates(["/c/{x}", "/d/{x}", "/a/{x}"]))
    found = [table.match(b"GET", path).route for path in (b"/c/1", b"/d/1", b"/a/1", b"/b/1")]
    assert found == ["/c/{x}", OVERFLOW_ROUTE, "/a/{x}", DEFAULT_ROUTE]


def test_routes_leave_no_room_where_they_take_it_all() -> None:
    routes = tuple(Route(name=f"r{n}", prefix=f"/r{n}") for n in range(3))
    table = RouteTable(Settings(metrics=Metrics(max_routes=2), routes=routes))
    table.know(Templates(["/a"]))
    assert table.match(b"GET", b"/a").route == OVERFLOW_ROUTE


def test_they_outlive_a_reload_unless_it_switches_them_off() -> None:
    table = RouteTable(Settings(metrics=Metrics(max_routes=1)))
    table.know(Templates(["/a/{x}", "/b/{x}"]))
    assert table.match(b"GET", b"/a/1").route == "/a/{x}"
    after = RouteTable(Settings(metrics=Metrics(max_routes=1), limits=Limits(body=7)), table)
    assert [after.match(b"GET", path).route for path in (b"/b/1", b"/a/1")] == [OVERFLOW_ROUTE, "/a/{x}"]
    assert after.match(b"GET", b"/a/1").body_limit == 7
    off = RouteTable(Settings(metrics=Metrics(openapi="off")), after)
    assert off.match(b"GET", b"/a/1").route == DEFAULT_ROUTE


def test_what_a_look_up_tries_is_bounded() -> None:
    """It runs on the event loop, for each request that no route matches."""
    alike = Templates(f"/{{x}}:verb{n}" for n in range(MOST))
    kinds = ["/".join(("", *("{p}" if n >> bit & 1 else "s" for bit in range(10)))) for n in range(1, MOST)]
    found = [alike.find(b"/1:verb%d" % n) for n in range(MOST)]
    assert found == [f"/{{x}}:verb{n}" for n in range(TRIED)] + [None] * (MOST - TRIED)
    shapes = Templates(kinds)
    paths = [kind.replace("{p}", "1").encode() for kind in kinds]
    assert len([path for path in paths if shapes.find(path)]) == TRIED


def test_many_templates_that_differ_in_their_text_are_all_found() -> None:
    names = [f"/r{n}/{{x}}:verb" for n in range(MOST)]
    templates = Templates(names)
    assert [templates.find(b"/r%d/1:verb" % n) for n in range(MOST)] == names


def test_prefixes_are_bounded_and_nothing_is_always_one() -> None:
    templates = Templates(["/a"], [f"/p{n}" for n in range(PREFIXES + 1)])
    paths = [b"/a", *(b"/p%d/a" % n for n in range(PREFIXES + 1))]
    assert [templates.find(path) for path in paths] == ["/a"] * (PREFIXES + 1) + [None]


def test_a_prefix_that_is_no_template_is_text() -> None:
    templates = Templates(["/{x}"], ["/{v"])
    assert [templates.find(path) for path in (b"/1/2", b"/{v/2", b"/x")] == [None, "/{x}", "/{x}"]
