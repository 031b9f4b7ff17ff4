"""A host that is switched off, or a wire that is cut: no FIN, no reset, no answer any more."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Start
from tests.faults.network import Wire, socket_in, why_not, wire
from tests.faults.story import Story, application, cut, read_until, until
from tests.peers import PATIENCE

pytestmark = pytest.mark.process

SOON = ("timeouts.tcp_user=1s", "timeouts.client_stall=500ms")
IN = ("ip", "netns", "exec")


@pytest.fixture
def cable() -> Iterator[Wire]:
    missing = why_not()
    if missing and os.environ.get("CI") != "true":
        pytest.skip(missing)
    assert not missing
    with wire() as made:
        yield made


def client_there(story: Story, cable: Wire, path: str) -> None:
    """A client on the other host that has event 0 of a stream."""
    client = socket_in(cable.there)
    story.clients.append(client)
    client.settimeout(PATIENCE)
    assert not isinstance(story.listen, str)
    client.connect(("192.0.2.1", story.listen[1]))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: app\r\n\r\n".encode())
    read_until(client, b"event 0\n\r\n")


@pytest.mark.parametrize("speaks", [False, True], ids=["in silence", "in the middle of events"])
def test_the_host_of_a_client(start: Start, cable: Wire, tmp_path: Path, speaks: bool) -> None:
    with application(socket=tmp_path / "app.sock") as app:
        story = start(app.url, *SOON, listen="192.0.2.1:0", prefix=(*IN, cable.here))
        client_there(story, cable, "/stream/1")
        cable.cut()
        if speaks:
            app.next("1")

        story.ended("/stream/1", "client_disconnect", 200, "the client's host answers no more")


def test_the_host_of_an_idle_client(start: Start, cable: Wire, tmp_path: Path) -> None:
    story = start(f"unix:{tmp_path / 'app.sock'}", *SOON, listen="192.0.2.1:0", prefix=(*IN, cable.here))
    client = socket_in(cable.there)
    story.clients.append(client)
    assert not isinstance(story.listen, str)
    client.connect(("192.0.2.1", story.listen[1]))
    until(lambda: story.count("unbuffer_client_connections") == 1)
    cable.cut()

    until(lambda: story.count("unbuffer_client_connections") == 0)


def test_the_host_of_the_application(start: Start, cable: Wire, tmp_path: Path) -> None:
    with application("--host", "192.0.2.2", prefix=(*IN, cable.there)) as app:
        story = start(app.url, *SOON, listen=f"unix:{tmp_path / 'clients.sock'}", prefix=(*IN, cable.here))
        client = story.stream("/stream/1")
        cable.cut()

        assert cut(client) == b""
        story.ended("/stream/1", "upstream_disconnect", 200, "the upstream's host answers no more")


def test_the_host_of_the_application_before_the_head(start: Start, cable: Wire, tmp_path: Path) -> None:
    with application("--host", "192.0.2.2", prefix=(*IN, cable.there)) as app:
        story = start(app.url, *SOON, listen=f"unix:{tmp_path / 'clients.sock'}", prefix=(*IN, cable.here))
        client = story.ask("/never/1")
        app.reached("/never/1")
        cable.cut()

        assert b"error=connection_terminated" in read_until(client, b"\r\n\r\n")
        story.ended("/never/1", "upstream_disconnect", 502, "the upstream's host answers no more")
