"""A secret that stands anywhere in a request, be it accepted or refused, is shown nowhere: in no line of the access
log, metric, span or page.

The relay is real, between a client and upstreams in memory (`tests/fuzz/stage.py`), and so is everybody who reads its
records. A path is shown by design: what stands in it is a secret only where it looks like the user of a URL.
"""

import asyncio
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.fuzz.stage import Stage, play
from tests.observe.test_metrics import scrape
from unbuffer.observe.live import Live
from unbuffer.observe.news import event
from unbuffer.observe.recent import Recent
from unbuffer.observe.spans import Spans
from unbuffer.observe.stream_line import StreamLine, text_line
from unbuffer.observe.verdict import judge

SECRET = b"s3cret"

TARGETS = (
    b"/x?key=%b",
    b"/x#%b",
    b"/x?a=b#%b",
    b"//u:%b@h/x",
    b"///u:%b@h",
    b"/x//%b@h",
    b"/proxy/http://u:%b@h/x",
    b"/%%2f%%2Fu:%b@h",
    b"/%%2Fu:%b%%40h/x",
    b"//u%%3A%b%%40h/x",
    b"http:u:%b@h",
    b"http://u:%b@h/x",
    b"http://u:%b%%40h/x",
    b"http://u:a/%b@h/x",
    b"http://%b/x",
    b"http://h/x?%b",
    b"http://h?%b",
    b"HTTPS://h/x#%b",
    b"ftp://%b@h:21/x",
    b"u:%b@h:443",
    b"%b:443",
    b"*?%b",
    b"*%b",
    b"?%b",
    b"%b",
)
FIELDS: tuple[bytes, ...] = (
    b"Authorization: Bearer %b",
    b"Cookie: a=%b",
    b"X-Api-Key: %b",
    b"X-%b: a",
    b"Host: %b",
    b"Host: u:%b@h",
)
FIELDS += (b"Content-Length: %b", b"Transfer-Encoding: %b", b"Upgrade: %b", b"traceparent: %b", b"Expect: %b")
FIELDS += (b"Bad %b: a", b"%b", b": %b", b" %b", b"Forwarded: for=%b", b"X-Forwarded-For: %b", b"Referer: http://%b@h")
METHODS = (b"GET", b"HEAD", b"POST", b"OPTIONS", b"CONNECT", b"%b", b"%b:x", b"BREW-%b")
VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.1 %b", b"%b")

requests = st.tuples(
    st.sampled_from(METHODS),
    st.sampled_from((b"/x", b"*", *TARGETS)),
    st.sampled_from(VERSIONS[:2] * 3 + VERSIONS),
    st.lists(st.sampled_from((b"Host: a", b"Host: a", *FIELDS)), max_size=3),
    st.from_regex(rb"[a-z0-9._~@:/%-]{0,6}", fullmatch=True),
)
Request = tuple[bytes, bytes, bytes, list[bytes], bytes]


def written(request: Request) -> bytes:
    """The bytes of a request, with the secret wherever a place for it is."""
    method, target, version, fields, more = request
    lines = (
        b"%b %b %b" % (method, target.replace(b"%b", b"%b" + more.replace(b"%", b"%%")), version),
        *fields,
        b"",
        b"",
    )
    return b"\r\n".join(lines).replace(b"%b", SECRET).replace(b"%%", b"%") + SECRET


class Told:
    """Everything that is told of the streams of one stage."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._recent = Recent()
        self._live = Live(stage.totals, self._recent, stage.plane.clients)
        self._watcher = self._live.watch(0, [])
        self.pages: list[bytes] = []

    async def look(self) -> None:
        """Look at the page."""
        running = await self._live.newest()
        self.pages.append(event("news", self._live.news(self._watcher, running, "ready", 0.0, 0.0)))

    def all(self) -> Iterable[bytes]:
        """When all has ended."""
        exporter = InMemorySpanExporter()
        spans = Spans(exporter)
        for record in self._stage.records:
            record.judgement = judge(record)
            spans.add(record)
            self._recent.add(record)
            lines = bytearray()
            text_line(lines, record, "now", 0)
            for keys in ("otel", "ecs", "plain"):
                StreamLine(keys).json(lines, record, "now", 0)
            yield bytes(lines)
        asyncio.run(self.look())
        self._live.leave(self._watcher)
        yield from self.pages
        spans.close()
        for span in exporter.get_finished_spans():
            yield span.to_json().encode()
        for accept in ("", "application/openmetrics-text"):
            yield asyncio.run(scrape(self._stage.totals, accept)).encode()


def told_of(data: bytes) -> list[bytes]:
    """Everything that is told of a client that sends this, and of nothing else."""
    told: list[Told] = []

    async def scenario(stage: Stage) -> None:
        told.append(Told(stage))
        stage.client.deliver(data)
        await stage.turns()
        await told[0].look()
        await stage.serve()

    stage = play(scenario)
    assert stage.records
    return list(told[0].all())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(requests)
@example((b"%b", b"/x", b"HTTP/1.1", [b"Host: a"], b""))
@example((b"GET", b"//u:%b@h/x", b"HTTP/1.1", [b"Host: a"], b""))
def test_a_secret_anywhere_in_a_request_is_told_nowhere(request: Request) -> None:
    for text in told_of(written(request)):
        assert SECRET not in text


@pytest.mark.parametrize("target", TARGETS)
def test_each_form_of_a_target(target: bytes) -> None:
    for text in told_of(written((b"GET", target, b"HTTP/1.1", [b"Host: a"], b""))):
        assert SECRET not in text


def test_what_is_told_is_looked_at() -> None:
    """A path is told by every one of them, but for the metrics, which have routes alone."""
    texts = told_of(b"GET /s3cret HTTP/1.1\r\nHost: a\r\n\r\n")
    shown = [SECRET in text for text in texts]
    assert shown == [True] * (len(texts) - 2) + [False] * 2
