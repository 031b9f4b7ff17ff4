"""Routes: the first match decides, no other spelling of a path slips past one, and labels are bounded."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unbuffer.relay.policy import Policy, RouteTable
from unbuffer.settings.model import SSE, Limits, Metrics, Settings, Timeouts
from unbuffer.settings.route import Route, RouteLimits, RouteSSE, RouteTimeouts
from unbuffer.totals import DEFAULT_ROUTE

ADMIN = RouteTable(Settings(routes=(Route(name="admin", prefix="/admin"),)))


def matches(route: Route, target: bytes, method: bytes = b"GET") -> bool:
    return RouteTable(Settings(routes=(route,))).match(method, target).route == route.name


@pytest.mark.parametrize(
    ("prefix", "inside", "outside"),
    [
        (
            "/v1",
            [b"/v1", b"/v1/", b"/v1/chat", b"/v1?a", b"/v1//x"],
            [b"/", b"/v10", b"/v", b"/V1", b"/x/v1", b"/v1;a"],
        ),
        ("/v1/", [b"/v1", b"/v1/", b"/v1/chat"], [b"/v10", b"/"]),
        ("/", [b"/", b"/?a", b"/x", b"/x/y"], [b"*"]),
        ("/a.b", [b"/a.b", b"/a.b/c"], [b"/axb"]),
        ("/\u00e4", [b"/%C3%A4", b"/%c3%a4/x"], [b"/%E4", b"/a"]),
        ("/%c3%A4", [b"/%C3%A4", b"/%c3%a4/x"], [b"/%E4", b"/a"]),
        ("/a%2Db/", [b"/a-b", b"/a%2Db/x"], [b"/a%252Db"]),
        ("/100%", [b"/100%25", b"/100%/x"], [b"/100"]),
    ],
)
def test_a_prefix_matches_whole_segments(prefix: str, inside: list[bytes], outside: list[bytes]) -> None:
    route = Route(name="r", prefix=prefix)
    assert [target for target in inside if not matches(route, target)] == []
    assert [target for target in outside if matches(route, target)] == []


@pytest.mark.parametrize(
    ("glob", "inside", "outside"),
    [
        ("/v1/*/stream", [b"/v1/a/stream", b"/v1/%61/stream?x"], [b"/v1/stream", b"/v1/a/b/stream", b"/v1/a/stream/x"]),
        ("/v1/**", [b"/v1/", b"/v1/a", b"/v1/a/b"], [b"/v1", b"/v2/a"]),
        ("/**/events", [b"/a/events", b"/a/b/events", b"/a/events/"], [b"/events2", b"/a/events/x"]),
        ("/*.html", [b"/a.html", b"/.html"], [b"/a/b.html", b"/axhtml", b"/a.html2"]),
        ("/a+(b)?[c]", [b"/a+(b)%3F[c]"], [b"/aa", b"/a+(b)", b"/ab"]),
        ("/**", [b"/", b"/a\xff", b"/%0A"], [b"*"]),
        ("/x", [b"/x", b"/x/", b"/x/.", b"/x/y/.."], [b"/x/y", b"/xy"]),
        ("/x/", [b"/x", b"/x/"], [b"/x/y", b"/xy"]),
        ("/", [b"/", b"//", b"/.", b"/x/.."], [b"/x", b"*"]),
        ("/v1/**", [b"/v1/.", b"/v1/x/..", b"/v1/%2e"], [b"/v1/..", b"/v1"]),
        ("/a%2Db/*%3F", [b"/a-b/c%3F", b"/%61%2db/%3f"], [b"/a-b/c", b"/a-b/c%253F"]),
        ("/%2A", [b"/*", b"/%2a/"], [b"/a"]),
    ],
)
def test_a_star_stays_inside_a_segment_and_two_do_not(glob: str, inside: list[bytes], outside: list[bytes]) -> None:
    route = Route(name="r", glob=glob)
    assert [target for target in inside if not matches(route, target)] == []
    assert [target for target in outside if matches(route, target)] == []


def test_methods_narrow_a_route() -> None:
    route = Route(name="r", prefix="/", methods=("GET", "M-SEARCH"))
    assert matches(route, b"/", b"GET")
    assert matches(route, b"/", b"M-SEARCH")
    assert not matches(route, b"/", b"POST")
    assert not matches(route, b"/", b"get")


def test_the_first_match_decides() -> None:
    table = RouteTable(
        Settings(
            routes=(
                Route(name="post", prefix="/v1/chat", methods=("POST",)),
                Route(name="chat", prefix="/v1/chat"),
                Route(name="v1", prefix="/v1"),
                Route(name="late", glob="/v1/chat"),
            )
        )
    )
    found = [table.match(method, b"/v1/chat").route for method in (b"POST", b"GET")]
    assert found == ["post", "chat"]
    assert table.match(b"GET", b"/v1/models").route == "v1"
    assert table.match(b"GET", b"/v2").route == DEFAULT_ROUTE


@pytest.mark.parametrize(
    "target",
    [
        b"/%61dmin",
        b"/%61%64%6d%69%6E/x",
        b"//admin",
        b"///admin//x",
        b"/./admin",
        b"/%2e/admin",
        b"/x/../admin",
        b"/x/%2e%2E/admin",
        b"/x/..%2fadmin",
        b"/../admin",
        b"/../../admin/x",
        b"/admin/.",
        b"/admin/x/..",
        b"/admin%2Fx",
        b"%2Fadmin",
        b"/admin?x=/../..",
    ],
)
def test_no_other_spelling_slips_past_a_route(target: bytes) -> None:
    assert ADMIN.match(b"GET", target).route == "admin"


@pytest.mark.parametrize(
    "target", [b"/admin/../x", b"/%2561dmin", b"/x?/admin", b"/x/admin", b"/ADMIN", b"/.admin", b"*"]
)
def test_and_none_is_taken_for_it(target: bytes) -> None:
    assert ADMIN.match(b"GET", target).route == DEFAULT_ROUTE


@settings(deadline=None)
@given(st.data(), st.sampled_from([b"/admin", b"/admin/users", b"/admin/a.b/c"]))
def test_percent_encoding_and_empty_steps_change_nothing(data: st.DataObject, path: bytes) -> None:
    spelled = b""
    for byte in path:
        code = b"%c" % byte
        if code == b"/":
            spelled += data.draw(st.sampled_from([b"/", b"//", b"/./", b"/x/../", b"/%2e/", b"%2f"]))
        else:
            spelled += data.draw(st.sampled_from([code, b"%%%02x" % byte, b"%%%02X" % byte]))
    assert ADMIN.match(b"GET", spelled).route == "admin"


@settings(deadline=None)
@given(st.binary(max_size=30))
def test_any_bytes_have_a_policy(target: bytes) -> None:
    assert ADMIN.match(b"GET", b"/" + target).route in ("admin", DEFAULT_ROUTE)


def test_a_route_states_what_it_changes_and_inherits_the_rest() -> None:
    table = RouteTable(
        Settings(
            timeouts=Timeouts(request_body=1.0, response_head=2.0, silence=3.0, client_stall=4.0),
            limits=Limits(body=5),
            sse=SSE(heartbeat=6.0, heartbeat_shape="comment", heartbeat_padding=7, keepalive_events=("ping",)),
            routes=(
                Route(
                    name="own",
                    prefix="/own",
                    timeouts=RouteTimeouts(request_body=10.0, response_head=20.0, silence=0.0, client_stall=40.0),
                    limits=RouteLimits(body=0),
                    decode="never",
                    sse=RouteSSE(
                        heartbeat=0.0,
                        heartbeat_shape="blank",
                        heartbeat_padding=0,
                        opening=True,
                        keepalive_events=("ö",),
                        error_event=True,
                    ),
                    terminal_marker="[DONE]",
                    server_timing=True,
                ),
                Route(name="none", prefix="/none"),
            ),
        )
    )
    assert table.match(b"GET", b"/own") == Policy(
        route="own",
        request_body_timeout=10.0,
        response_head_timeout=20.0,
        silence_timeout=0.0,
        client_stall_timeout=40.0,
        body_limit=0,
        body_rate=10,
        decode="never",
        guard=None,
        heartbeat=0.0,
        heartbeat_shape="blank",
        opening=True,
        heartbeat_padding=0,
        keepalive_events=(b"\xc3\xb6",),
        error_event=True,
        terminal_marker=b"[DONE]",
        server_timing=True,
    )
    inherited = Policy(
        route=DEFAULT_ROUTE,
        request_body_timeout=1.0,
        response_head_timeout=2.0,
        silence_timeout=3.0,
        client_stall_timeout=4.0,
        body_limit=5,
        body_rate=10,
        decode="streams",
        guard=None,
        heartbeat=6.0,
        heartbeat_shape="comment",
        opening=False,
        heartbeat_padding=7,
        keepalive_events=(b"ping",),
        error_event=False,
        terminal_marker=b"",
        server_timing=False,
    )
    assert table.match(b"GET", b"/") == inherited
    assert table.match(b"GET", b"/none") == replace(inherited, route="none")


def test_routes_beyond_max_routes_share_a_label_and_keep_their_settings() -> None:
    routes = tuple(Route(name=f"r{n}", prefix=f"/{n}", limits=RouteLimits(body=n)) for n in range(1, 5))
    table = RouteTable(Settings(metrics=Metrics(max_routes=2), routes=routes))
    found = [table.match(b"GET", b"/%d" % n) for n in range(1, 5)]
    assert [policy.route for policy in found] == ["r1", "r2", "_other", "_other"]
    assert [policy.body_limit for policy in found] == [1, 2, 3, 4]
