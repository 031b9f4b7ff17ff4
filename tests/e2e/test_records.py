"""What /metrics and the access log say after a scripted set of requests: these requests, and nothing else."""

import socket
from collections import Counter
from typing import Any

import httpx
import msgspec
import pytest

from tests import local
from tests.e2e.stack import Gate, Stack, Unbuffer, unbuffer
from tests.peers import PATIENCE

pytestmark = pytest.mark.process

EVENT = len("event 0\n")
SSE_EVENT = len("data: event 0\n\n")
NOT_FOUND = b'{"detail":"Not Found"}'


class Script:
    """Requests with a known outcome each; `paths` are those of the streams, in the order of their ends."""

    def __init__(self, stack: Stack, proxy: Unbuffer, client: httpx.Client) -> None:
        self._stack = stack
        self._proxy = proxy
        self._client = client
        self.paths: list[tuple[str, str]] = []

    def plain(self, path: str, code: int) -> None:
        assert self._client.get(f"{path}?token=s3cret").status_code == code
        self._over(path, "completed")

    def upload(self, body: bytes) -> int:
        """How many bytes the answer had."""
        answer = self._client.post("/upload?token=s3cret", content=body).raise_for_status()
        self._over("/upload", "completed")
        return len(answer.content)

    def stream(self, kind: str, events: int, size: int, ending: str) -> None:
        """So many events of `size` bytes, one by one; then ended by `ending`."""
        gate = self._stack.gate()
        with self._client.stream("GET", gate.path(kind), params={"token": "s3cret"}) as response:
            parts = response.iter_raw()
            for number in range(events):
                if number:
                    gate.next()
                assert len(next(parts)) == size
            outcome = self._end(gate, ending)
            if ending == "end":
                assert next(parts, None) is None
            elif ending == "fail":
                with pytest.raises(httpx.RemoteProtocolError):
                    next(parts)
        self._over(gate.path(kind), outcome)

    @staticmethod
    def _end(gate: Gate, ending: str) -> str:
        if ending == "leave":
            return "client_disconnect"
        gate.end() if ending == "end" else gate.fail()
        return "completed" if ending == "end" else "upstream_disconnect"

    def malformed(self) -> None:
        with socket.create_connection(("127.0.0.1", self._proxy.port), PATIENCE) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 400"
        self._over("/", "request_malformed")

    def _over(self, path: str, outcome: str) -> None:
        self.paths.append((path, outcome))
        # The stream of a client that leaves ends when unbuffer notices.
        self._proxy.lines(path, Counter(self.paths)[path, outcome])


def test_metrics_and_access_log_tell_the_script(stack: Stack) -> None:
    with (
        unbuffer(stack.app.url) as proxy,
        local.client(proxy.url) as client,
    ):
        script = Script(stack, proxy, client)
        script.plain("/plain/1000", 200)
        script.plain("/plain/1000", 200)
        script.plain("/missing", 404)
        answered = script.upload(b"u" * 5000)
        script.stream("text", 3, EVENT, "end")
        script.stream("text", 1, EVENT, "leave")
        script.stream("sse", 2, SSE_EVENT, "end")
        script.stream("sse", 4, SSE_EVENT, "fail")
        script.stream("compressed", 2, EVENT, "end")
        script.malformed()
        now = proxy.samples()

        def told(name: str, *labels: str) -> dict[tuple[str, ...], float]:
            return {tuple(dict(of)[label] for label in labels): v for (n, of), v in now.items() if n == name}

        assert {dict(of).get("route", "default") for _, of in now} == {"default"}
        assert told("unbuffer_requests_total", "method", "code") == {
            ("GET", "200"): 7,
            ("GET", "404"): 1,
            ("POST", "200"): 1,
            ("_OTHER", "400"): 1,
        }
        assert told("unbuffer_streams_total", "kind", "outcome") == {
            ("plain", "completed"): 4,
            ("plain", "request_malformed"): 1,
            ("stream", "completed"): 2,
            ("stream", "client_disconnect"): 1,
            ("sse", "completed"): 1,
            ("sse", "upstream_disconnect"): 1,
        }
        assert told("unbuffer_stream_chunks_count", "kind") == {("plain",): 4, ("stream",): 3, ("sse",): 2}
        # The compressed stream has one chunk more: the end of its gzip coding, which decodes to nothing.
        assert told("unbuffer_stream_chunks_sum", "kind") == {("plain",): 4, ("stream",): 3 + 1 + 3, ("sse",): 2 + 4}
        assert told("unbuffer_response_body_bytes_total", "kind") == {
            ("plain",): 2 * 1000 + len(NOT_FOUND) + answered,
            ("stream",): (3 + 1 + 2) * EVENT,
            ("sse",): (2 + 4) * SSE_EVENT,
        }
        assert told("unbuffer_request_body_bytes_total") == {(): 5000}
        assert told("unbuffer_decoded_responses_total", "encoding", "result") == {("gzip", "ok"): 1}
        assert told("unbuffer_rejected_requests_total", "reason")[("bad_request",)] == 1
        # Each of the five streams has one; which one depends on how quickly the test opened the gates.
        assert sum(told("unbuffer_stream_verdicts_total", "verdict").values()) == 5
        assert set(told("unbuffer_backpressured_streams", "kind").values()) == {0}
        assert set(told("unbuffer_active_streams", "kind").values()) == {0}
        assert told("unbuffer_upstream_connections", "state")[("active",)] == 0
        assert told("unbuffer_upstream_up") == {(): 1}
        assert proxy.process.end() == 0

    logged = proxy.process.out.all()
    lines = [msgspec.json.decode(line, type=dict[str, Any]) for line in logged]
    assert [(line["url.path"], line["unbuffer.outcome"]) for line in lines] == script.paths
    assert not any("s3cret" in line for line in logged + proxy.process.err.all())
