"""Each finding, provoked by a program that does just that; the URL is all that the check is given."""

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.check import hops
from tests.check.conftest import Run, Told
from tests.e2e.processes import running
from tests.e2e.stack import uvicorn
from tests.peers import PATIENCE
from unbuffer.check import messages, run
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
def served(answer: bytes) -> Iterator[str]:
    """The URL of a server that answers so, whatever it is asked, and closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    while b"\r\n\r\n" not in client.recv(65536):
                        pass
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


def test_what_cannot_be_asked_is_a_note_and_no_fault(check: Run, only: Only, app: str) -> None:
    only("post")
    told = check("--json", f"{app}/getonly/{PROBE}")
    assert (told.code, told.found) == (0, []), told.brief
    assert "post: it answers 405; allowed are " in finding(told, "variant_failed")["said"]


def test_http_1_0_is_told_of(check: Run) -> None:
    body = b"".join(b"data: %d\n\n" % number for number in range(8))
    with served(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + body) as url:
        told = check("--json", "--quick", url)
    assert "http_1_0" in told.notes, told.brief


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
    told = check("--ci", f"{by_http2}/tokens")
    assert told.code == 3
    assert "the certificate of localhost:" in told.brief
    assert "(--insecure goes on all the same)" in told.brief


def test_https_where_http_is_spoken(check: Run, app: str) -> None:
    told = check("--ci", app.replace("http://", "https://"))
    assert told.code == 3
    assert "(is it plain HTTP? try http://)" in told.brief


# -- and the table


def test_every_finding_of_the_table_is_provoked_somewhere() -> None:
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in TABLE if f'"{name}' not in text and f"{name}:" not in text] == []
