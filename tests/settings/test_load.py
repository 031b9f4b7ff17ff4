"""Sources and their order: file, environment, flags, PORT; and one report with every problem."""

from pathlib import Path

import pytest

from tests.settings.conftest import Problems, Write
from unbuffer.settings.fields import every_setting
from unbuffer.settings.load import load
from unbuffer.settings.model import SHORT_FORMS, Settings


def test_without_any_source_everything_has_its_default() -> None:
    assert load(None, {}, {}) == Settings()


def test_a_flag_wins_over_the_environment_over_the_file_over_the_default(write: Write) -> None:
    file = write("timeouts: {silence: 1s, connect: 1s, request_head: 1s}")
    environ = {"UNBUFFER_TIMEOUTS__SILENCE": "2s", "UNBUFFER_TIMEOUTS__CONNECT": "2s"}

    timeouts = load(file, environ, {"timeouts.silence": "3s"}).timeouts

    assert (timeouts.silence, timeouts.connect, timeouts.request_head) == (3.0, 2.0, 1.0)
    assert timeouts.client_stall == Settings().timeouts.client_stall


def test_a_short_form_and_a_long_form_set_the_same_value(write: Write) -> None:
    file = write("upstream: http://file:1\nadmin: off\n")

    settings = load(file, {"UNBUFFER_UPSTREAM__URL": "http://env:1"}, {"admin.address": "127.0.0.1:9"})

    assert settings.upstream.url == "http://env:1"
    assert settings.admin.address == "127.0.0.1:9"


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("UNBUFFER_UPSTREAM", "http://app:8000", "upstream.url", "http://app:8000"),
        ("UNBUFFER_UPSTREAM", "unix:/run/app.sock", "upstream.url", "unix:/run/app.sock"),
        ("UNBUFFER_ADMIN", "off", "admin.address", "off"),
        ("UNBUFFER_LISTEN", "127.0.0.1:1", "listen.address", ("127.0.0.1:1",)),
        ("UNBUFFER_LISTEN", ":1, [::1]:2,unix:/x", "listen.address", (":1", "[::1]:2", "unix:/x")),
        ("UNBUFFER_LISTEN__HALF_CLOSE", "true", "listen.half_close", True),
        ("UNBUFFER_DECODE", "off", "decode", "never"),
        ("UNBUFFER_LISTEN__HALF_CLOSE", "Yes", "listen.half_close", True),
        ("UNBUFFER_LIMITS__BODY", "10MB", "limits.body", 10_000_000),
        ("UNBUFFER_LOG__FORMAT", "off", "log.format", "off"),
        ("UNBUFFER_TIMEOUTS__SILENCE", " 1m30s\n", "timeouts.silence", 90.0),
        (
            "UNBUFFER_FORWARDED__TRUSTED_PROXIES",
            "10.0.0.0/8, ::1,unix",
            "forwarded.trusted_proxies",
            ("10.0.0.0/8", "::1", "unix"),
        ),
        ("UNBUFFER_FORWARDED__TRUSTED_PROXIES", "", "forwarded.trusted_proxies", ()),
    ],
)
def test_a_variable_sets_its_setting(name: str, text: str, path: str, value: object) -> None:
    section, _, field = path.rpartition(".")
    settings = load(None, {name: text}, {})
    assert getattr(getattr(settings, section) if section else settings, field) == value


def test_every_setting_has_a_variable_and_a_flag(problems: Problems) -> None:
    """A value that no form takes is refused by each as a value, so each is known under its name."""
    free_text = {"upstream.tls.server_name"}
    for path in {*dict(every_setting()), *SHORT_FORMS} - free_text:
        variable = "UNBUFFER_" + path.upper().replace(".", "__")
        (by_variable,) = problems(environ={variable: "\0"})
        assert by_variable.startswith(f"{variable}: want ")
        (by_flag,) = problems(flags={path: "\0"})
        assert by_flag.startswith(f"flag {path}: want ")


def test_variables_that_are_no_settings_are_left_alone() -> None:
    environ = {
        "HOME": "/root",
        "UNBUFFER_UPSTREAM_SOCKET": "/run/app.sock",
        "UNBUFFER_UPSTREAM_PORT": "8000",
        "UNBUFFER_CONFIG": "",
        # What Kubernetes sets for a Service called "unbuffer" and one called "unbuffer-chat".
        "UNBUFFER_SERVICE_HOST": "10.0.0.1",
        "UNBUFFER_SERVICE_PORT": "80",
        "UNBUFFER_SERVICE_PORT_HTTP": "80",
        "UNBUFFER_PORT": "tcp://10.0.0.1:80",
        "UNBUFFER_PORT_80_TCP": "tcp://10.0.0.1:80",
        "UNBUFFER_PORT_80_TCP_PROTO": "tcp",
        "UNBUFFER_PORT_80_TCP_PORT": "80",
        "UNBUFFER_PORT_80_TCP_ADDR": "10.0.0.1",
        "UNBUFFER_CHAT_SERVICE_HOST": "10.0.0.2",
        "UNBUFFER_CHAT_PORT": "udp://10.0.0.2:80",
    }
    assert load(None, environ, {}) == Settings()


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        (
            {"UNBUFFER_TIMEOUTS_SILENCE": "30s"},
            'UNBUFFER_TIMEOUTS_SILENCE: no such setting; did you mean "UNBUFFER_TIMEOUTS__SILENCE"?',
        ),
        ({"UNBUFFER_LISTN": ":1"}, 'UNBUFFER_LISTN: no such setting; did you mean "UNBUFFER_LISTEN"?'),
        ({"UNBUFFER_XYZZY": "1"}, "UNBUFFER_XYZZY: no such setting"),
        ({"UNBUFFER_PORT": "8080"}, "UNBUFFER_PORT: no such setting"),
        (
            {"UNBUFFER_TIMEOUTS": "30s"},
            "UNBUFFER_TIMEOUTS: a section has no value; set one of its settings, such as UNBUFFER_TIMEOUTS__CONNECT",
        ),
        (
            {"UNBUFFER_LISTEN__TLS": "x"},
            "UNBUFFER_LISTEN__TLS: a section has no value; set one of its settings, such as"
            " UNBUFFER_LISTEN__TLS__CERTIFICATE",
        ),
        ({"UNBUFFER_ROUTES": "[]"}, "UNBUFFER_ROUTES: routes are set in the file only"),
        ({"UNBUFFER_ROUTES__0__NAME": "a"}, "UNBUFFER_ROUTES__0__NAME: routes are set in the file only"),
        (
            {"UNBUFFER_LISTEN": ":1", "UNBUFFER_LISTEN__ADDRESS": ":2"},
            "UNBUFFER_LISTEN__ADDRESS: UNBUFFER_LISTEN sets listen.address already",
        ),
        (
            {"UNBUFFER_TIMEOUTS__SILENCE": ""},
            'UNBUFFER_TIMEOUTS__SILENCE: want a duration such as 30s, got ""',
        ),
        ({"UNBUFFER_LISTEN": ""}, "UNBUFFER_LISTEN: want at least one address"),
        (
            {"UNBUFFER_LISTEN": ":1,"},
            'UNBUFFER_LISTEN: want an address such as 127.0.0.1:8080, got ""; the port is missing',
        ),
    ],
)
def test_a_wrong_variable_is_reported(problems: Problems, environ: dict[str, str], problem: str) -> None:
    assert problems(environ=environ) == [problem]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (
            {"timeouts.silense": "1s"},
            'flag timeouts.silense: no such setting; did you mean "timeouts.silence"?',
        ),
        ({"routes": "x"}, "flag routes: routes are set in the file only"),
        (
            {"timeouts": "1s"},
            "flag timeouts: a section has no value; set one of its settings, such as timeouts.connect",
        ),
        ({"timeouts.silence": "soon"}, 'flag timeouts.silence: want a duration such as 30s, got "soon"'),
        (
            {"timeouts.silence": ["1s", "2s"]},
            "flag timeouts.silence: want a duration such as 30s, got 2 values",
        ),
        (
            {"upstream": "http://a", "upstream.url": "http://b"},
            "flag upstream.url: flag upstream sets upstream.url already",
        ),
    ],
)
def test_a_wrong_flag_is_reported(problems: Problems, flags: dict[str, str | list[str]], problem: str) -> None:
    assert problems(flags=flags) == [problem]


def test_a_list_of_flags_is_taken_item_by_item() -> None:
    listen = load(None, {}, {"listen": ["unix:/a,b.sock", " :1 "]}).listen
    assert listen.address == ("unix:/a,b.sock", ":1")


def test_one_flag_with_commas_is_a_list() -> None:
    assert load(None, {}, {"listen": ":1,:2"}).listen.address == (":1", ":2")


def test_the_environment_names_the_file_when_no_flag_does(write: Write) -> None:
    file = write("decode: never")
    Path("other.yaml").write_text("decode: always")

    assert load(None, {"UNBUFFER_CONFIG": file}, {}).decode == "never"
    assert load("other.yaml", {"UNBUFFER_CONFIG": file}, {}).decode == "always"


def test_port_is_listened_on_when_nothing_else_says_where(write: Write) -> None:
    environ = {"PORT": "9000"}
    file = write("listen: {backlog: 5}")

    assert load(file, environ, {}).listen.address == (":9000",)
    assert load(write("listen: :1"), environ, {}).listen.address == (":1",)
    assert load(None, environ | {"UNBUFFER_LISTEN": ":2"}, {}).listen.address == (":2",)
    assert load(None, environ, {"listen": ":3"}).listen.address == (":3",)


@pytest.mark.parametrize("text", ["", "http", "0", "65536", ":80", "-1", "8080 ", "9" * 400])
def test_a_port_that_is_no_port_number_is_reported_where_it_counts(problems: Problems, text: str) -> None:
    assert problems(environ={"PORT": text}) == [f'PORT: want a port number such as 8080, got "{text}"']
    assert load(None, {"PORT": text}, {"listen": ":1"}).listen.address == (":1",)


def test_a_wrong_address_hides_port_and_is_the_only_problem(problems: Problems) -> None:
    (problem,) = problems("listen: nowhere", {"PORT": "x"})
    assert problem.startswith("unbuffer.yaml:1 listen: want an address")


def test_one_report_has_every_problem_of_every_source(problems: Problems) -> None:
    file = """\
# A comment, so that lines are counted from the file's first.
lissten: 127.0.0.1:8080
upstream: http://127.0.0.1:8000/v1
timeouts:
  silence: 30 sec
  keepalive: 1s

limits:
  headers: 0
  target: 64KiB
routes:
  - prefix: /a
  - name: b
    glob: b
    timeouts:
      silence: 5
  - name: c
    prefix: /c
    glob: /c
"""
    environ = {"UNBUFFER_TIMEOUTS__CONNECT": "fast", "UNBUFFER_XYZZY": ""}

    assert problems(file, environ, {"drain.timeout": "1 min"}) == [
        'unbuffer.yaml:2: unknown key "lissten"; did you mean "listen"?',
        'unbuffer.yaml:3 upstream: want a URL such as http://127.0.0.1:8000, got "http://127.0.0.1:8000/v1"; nothing'
        " follows the port: targets are forwarded exactly as received",
        'unbuffer.yaml:5 timeouts.silence: want a duration such as 30s, got "30 sec"',
        'unbuffer.yaml:6 timeouts: unknown key "keepalive"; did you mean "keep_alive"?',
        'unbuffer.yaml:9 limits.headers: want a whole number, at least 1, got "0"',
        'unbuffer.yaml:14 routes[1].glob: want a path that begins with /, got "b"',
        'unbuffer.yaml:16 routes[1].timeouts.silence: want a duration such as 30s, got "5"; write "5s" for seconds',
        'UNBUFFER_TIMEOUTS__CONNECT: want a duration such as 30s, got "fast"',
        "UNBUFFER_XYZZY: no such setting",
        'flag drain.timeout: want a duration such as 30s, got "1 min"',
        "unbuffer.yaml:12 routes[0]: name is missing",
        "unbuffer.yaml:10 limits.target: limits.target (64KiB) has to be less than limits.head (32KiB)",
        "unbuffer.yaml:17 routes[2]: want exactly one of prefix and glob, got both",
    ]


def test_a_value_with_line_breaks_takes_one_line_of_the_report(problems: Problems) -> None:
    assert problems(environ={"UNBUFFER_UPSTREAM": "http://a\nb\u2028c"}) == [
        'UNBUFFER_UPSTREAM: want a URL such as http://127.0.0.1:8000, got "http://a\\nb\\u2028c"; it is a host name or'
        " an IP address, a colon and a port number"
    ]


def test_no_problem_shows_a_password(problems: Problems) -> None:
    url = "http://me:hunter2@app"
    file = f"upstream: {url}\nadmin: {url}\nlisten: [{url}]\ndecode: {url}\n{url}: 1\n"
    environ = {"UNBUFFER_UPSTREAM": url, "UNBUFFER_LIMITS__BODY": url, "PORT": url}

    report = "\n".join(problems(file, environ, {"log.level": url}))

    assert report.count("://***@app") == 8
    assert "hunter2" not in report


def test_the_upstream_of_exec_holds_where_nothing_else_names_one(tmp_path: Path) -> None:
    file = tmp_path / "unbuffer.yaml"
    file.write_text("upstream: {wait: 5s}\n")
    own = "unix:/tmp/app.sock"
    assert load(str(file), {}, {}, own).upstream.url == own
    assert load(None, {"UNBUFFER_UPSTREAM": "http://127.0.0.1:9"}, {}, own).upstream.url == "http://127.0.0.1:9"
    assert load(None, {}, {"upstream": "http://127.0.0.1:9"}, own).upstream.url == "http://127.0.0.1:9"
    file.write_text("upstream: http://127.0.0.1:9\n")
    assert load(str(file), {}, {}, own).upstream.url == "http://127.0.0.1:9"


@pytest.mark.parametrize("text", ["streams", "always", "never"])
def test_what_is_decoded_has_a_name(write: Write, text: str) -> None:
    assert load(write(f"decode: {text}"), {}, {}).decode == text


@pytest.mark.parametrize(
    ("text", "meant"),
    [("true", "always"), ("yes", "always"), ("On", "always"), ("false", "never"), ("no", "never"), ("OFF", "never")],
)
def test_a_switch_of_decoding_means_what_it_meant(write: Write, text: str, meant: str) -> None:
    """Files are older than the names."""
    route = f"routes: [{{name: a, prefix: /a, decode: {text}}}]"
    settings = load(write(f"decode: {text}\n{route}\n"), {}, {})
    assert (settings.decode, settings.routes[0].decode) == (meant, meant)
    assert load(None, {"UNBUFFER_DECODE": text}, {}).decode == meant
