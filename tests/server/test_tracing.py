"""Spans out of a running process: exported before it ends, and refused at the start where OpenTelemetry is missing."""

import signal
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.peers import Peer
from tests.server.conftest import Sidecar, Start, Upstream, finish, start_ports, stream

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


async def spans_of(collector: Peer) -> list[Span]:
    """The spans of the next export, which is confirmed."""
    head = await collector.head()
    assert head.startswith(b"POST /v1/traces HTTP/1.1\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    request = ExportTraceServiceRequest.FromString(await collector.read(length))
    await collector.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    return [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> Upstream:
    """Takes connections and leaves the rest to the test."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    collector = Upstream()
    await collector.start()
    return collector


async def test_the_last_spans_are_exported_within_the_drain(
    serve: Start, upstream: Upstream, collector: Upstream
) -> None:
    await upstream.start()
    ports = await start_ports(serve, upstream.port, f"tracing.otlp=http://127.0.0.1:{collector.port}")
    client = await ports.client()
    await client.send(
        b"GET /stream HTTP/1.1\r\nHost: app\r\ntraceparent: 00-%b-%b-01\r\n\r\n" % (TRACE.encode(), SPAN.encode())
    )
    peer = await upstream.accept()
    assert b"\r\ntraceparent: 00-%b-%b-01\r\n" % (TRACE.encode(), SPAN.encode()) in await peer.head()
    await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await client.until(b"ok")
    assert (await ports.sidecar.record())["trace_id"] == TRACE

    ports.sidecar.signal(signal.SIGTERM)

    (span,) = await spans_of(await collector.accept())
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.name) == (TRACE, SPAN, "GET")
    assert await ports.sidecar.exit() == 0, ports.sidecar.errors
    await collector.stop()


async def test_a_collector_that_is_not_there_costs_no_stream(
    serve: Start, upstream: Upstream, collector: Upstream
) -> None:
    await upstream.start()
    await collector.stop()
    ports = await start_ports(serve, upstream.port, f"tracing.otlp=http://127.0.0.1:{collector.port}")
    client = await ports.client()
    peer = await stream(client, upstream)
    await finish(peer, client)
    assert (await ports.sidecar.record())["unbuffer.outcome"] == "completed"
    await ports.sidecar.end()


async def test_without_opentelemetry_it_says_what_to_install(command: Start, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden" / "opentelemetry"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").touch()
    sidecar = await command(
        *("serve", "--listen", "127.0.0.1:0", "--admin", "off", "--set", "tracing.otlp=http://127.0.0.1:4318"),
        env={"PYTHONPATH": str(hidden.parent)},
    )
    assert await sidecar.exit() == 69
    assert sidecar.errors.splitlines()[-1].startswith("unbuffer: tracing.otlp needs OpenTelemetry, but opentelemetry.")
    assert sidecar.errors.endswith("is not installed: in a clone, pip install '.[otel]'\n")


async def test_and_without_tracing_nobody_misses_it(command: Start, upstream: Upstream, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "opentelemetry.py").write_text("raise AssertionError('imported for nobody')\n")
    await upstream.start()

    async def serve(*arguments: str) -> Sidecar:
        return await command("serve", *arguments, env={"PYTHONPATH": str(hidden)})

    ports = await start_ports(serve, upstream.port)
    client = await ports.client()
    peer = await stream(client, upstream)
    await finish(peer, client)
    await ports.sidecar.end()
