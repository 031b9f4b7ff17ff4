"""Settings that are right one by one and wrong together."""

from pathlib import Path

import pytest

from tests.settings.conftest import Problems, Write
from unbuffer.settings.load import load


@pytest.mark.parametrize(
    ("listen", "admin", "upstream"),
    [
        (":8080", "127.0.0.1:4198", "http://127.0.0.1:8000"),
        ("127.0.0.1:8080,[::1]:8080", ":4198", "http://127.0.0.1:8000"),
        ("0.0.0.0:8080,[::]:8080", "off", "http://127.0.0.1:8000"),
        (":8080", "off", "http://app:8080"),
        ("127.0.0.1:0,127.0.0.1:0", "127.0.0.1:0", "http://127.0.0.1:8000"),
        ("127.0.0.1:8080", "127.0.0.1:8081", "unix:/run/8080"),
        ("unix:/run/a,unix:/run/b", "unix:/run/c", "unix:/run/d"),
        ("10.0.0.1:80", "10.0.0.2:80", "http://10.0.0.3:80"),
    ],
)
def test_addresses_that_are_different_may_be_used_together(listen: str, admin: str, upstream: str) -> None:
    flags: dict[str, str | list[str]] = {"listen": listen, "admin": admin, "upstream": upstream}
    assert load(None, {}, flags).upstream.url == upstream


@pytest.mark.parametrize(
    ("listen", "upstream"),
    [
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("127.0.0.1:8000", "http://localhost:8000"),
        ("localhost:8000", "http://[::1]:8000"),
        (":8000", "http://127.0.0.1:8000"),
        (":80", "http://localhost"),
        ("0.0.0.0:443", "https://127.0.0.1"),
        ("[::]:8000", "http://[::1]:8000"),
        ("[0:0:0:0:0:0:0:1]:8000", "http://[::1]:8000"),
        ("127.0.0.1:8000", "http://0.0.0.0:8000"),
        ("app.internal:8000", "http://APP.internal:8000"),
        ("unix:/run/app.sock", "unix:///run/app.sock"),
    ],
)
def test_an_upstream_that_is_unbuffer_itself_is_refused(problems: Problems, listen: str, upstream: str) -> None:
    assert problems(flags={"listen": listen, "upstream": upstream, "admin": "off"}) == [
        f'flag upstream: "{upstream}" is unbuffer itself: listen.address has "{listen}"'
    ]


def test_an_upstream_that_is_the_admin_port_is_refused(problems: Problems) -> None:
    assert problems(flags={"upstream": "http://127.0.0.1:4198"}) == [
        'flag upstream: "http://127.0.0.1:4198" is unbuffer itself: admin.address has "127.0.0.1:4198"'
    ]


def test_the_source_that_made_the_loop_is_blamed(problems: Problems) -> None:
    assert problems(environ={"PORT": "8000"}) == [
        'PORT: "http://127.0.0.1:8000" is unbuffer itself: listen.address has ":8000"'
    ]


@pytest.mark.parametrize("admin", ["127.0.0.1:8080", "localhost:8080", ":8080", "0.0.0.0:8080"])
def test_an_admin_address_that_clients_use_is_refused(problems: Problems, admin: str) -> None:
    assert problems(environ={"UNBUFFER_ADMIN": admin}) == [
        f'UNBUFFER_ADMIN: "{admin}" is taken: listen.address has "127.0.0.1:8080"'
    ]


def test_an_address_given_twice_is_refused(problems: Problems) -> None:
    assert problems("listen: [':1', '127.0.0.1:1']") == [
        'unbuffer.yaml:1 listen: "127.0.0.1:1" is taken: listen.address has ":1"'
    ]


def test_listening_nowhere_is_refused(problems: Problems) -> None:
    assert problems("listen: []") == ["unbuffer.yaml:1 listen: want at least one address"]


@pytest.mark.parametrize(("target", "head"), [("32KiB", "32KiB"), ("64KiB", "32KiB")])
def test_a_target_has_to_fit_into_a_head(problems: Problems, target: str, head: str) -> None:
    assert problems(f"limits:\n  head: {head}\n  target: {target}\n") == [
        f"unbuffer.yaml:3 limits.target: limits.target ({target}) has to be less than limits.head (32KiB)"
    ]


def test_a_head_smaller_than_the_default_target_is_reported_at_the_head(problems: Problems) -> None:
    assert problems("limits:\n  head: 4KiB\n") == [
        "unbuffer.yaml:2 limits.head: limits.target (8KiB) has to be less than limits.head (4KiB)"
    ]


@pytest.mark.parametrize("path", ["listen.tls", "upstream.tls"])
def test_a_key_needs_a_certificate(problems: Problems, write: Write, path: str) -> None:
    key = write("")
    assert problems(flags={f"{path}.key": key, "upstream": "https://app"}) == [
        f"flag {path}.key: has no certificate; set {path}.certificate too"
    ]


def test_a_certificate_may_hold_its_key(write: Write) -> None:
    file = write("")
    assert load(None, {}, {"listen.tls.certificate": file}).listen.tls.certificate == file


@pytest.mark.parametrize(
    "path",
    [
        "listen.tls.certificate",
        "listen.tls.key",
        "upstream.tls.ca",
        "upstream.tls.certificate",
        "upstream.tls.key",
    ],
)
def test_a_file_that_cannot_be_opened_is_reported(problems: Problems, write: Write, path: str) -> None:
    here = write("")
    flags: dict[str, str | list[str]] = {"upstream": "https://app", path: "nothing.pem"}
    if path.endswith(".key"):
        flags[path.replace(".key", ".certificate")] = here
    assert problems(flags=flags) == [f'flag {path}: cannot read "nothing.pem": No such file or directory']
    flags[path] = str(Path(here).absolute().parent)
    (problem,) = problems(flags=flags)
    assert problem.endswith(": Is a directory")


@pytest.mark.parametrize("upstream", ["http://127.0.0.1:8000", "unix:/run/app.sock"])
def test_tls_settings_for_an_upstream_without_tls_are_refused(problems: Problems, upstream: str) -> None:
    content = f"upstream:\n  url: {upstream}\n  tls:\n    verify: false\n    server_name: app\n"
    assert problems(content) == [
        f'unbuffer.yaml:4 upstream.tls.verify: has no effect: upstream.url is "{upstream}", not https',
        f'unbuffer.yaml:5 upstream.tls.server_name: has no effect: upstream.url is "{upstream}", not https',
    ]


def test_tls_settings_are_taken_for_an_https_upstream(write: Write) -> None:
    content = "upstream:\n  url: https://app\n  tls: {verify: false, server_name: app.internal}\n"
    assert load(write(content), {}, {}).upstream.tls.server_name == "app.internal"


def test_a_default_that_is_written_out_is_no_tls_setting(write: Write) -> None:
    assert load(write("upstream: {tls: {verify: true, ca: ''}}"), {}, {}).upstream.tls.verify is True


def test_a_route_has_exactly_one_of_prefix_and_glob(problems: Problems) -> None:
    content = """\
routes:
  - name: a
    prefix: /a
    glob: /a
  - name: b
"""
    assert problems(content) == [
        "unbuffer.yaml:2 routes[0]: want exactly one of prefix and glob, got both",
        "unbuffer.yaml:5 routes[1]: want exactly one of prefix and glob, got neither",
    ]


def test_a_route_whose_prefix_is_wrong_is_reported_once(problems: Problems) -> None:
    assert problems("routes: [{name: a, prefix: v1}]") == [
        'unbuffer.yaml:1 routes[0].prefix: want a path that begins with /, got "v1"'
    ]


def test_two_routes_with_one_name_are_refused(problems: Problems) -> None:
    content = """\
routes:
  - {name: a, prefix: /a}
  - {name: b, prefix: /b}
  - {name: a, prefix: /c}
"""
    assert problems(content) == ['unbuffer.yaml:4 routes[2].name: "a" is the name of routes[0] already']


def test_a_wrong_value_is_not_checked_against_others(problems: Problems) -> None:
    """The default that stands in for it could contradict what is right."""
    assert problems("limits:\n  head: 4096 bytes\n  target: 32KiB\n") == [
        'unbuffer.yaml:2 limits.head: want a size such as 64KiB, 10MB or a number of bytes, got "4096 bytes"'
    ]


def test_limits_of_http_2_want_http_2(problems: Problems) -> None:
    (line,) = problems("listen: {http2: false}\nlimits:\n  http2_streams: 50\n")
    assert line == "unbuffer.yaml:3 limits.http2_streams: has no effect: listen.http2 is not true"


@pytest.mark.parametrize("name", ["http2_streams", "http2_frames"])
def test_no_limit_of_http_2_may_be_off(problems: Problems, name: str) -> None:
    (line,) = problems(f"limits: {{{name}: 0}}\n")
    assert f"limits.{name}: want " in line
