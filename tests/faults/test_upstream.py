"""The application dies, hangs, is not there, is full, or is not who it should be."""

import datetime
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGSTOP

import pytest
import trustme

from tests.faults.conftest import Start
from tests.faults.story import App, Story, application, cut, read_all, read_until, until

pytestmark = pytest.mark.process

LENGTH = "Connection: close\r\nContent-Length: 4\r\n"


def port_of(app: App) -> str:
    return app.url.rpartition(":")[2]


def refused(story: Story, path: str, status: int, error: str) -> None:
    """A request is answered by unbuffer itself."""
    answer = read_all(story.ask(path)).decode()
    assert answer.startswith(f"HTTP/1.1 {status} "), answer
    assert f"\r\nProxy-Status: unbuffer; error={error};" in answer


# -- it is killed


def test_killed_before_the_head(start: Start, mortal: App) -> None:
    story = start(mortal.url)
    client = story.ask("/never/1")
    mortal.reached("/never/1")
    mortal.process.end(SIGKILL)

    assert b"error=connection_terminated" in read_until(client, b"\r\n\r\n")
    story.ended("/never/1", "upstream_disconnect", 502, "before a response head")
    with application("--port", port_of(mortal)):
        story.works()


def test_killed_in_the_middle_of_a_stream(start: Start, mortal: App) -> None:
    story = start(mortal.url)
    client = story.stream("/stream/1")
    mortal.process.end(SIGKILL)

    assert cut(client) == b""
    story.ended("/stream/1", "upstream_disconnect", 200, "in the response body")
    with application("--port", port_of(mortal)):
        story.works()


def test_killed_while_its_connections_rest(start: Start, mortal: App) -> None:
    story = start(mortal.url, "upstream.keep_alive=1m")
    story.works()
    assert story.count("unbuffer_upstream_connections", state="idle") == 1
    mortal.process.end(SIGKILL)
    until(lambda: story.count("unbuffer_upstream_connections", state="idle") == 0)

    refused(story, "/ok/2", 503, "connection_refused")
    with application("--port", port_of(mortal)):
        story.works()


def test_killed_in_the_middle_of_an_upload(start: Start, mortal: App) -> None:
    story = start(mortal.url)
    client = story.ask("/upload/1", "POST", "Content-Length: 100\r\n")
    client.sendall(b"half")
    mortal.reached("/upload/1")
    mortal.process.end(SIGKILL)

    assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 502 ")
    story.ended("/upload/1", "upstream_disconnect", 502)


def test_restarted_without_a_request_that_fails(start: Start, mortal: App) -> None:
    story = start(mortal.url, "upstream.wait=20s")
    story.works()
    mortal.process.end(SIGKILL)
    clients = [story.ask("/ok/2"), story.ask("/upload/2", "POST", LENGTH)]
    clients[1].sendall(b"body")
    until(lambda: story.count("unbuffer_upstream_connects_total", result="refused") >= 2)
    with application("--port", port_of(mortal)):
        assert all(read_all(client).startswith(b"HTTP/1.1 200 ") for client in clients)


# -- it hangs


def test_stopped_and_continued_loses_nothing(start: Start, mortal: App) -> None:
    story = start(mortal.url)
    client = story.stream("/stream/1")
    mortal.process.signal(SIGSTOP)
    later = [story.ask("/next/1", "POST", LENGTH) for _ in range(3)]
    for each in later:
        each.sendall(b"body")
    mortal.process.signal(SIGCONT)

    # What came together may leave together.
    events = re.findall(rb"event (\d)\n", read_until(client, b"event 3\n\r\n"))
    assert events == [b"1", b"2", b"3"]
    assert all(read_all(each).startswith(b"HTTP/1.1 200 ") for each in later)
    client.close()
    story.ended("/stream/1", "client_disconnect", 200)


def test_stopped_before_the_head(start: Start, mortal: App) -> None:
    story = start(mortal.url, "timeouts.response_head=300ms")
    mortal.process.signal(SIGSTOP)

    refused(story, "/never/1", 504, "http_response_timeout")
    story.ended("/never/1", "response_head_timeout", 504)
    mortal.process.signal(SIGCONT)
    story.works()


def test_stopped_in_the_middle_of_a_stream(start: Start, mortal: App) -> None:
    story = start(mortal.url, "timeouts.silence=300ms")
    client = story.stream("/stream/1")
    mortal.process.signal(SIGSTOP)

    assert cut(client) == b""
    story.ended("/stream/1", "silence_timeout", 200)
    mortal.process.signal(SIGCONT)
    story.works()


# -- it cannot be reached


def test_its_queue_is_full(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        where = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(where)
        story = start("http://{}:{}".format(*where), "timeouts.connect=300ms")

        refused(story, "/ok/1", 504, "connection_timeout")
        story.ended("/ok/1", "connect_timeout", 504)
        for sock in waiting:
            sock.close()


def test_its_port_is_closed(start: Start, closed_port: int) -> None:
    story = start(f"http://127.0.0.1:{closed_port}")

    refused(story, "/ok/1", 503, "connection_refused")
    story.ended("/ok/1", "upstream_refused", 503)


def test_its_name_is_unknown(start: Start) -> None:
    story = start("http://nobody.invalid:8000")

    refused(story, "/ok/1", 502, "dns_error")
    story.ended("/ok/1", "upstream_dns_error", 502, "cannot resolve nobody.invalid")


def test_its_socket_is_missing_and_appears(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    story = start(f"unix:{path}")

    refused(story, "/ok/0", 503, "connection_refused")
    story.ended("/ok/0", "upstream_refused", 503)
    with application(socket=path):
        story.works()


def test_its_socket_is_left_behind_by_a_dead_one(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with application(socket=path) as app:
        story = start(f"unix:{path}")
        story.works()
        app.process.end(SIGKILL)
    assert path.exists()

    refused(story, "/ok/0", 503, "connection_refused")
    path.unlink()
    with application(socket=path):
        story.works()


# -- it is not who it should be


@contextmanager
def secure(directory: Path, authority: trustme.CA, name: str, days: int) -> Iterator[App]:
    """The application with a certificate for this name that is valid for so many days yet."""
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days)
    issued = authority.issue_cert(name, not_before=until - datetime.timedelta(9), not_after=until)
    file = directory / "certificate.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(str(file))
    with application("--ssl-certfile", str(file), "--ssl-keyfile", str(file)) as app:
        yield app


@pytest.mark.parametrize(
    ("name", "days", "known", "why"),
    [
        ("127.0.0.1", 1, True, ""),
        ("app.example", 1, True, "IP address mismatch"),
        ("127.0.0.1", -1, True, "certificate has expired"),
        ("127.0.0.1", 1, False, "unable to get local issuer certificate"),
    ],
    ids=["right", "another name", "expired", "unknown authority"],
)
def test_its_certificate(start: Start, tmp_path: Path, name: str, days: int, known: bool, why: str) -> None:
    authority, trusted = trustme.CA(), tmp_path / "ca.pem"
    (authority if known else trustme.CA()).cert_pem.write_to_path(str(trusted))
    with secure(tmp_path, authority, name, days) as app:
        story = start(app.url, f"upstream.tls.ca={trusted}")
        if why:
            refused(story, "/ok/1", 502, "tls_protocol_error")
            story.ended("/ok/1", "upstream_tls_error", 502, why)
        else:
            story.works()
