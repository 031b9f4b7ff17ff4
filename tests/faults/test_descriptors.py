"""The process may open no more files: streams that run go on, others are told, and all is well when some are free."""

import contextlib
import select
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.faults.conftest import Start
from tests.faults.story import App, Story, read_all, read_until, until

pytestmark = pytest.mark.process

FILES = 180
"""Descriptors that the process may have."""


def at_most(files: int) -> tuple[str, ...]:
    """The beginning of a command that may open so many."""
    return ("sh", "-c", f'ulimit -n {files} && exec "$@"', "sh")


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The beginning of a command that runs on this event loop."""
    if request.param == "uvloop":
        return ()
    return ("env", *(f"{name}={value}" for name, value in request.getfixturevalue("without_uvloop").items()))


def test_as_many_clients_as_there_are_descriptors_for(start: Start, lasting: App, loop: tuple[str, ...]) -> None:
    story = start(lasting.url, "limits.connections=50", prefix=(*loop, *at_most(FILES)))
    story.process.err.match(r"WARNING limits\.connections is 50, and limited to 10: 180 open files are allowed")
    clients = [story.ask("/never/fits", more="") for _ in range(10)]
    until(lambda: story.count("unbuffer_upstream_connections", state="active") == 10)

    late = story.ask("/ok/late")
    assert read_all(late).startswith(b"HTTP/1.1 503 ")
    assert story.count("unbuffer_rejected_requests_total", reason="connections") == 1
    for client in (*clients, late):
        client.close()
    until(lambda: story.count("unbuffer_client_connections") == 0)
    story.works()


def test_a_flood_of_clients_leaves_descriptors_for_the_streams(
    start: Start, lasting: App, loop: tuple[str, ...]
) -> None:
    story = start(lasting.url, prefix=(*loop, *at_most(FILES)))
    clients = [story.client() for _ in range(10)]
    for _ in range(300):
        with contextlib.suppress(ConnectionResetError):
            story.client()
    until(lambda: story.count("unbuffer_rejected_requests_total", reason="connections") == 300)

    for client in clients:
        client.sendall(b"GET /ok/1 HTTP/1.1\r\nHost: app\r\n\r\n")
        assert read_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    for client in story.clients:
        client.close()
    until(lambda: story.count("unbuffer_client_connections") == 0)
    story.works()


def take_one(story: Story, sock: socket.socket) -> None:
    """The admin port takes a connection, if it still can."""
    sock.connect(str(story.admin))
    sock.sendall(b"GET /livez HTTP/1.1\r\nHost: admin\r\n\r\n")
    until(lambda: story.open_files() == FILES or select.select([sock], [], [], 0)[0])


@contextmanager
def eaten(story: Story) -> Iterator[None]:
    """All descriptors are taken, by connections to the admin port: they are under no limit of clients.

    One after the other: with its queue full, the port would refuse the scrapes that follow.
    """
    with ExitStack() as connections:
        while story.open_files() < FILES:
            take_one(story, connections.enter_context(socket.socket(socket.AF_UNIX)))
        yield
    until(lambda: story.open_files() < FILES // 2)


def test_none_is_left(start: Start, lasting: App, loop: tuple[str, ...]) -> None:
    story = start(lasting.url, prefix=(*loop, *at_most(FILES)))
    name = uuid.uuid4().hex
    running, waiting = story.stream(f"/stream/{name}"), story.client()
    until(lambda: story.count("unbuffer_client_connections") == 2)
    with eaten(story):
        waiting.sendall(b"GET /ok/none HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")
        answer = read_all(waiting).decode()
        assert answer.startswith("HTTP/1.1 503 "), answer
        assert "\r\nProxy-Status: unbuffer; error=connection_limit_reached;" in answer
        story.ended("/ok/none", "rejected", 503, "Too many open files")
        late = [story.client() for _ in range(5)]
        lasting.next(name)
        assert read_until(running, b"event 1\n\r\n") == b"8\r\nevent 1\n\r\n"

    for client in (running, *late):
        client.close()
    until(lambda: story.count("unbuffer_client_connections") == 0)
    assert story.count("unbuffer_rejected_requests_total", reason="open_files") == 1
    story.works()
    story.once.append("Too many open files")
