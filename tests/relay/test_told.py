"""What clients are told of a failure: its kind always, what is behind unbuffer only where the settings ask for it."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.peers import GET, Peer
from tests.relay.conftest import Relay, finished
from unbuffer.outcome import WHOLE, Outcome
from unbuffer.relay.dial import Dialer
from unbuffer.settings.model import SSE, Limits, Settings, Timeouts, Upstream

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

BEHIND = "192.0.2.77:4711 and unix:/run/app.sock"
"""What a detail may have in it."""

FAILURES = [outcome for outcome in Outcome if outcome not in WHOLE and outcome.value.status >= 500]

failures = pytest.mark.parametrize("outcome", FAILURES, ids=lambda outcome: outcome.label)
asked_for = pytest.mark.parametrize("details", [False, True], ids=["as a rule", "asked for"])


async def fail(relay: Relay, outcome: Outcome) -> None:
    """End the only stream."""
    connection = relay.connection()
    connection._exchange.finish(outcome, BEHIND)  # type: ignore[union-attr]
    assert (await relay.record()).detail == BEHIND, "the log has it"


@failures
@asked_for
async def test_an_answer(relay: Relay, outcome: Outcome, details: bool) -> None:
    await relay.start(proxy_status_details=details)
    client, _, _ = await relay.exchange(GET)
    await fail(relay, outcome)
    client.eof()
    answer = await client.rest()
    assert answer.startswith(b"HTTP/1.1 %d " % outcome.value.status)
    assert answer.count(BEHIND.encode()) == (details + (details and outcome.value.error != ""))
    assert outcome.value.text.encode() in answer


@failures
@asked_for
async def test_an_error_event(relay: Relay, outcome: Outcome, details: bool) -> None:
    await relay.start(proxy_status_details=details, sse=SSE(error_event=True))
    client, upstream, _ = await relay.exchange(GET)
    await upstream.send(HEAD + b"data: a\n\n")
    await client.until(b"data: a\n\n\r\n")
    await fail(relay, outcome)
    event = await client.chunk()
    assert b"event: error" in event
    assert (BEHIND.encode() in event) is details
    await client.ended()


async def answer_of(relay: Relay, **sections: Any) -> bytes:
    """The whole answer to a request under these settings."""
    await relay.serve(Settings(**sections))
    client = await relay.client()
    await client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    return await client.rest()


@asked_for
async def test_a_port_that_refuses(relay: Relay, closed_port: int, details: bool) -> None:
    upstream = Upstream(url=f"http://127.0.0.1:{closed_port}")
    answer = await answer_of(relay, upstream=upstream, proxy_status_details=details)
    assert (str(closed_port).encode() in answer) is (b"127.0.0.1" in answer) is details
    assert b"Proxy-Status: unbuffer; error=connection_refused;" in answer
    await finished(relay, Outcome.UPSTREAM_REFUSED, 503, f"cannot connect to 127.0.0.1:{closed_port}: ")


@asked_for
async def test_a_unix_socket_that_is_not_there(relay: Relay, tmp_path: Path, details: bool) -> None:
    path = str(tmp_path / "app.sock")
    answer = await answer_of(relay, upstream=Upstream(url=f"unix:{path}"), proxy_status_details=details)
    assert (path.encode() in answer) is details
    await finished(relay, Outcome.UPSTREAM_REFUSED, 503, f"cannot connect to unix:{path}: ")


async def test_a_name_that_nobody_knows(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    upstream = Upstream(url="http://app.internal:1")
    await relay.serve(Settings(upstream=upstream))
    monkeypatch.setattr(Dialer, "_open", unknown)
    client = await relay.client()
    await client.send(GET)
    answer = await client.head() + await client.until(b"\n")
    assert b"app.internal" not in answer
    assert b"error=dns_error" in answer
    await finished(relay, Outcome.UPSTREAM_DNS_ERROR, 502, "cannot resolve app.internal:1: ")


async def test_a_host_that_does_not_answer(relay: Relay, full_port: int) -> None:
    upstream = Upstream(url=f"http://127.0.0.1:{full_port}")
    answer = await answer_of(relay, upstream=upstream, timeouts=Timeouts(connect=0.05))
    assert b"127.0.0.1" not in answer
    assert b"error=connection_timeout" in answer
    await finished(relay, Outcome.CONNECT_TIMEOUT, 504, f"no connection to 127.0.0.1:{full_port} within ")


async def test_what_is_wrong_with_a_request_is_told_to_its_sender(relay: Relay) -> None:
    await relay.start(limits=Limits(body=3))
    client: Peer = await relay.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
    assert b"the request body exceeds limits.body" in await client.head()
    await finished(relay, Outcome.REQUEST_TOO_LARGE, 413, "the request body exceeds limits.body")
    await asyncio.sleep(0)
