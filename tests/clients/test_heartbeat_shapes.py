"""What the readers of event-streams that are in use make of each shape of a heartbeat.

Each reads streams without heartbeats and with them: at the very beginning, after a `retry:`, and twice after each
event; with LF, CRLF and CR; with and without ids. Whatever differs stands in the table, by which `auto` is chosen.
"""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.apps.installed import node, python
from tests.e2e.processes import STARTED
from unbuffer.http.sse import AUTO, BLANK, COMMENT, COMMENT_BLOCK, Tail, reads_events
from unbuffer.resume.cutter import Cutter

pytestmark = pytest.mark.process

FOLDER = Path(__file__).parent / "readers"
ENDS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}
KINDS = ("plain", "retry", "ids")
RESUMABLE = "resumable"
SHAPES = (COMMENT, COMMENT_BLOCK, BLANK, AUTO)

WORDS = [f"word {number}" for number in range(3)]

# What a reader makes of a stream with heartbeats, beside the same one without them:
ADDS = "gives events that are none"
LOSES = "gives fewer events"
FAILS = "raises"
NEVER = "reads no such stream, with heartbeats or without"

AFTER_ID = {COMMENT_BLOCK: {"ids": FAILS}, BLANK: {"ids": FAILS}}

READERS: dict[str, tuple[str, dict[str, dict[str, str]]]] = {
    # API, and where it differs: shape, and kinds of stream
    "openai.py": ("openai", {**AFTER_ID, "": {"retry": NEVER}}),
    "groq.py": ("openai", {**AFTER_ID, "": {"retry": NEVER}}),
    "huggingface_hub.py": ("openai", {}),
    "anthropic.py": ("anthropic", {}),
    "genai.py": (
        "gemini",
        {COMMENT: {"plain": FAILS}, COMMENT_BLOCK: {"plain": FAILS}, "": {"retry": NEVER, "ids": NEVER}},
    ),
    "genai_async.py": (
        "gemini",
        {COMMENT: {"plain": FAILS}, COMMENT_BLOCK: {"plain": FAILS}, "": {"retry": NEVER, "ids": NEVER}},
    ),
    "litellm_gemini.py": (
        "gemini",
        {COMMENT: {"plain": LOSES}, COMMENT_BLOCK: {"plain": LOSES}, "": {"retry": NEVER, "ids": NEVER}},
    ),
    "httpx_sse.py": ("events", {COMMENT_BLOCK: {"ids": ADDS}, BLANK: {"ids": ADDS}}),
    "langgraph_sdk.py": ("langgraph", {}),
    "sseclient_py.py": ("events", {}),
    "requests_sse.py": ("events", {}),
    "launchdarkly_eventsource.py": ("events", {}),
    "aiohttp_lines.py": ("events", {}),
    "openai.mjs": ("openai", {}),
    "genai.mjs": ("gemini", {COMMENT: {"plain": LOSES, "retry": LOSES}, "": {"ids": NEVER}}),
    "generative_ai.mjs": (
        "gemini",
        {**{shape: {"plain": FAILS} for shape in SHAPES}, "": {"retry": NEVER, "ids": NEVER}},
    ),
    "eventsource.mjs": ("events", {}),
    "extended_eventsource.mjs": (
        "events",
        {shape: dict.fromkeys(KINDS, ADDS) for shape in (COMMENT_BLOCK, BLANK)},
    ),
    "event_source_polyfill.mjs": ("events", {}),
    "eventsource_parser.mjs": ("events", {}),
    "fetch_event_stream.mjs": ("events", {}),
    "parse_sse.mjs": ("events", {}),
    "fetch_event_source.mjs": (
        "events",
        {shape: dict.fromkeys(KINDS, ADDS) for shape in (COMMENT_BLOCK, BLANK)},
    ),
    "donovanhide.go": ("events", {}),
    "gin.go": ("events", {}),
    "lines.java": ("events", {}),
    "by_hand_lines.mjs": ("events", {}),
    "by_hand_pieces.mjs": ("events", {COMMENT: {"plain": LOSES, "retry": LOSES}, "": {"ids": NEVER}}),
}

LINE_ENDS = dict.fromkeys(("aiohttp_lines.py", "genai_async.py", "gin.go", "by_hand_pieces.mjs"), ("LF", "CRLF"))
"""Of those that do not know all of them."""


def events(api: str) -> Iterator[bytes]:
    """The lines of each event, with LF, as clients of such an API expect them."""
    for word in WORDS:
        match api:
            case "openai":
                delta = {"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}
                said = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [delta]}
                yield b"data: %b\n" % json.dumps(said).encode()
            case "anthropic":
                told = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
                yield b"event: content_block_delta\ndata: %b\n" % json.dumps(told).encode()
            case "gemini":
                content = {"role": "model", "parts": [{"text": word}]}
                answer = {"candidates": [{"index": 0, "content": content}], "modelVersion": "m"}
                yield b"data: %b\n" % json.dumps(answer).encode()
            case _:
                yield (
                    b"event: values\ndata: %b\n" % json.dumps(word).encode()
                    if api == "langgraph"
                    else (b"data: %b\n" % json.dumps(word).encode())
                )
    if api == "openai":
        yield b"data: [DONE]\n"


def stream(api: str, kind: str, end: bytes, shape: str) -> bytes:
    """A whole stream. Without a shape there are no heartbeats in it."""
    if kind == RESUMABLE:
        return resumable(api, end, shape)
    tail, written = Tail(b"", shape), b""

    def add(data: bytes, beats: int) -> None:
        nonlocal written
        if data:
            tail.feed(data)
        written += data
        for _ in range(beats if shape else 0):
            assert tail.at_event_boundary
            written += tail.heartbeat

    if kind == "retry":
        add(b"retry: 3000" + end + end, 1)
    else:
        add(b"", 1)
    for number, event in enumerate(events(api)):
        named = b"id: %d\n" % number + event if kind == "ids" else event
        add(named.replace(b"\n", end) + end, 2)
    return written


def resumable(api: str, end: bytes, shape: str) -> bytes:
    """The same of a route with `resume`: with an id before the first event, and of an application that sends comments
    with empty lines."""
    cutter = Cutter(b"ub.N.")
    written, comments = (b"id: ub.N.0\n", 2 * (b": ping" + 2 * end)) if shape else (b"", b"")
    for event in events(api):
        written += cutter.cut(comments + event.replace(b"\n", end) + end)
    return written + cutter.cut(comments)


class Streams(BaseHTTPRequestHandler):
    """/API/KIND/END/SHAPE/..., whatever the method."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        _, api, kind, end, shape, *_ = self.path.split("/")
        accept = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        if shape == AUTO and reads_events(accept):
            shape = COMMENT
        body = stream(api, kind, ENDS[end], "" if shape == "none" else shape)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def origin() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Streams)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def made_of(given: Any, without: Any) -> str:
    """What a reader makes of heartbeats, by what it gave with them and without; empty for nothing."""
    if isinstance(without, str) or not without:
        return NEVER
    if isinstance(given, str):
        # @google/genai gives what it has, and raises at the end.
        return LOSES if "Incomplete JSON" in given else FAILS
    if given == without:
        return ""
    # eventsource-parser waits at a final CR for the LF, so that without a heartbeat after that it loses the last event.
    if given[:-1] == without:
        return "" if WORDS[-1] in str(given[-1]) else ADDS
    return LOSES if len(given) < len(without) else ADDS


def reading(language: str) -> list[str]:
    """What runs the readers in this language. Go and Java take a third of a gigabyte: only where they are, they run."""
    if language == "go":
        libraries = [Path("/usr/share/gocode/src/github.com", name) for name in ("donovanhide", "gin-contrib/sse")]
        if not shutil.which("go") or not all(library.exists() for library in libraries):
            pytest.skip("needs Debian's golang-go and the two packages that readers/read.go names")
        return ["env", "GO111MODULE=off", "GOPATH=/usr/share/gocode", "go", "run", f"{FOLDER}/read.go"]
    if language == "java":
        if not shutil.which("javac"):
            pytest.skip("needs a JDK")
        return ["java", f"{FOLDER}/Read.java"]
    return [str(python() if language == "py" else node()), f"{FOLDER}/read.{language}"]


@pytest.mark.parametrize("name", READERS)
def test_a_reader(origin: str, name: str) -> None:
    api, expected = READERS[name]
    ends = LINE_ENDS.get(name, tuple(ENDS))
    never = expected.get("", {})
    keys = [
        (kind, shape, end)
        for kind in KINDS
        for end in (ends[:1] if kind in never else ends)
        for shape in (("none",) if kind in never else ("none", *SHAPES))
    ]
    if "ids" not in never:
        keys += [(RESUMABLE, shape, end) for end in ends for shape in ("none", COMMENT_BLOCK)]
    urls = [f"{origin}/{api}/{kind}/{end}/{shape}" for kind, shape, end in keys]
    stem, _, language = name.partition(".")
    done = subprocess.run(
        ["env", "NO_PROXY=*", "LITELLM_LOCAL_MODEL_COST_MAP=True", *reading(language), stem],
        input="\n".join(urls),
        capture_output=True,
        check=True,
        text=True,
        timeout=2 * STARTED,
    )
    gave = dict(zip(keys, [json.loads(line) for line in done.stdout.splitlines()], strict=True))
    for kind in never:
        assert made_of(None, gave[kind, "none", ends[0]]) == NEVER
    seen = {
        (shape, kind, end): made_of(gave[kind, shape, end], gave[kind, "none", end])
        for kind, shape, end in keys
        if shape != "none"
    }
    assert seen == {(shape, kind, end): expected.get(shape, {}).get(kind, "") for shape, kind, end in seen}
