"""Settings about proxies and credentials: what does not fit together, and that no message or dump shows a token."""

from pathlib import Path

import pytest
import yaml

from tests.settings.conftest import Problems, Write
from unbuffer.settings.load import dump, load
from unbuffer.settings.token_file import read_tokens

# -- listen.proxy_protocol


def test_the_proxy_protocol_wants_to_know_its_proxies(problems: Problems) -> None:
    assert problems("listen:\n  proxy_protocol: true\n") == [
        "unbuffer.yaml:2 listen.proxy_protocol: wants to know who may send the header; "
        "name the proxies in forwarded.trusted_proxies"
    ]


def test_a_scheme_for_proxies_that_send_no_header_has_no_effect(problems: Problems) -> None:
    assert problems("listen:\n  proxy_scheme: https\n  proxy_https_ports: [443]\n") == [
        "unbuffer.yaml:2 listen.proxy_scheme: has no effect: listen.proxy_protocol is not true",
        "unbuffer.yaml:3 listen.proxy_https_ports: has no effect: listen.proxy_protocol is not true",
    ]


def test_ports_beside_a_fixed_scheme_have_no_effect(problems: Problems) -> None:
    content = "listen:\n  proxy_protocol: true\n  proxy_scheme: http\n  proxy_https_ports: 443\n"
    assert problems(content + "forwarded: {trusted_proxies: [unix]}\n") == [
        "unbuffer.yaml:4 listen.proxy_https_ports: has no effect: listen.proxy_scheme is http, whatever the port"
    ]


@pytest.mark.parametrize("trusted", ["10.0.0.1", "unix"])
def test_the_proxy_protocol_with_its_proxies_is_fine(write: Write, trusted: str) -> None:
    content = f"listen: {{proxy_protocol: true}}\nforwarded: {{trusted_proxies: [{trusted}]}}\n"
    assert load(write(content), {}, {}).listen.proxy_protocol


def test_the_proxy_protocol_comes_before_tls(problems: Problems, tmp_path: Path) -> None:
    (tmp_path / "cert.pem").touch()
    content = "listen:\n  proxy_protocol: true\n  tls: {certificate: cert.pem}\nforwarded: {trusted_proxies: [unix]}\n"
    assert problems(content) == [
        "unbuffer.yaml:2 listen.proxy_protocol: does not go together with listen.tls: "
        "the header comes before the handshake; end TLS in the proxy"
    ]


# -- credentials


@pytest.mark.parametrize("header", ["Host", "connection", "Transfer-Encoding", "X-Forwarded-For", "Via", "Upgrade"])
def test_a_credential_goes_into_no_field_that_has_another_meaning_here(problems: Problems, header: str) -> None:
    said = f'"{header}" is a field that unbuffer itself writes or takes away'
    assert problems(f"credentials:\n  header: {header}\n") == [f"unbuffer.yaml:2 credentials.header: {said}"]
    assert problems(f"routes:\n  - name: a\n    prefix: /\n    credentials:\n      header: {header}\n") == [
        f"unbuffer.yaml:5 routes[0].credentials.header: {said}"
    ]


@pytest.mark.parametrize(
    "content",
    ["query: 'a b'", "query: 'a=b'", "query: a&b", "header: 'X Y'", 'header: ""', "header: 'a:'", "scheme: a b"],
)
def test_names_that_cannot_be_are_refused(problems: Problems, content: str) -> None:
    (line,) = problems(f"credentials:\n  {content}\n")
    assert line.startswith(f"unbuffer.yaml:2 credentials.{content.partition(':')[0]}: want the name of ")


# -- authorization


def test_tokens_are_asked_for_only_where_there_are_some(problems: Problems) -> None:
    nothing = "has no tokens to compare with; set authorization.tokens or authorization.tokens_file"
    assert problems("authorization:\n  required: true\n") == [f"unbuffer.yaml:2 authorization.required: {nothing}"]
    # A variable that turned out empty must not open the door.
    environ = {"UNBUFFER_AUTHORIZATION__REQUIRED": "true", "UNBUFFER_AUTHORIZATION__TOKENS": ""}
    assert problems(environ=environ) == [f"UNBUFFER_AUTHORIZATION__REQUIRED: {nothing}"]


@pytest.mark.parametrize("file", ["", 'tokens_file: ""'])
def test_a_route_asks_for_tokens_only_where_there_are_some(problems: Problems, file: str) -> None:
    above = "authorization: {tokens: [a], required: true}\n" if file else ""
    content = f"{above}routes:\n- name: a\n  prefix: /a\n  authorization:\n    required: true\n    {file}\n"
    (line,) = problems(content)
    assert "routes[0].authorization.required: has no tokens to compare with" in line


def test_tokens_that_nobody_asks_for_are_a_mistake(problems: Problems, tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("secret")
    message = "has no effect: authorization.required is not true, here or on a route"
    assert problems(environ={"UNBUFFER_AUTHORIZATION__TOKENS": "secret"}) == [
        f"UNBUFFER_AUTHORIZATION__TOKENS: {message}"
    ]
    assert problems("authorization:\n  tokens_file: tokens\n") == [
        f"unbuffer.yaml:2 authorization.tokens_file: {message}"
    ]
    assert problems("routes:\n- name: a\n  prefix: /a\n  authorization:\n    tokens_file: tokens\n") == [
        "unbuffer.yaml:5 routes[0].authorization.tokens_file: "
        "has no effect: routes[0].authorization.required is not true"
    ]


@pytest.mark.parametrize(
    "content",
    [
        "authorization: {tokens: [a], required: true}",
        "authorization: {tokens_file: tokens, required: true}",
        "authorization: {tokens: [a]}\nroutes: [{name: r, prefix: /, authorization: {required: true}}]",
        "routes: [{name: r, prefix: /, authorization: {required: true, tokens_file: tokens}}]",
        "authorization: {tokens: [a], required: true}\n"
        "routes: [{name: r, prefix: /, authorization: {tokens_file: tokens}}]",
        "authorization: {tokens: [a], required: true}\n"
        "routes: [{name: r, prefix: /, authorization: {required: false}}]",
    ],
)
def test_tokens_that_are_asked_for_somewhere_are_fine(write: Write, tmp_path: Path, content: str) -> None:
    (tmp_path / "tokens").write_text("secret")
    load(write(content), {}, {})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "tokens has no token in it"),
        (b"# only\n\n  # comments\n", "tokens has no token in it"),
        (
            b"opensesame\n# a\nopen sesame\n",
            "line 3 of tokens is no token of letters, digits and -._~+/ that may end with =",
        ),
        (b"opensesame\xff\n", "line 1 of tokens is no token of letters, digits and -._~+/ that may end with ="),
        (b"opensesame # no\n", "line 1 of tokens is no token of letters, digits and -._~+/ that may end with ="),
    ],
)
@pytest.mark.parametrize(
    ("where", "content"),
    [
        ("unbuffer.yaml:2 authorization", "authorization:\n  {tokens_file: tokens, required: true}\n"),
        (
            "unbuffer.yaml:5 routes[0].authorization",
            "routes:\n- name: a\n  prefix: /a\n  authorization:\n    {tokens_file: tokens, required: true}\n",
        ),
    ],
)
def test_a_file_without_tokens_is_told_with_its_place_and_no_token(
    problems: Problems, tmp_path: Path, where: str, content: str, data: bytes, said: str
) -> None:
    (tmp_path / "tokens").write_bytes(data)
    assert problems(content) == [f"{where}.tokens_file: {said}"]
    (tmp_path / "tokens").unlink()
    assert problems(content) == [f'{where}.tokens_file: cannot read "tokens": No such file or directory']


def test_tokens_are_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(b"# of today\r\nfirst\r\n\r\n\tsecond== \n#third\nA-Z_a.z~0+9/=")
    assert read_tokens(str(file)) == ("first", "second==", "A-Z_a.z~0+9/=")


def test_tokens_come_from_the_environment() -> None:
    environ = {"UNBUFFER_AUTHORIZATION__REQUIRED": "true", "UNBUFFER_AUTHORIZATION__TOKENS": "first, second"}
    assert load(None, environ, {}).authorization.tokens == ("first", "second")


def test_no_token_is_shown(problems: Problems) -> None:
    environ = {"UNBUFFER_AUTHORIZATION__REQUIRED": "true", "UNBUFFER_AUTHORIZATION__TOKENS": "opensesame,second"}
    shown = dump(load(None, environ, {}))
    assert yaml.safe_load(shown)["authorization"]["tokens"] == ["***", "***"]
    assert "opensesame" not in shown
    (line,) = problems(environ=environ | {"UNBUFFER_AUTHORIZATION__TOKENS": "open sesame"})
    assert line == (
        "UNBUFFER_AUTHORIZATION__TOKENS: want a token of letters, digits and -._~+/ that may end with =; "
        "the value is secret and not shown"
    )
    (line,) = problems("authorization:\n  required: true\n  tokens: open sesame\n")
    assert "sesame" not in line
