"""The file: what counts as one, line numbers, and the places where YAML 1.1 reads something else than people do."""

from pathlib import Path

import pytest
import yaml

from tests.settings.conftest import Problems, Write
from unbuffer.settings import document
from unbuffer.settings.load import load
from unbuffer.settings.model import Settings


@pytest.fixture(autouse=True, params=[yaml.CSafeLoader, yaml.SafeLoader], ids=["libyaml", "python"])
def _each_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "_LOADER", request.param)


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n", "~\n", "\ufeff", "timeouts:\nroutes:\nadmin:\n"])
def test_a_file_without_settings_means_the_defaults(write: Write, content: str) -> None:
    assert load(write(content), {}, {}) == Settings()


def test_a_byte_order_mark_is_no_part_of_the_first_key(write: Write) -> None:
    assert load(write("\ufeffdecode: never"), {}, {}).decode == "never"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("- a\n", "unbuffer.yaml:1: want settings such as listen: 127.0.0.1:8080, got a list"),
        ("\nhello\n", 'unbuffer.yaml:2: want settings such as listen: 127.0.0.1:8080, got "hello"'),
        (b"decode: true\n\n# caf\xe9\n", "unbuffer.yaml:3: not UTF-8: byte 0xe9"),
        ("decode: true".encode("utf-16"), "unbuffer.yaml:1: not UTF-8: byte 0xff"),
    ],
)
def test_a_file_of_another_kind_is_one_clear_line(problems: Problems, content: str | bytes, problem: str) -> None:
    assert problems(content) == [problem]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("decode: true\nlog: {format: json\n\nadmin: x\n", "unbuffer.yaml:4"),
        ("decode: true\n\tlog: 1\n", "unbuffer.yaml:2"),
        ("decode: true\n---\ndecode: false\n", "unbuffer.yaml:2"),
        ("decode: true\nlog: *unknown\n", "unbuffer.yaml:2"),
        ("decode: true\nlog: !include log.yaml\n", "unbuffer.yaml:2"),
        ("decode: true\nlog: !!python/object/apply:os.getcwd []\n", "unbuffer.yaml:2"),
        ("decode: true\nlog:\n  " + "[" * 30, "unbuffer.yaml:3"),
        ("decode: true\nlog: " + "[" * 200_000, "unbuffer.yaml:2"),
        ("decode: \x00", "unbuffer.yaml"),
    ],
)
def test_what_yaml_cannot_read_is_one_clear_line_at_its_place(problems: Problems, content: str, where: str) -> None:
    (problem,) = problems(content)
    assert problem.startswith(f"{where}: cannot be read as YAML: ")
    assert not problem.endswith(": ")


def test_a_tag_is_named(problems: Problems) -> None:
    assert problems("log: !include log.yaml") == [
        'unbuffer.yaml:1: cannot be read as YAML: the tag "!include" is not used here'
    ]


def test_a_missing_file_and_a_directory_are_one_clear_line(problems: Problems, write: Write) -> None:
    Path(write("")).unlink()
    environ = {"UNBUFFER_CONFIG": "unbuffer.yaml"}
    assert problems(environ=environ) == ["unbuffer.yaml: cannot be read: No such file or directory"]
    Path("unbuffer.yaml").mkdir()
    assert problems(environ=environ) == ["unbuffer.yaml: cannot be read: Is a directory"]


def test_an_unreadable_file_does_not_hide_other_problems(problems: Problems, write: Write) -> None:
    Path(write("")).unlink()
    lines = problems(environ={"UNBUFFER_CONFIG": "unbuffer.yaml", "UNBUFFER_SERVER_TIMING": "maybe"})
    assert lines[1:] == ['UNBUFFER_SERVER_TIMING: want true or false, got "maybe"']


def test_words_that_yaml_1_1_takes_for_something_else_mean_what_stands_there(write: Write) -> None:
    content = """\
admin:
  address: off
log:
  format: off
decode: no
listen:
  - :1
  - ":2"
  - '[::1]:3'
  - unix:/run/on
upstream:
  url: "http://app"
  tls: {server_name: ""}
limits:
  headers: 0100
  body: "1024"
routes:
  - name: 12:30
    prefix: /a
  - name: 2001-01-01
    prefix: /b
  - name: on
    prefix: /c
  - name: 1.50
    prefix: /d
"""
    settings = load(write(content), {}, {})

    assert settings.admin.address == "off"
    assert settings.log.format == "off"
    assert settings.decode == "never"
    assert settings.listen.address == (":1", ":2", "[::1]:3", "unix:/run/on")
    assert (settings.limits.headers, settings.limits.body) == (100, 1024)
    assert [route.name for route in settings.routes] == ["12:30", "2001-01-01", "on", "1.50"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (
            "timeouts: {silence: 1:30}",
            'unbuffer.yaml:1 timeouts.silence: want a duration such as 30s, got "1:30"',
        ),
        (
            "timeouts: {silence: 30}",
            'unbuffer.yaml:1 timeouts.silence: want a duration such as 30s, got "30"; write "30s" for seconds',
        ),
        ("limits: {headers: 0x10}", 'unbuffer.yaml:1 limits.headers: want a whole number, got "0x10"'),
        ("limits: {headers: 1_000}", 'unbuffer.yaml:1 limits.headers: want a whole number, got "1_000"'),
        ("limits: {headers: 1e3}", 'unbuffer.yaml:1 limits.headers: want a whole number, got "1e3"'),
        ("limits: {headers: true}", 'unbuffer.yaml:1 limits.headers: want a whole number, got "true"'),
        ("server_timing: 1", 'unbuffer.yaml:1 server_timing: want true or false, got "1"'),
        ("decode: sometimes", 'unbuffer.yaml:1 decode: want streams, always or never, got "sometimes"'),
        ("server_timing: ''", 'unbuffer.yaml:1 server_timing: want true or false, got ""'),
        ("server_timing:", "unbuffer.yaml:1 server_timing: want true or false, got nothing"),
        ("server_timing: ~", "unbuffer.yaml:1 server_timing: want true or false, got nothing"),
        ("server_timing: [true]", "unbuffer.yaml:1 server_timing: want true or false, got a list"),
        ("server_timing: {a: b}", "unbuffer.yaml:1 server_timing: want true or false, got a block of settings"),
        ("listen: {tls: {key: }}", "unbuffer.yaml:1 listen.tls.key: want the path of a file, got nothing"),
        ("log: {format: yes}", 'unbuffer.yaml:1 log.format: want json, text or off, got "yes"'),
        (
            "admin: false",
            'unbuffer.yaml:1 admin: want an address such as 127.0.0.1:8080, got "false"; the port is missing;'
            ' "off" switches it off',
        ),
        (
            "admin: [':1', ':2']",
            "unbuffer.yaml:1 admin: want an address such as 127.0.0.1:4198, or off, got a list",
        ),
        (
            "listen: off",
            'unbuffer.yaml:1 listen: want an address such as 127.0.0.1:8080, got "off"; the port is missing',
        ),
        ("timeouts: 30s", 'unbuffer.yaml:1 timeouts: want a block of settings such as connect, got "30s"'),
        (
            "listen: {tls: x}",
            'unbuffer.yaml:1 listen.tls: want a block of settings such as certificate, got "x"',
        ),
        ("routes: {a: b}", "unbuffer.yaml:1 routes: want a list, got a block of settings"),
        ("routes: [a]", 'unbuffer.yaml:1 routes[0]: want a block of settings, got "a"'),
        (
            "metrics: {max_routes: 1001}",
            'unbuffer.yaml:1 metrics.max_routes: want a whole number, from 1 to 1000, got "1001"',
        ),
        (
            "limits: {head: 2MiB}",
            'unbuffer.yaml:1 limits.head: want a size such as 64KiB, from 1KiB to 1MiB, got "2MiB"',
        ),
        (
            "forwarded: {trusted_proxies: [10.0.0.1/8]}",
            "unbuffer.yaml:1 forwarded.trusted_proxies: want a network such as 10.0.0.0/8, or unix, got"
            ' "10.0.0.1/8"; 10.0.0.1/8 has host bits set',
        ),
        (
            "routes: [{name: a, prefix: /a, methods: [get]}]",
            'unbuffer.yaml:1 routes[0].methods: want a method in capital letters such as GET, got "get"',
        ),
        (
            "routes: [{name: a b, prefix: /a}]",
            "unbuffer.yaml:1 routes[0].name: want a name of at most 64 letters, digits and _.:/{}- that begins with"
            ' a letter or digit, got "a b"',
        ),
        ("1: 2", 'unbuffer.yaml:1: unknown key "1"'),
        ("<<: {decode: false}", 'unbuffer.yaml:1: unknown key "<<"'),
        ("[a]: b", "unbuffer.yaml:1: want the name of a setting, got a list"),
        ("silence: 1s", 'unbuffer.yaml:1: unknown key "silence"; did you mean "timeouts.silence"?'),
        ("Timeouts: {}", 'unbuffer.yaml:1: unknown key "Timeouts"; did you mean "timeouts"?'),
    ],
)
def test_a_wrong_value_is_reported_with_what_is_wanted(problems: Problems, content: str, problem: str) -> None:
    assert problems(content) == [problem]


def test_a_duplicate_key_is_reported_with_both_lines(problems: Problems) -> None:
    assert problems("decode: true\nlog:\n  level: info\n  format: json\n  level: error\ndecode: true\n") == [
        'unbuffer.yaml:5 log: duplicate key "level"; line 3 has it already',
        'unbuffer.yaml:6: duplicate key "decode"; line 1 has it already',
    ]


def test_a_problem_in_a_list_has_the_line_of_the_item(problems: Problems) -> None:
    lines = problems("listen:\n  address:\n    - :1\n    - here\n\n    - there\n")
    assert [line.partition(": ")[0] for line in lines] == [
        "unbuffer.yaml:4 listen.address",
        "unbuffer.yaml:6 listen.address",
    ]


def test_a_value_below_its_key_is_reported_at_the_key(problems: Problems) -> None:
    assert problems("timeouts:\n  silence:\n    soon\n") == [
        'unbuffer.yaml:2 timeouts.silence: want a duration such as 30s, got "soon"'
    ]


def test_an_anchor_is_followed(write: Write) -> None:
    content = """\
routes:
  - {name: a, prefix: /a, timeouts: &long {silence: 5m}}
  - {name: b, prefix: /b, timeouts: *long}
"""
    assert [route.timeouts.silence for route in load(write(content), {}, {}).routes] == [300.0, 300.0]


def test_an_anchor_inside_itself_ends(problems: Problems) -> None:
    assert problems("timeouts: &a\n  silence: *a\n") == [
        "unbuffer.yaml:2 timeouts.silence: want a duration such as 30s, got a block of settings"
    ]


def test_the_file_is_named_as_the_user_named_it(tmp_path: Path, problems: Problems) -> None:
    path = tmp_path / "sub.yaml"
    path.write_text("server_timing: maybe")
    assert problems(environ={"UNBUFFER_CONFIG": str(path)}) == [
        f'{path}:1 server_timing: want true or false, got "maybe"'
    ]
