"""Bad input and bad luck: a clear sentence, the right exit code, and never a traceback."""

from pathlib import Path

import pytest

from tests.check.conftest import Run

pytestmark = pytest.mark.process


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name the URL of a stream"),
        (("ftp://a/",), "unknown scheme 'ftp'"),
        (("http:///x",), "has no host"),
        (("http://a:b/",), "its port is no number from 1 to 65535"),
        (("http://a:0/",), "its port is no number from 1 to 65535"),
        (("http://a/", "--method", "GE T"), "--method: want a method such as POST"),
        (("http://a/", "--header", "a b: c"), "--header: want 'NAME: VALUE'"),
        (("http://a/", "--resolve", "a:99999:127.0.0.1"), "--resolve: want HOST:PORT:ADDRESS"),
        (("http://a/", "--resolve", "a:80:b"), "with an IP address"),
        (("http://a/", "--proxy", "socks5://p/"), "--proxy: want an http:// proxy, got socks5://"),
        (("http://a/", "http://b/", "--direct", "http://c/"), "--direct: name one URL"),
        (("http://a/", "--json", "--github"), "--json with --github: both go to standard output"),
        (("http://a/b c",), "has spaces or letters beyond ASCII"),
        (("http://a/", "--header", "nonsense"), "--header: want 'NAME: VALUE'"),
        (("http://a/", "--resolve", "a"), "--resolve: want HOST:PORT:ADDRESS"),
        (("http://a/", "--patience", "long"), "--patience: want a duration such as 30s"),
        (("http://a/", "--several", "0"), "--several: want 1 to 32"),
        (("http://a/", "--data", "@/does/not/exist"), "cannot read /does/not/exist: No such file or directory"),
        (("http://a/", "--proxy", "https://p/"), "--proxy: want an http:// proxy"),
        (("http://a/?x=1", "http://a/?x=2"), "differ in their query only"),
    ],
)
def test_usage(check: Run, arguments: tuple[str, ...], told: str) -> None:
    answer = check(*arguments)
    assert answer.code == 2
    assert answer.err.startswith("unbuffer check: ")
    assert told in answer.err


def test_an_answer_that_is_no_stream_is_one_line(check: Run, app: str) -> None:
    answer = check("--ci", f"{app}/plain")
    assert (answer.code, answer.out) == (3, f"FAILED {app}/plain 6 bytes came at once\n")


def test_a_redirect_is_followed_if_that_is_asked_for(check: Run, app: str) -> None:
    answer = check("--ci", "--quick", "-L", f"{app}/moved?count=12")
    assert answer.code == 0
    assert answer.out.startswith(f"ok {app}/tokens streams: ")


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("/around", "10 redirects were followed before it"),
        ("/elsewhere", "unknown scheme 'ftp'"),
        ("/nowhere", "it answers 302 and does not say where to"),
    ],
)
def test_a_redirect_that_cannot_be_followed_is_no_mistake_of_the_user(
    check: Run, app: str, place: str, told: str
) -> None:
    answer = check("--ci", "-L", f"{app}{place}")
    assert answer.code == 3
    assert told in answer.out


def test_a_proxy_that_is_not_there_is_called_one(check: Run, closed_port: int) -> None:
    answer = check("--ci", "--proxy", f"127.0.0.1:{closed_port}", "http://a/")
    assert "cannot connect to the proxy 127.0.0.1:" in answer.out
    assert "--proxy" in check("--json", "--proxy", f"127.0.0.1:{closed_port}", "http://a/").cure


def test_a_body_that_never_begins_is_waited_for_as_long_as_asked(check: Run, app: str) -> None:
    answer = check("--json", "--patience", "300ms", f"{app}/never")
    assert (answer.code, answer.found) == (3, ["silent"])
    assert answer.report["verdict"] == "no body came within 0.3 s"


def test_a_server_that_is_not_there(check: Run, closed_port: int) -> None:
    answer = check("--json", f"http://127.0.0.1:{closed_port}/x")
    assert (answer.code, answer.found) == (3, ["no_answer"])
    assert answer.report["verdict"].startswith(f"cannot connect to 127.0.0.1:{closed_port}: ")
    assert "published" in answer.cure


def test_a_socket_that_is_not_there(check: Run, tmp_path: Path) -> None:
    answer = check("--json", "--unix-socket", str(tmp_path / "none.sock"), "http://app/x")
    assert answer.code == 3
    assert "cannot connect to" in answer.report["verdict"]
    assert "No such file or directory" in answer.report["verdict"]
    assert "does a program listen on it" in answer.cure


def test_a_name_that_does_not_resolve(check: Run) -> None:
    answer = check("--json", "http://unbuffer.invalid/")
    assert answer.code == 3
    assert "the name unbuffer.invalid does not resolve" in answer.report["verdict"]
    assert answer.cure.startswith("Is the name right? `--resolve HOST:PORT:ADDRESS`")


def test_a_proxy_in_the_environment_is_told_of(check: Run, app: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://user:secret@proxy.example:3128")
    answer = check("--quick", f"{app}/tokens?count=8")
    assert answer.code == 0
    assert "proxy_environment: HTTP_PROXY is set" in answer.out
    assert "secret" not in answer.out


def test_a_credential_in_the_query_is_told_of_and_not_shown(check: Run, app: str) -> None:
    answer = check("--quick", f"{app}/tokens?count=8&api_key=sesame")
    assert "query_credentials" in answer.out
    assert "sesame" not in answer.out


def test_nothing_of_the_stream_is_printed_unless_it_is_asked_for(check: Run, app: str) -> None:
    arguments = "--quick", f"{app}/tokens?count=8"
    assert "word 3" not in check(*arguments).out
    assert "word 3" not in check("--json", *arguments).out
    assert "word 3" in check("--show", *arguments).out
