"""What /metrics says equals what was counted, in both formats, and a scrape leaves the event loop to the others."""

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterable, Sequence

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.peers import PATIENCE, soon
from unbuffer import __version__
from unbuffer.compiled import YES_OR_NO
from unbuffer.judgement import Verdict
from unbuffer.observe import exposition
from unbuffer.observe.exposition import Exposition
from unbuffer.observe.metrics import FAMILIES
from unbuffer.outcome import FINE, Outcome
from unbuffer.record import Record
from unbuffer.relay.plane import Plane
from unbuffer.relay.templates import Templates
from unbuffer.settings.model import Metrics, Settings
from unbuffer.settings.route import Route
from unbuffer.totals import KINDS, ODDITIES, STORE_ERRORS, TTFB_BOUNDS, Totals

OPENMETRICS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"

REASONS = (
    "connections", "streams", "bad_request", "body_too_large", "unauthorized", "proxy_protocol", "open_files",
    "http2_flood",
)  # fmt: skip

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Process:
    """A process as the exposition sees it."""

    draining = False


class Reloads:
    """A reload that failed, as the exposition sees it."""

    successful = False
    at = 1_234_567_890.5


class Upstream:
    """An upstream as the exposition sees it."""

    up = True

    async def check(self) -> tuple[bool, str]:
        return self.up, "" if self.up else "nobody listens"


class Silent:
    """An upstream that answers no attempt to connect."""

    async def check(self) -> tuple[bool, str]:
        await asyncio.Event().wait()
        raise AssertionError


def flat(text: str) -> Samples:
    """Every sample of unbuffer's own by name and labels; fails when one comes twice."""
    parse = parse_openmetrics if text.endswith("# EOF\n") else parse_text
    found: Samples = {}
    for family in parse(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, f"{key} stands there twice"
            if sample.name.startswith("unbuffer_"):
                found[key] = sample.value
    return found


async def rendered(exposition: Exposition, accept: str = "") -> str:
    """The whole answer."""
    parts, _ = exposition.render(accept)
    return b"".join([part async for part in parts]).decode()


async def scrape(totals: Totals, accept: str = "") -> str:
    return await soon(rendered(Exposition(totals, Process(), Upstream(), Reloads(), lambda: (700, 77)), accept))


def one(name: str, value: float, **labels: str) -> Samples:
    return {(name, frozenset(labels.items())): value}


def histogram(name: str, bounds: Sequence[float], values: Sequence[float], **labels: str) -> Samples:
    """What a histogram of these values has to say."""
    expected = one(f"{name}_count", len(values), **labels) | one(f"{name}_sum", sum(values), **labels)
    for bound in (*bounds, float("inf")):
        le = "+Inf" if bound == float("inf") else str(bound)
        expected |= one(f"{name}_bucket", sum(value <= bound for value in values), le=le, **labels)
    return expected


def ended(outcome: Outcome, started: float, lasted: float, chunks: int, up: int) -> Record:
    record = Record(started, "POST", "/chat", "1.1", "192.0.2.1", "chat")
    record.outcome = outcome
    record.ended = started + lasted
    record.chunks = chunks
    record.bytes_up = up
    return record


def script() -> tuple[Totals, Samples]:
    """Totals after a few events, and what the exposition has to say of them."""
    totals = Totals()
    chat = totals.of("chat", "sse")
    chat.active = 3
    for value in (0.001, 0.03, 500.0):
        chat.ttfb.observe(value)
    for value in (0.25, 2.0):
        chat.ttfc.observe(value)
    for value in (0.0015, 0.0625, 90.0):
        chat.gaps.observe(value)
    for size in (64, 65, 1 << 20):
        chat.chunks_by_magnitude[(size - 1).bit_length()] += 1
        chat.bytes_read += size
    for value in (0.00005, 0.5):
        chat.relay.observe(value)
    chat.bytes_down = 1_234_567
    chat.stalled = 1.5
    chat.stalls = 2
    chat.heartbeats = 4
    chat.keepalives = 15
    chat.missing = 16
    totals.fold(ended(Outcome.COMPLETED, 100.0, 60.0, 20, 10), chat)
    totals.fold(ended(Outcome.COMPLETED, 100.0, 0.25, 1, 0), chat)
    totals.fold(ended(Outcome.UPSTREAM_REFUSED, 100.0, 0.5, 0, 7), chat)
    totals.requests["chat", "POST", 200] = 2
    totals.requests["chat", "POST", 503] = 1
    totals.requests["default", "_OTHER", 400] = 4
    totals.decoded["chat", "gzip", "ok"] = 5
    totals.rejected["streams"] = 6
    totals.oddities["identity"] = 15
    totals.connects["ok"] = 7
    totals.connects["refused"] = 8
    totals.connect_times.observe(0.001)
    totals.reuses = 9
    totals.resume_streams = 17
    totals.resume_held = 18
    totals.resume_replayed = 19
    totals.resume_attaches["foreign"] = 20
    totals.resume_store_errors["slow"] = 21
    totals.resume_store_delay.observe(0.3)
    totals.client_connections = 10
    totals.http2_connections = 4
    totals.upstream_active = 11
    totals.upstream_idle = 12
    totals.verdicts["chat", "lump"] = 13
    totals.upstream_silences["upstream"] = 14
    totals.loop_lag.observe(0.02)
    other = totals.of("_other", "plain")
    other.outcomes[Outcome.COMPLETED] = 2
    other.outcomes[Outcome.REJECTED] = 1

    of, others = {"route": "chat", "kind": "sse"}, {"route": "_other", "kind": "plain"}
    expected = (
        one("unbuffer_active_streams", 3, **of)
        | histogram("unbuffer_upstream_ttfb_seconds", TTFB_BOUNDS, (0.001, 0.03, 500.0), **of)
        | histogram("unbuffer_time_to_first_chunk_seconds", TTFB_BOUNDS, (0.25, 2.0), **of)
        | histogram("unbuffer_inter_chunk_gap_seconds", chat.gaps.bounds, (0.0015, 0.0625, 90.0), **of)
        | histogram("unbuffer_chunk_size_bytes", chat.chunk_sizes.bounds, (64.0, 65.0, 1 << 20), **of)
        | histogram("unbuffer_stream_duration_seconds", chat.durations.bounds, (60.0, 0.25, 0.5), **of)
        | histogram("unbuffer_stream_chunks", chat.chunks.bounds, (20, 1), **of)
        | one("unbuffer_response_body_bytes_total", 1_234_567, **of)
        | one("unbuffer_client_backpressure_seconds_total", 1.5, **of)
        | one("unbuffer_client_backpressure_events_total", 2, **of)
        | one("unbuffer_backpressured_streams", 0, **of)
        | one("unbuffer_heartbeats_total", 4, **of)
        | one("unbuffer_upstream_keepalives_total", 15, **of)
        | one("unbuffer_missing_last_words_total", 16, **of)
        | one("unbuffer_streams_total", 2, outcome="completed", **of)
        | one("unbuffer_streams_total", 1, outcome="upstream_refused", **of)
        | one("unbuffer_requests_total", 2, route="chat", method="POST", code="200")
        | one("unbuffer_requests_total", 1, route="chat", method="POST", code="503")
        | one("unbuffer_requests_total", 4, route="default", method="_OTHER", code="400")
        | one("unbuffer_request_body_bytes_total", 17, route="chat")
        | one("unbuffer_decoded_responses_total", 5, route="chat", encoding="gzip", result="ok")
        | histogram("unbuffer_upstream_connect_seconds", totals.connect_times.bounds, (0.001,))
        | one("unbuffer_upstream_connections", 11, state="active")
        | one("unbuffer_upstream_connections", 12, state="idle")
        | one("unbuffer_upstream_connection_reuse_total", 9)
        | one("unbuffer_upstream_up", 1)
        | one("unbuffer_streams_total", 2, outcome="completed", **others)
        | one("unbuffer_streams_total", 1, outcome="rejected", **others)
        | one("unbuffer_route_overflow_total", 3)
        | histogram("unbuffer_event_loop_lag_seconds", totals.loop_lag.bounds, (0.02,))
        | one("unbuffer_write_buffer_bytes", 777)
        | one("unbuffer_resumable_streams", 17)
        | one("unbuffer_resume_held_bytes", 18)
        | one("unbuffer_resume_replayed_events_total", 19)
        | histogram("unbuffer_resume_store_delay_seconds", totals.resume_store_delay.bounds, (0.3,))
        | one("unbuffer_upstream_stalls_total", 14, scope="upstream")
        | one("unbuffer_upstream_stalls_total", 0, scope="stream")
        | one("unbuffer_client_connections", 10)
        | one("unbuffer_http2_connections", 4)
        | one("unbuffer_draining", 0)
        | one("unbuffer_config_last_reload_successful", 0)
        | one("unbuffer_config_last_reload_success_timestamp_seconds", 1_234_567_890.5)
    )
    for result in ("hit", "expired", "foreign", "unknown"):
        expected |= one("unbuffer_resume_attaches_total", 20 if result == "foreign" else 0, result=result)
    for reason in STORE_ERRORS:
        expected |= one("unbuffer_resume_store_errors_total", 21 if reason == "slow" else 0, reason=reason)
    for verdict in Verdict:
        expected |= one("unbuffer_stream_verdicts_total", 13 if verdict == "lump" else 0, route="chat", verdict=verdict)
        expected |= one("unbuffer_stream_verdicts_total", 0, route="_other", verdict=verdict)
    for result in ("ok", "error"):
        expected |= one("unbuffer_stream_results_total", 2 if result == "ok" else 1, route="chat", result=result)
        expected |= one("unbuffer_stream_results_total", 2 if result == "ok" else 1, route="_other", result=result)
    for name in ("unbuffer_active_streams", "unbuffer_backpressured_streams", "unbuffer_response_body_bytes_total"):
        expected |= one(name, 0, **others)
    for name in ("seconds", "events"):
        expected |= one(f"unbuffer_client_backpressure_{name}_total", 0, **others)
    for name in ("heartbeats", "upstream_keepalives", "missing_last_words"):
        expected |= one(f"unbuffer_{name}_total", 0, **others)
    for name, counts in (
        ("unbuffer_upstream_ttfb_seconds", other.ttfb),
        ("unbuffer_time_to_first_chunk_seconds", other.ttfc),
        ("unbuffer_inter_chunk_gap_seconds", other.gaps),
        ("unbuffer_stream_duration_seconds", other.durations),
        ("unbuffer_stream_chunks", other.chunks),
        ("unbuffer_chunk_size_bytes", other.chunk_sizes),
    ):
        expected |= histogram(name, counts.bounds, (), **others)
    for kind in KINDS:
        delays = (0.00005, 0.5) if kind == "sse" else ()
        expected |= histogram("unbuffer_relay_delay_seconds", chat.relay.bounds, delays, kind=kind)
    for reason in REASONS:
        expected |= one("unbuffer_rejected_requests_total", 6 if reason == "streams" else 0, reason=reason)
    for oddity in ODDITIES:
        expected |= one("unbuffer_upstream_oddities_total", 15 if oddity == "identity" else 0, oddity=oddity)
    for result in ("ok", "refused", "timeout", "dns_error", "tls_error", "other"):
        expected |= one("unbuffer_upstream_connects_total", {"ok": 7, "refused": 8}.get(result, 0), result=result)
    return totals, expected


def many_series() -> Totals:
    """Totals as large as max_routes allows by default, with every bucket counted."""
    totals = Totals()
    for number in range(50):
        for kind in ("sse", "plain") if number < 15 else ("sse",):
            series = totals.of(f"route{number}", kind)
            for counts in (series.ttfb, series.ttfc, series.gaps, series.durations, series.chunks):
                for bound in counts.bounds:
                    counts.observe(bound + number)
            series.chunks_by_magnitude[:20] = range(20)
            series.bytes_read = number
        for code in (200, 404, 502):
            totals.requests[f"route{number}", "GET", code] = number + code
    return totals


def counted(samples: Samples) -> Samples:
    """Without what this process itself is."""
    own = ("unbuffer_build_info", "unbuffer_event_loop_tasks")
    return {key: value for key, value in samples.items() if key[0] not in own}


async def test_the_text_says_what_was_counted_and_nothing_else() -> None:
    totals, expected = script()
    assert counted(flat(await scrape(totals))) == expected


async def test_a_route_has_its_results_and_verdicts_before_its_first_stream() -> None:
    """Or no increase() would see the first error."""
    settings = Settings(metrics=Metrics(max_routes=3), routes=(Route(name="chat", prefix="/chat"),))
    totals, loop = Totals(), asyncio.get_running_loop()
    plane = Plane(settings, totals, loop, lambda record: None)
    plane.know(Templates(["/a/{id}", "/b"]))
    samples = flat(await scrape(totals))
    for route in ("default", "chat", "/a/{id}", "/b"):
        for result in ("ok", "error"):
            assert one("unbuffer_stream_results_total", 0, route=route, result=result).items() <= samples.items()
        assert one("unbuffer_stream_verdicts_total", 0, route=route, verdict="lump").items() <= samples.items()
    plane.know(Templates(["/a/{id}", "/b", "/c"]))
    assert list(totals.routes) == ["default", "chat"], "where not all have room, who comes first is labelled"
    plane.close()


def test_an_error_is_by_neither_the_end_nor_the_client() -> None:
    names = {outcome.label for outcome in FINE}
    client = re.compile("completed|client_.+|abandoned|cancelled|stream_unknown|request_.+|unauthorized|draining")
    assert names == {outcome.label for outcome in Outcome if client.fullmatch(outcome.label)}


async def test_openmetrics_says_the_same() -> None:
    totals, expected = script()
    text = await scrape(totals, OPENMETRICS)
    assert text.count("# EOF\n") == 1
    assert counted(flat(text)) == expected


def traced(started: float, lasted: float, trace: str) -> Record:
    record = ended(Outcome.COMPLETED, started, lasted, 1, 0)
    record.head_at = started + 0.03
    record.first_at = record.last_at = started + 0.05
    record.trace = trace
    return record


async def test_a_trace_is_the_exemplar_of_its_buckets_in_openmetrics() -> None:
    totals = Totals()
    series = totals.of("chat", "sse")
    first, second, slow = "a" * 32, "b" * 32, "c" * 32
    for record in (traced(100.0, 0.2, first), traced(100.0, 0.25, second), traced(100.0, 45.0, slow)):
        series.ttfb.observe(0.03)
        series.ttfc.observe(0.05)
        totals.fold(record, series)
    totals.fold(ended(Outcome.COMPLETED, 100.0, 0.3, 1, 0), series)  # nobody traces this one
    text = await scrape(totals, OPENMETRICS)
    found = {}
    families: Iterable[Metric] = parse_openmetrics(text)  # type: ignore[no-untyped-call]
    for family in families:
        for sample in family.samples:
            if sample.exemplar is not None:
                assert sample.name == f"{family.name}_bucket"
                assert 0 <= time.time() - float(sample.exemplar.timestamp or 0) < PATIENCE
                found[family.name, sample.labels["le"]] = sample.exemplar.labels["trace_id"], sample.exemplar.value
    assert found == {
        ("unbuffer_upstream_ttfb_seconds", "0.04"): (slow, pytest.approx(0.03)),
        ("unbuffer_time_to_first_chunk_seconds", "0.06"): (slow, pytest.approx(0.05)),
        ("unbuffer_stream_duration_seconds", "0.3"): (second, 0.25),
        ("unbuffer_stream_duration_seconds", "60.0"): (slow, 45.0),
    }
    assert " # {" not in await scrape(totals), "the text format knows no exemplars"


async def test_a_trace_that_ended_before_its_head_has_no_time_to_it() -> None:
    totals = Totals()
    series = totals.of("chat", "plain")
    record = ended(Outcome.UPSTREAM_REFUSED, 100.0, 0.2, 0, 0)
    record.trace = "d" * 32
    totals.fold(record, series)
    assert series.ttfb.exemplars is series.ttfc.exemplars is None
    assert series.durations.exemplars is not None


async def test_a_stall_counts_while_it_lasts() -> None:
    totals = Totals()
    series = totals.of("chat", "sse")
    series.stalled = 1000.0
    for since in (5.0, 7.0):
        record = ended(Outcome.COMPLETED, 0.0, 0.0, 1, 0)
        record.paused_at = time.monotonic() - since
        series.stalling.add(record)
    samples = flat(await scrape(totals))
    of = frozenset({"route": "chat", "kind": "sse"}.items())
    assert samples["unbuffer_backpressured_streams", of] == 2
    assert 1012.0 <= samples["unbuffer_client_backpressure_seconds_total", of] < 1012.0 + PATIENCE
    later = flat(await scrape(totals))
    key = "unbuffer_client_backpressure_seconds_total", of
    assert later[key] > samples[key]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
        ("application/openmetrics-text; version=newest", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
async def test_the_accept_header_chooses_the_format(accept: str, content_type: str) -> None:
    _, chosen = Exposition(Totals(), Process(), Upstream(), Reloads(), lambda: (700, 77)).render(accept)
    assert chosen == content_type


async def test_counters_of_closed_sets_exist_before_the_first_event() -> None:
    samples = flat(await scrape(Totals()))
    at_zero = {
        (name, label)
        for (name, labels), value in samples.items()
        if value == 0
        for _, label in labels
        if name.startswith(("unbuffer_upstream_connects_", "unbuffer_rejected_", "unbuffer_upstream_oddities_"))
    }
    assert at_zero == {
        ("unbuffer_upstream_connects_total", result)
        for result in ("ok", "refused", "timeout", "dns_error", "tls_error", "other")
    } | {("unbuffer_rejected_requests_total", reason) for reason in REASONS} | {
        ("unbuffer_upstream_oddities_total", oddity) for oddity in ODDITIES
    }


async def test_every_family_is_announced_from_the_start() -> None:
    announced = {line.split()[2] for line in (await scrape(Totals())).splitlines() if line.startswith("# HELP")}
    assert {family.name for family in FAMILIES} <= announced
    assert {"process_cpu_seconds_total", "process_open_fds", "python_info", "python_gc_collections_total"} <= announced


async def test_the_build_is_named() -> None:
    (labels,) = (dict(labels) for name, labels in flat(await scrape(Totals())) if name == "unbuffer_build_info")
    assert labels["version"] == __version__
    assert set(labels) == {"version", "python", "uvloop", "compiled"}
    assert labels["compiled"] == YES_OR_NO
    assert labels["uvloop"] == "none", "the tests run on asyncio's own event loop"


async def test_the_state_of_the_process_is_that_of_the_scrape() -> None:
    process, upstream = Process(), Upstream()
    exposition = Exposition(Totals(), process, upstream, Reloads(), lambda: ())
    await rendered(exposition)
    process.draining = True
    upstream.up = False
    body = await rendered(exposition)
    samples = flat(body)
    assert samples["unbuffer_draining", frozenset()] == 1
    assert samples["unbuffer_upstream_up", frozenset()] == 0


async def test_an_upstream_that_does_not_answer_holds_up_no_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exposition, "UPSTREAM_PATIENCE", 0.01)
    body = await soon(rendered(Exposition(Totals(), Process(), Silent(), Reloads(), lambda: ())))
    assert flat(body)["unbuffer_upstream_up", frozenset()] == 0


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
async def test_large_families_are_announced_once_and_complete(accept: str) -> None:
    totals = many_series()
    text = await scrape(totals, accept)
    announced = [line for line in text.splitlines() if line.startswith(("# HELP", "# TYPE"))]
    assert len(announced) == len(set(announced))
    samples = flat(text)
    for (route, kind), series in totals.series.items():
        expected = histogram(
            "unbuffer_inter_chunk_gap_seconds",
            series.gaps.bounds,
            [bound + int(route.removeprefix("route")) for bound in series.gaps.bounds],
            route=route,
            kind=kind,
        )
        assert {key: samples[key] for key in expected} == pytest.approx(expected)
    assert sum(name == "unbuffer_requests_total" for name, _ in samples) == 150


@pytest.fixture
async def turns() -> AsyncIterator[list[int]]:
    """A list that grows with every turn of the event loop."""
    seen: list[int] = []

    async def watch() -> None:
        while True:
            seen.append(1)
            await asyncio.sleep(0)

    task = asyncio.create_task(watch())
    yield seen
    task.cancel()


async def test_the_others_have_their_turn_while_a_scrape_is_written(turns: list[int]) -> None:
    exposition = Exposition(many_series(), Process(), Upstream(), Reloads(), lambda: (700, 77))
    before = len(turns)
    body = await rendered(exposition)
    assert len(turns) - before > body.count("\n") / 100


async def test_what_is_counted_during_a_scrape_tears_no_histogram() -> None:
    totals = Totals()
    for number in range(50):
        totals.of(f"route{number}", "sse").outcomes.update(Outcome)
        totals.requests.update((f"route{number}", "GET", code) for code in (200, 404, 502))
    scraped = asyncio.ensure_future(scrape(totals))
    number = 0
    while not scraped.done():
        number += 1
        # A scrape has more turns on a slow machine, and would have ever more to say.
        if number % 5 == 0 and number < 250:
            late = totals.of(f"late{number}", "sse")
            late.outcomes[Outcome.COMPLETED] += 1
            totals.requests[late.route, "GET", 200] += 1
        for series in totals.series.values():
            series.chunks.observe(1.0)
        await asyncio.sleep(0)

    samples = flat(scraped.result())
    name = "unbuffer_stream_chunks"
    counts = {labels: value for (sample, labels), value in samples.items() if sample == f"{name}_count"}
    assert len(set(counts.values())) > 1, "nothing was counted in between"
    for labels, count in counts.items():
        assert samples[f"{name}_bucket", labels | {("le", "+Inf")}] == count
        assert samples[f"{name}_bucket", labels | {("le", "1.0")}] == count
        assert samples[f"{name}_sum", labels] == count


@pytest.mark.skipif(
    shutil.which("promtool") is None and not os.environ.get("CI"), reason="promtool (Debian: prometheus) is missing"
)
async def test_promtool_has_nothing_to_object_to() -> None:
    totals, _ = script()
    text = await scrape(totals)
    checked = await asyncio.to_thread(
        subprocess.run,
        ["promtool", "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
