"""Each finding, provoked by a program that does just that; the URL is all that the check is given."""

import contextlib
import gzip
import socket
import ssl
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import brotli
import pytest
import trustme

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from tests.check import hops
from tests.check.conftest import Run, Told
from tests.e2e.processes import running
from tests.e2e.stack import uvicorn
from tests.peers import PATIENCE
from unbuffer.check import messages, run, variants
from unbuffer.check.body import Content
from unbuffer.check.signatures import TABLE

pytestmark = pytest.mark.process

Only = Callable[..., None]
PROBE = "_unbuffer/probe"


def finding(told: Told, name: str) -> dict[str, Any]:
    """The finding of this name."""
    (found,) = [one for one in told.report["findings"] if one["name"] == name]
    return dict(found)


# -- hops


@pytest.fixture(scope="module")
def closing() -> Iterator[str]:
    """The application under uvicorn on h11, which answers HTTP/1.0 by closing."""
    with uvicorn("--http", "h11", application="tests.check.app:app") as server:
        yield server.url


def test_steps_and_a_late_head_of_nginx(check: Run, only: Only, closing: str, tmp_path: Path) -> None:
    only("medium")
    with hops.nginx(tmp_path, closing) as path:
        told = check("--json", "--unix-socket", path, f"{closing}/{PROBE}")
    assert told.code == 1, told.brief
    assert told.found[0] == "steps"
    assert "in steps of 4 KiB" in finding(told, "steps")["said"]
    assert "nginx (Server: nginx" in finding(told, "steps")["where"]
    assert "proxy_buffering off" in finding(told, "steps")["cures"][0]


def test_the_timer_of_haproxy(check: Run, only: Only, closing: str, tmp_path: Path) -> None:
    only("medium")
    with hops.haproxy(tmp_path, closing) as url:
        told = check("--json", f"{url}/{PROBE}")
    assert (told.code, told.found) == (1, ["beat"]), told.brief
    assert "on a beat of 2" in finding(told, "beat")["said"]
    # It leaves no trace in the head, so that nobody is named.
    assert finding(told, "beat")["where"].startswith("a hop between here and the unbuffer")


def test_the_first_bytes_held_by_caddy(check: Run, only: Only, closing: str, tmp_path: Path) -> None:
    only("medium")
    with hops.caddy(tmp_path, closing, "response_buffers 4KiB") as path:
        told = check("--json", "--unix-socket", path, f"{closing}/{PROBE}")
    assert told.code == 1, told.brief
    assert told.found[0] == "first_bytes_held"
    assert "its first 4 KiB are held" in finding(told, "first_bytes_held")["said"]
    assert "Caddy (Via: 1.1 Caddy)" in finding(told, "first_bytes_held")["where"]


def test_the_idle_time_out_of_haproxy(check: Run, closing: str, tmp_path: Path) -> None:
    with hops.haproxy(tmp_path, closing, server="3200") as url:
        told = check("--json", "--quick", f"{url}/tokens?count=3&gap=4000")
    assert told.found == ["cut"], told.brief
    assert "s without a byte" in finding(told, "cut")["said"]


# -- servers and applications


@pytest.mark.parametrize(
    ("path", "variants", "found"),
    [
        ("collecting", (), ["held_to_the_end"]),
        ("late", (), ["held_irregularly"]),
        ("google", (), ["app_engine"]),
        ("holds/browsers", ("browser",), ["held_to_the_end", "compression_holds"]),
        ("holds/plain", ("plain",), ["held_to_the_end", "one_media_type"]),
        ("holds/post", ("post",), ["held_to_the_end", "one_method"]),
        ("gzip", ("ndjson", "browser"), ["head_withheld"]),
    ],
)
def test_what_holds_a_probe(
    check: Run, only: Only, app: str, path: str, variants: tuple[str, ...], found: list[str]
) -> None:
    only(*variants)
    told = check("--json", f"{app}/{path}/{PROBE}")
    assert (told.code, told.found) == (1, found), told.brief


@pytest.mark.parametrize(
    ("query", "variants", "found"),
    [
        ("last=20", (), ["truncated"]),
        ("beats=0", ("heartbeats",), ["heartbeats_swallowed"]),
        ("", ("heartbeats", "post"), []),
    ],
)
def test_what_a_probe_lacks(
    check: Run, only: Only, app: str, query: str, variants: tuple[str, ...], found: list[str]
) -> None:
    only(*variants)
    told = check("--json", f"{app}/{PROBE}?{query}")
    assert told.found == found, told.brief


@pytest.mark.parametrize(
    ("path", "found", "said"),
    [
        ("fails", "cut", "cut after 0."),
        ("nothing", "status", "it answers 404; is the path right?"),
        ("moved", "redirect", "it answers 307, to /tokens"),
        ("short", "too_short", "11 bytes from 0.6"),
        ("plain", "no_stream", "6 bytes came at once"),
    ],
)
def test_what_is_wrong_with_a_stream(check: Run, app: str, path: str, found: str, said: str) -> None:
    told = check("--json", "--quick", f"{app}/{path}")
    assert told.found == [found], told.brief
    assert said in finding(told, found)["said"]


def test_what_answers_at_the_path_of_the_probe_without_being_one(check: Run) -> None:
    with served(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: x\n\n") as url:
        told = check("--json", f"{url}/{PROBE}")
    assert (told.code, told.found) == (3, ["no_probe"]), told.brief


@contextmanager
def served(answer: bytes, greeting: bool = False, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The URL of a server that answers so, whatever it is asked, and closes. greeting: it speaks first. tls: to those
    that begin with a handshake it gives one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    if tls is not None and client.recv(1, socket.MSG_PEEK) == b"\x16":
                        with contextlib.suppress(OSError):
                            tls.wrap_socket(client, server_side=True).close()
                        continue
                    asked = b"\r\n\r\n" if greeting else b""
                    while b"\r\n\r\n" not in asked and not asked.startswith(b"\x16\x03"):
                        asked += client.recv(65536)
                    with contextlib.suppress(OSError):
                        client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(PATIENCE)


# -- notes


@pytest.mark.parametrize(
    ("path", "arguments", "note"),
    [
        ("gzip/tokens?type=text/plain", ("-H", "Accept-Encoding: gzip"), "compressed"),
        ("tokens?type=text/plain", (), "sniffable"),
        ("tokens", (), "no_transform_missing"),
        ("collecting/tokens", ("--data", "x"), "post_and_eventsource"),
        ("uncommon", (), "uncoded"),
        (f"collected/{PROBE}", (), "length_on_stream"),
    ],
)
def test_a_note(check: Run, app: str, path: str, arguments: tuple[str, ...], note: str) -> None:
    told = check("--json", "--quick", *arguments, f"{app}/{path}")
    assert note in told.notes, told.brief


def test_a_silence_as_long_as_a_probe_can_make_it(
    check: Run, only: Only, app: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    only()
    monkeypatch.setattr(variants, "SILENCE", 1.0)
    told = check("--json", "--patience", "90s", f"{app}/{PROBE}")
    assert (told.code, told.found) == (0, []), told.brief
    assert finding(told, "silence_bounded")["said"].startswith("a silence of 1.0 s was survived; ")


def test_what_cannot_be_asked_is_a_note_and_no_fault(check: Run, only: Only, app: str) -> None:
    only("post")
    told = check("--json", f"{app}/getonly/{PROBE}")
    assert (told.code, told.found) == (0, []), told.brief
    assert "post: it answers 405; allowed are " in finding(told, "variant_failed")["said"]
    assert "look for the hop that refuses" in finding(told, "variant_failed")["cures"][0]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_lines_of_events_may_end_in_three_ways_and_be_cut_anywhere(end: bytes) -> None:
    body = b"".join(b"data: %d" % number + end * 2 for number in range(3))
    for size in range(1, len(body)):
        content = Content(show=False)
        content.begin("text/event-stream", "")
        for at in range(0, len(body), size):
            content.take(body[at : at + size], float(at))
            content.read_over(float(at))
        assert (sum(read.ends for read in content.reads), content.partial) == (3, False)
    content.take(b"data: half" + end, 0.0)
    assert content.partial


def test_a_head_without_end_is_not_kept(check: Run) -> None:
    with served(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 50_000) as url:
        told = check("--ci", "--quick", url)
    assert (told.code, told.out) == (3, f"FAILED {url}/ the response head is longer than 256 KiB\n")


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (
            b"302 F\r\nLocation: http://[::1/",
            "it answers 302, to http://[::1/; where it leads is no URL: Invalid IPv6 URL",
        ),
        (b"304 Not Modified", "it answers 304"),
    ],
)
def test_a_redirect_that_leads_nowhere(check: Run, head: bytes, said: str) -> None:
    with served(b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n" % head) as url:
        told = check("--ci", "-L", url)
    assert (told.code, told.out) == (3, f"FAILED {url}/ {said}\n")


def test_http_1_0_is_told_of(check: Run) -> None:
    body = b"".join(b"data: %d\n\n" % number for number in range(8))
    with served(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body) as url:
        told = check("--json", "--quick", url)
    assert "http_1_0" in told.notes, told.brief


# -- codings that are not what they say


def coded(coding: str, body: bytes) -> bytes:
    """A response whose body says that it has this coding."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: {coding}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


EVENTS = b"".join(b"data: %d\n\n" % number for number in range(40))
GZIP = gzip.compress(EVENTS)
CODED = {"gzip": GZIP, "deflate": zlib.compress(EVENTS), "br": brotli.compress(EVENTS), "zstd": zstd.compress(EVENTS)}


@pytest.mark.parametrize(
    ("coding", "body", "found", "said"),
    [
        *(
            (coding, EVENTS, "damaged", f"Content-Encoding: {coding}; {coding}: the body is damaged: ")
            for coding in CODED
        ),
        ("gzip", GZIP[:-8] + bytes(8), "damaged", "incorrect data check (is it coded at all?)"),
        ("zstd", CODED["zstd"] + b"and more", "damaged", f"after {len(EVENTS)} bytes of content"),
        *(
            (coding, body[:-3], "truncated", "it ended cleanly, inside what its Content-")
            for coding, body in CODED.items()
        ),
    ],
)
def test_a_body_that_is_not_in_its_coding(check: Run, coding: str, body: bytes, found: str, said: str) -> None:
    with served(coded(coding, body)) as url:
        told = check("--json", "--quick", url)
    assert (told.code, told.found[:1]) == (1, [found]), told.brief
    assert said in finding(told, found)["said"]
    assert "compressed" not in told.notes or found == "truncated"


@pytest.mark.parametrize("coding", CODED)
def test_a_body_in_its_coding_is_not_accused(check: Run, coding: str) -> None:
    with served(coded(coding, CODED[coding])) as url:
        told = check("--json", "--quick", url)
    assert not {"damaged", "truncated"} & {*told.found, *told.notes}, told.brief


def test_a_coding_that_cannot_be_taken_off_is_counted_and_not_read(check: Run) -> None:
    with served(coded("compress", b"data: 1\n\nhalf an ev")) as url:
        told = check("--json", "--quick", url)
    assert "uncoded" in told.notes, told.brief
    assert "truncated" not in told.found


def test_a_probe_whose_coding_is_damaged_is_not_taken_for_none(check: Run) -> None:
    with served(coded("gzip", EVENTS)) as url:
        told = check("--json", "--quick", f"{url}/{PROBE}")
    assert (told.code, told.found) == (1, ["damaged"]), told.brief


# -- ports that speak something else


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", 'it says "SSH-2.0-OpenSSH_9.2p1" (SSH)'),
        (b"220 mail.example ESMTP\r\n", 'it says "220 mail.example ESMTP" (a greeting of SMTP or FTP)'),
        (b"-ERR unknown command\r\n", "(an error of Redis or Valkey)"),
        (b"\x1b[2J\x07\x9b1m\xe9\n", 'it says "\\x1b[2J\\x07\\x9b1m\u00e9"'),
        (b"\x15\x03\x03\0\2\2\x0a", "(a record of TLS)"),
        (b"\0\0\0\4\0\0\0\0\0", "(HTTP/2); the port speaks HTTP/2 alone, without TLS (h2c)"),
        (b"HTTP/1.1 banana\r\n\r\n", "what came is no HTTP/1.1: "),
    ],
)
def test_what_speaks_something_else_is_quoted_in_one_line(check: Run, words: bytes, said: str) -> None:
    with served(words) as url:
        told = check("--ci", url)
        assert "the right port" in check("--json", url).cure
    assert told.code == 3
    assert said in told.out, told.out
    assert told.out.removesuffix("\n").isprintable()


def test_without_http_and_without_tls_is_said_too(check: Run) -> None:
    with served(b"SSH-2.0-OpenSSH_9.2p1\r\n", greeting=True) as url:
        told = check("--ci", url.replace("http://", "https://"))
    assert told.code == 3
    assert told.out.endswith('; without TLS it says "SSH-2.0-OpenSSH_9.2p1" (SSH)\n'), told.out


def test_what_a_server_says_in_its_head_is_printed_without_what_controls_a_terminal(check: Run) -> None:
    with served(b"HTTP/1.1 302 Moved\r\nServer: \x9b2Jx\r\nLocation: http://\x9b2J/\r\n\r\n") as url:
        told = check("--quick", url)
    assert "\\x9b2Jx" in told.out
    assert "\x9b" not in told.out


# -- TLS and HTTP/2


@pytest.fixture(scope="module")
def by_http2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application under hypercorn, which offers HTTP/2; its certificate is nobody's."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(directory / "cert.pem"))
    files = ("--certfile", str(directory / "cert.pem"), "--keyfile", str(directory / "cert.pem"))
    command = (sys.executable, "-m", "hypercorn", "tests.check.app:app", "--bind", "127.0.0.1:0", "--workers", "0")
    with running(*command, *files, "--graceful-timeout", "1") as process:
        port = process.err.match(r"Running on https://127\.0\.0\.1:(\d+)")[1]
        yield f"https://localhost:{port}"


def test_both_versions_are_asked_where_both_are_offered(check: Run, only: Only, by_http2: str) -> None:
    only("http2")
    told = check("--json", "--insecure", f"{by_http2}/{PROBE}")
    assert told.found == [], told.brief
    assert [(one["variant"], one["http"]) for one in told.report["requests"]] == [("identity", "1.1"), ("http2", "2")]
    told = check("--json", "--insecure", f"{by_http2}/holds/http2/{PROBE}")
    assert told.found == ["held_to_the_end", "one_http_version"], told.brief


def test_without_its_library_http2_is_told_of(
    check: Run, only: Only, by_http2: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    only()
    monkeypatch.setattr(run, "http2_installed", lambda: False)
    assert messages.http2_installed()
    assert "http2_missing" in check("--json", "--insecure", f"{by_http2}/tokens").notes


def test_a_certificate_of_nobody(check: Run, by_http2: str) -> None:
    told = check("--json", f"{by_http2}/tokens")
    assert told.code == 3
    assert "the certificate of localhost:" in told.report["verdict"]
    assert "(--insecure goes on all the same)" in told.report["verdict"]
    assert "a name that is in the certificate" in told.cure


def test_an_authority_of_ones_own_is_named_in_the_environment(
    check: Run, only: Only, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with served(b"", tls=context) as url:
        url = url.replace("http://127.0.0.1", "https://localhost")
        told = check("--json", "--quick", url)
        assert "SSL_CERT_FILE" in "".join(finding(told, "no_answer")["cures"])
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        told = check("--json", "--quick", url)
    # It ends behind the handshake.
    assert "gave up before it answered" in told.cure


@pytest.mark.parametrize(
    ("status", "cure"),
    [(401, "credential"), (404, "prefix"), (405, "--method"), (429, "Retry-After"), (502, "error log"), (418, "curl")],
)
def test_a_status_is_told_with_what_to_do_next(check: Run, status: int, cure: str) -> None:
    with served(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status) as url:
        told = check("--json", url)
    assert told.found == ["status"]
    assert cure in told.cure


def test_https_where_http_is_spoken(check: Run, app: str) -> None:
    told = check("--ci", app.replace("http://", "https://"))
    assert told.code == 3
    assert f"; the port speaks HTTP without TLS: try {app}/" in told.brief


def test_http_where_https_is_spoken(check: Run, by_http2: str) -> None:
    told = check("--ci", f"{by_http2.replace('https://', 'http://')}/tokens")
    assert told.code == 3
    assert told.out.endswith(f"; the port speaks TLS: try {by_http2}/tokens\n"), told.out


def test_a_server_that_answers_400_to_what_should_come_by_tls(check: Run) -> None:
    """As nginx, Apache and servers in Go do, in clear text."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    with served(refusal, tls=context) as url:
        told = check("--ci", f"{url}/x")
    assert told.code == 3
    assert f"it answers 400; the port speaks TLS: try {url.replace('http://', 'https://')}/x" in told.out
    with served(refusal) as url:
        assert check("--ci", f"{url}/x").out == f"FAILED {url}/x it answers 400\n"


# -- and the table


def test_every_finding_of_the_table_is_provoked_by_a_program() -> None:
    """test_recorded.py sees to it that each is recorded as well."""
    files = [Path(__file__).with_name(f"test_{name}.py") for name in ("findings", "errors", "streams")]
    text = "".join(file.read_text() for file in files)
    assert [name for name in TABLE if f'"{name}"' not in text and f'"{name}: ' not in text] == []
