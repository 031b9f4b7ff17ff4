"""Every stream's line gets through whole or is counted as lost; a pipe that nobody reads holds up nobody."""

import asyncio
import contextlib
import fcntl
import json
import logging
import os
import re
import socket
import termios
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers import PATIENCE, connect, soon
from unbuffer.compiled import COMPILED
from unbuffer.judgement import Judgement, Verdict
from unbuffer.observe import access_log, log_writer, stream_line
from unbuffer.observe.access_log import AccessLog
from unbuffer.observe.log_writer import ThreadWriter
from unbuffer.observe.stream_fields import FIELDS, table
from unbuffer.observe.stream_line import Keys, StreamLine, ms, text_line
from unbuffer.outcome import LEFT, Outcome
from unbuffer.presence import Presence
from unbuffer.record import Record
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.plane import Plane
from unbuffer.settings.model import Settings, Upstream
from unbuffer.totals import Totals

DOCUMENT = Path(__file__).parents[2] / "docs" / "access-log.md"

Form = Literal["json", "text"]
FORMS: tuple[Form, ...] = ("json", "text")


class Pipe:
    """A pipe for the log, the test at its reading end."""

    def __init__(self) -> None:
        read, write = os.pipe()
        self.reader = os.fdopen(read, "rb", buffering=0)
        self.writer = os.fdopen(write, "wb", buffering=0)
        self.filling = 0

    def fill(self) -> None:
        """Write until the pipe takes no byte more."""
        os.set_blocking(self.writer.fileno(), False)
        for size in (4096, 1):
            with contextlib.suppress(BlockingIOError):
                while True:
                    self.filling += os.write(self.writer.fileno(), b"x" * size)
        os.set_blocking(self.writer.fileno(), True)

    @property
    def waiting(self) -> int:
        """Bytes in the pipe."""
        found = fcntl.ioctl(self.reader.fileno(), termios.FIONREAD, b"\0\0\0\0")
        return int.from_bytes(found, "little")

    def written(self) -> bytes:
        """Everything in the pipe after the filling, once the log is closed."""
        self.writer.close()
        return self.reader.read()[self.filling :]

    def close(self) -> None:
        self.writer.close()
        self.reader.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def a_record(outcome: Outcome = Outcome.COMPLETED, path: str = "/") -> Record:
    """A stream that ended now."""
    record = Record(time.monotonic(), "GET", path, "1.1", "192.0.2.1", "default")
    record.outcome = outcome
    record.ended = record.started
    return record


def a_full_record() -> Record:
    """A stream of which everything is known; it ended at a known time."""
    record = Record(1000.0, "POST", "/v1/chat", "1.1", "192.0.2.1", "chat")
    record.outcome = Outcome.UPSTREAM_DISCONNECT
    record.kind = "sse"
    record.status = 200
    record.detail = "the upstream reset the connection"
    record.head_at = 1000.125
    record.first_at = 1000.25
    record.last_at = 1001.0
    record.ended = 1002.5
    record.chunks = 7
    record.bytes_up = 11
    record.bytes_read = 22
    record.bytes_down = 33
    record.max_gap = 0.75
    record.stalled = 0.0625
    record.stalls = 1
    record.reused = True
    record.decoded = "gzip"
    record.heartbeats = 3
    record.keepalives = 4
    record.presence = Presence(1)
    record.presence.left(1001.0)
    record.presence.came_back(5, 1001.5)
    record.presence.left(1002.0)
    record.presence.came_back(1, 1002.25)
    record.trace = "0af7651916cd43dd8448eb211c80319c"
    return record


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Monotonic time 1002.5 s is 2026-03-01 12:00:00.25 UTC."""
    if COMPILED:
        pytest.skip("the clock is a part of what is compiled")

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return 2000.0

        @staticmethod
        def time() -> float:
            return datetime(2026, 3, 1, 12, 0, 0, 250_000, UTC).timestamp() + 997.5

    monkeypatch.setattr(stream_line, "time", Clock)


LUMP = Judgement(Verdict.LUMP)


def logged(form: Form, *records: Record, keys: Keys = "otel", judgement: Judgement | None = None) -> bytes:
    """What the log writes about these records."""
    pipe = Pipe()

    async def write() -> None:
        log = AccessLog(form, pipe.writer, keys)
        for record in records:
            record.judgement = judgement
            log.log(record)
        log.close()

    asyncio.run(write())
    data = pipe.written()
    pipe.close()
    return data


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """What the process log was told; asyncio has its own say there on a busy machine."""
    return [(level, text) for name, level, text in caplog.record_tuples if name == "unbuffer"]


def parsed(data: bytes) -> list[dict[str, Any]]:
    """JSON lines."""
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data[:-1].split(b"\n")]


@pytest.mark.usefixtures("clock")
def test_a_json_line_holds_everything_that_is_known() -> None:
    assert parsed(logged("json", a_full_record(), judgement=LUMP)) == [
        {
            "timestamp": "2026-03-01T12:00:00.250Z",
            "severity_text": "WARN",
            "body": "stream",
            "http.request.method": "POST",
            "http.route": "chat",
            "url.path": "/v1/chat",
            "http.response.status_code": 200,
            "network.protocol.version": "1.1",
            "client.address": "192.0.2.1",
            "error.type": "upstream_disconnect",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "unbuffer.outcome": "upstream_disconnect",
            "unbuffer.kind": "sse",
            "unbuffer.verdict": "lump",
            "unbuffer.ttfb_ms": 125.0,
            "unbuffer.ttfc_ms": 250.0,
            "unbuffer.duration_ms": 2500.0,
            "unbuffer.chunks": 7,
            "unbuffer.bytes_up": 11,
            "unbuffer.bytes_read": 22,
            "unbuffer.bytes_down": 33,
            "unbuffer.max_gap_ms": 750.0,
            "unbuffer.silence_ms": 1500.0,
            "unbuffer.stall_ms": 62.5,
            "unbuffer.heartbeats": 3,
            "unbuffer.keepalives": 4,
            "unbuffer.resumes": 2,
            "unbuffer.replayed": 6,
            "unbuffer.absent_ms": 750.0,
            "unbuffer.reused": True,
            "unbuffer.decoded": "gzip",
            "unbuffer.detail": "the upstream reset the connection",
        }
    ]


def test_a_json_line_leaves_out_what_is_not_known() -> None:
    record = Record(5.0, "", "", "", "unix", "default")
    record.outcome = Outcome.COMPLETED
    record.ended = 5.0
    (line,) = parsed(logged("json", record))
    del line["timestamp"]
    assert line == {
        "severity_text": "INFO",
        "body": "stream",
        "http.route": "default",
        "client.address": "unix",
        "unbuffer.outcome": "completed",
        "unbuffer.kind": "plain",
        "unbuffer.duration_ms": 0.0,
        "unbuffer.chunks": 0,
        "unbuffer.bytes_up": 0,
        "unbuffer.bytes_read": 0,
        "unbuffer.bytes_down": 0,
        "unbuffer.max_gap_ms": 0.0,
        "unbuffer.stall_ms": 0.0,
        "unbuffer.reused": False,
    }


@pytest.mark.usefixtures("clock")
def test_the_keys_may_be_short_ones() -> None:
    assert parsed(logged("json", a_full_record(), keys="plain", judgement=LUMP)) == [
        {
            "time": "2026-03-01T12:00:00.250Z",
            "level": "warn",
            "method": "POST",
            "route": "chat",
            "path": "/v1/chat",
            "status": 200,
            "http": "1.1",
            "client": "192.0.2.1",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
            "outcome": "upstream_disconnect",
            "kind": "sse",
            "verdict": "lump",
            "ttfb_ms": 125.0,
            "ttfc_ms": 250.0,
            "duration_ms": 2500.0,
            "chunks": 7,
            "bytes_up": 11,
            "bytes_read": 22,
            "bytes_down": 33,
            "max_gap_ms": 750.0,
            "silence_ms": 1500.0,
            "stall_ms": 62.5,
            "heartbeats": 3,
            "keepalives": 4,
            "resumes": 2,
            "replayed": 6,
            "absent_ms": 750.0,
            "reused": True,
            "decoded": "gzip",
            "detail": "the upstream reset the connection",
        }
    ]


@pytest.mark.usefixtures("clock")
def test_the_keys_may_be_those_of_the_elastic_common_schema() -> None:
    (line,) = parsed(logged("json", a_full_record(), keys="ecs", judgement=LUMP))
    own = {name for name in line if name.startswith("unbuffer.")}
    assert {name: value for name, value in line.items() if name not in own} == {
        "@timestamp": "2026-03-01T12:00:00.250Z",
        "log.level": "warn",
        "message": "stream",
        "ecs.version": "8.11.0",
        "event.dataset": "unbuffer.access",
        "event.kind": "event",
        "event.category": ["web"],
        "event.type": ["access"],
        "event.outcome": "failure",
        "event.duration": 2_500_000_000,
        "event.reason": "the upstream reset the connection",
        "http.request.method": "POST",
        "http.request.body.bytes": 11,
        "http.response.status_code": 200,
        "http.response.body.bytes": 33,
        "http.version": "1.1",
        "url.path": "/v1/chat",
        "client.address": "192.0.2.1",
        "error.type": "upstream_disconnect",
        "trace.id": "0af7651916cd43dd8448eb211c80319c",
    }
    assert own == {field.ecs for field in FIELDS if field.ecs.startswith("unbuffer.")} - {
        "unbuffer.seen",
        "unbuffer.cause",
        "unbuffer.finding",
        "unbuffer.sure",
        "unbuffer.last_word",
        "unbuffer.lines_lost",
    }


@pytest.mark.parametrize(
    ("outcome", "success"),
    [
        (Outcome.COMPLETED, "success"),
        (Outcome.CLIENT_DISCONNECT, "unknown"),
        (Outcome.UNTERMINATED, "failure"),
        (Outcome.SILENCE_TIMEOUT, "failure"),
    ],
)
def test_elastic_hears_of_success(outcome: Outcome, success: str) -> None:
    (line,) = parsed(logged("json", a_record(outcome), keys="ecs"))
    assert line["event.outcome"] == success


@given(st.floats(0, 1e6))
def test_milliseconds_are_rounded_to_the_microsecond(seconds: float) -> None:
    assert ms(seconds) == pytest.approx(seconds * 1000, abs=0.000501, rel=1e-12)
    assert len(repr(ms(seconds)).partition(".")[2]) <= 3


def test_no_two_fields_of_a_set_have_one_name() -> None:
    for keys in ("plain", "otel", "ecs"):
        names = [name for field in FIELDS if (name := getattr(field, keys))]
        assert len(names) == len(set(names))


def test_bursts_are_told_with_what_they_were_seen_by_and_their_likeliest_cause() -> None:
    judgement = Judgement(Verdict.BURSTS, "every 200 ms", ("timer", "proxy"))
    (line,) = parsed(logged("json", a_full_record(), judgement=judgement))
    told = [line.get(f"unbuffer.{name}") for name in ("verdict", "seen", "cause")]
    assert told == ["bursts", "every 200 ms", "timer"]
    assert b" verdict=bursts cause=timer " in logged("text", a_full_record(), judgement=judgement)


@pytest.mark.parametrize(
    ("head_at", "last_at", "kind", "silence"),
    [
        (0.0, 0.0, "plain", None),
        (1000.5, 0.0, "sse", 2000.0),
        (1000.5, 1002.0, "sse", 500.0),
        (1000.5, 0.0, "upgrade", None),
    ],
)
def test_the_silence_before_the_end_counts_from_the_last_word_of_the_upstream(
    head_at: float, last_at: float, kind: str, silence: float | None
) -> None:
    record = a_full_record()
    record.head_at, record.last_at, record.kind = head_at, last_at, kind
    (line,) = parsed(logged("json", record))
    assert line.get("unbuffer.silence_ms") == silence


@pytest.mark.usefixtures("clock")
def test_a_text_line_is_for_people() -> None:
    assert logged("text", a_full_record(), judgement=LUMP) == (
        b'2026-03-01T12:00:00.250Z 192.0.2.1 "POST /v1/chat" 200 sse upstream_disconnect route=chat duration=2500.0ms'
        b" verdict=lump ttfb=125.0ms ttfc=250.0ms chunks=7 up=11 down=33 max_gap=750.0ms stall=62.5ms heartbeats=3"
        b" keepalives=4 resumes=2 replayed=6 absent=750.0ms"
        b' detail="the upstream reset the connection"\n'
    )


def test_the_time_is_the_wall_clock_at_the_end_of_the_stream() -> None:
    before = datetime.now(UTC)
    (line,) = parsed(logged("json", a_record()))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])
    # Cut to milliseconds, and the two clocks are read one after the other.
    assert abs((datetime.fromisoformat(line["timestamp"]) - before).total_seconds()) < PATIENCE


@pytest.mark.parametrize("outcome", Outcome)
def test_only_what_went_wrong_is_more_than_info(outcome: Outcome) -> None:
    (line,) = parsed(logged("json", a_record(outcome)))
    everyday = outcome in (Outcome.COMPLETED, *LEFT)
    assert line["severity_text"] == ("INFO" if everyday else "ERROR" if outcome is Outcome.INTERNAL_ERROR else "WARN")
    assert line.get("error.type") == (None if outcome is Outcome.COMPLETED else outcome.label)


@settings(deadline=None)
@given(method=st.text(), path=st.text(st.characters(max_codepoint=255)), detail=st.text(st.characters()))
def test_what_others_chose_never_breaks_a_line(method: str, path: str, detail: str) -> None:
    record = Record(5.0, method, path, "1.1", "192.0.2.1", "default")
    record.outcome = Outcome.REQUEST_MALFORMED
    record.ended = 5.0
    record.detail = detail
    line = bytearray()
    StreamLine("otel").json(line, record, "now", 0)
    assert line.find(b"\n") == len(line) - 1
    assert json.loads(line).get("url.path", "") == path
    line = bytearray()
    text_line(line, record, "now", 0)
    assert line.find(b"\n") == len(line) - 1
    assert all(0x20 <= byte < 0x80 for byte in line[:-1])


def test_text_that_is_no_unicode_is_written_all_the_same() -> None:
    record = a_record(Outcome.UPSTREAM_REFUSED)
    record.detail = "cannot connect to unix:/run/\udcff.sock"
    (line,) = parsed(logged("json", record))
    assert line["unbuffer.detail"] == "cannot connect to unix:/run/\\udcff.sock"


@pytest.mark.parametrize("form", FORMS)
async def test_no_query_and_no_header_value_is_logged(pipe: Pipe, form: Form) -> None:
    log = AccessLog(form, pipe.writer)
    loop = asyncio.get_running_loop()
    # Nobody listens on the discard port of a loopback address.
    plane = Plane(Settings(upstream=Upstream(url="http://127.0.0.1:9")), Totals(), loop, log.log)
    server = await loop.create_server(lambda: DownstreamConnection(plane), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for request in (
        b"GET /items?key=sesame HTTP/1.1\r\nHost: a\r\nAuthorization: sesame\r\nConnection: close\r\n\r\n",
        b"GET /broken?key=sesame HTTP/1.1\r\nHost: a\r\nCookie: sesame\r\nNo colon: sesame\r\n\r\n",
    ):
        client = await connect(port)
        await client.send(request)
        client.eof()
        await client.ended()
        await client.close()
    server.close()
    await plane.clients.shutdown(PATIENCE)
    plane.close()
    log.close()
    data = pipe.written()
    assert data.count(b"\n") == 2
    assert b"/items" in data
    assert b"/broken" in data
    assert b"sesame" not in data


async def test_a_line_needs_no_other_to_get_through(pipe: Pipe) -> None:
    log = AccessLog("json", pipe.writer)
    log.log(a_record())
    assert await soon(asyncio.to_thread(pipe.reader.read, 1)) == b"{"
    log.close()


async def test_lines_come_in_the_order_of_the_ends(pipe: Pipe) -> None:
    reading = asyncio.get_running_loop().run_in_executor(None, pipe.reader.readall)
    log = AccessLog("json", pipe.writer)
    for number in range(2000):
        log.log(a_record(path=f"/{number}"))
        if number % 300 == 0:
            await asyncio.sleep(0)
    log.close()
    pipe.writer.close()
    lines = parsed(await soon(reading))
    assert [line["url.path"] for line in lines] == [f"/{number}" for number in range(2000)]


async def test_a_write_brings_whole_lines_and_no_more_than_a_pipe_keeps_together() -> None:
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with reader, os.fdopen(writer.detach(), "wb", buffering=0) as file:
        log = AccessLog("json", file)
        paths = ["/short", "/" + "x" * 6000, "/short", *["/" + "y" * 1200] * 5]
        for path in paths:
            log.log(a_record(path=path))
        log.close()
        reader.setblocking(False)
        writes = []
        with contextlib.suppress(BlockingIOError):
            while True:
                writes.append(reader.recv(1 << 16))
    assert [line["url.path"] for write in writes for line in parsed(write)] == paths
    assert [len(parsed(write)) for write in writes if len(write) > 4096] == [1]
    assert len(writes) < len(paths)


@pytest.mark.usefixtures("writing")
@pytest.mark.parametrize("blocking", [True, False])
async def test_a_pipe_that_nobody_reads_holds_up_nobody_and_what_is_lost_is_told(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, blocking: bool
) -> None:
    monkeypatch.setattr(access_log, "CAPACITY", 100)
    pipe.fill()
    os.set_blocking(pipe.writer.fileno(), blocking)
    nobody_was_held_up = threading.Event()

    def read() -> tuple[bool, bytes]:
        in_time = nobody_was_held_up.wait(PATIENCE)
        return in_time, pipe.reader.readall()

    reading = asyncio.create_task(asyncio.to_thread(read))
    log = AccessLog("json", pipe.writer)
    for number in range(103):
        log.log(a_record(path=f"/{number}"))
    await flushed()
    log.log(a_record(path="/lost as well"))
    assert pipe.waiting == pipe.filling
    nobody_was_held_up.set()

    await until_written(log, 100)
    log.log(a_record(path="/after"))
    log.close()
    pipe.writer.close()
    in_time, data = await soon(reading)
    assert in_time, "log() or the flush waited for the pipe"
    lines = parsed(data[pipe.filling :])
    assert [line["url.path"] for line in lines] == [*(f"/{number}" for number in range(100)), "/after"]
    assert sum(line.get("unbuffer.lines_lost", 0) for line in lines) == 4


async def test_a_line_longer_than_the_pipe_comes_whole(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer.fileno(), False)
    reading = asyncio.get_running_loop().run_in_executor(None, pipe.reader.readall)
    log = AccessLog("json", pipe.writer)
    path = "/" + "x" * 500_000
    log.log(a_record(path=path))
    log.close()
    pipe.writer.close()
    assert [line["url.path"] for line in parsed(await soon(reading))] == [path]


@pytest.fixture(params=["on the loop", "in a thread"])
def writing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How a pipe is written to: some cannot be opened anew."""
    way = str(request.param)
    if way == "in a thread":
        monkeypatch.setattr(log_writer, "_never_blocking", lambda fd: None)
    return way


async def flushed() -> None:
    """Wait until what was logged is with the writer: timers fire in the order of their times."""
    passed = asyncio.Event()
    asyncio.get_running_loop().call_later(2 * access_log.FLUSH_PAUSE, passed.set)
    await soon(passed.wait())


async def until_written(log: AccessLog, count: int) -> None:
    async def written() -> None:
        while log._writer is not None and log._writer.handled < count:
            await flushed()

    await soon(written())


def test_a_text_line_tells_of_lost_ones_too() -> None:
    line = bytearray()
    text_line(line, a_record(), "now", 2)
    assert line.endswith(b" lines_lost=2\n")


@pytest.mark.usefixtures("writing")
async def test_closing_waits_no_longer_than_it_says(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access_log, "CLOSE_PATIENCE", 0.01)
    pipe.fill()
    log = AccessLog("json", pipe.writer)
    log.log(a_record())
    log.log(a_record())
    log.close()
    assert [text for _, text in told(caplog)] == ["access log: 2 lines could not be written"]
    pipe.reader.read(1 << 20)
    if isinstance(log._writer, ThreadWriter):
        await soon(asyncio.to_thread(log._writer._worker.join))


@pytest.mark.parametrize("gone", ["before", "meanwhile"])
async def test_a_reader_that_has_gone_is_reported_once(pipe: Pipe, caplog: pytest.LogCaptureFixture, gone: str) -> None:
    if gone == "before":
        pipe.reader.close()
    log = AccessLog("json", pipe.writer)
    pipe.reader.close()
    for number in range(3):
        log.log(a_record())
        await until_written(log, number + 1)
    log.close()
    assert told(caplog) == [
        (logging.WARNING, "access log: cannot write, lines are lost: Broken pipe"),
        (logging.WARNING, "access log: 3 lines could not be written"),
    ]


@pytest.mark.usefixtures("writing")
async def test_lines_that_could_not_be_written_are_told_by_the_next_that_can(tmp_path: Path) -> None:
    """A named pipe may have another reader later."""
    name = tmp_path / "log"
    os.mkfifo(name)
    reader = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(os.open(name, os.O_WRONLY), "wb", buffering=0) as writer:
        log = AccessLog("json", writer)
        os.close(reader)
        log.log(a_record())
        await until_written(log, 1)
        reader = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
        log.log(a_record())
        log.log(a_record())
        log.close()
    with os.fdopen(reader, "rb") as file:
        lines = parsed(file.read())
    assert [line.get("unbuffer.lines_lost") for line in lines] == [1, None]


async def test_off_writes_nothing_and_starts_no_thread(pipe: Pipe) -> None:
    before = threading.active_count()
    log = AccessLog("off", pipe.writer)
    log.log(a_record())
    assert threading.active_count() == before
    log.close()
    assert pipe.written() == b""


async def test_nothing_logged_is_nothing_written(pipe: Pipe, caplog: pytest.LogCaptureFixture) -> None:
    AccessLog("json", pipe.writer).close()
    assert pipe.written() == b""
    assert told(caplog) == []


# -- the documentation


def test_every_field_is_documented_as_it_is() -> None:
    assert table() in DOCUMENT.read_text(), "put there what this prints: python -m unbuffer.observe.stream_fields"


def test_the_line_that_the_document_shows_has_the_fields_of_a_line() -> None:
    (line,) = [line for line in DOCUMENT.read_text().splitlines() if line.startswith("{")]
    names = [field.plain for field in FIELDS]
    shown = list(json.loads(line))
    assert shown == sorted(shown, key=names.index)
    assert set(shown) == set(names) - {
        *(
            "",
            "seen",
            "cause",
            "finding",
            "sure",
            "last_word",
            "resumes",
            "replayed",
            "absent_ms",
            "decoded",
            "detail",
            "lines_lost",
        )
    }
