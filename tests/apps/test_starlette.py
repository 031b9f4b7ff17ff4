"""Starlette's own examples through unbuffer: what its documentation shows as a program runs as it is printed there.

The text comes from the source of the installed version (`make apps`), so that nothing of it has to be kept here. The
source of sse-starlette comes without its folder of examples; its description has one program.
"""

import ast
import builtins
import re
import socket
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL

import h11
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.apps.installed import python, readme, source, versions
from tests.e2e.stack import Stack, unbuffer, uvicorn
from tests.peers import PATIENCE

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. parts: the pieces of its body, sent as chunks. status, has: what must be seen of the answer."""

    path: str = "/"
    status: int = 200
    has: bytes = b""
    method: str = "GET"
    fields: tuple[tuple[str, str], ...] = ()
    parts: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Talk:
    """A WebSocket. said: each is sent when the answer to the one before it is there. heard: all that is to come back,
    with the code of the close, or the status and the body of an answer that is no WebSocket.
    """

    path: str = "/"
    said: tuple[str | bytes, ...] = ()
    heard: tuple[str | bytes | int, ...] = ()
    subprotocols: tuple[Subprotocol, ...] = ()


SIGNUP = Ask(
    "/user/signup",
    method="POST",
    fields=(("Content-Type", "application/json"),),
    parts=(b'{"username": "tom", ', b'"email": "tom@example.org"}'),
    has=b"Signup successful",
)
BASIC = (("Authorization", "Basic dG9tOnNlY3JldA=="),)
ORIGIN = ("Origin", "http://elsewhere.example")
PREFLIGHT = (ORIGIN, ("Access-Control-Request-Method", "GET"))
TOKEN = (Subprotocol("Authorization"), Subprotocol("token"))

# By page, heading, and place under that heading.
TAKEN: dict[str, tuple[Ask | Talk, ...]] = {
    "applications.md: #0": (
        Ask(has=b"Hello, world!"),
        Ask("/user/me", has=b"John Doe"),
        Ask("/user/tom", has=b"tom"),
        Ask("/static/style.css", has=b"color"),
        Ask("/static/missing", 404),
        Ask(status=405, method="DELETE"),
        Talk("/ws", heard=("Hello, websocket!", 1000)),
    ),
    "authentication.md: #0": (
        Ask(has=b"Hello, you"),
        Ask(fields=BASIC, has=b"Hello, tom"),
        Ask(status=400, fields=(("Authorization", "Basic x"),)),
    ),
    "background.md: Background Task #0": (SIGNUP, Ask("/user/signup", 405)),
    "background.md: BackgroundTasks #0": (SIGNUP,),
    # uvicorn sends no hints over HTTP/1.1.
    "early-hints.md: `Request.send_early_hints` #0": (Ask(has=b"Early Hints"), Ask("/static/app.js", has=b"Starlette")),
    "endpoints.md: HTTPEndpoint #0": (Ask(has=b"Hello, world!"), Ask(status=405, method="PUT")),
    "endpoints.md: HTTPEndpoint #1": (
        Ask(has=b"Hello, world!"),
        Ask("/tom", has=b"Hello, tom"),
        Ask(method="HEAD"),
        Ask(method="QUERY", parts=(b"a question",), has=b"Hello, query!"),
    ),
    "endpoints.md: WebSocketEndpoint #0": (
        Talk(said=(b"one", b"\x00\xff"), heard=(b"Message: one", b"Message: \x00\xff", 1000)),
    ),
    "endpoints.md: WebSocketEndpoint #1": (
        Ask(has=b"WebSocket Chat"),
        Talk("/ws", said=("one", "zwölf"), heard=("Message text was: one", "Message text was: zwölf", 1000)),
    ),
    "exceptions.md: HTTPException #0": (Talk("/ws", heard=(400, b"Bad request")),),
    "index.md: Example #0": (Ask(has=b'{"hello":"world"}'), Ask("/missing", 404)),
    "index.md: Framework or Toolkit #0": (Ask(has=b"Hello, world!"),),
    "middleware.md: Exclude URLs #0": (Ask(has=b"Hello, world!"), Ask("/health", has=b"Hello, world!")),
    "middleware.md: OpenTelemetry #2": (Ask(status=404),),
    "middleware.md: CORSMiddleware Global Enforcement #0": (
        Ask(status=404, fields=(ORIGIN,)),
        Ask(method="OPTIONS", fields=PREFLIGHT, has=b"OK"),
    ),
    "requests.md: Request #0": (Ask("/some/path?with=query", has=b"GET /some/path"), Ask(method="HEAD")),
    "requests.md: Body #0": (
        Ask(method="POST", parts=(b"one, ", b"two, ", b"three"), has=b"one, two, three"),
        Ask(method="POST", parts=(b"x" * 300_000,), has=b"x" * 300_000),
        Ask(),
    ),
    "responses.md: Response #0": (Ask(has=b"Hello, world!"),),
    "responses.md: HTMLResponse #0": (Ask(has=b"<h1>Hello, world!</h1>"), Ask(method="HEAD")),
    "responses.md: PlainTextResponse #0": (Ask(has=b"Hello, world!"),),
    "responses.md: JSONResponse #0": (Ask(has=b'{"hello":"world"}'),),
    "responses.md: RedirectResponse #0": (Ask(has=b"Hello, world!"), Ask("/elsewhere", 307)),
    "responses.md: FileResponse #0": (
        Ask(has=b"icon" * 50_000),
        Ask(method="HEAD"),
        Ask(status=206, fields=(("Range", "bytes=4-11"),), has=b"iconicon"),
        Ask(status=206, fields=(("Range", "bytes=0-3,8-11"),), has=b"icon"),
        Ask(status=416, fields=(("Range", "bytes=900000-"),)),
    ),
    "routing.md: HTTP Routing #0": (Ask(has=b"Homepage"), Ask("/about", has=b"About"), Ask("/about/", 307)),
    "routing.md: WebSocket Routing #0": (
        Talk(heard=("Hello, websocket!", 1000)),
        Talk("/tom", heard=("Hello, tom", 1000)),
        Talk("/no/where", heard=(403, b"")),
    ),
    # Its list of users raises: it is there for the schema.
    "schemas.md: #0": (Ask("/schema", has=b"Example API"), Ask("/users", 500)),
    # Over HTTP/1.1 nothing is pushed.
    "server-push.md: `Request.send_push_promise` #0": (
        Ask(has=b"stylesheet"),
        Ask("/static/style.css", has=b"color"),
    ),
    "templates.md: #0": (Ask(has=b"http://example.org/static/style.css"), Ask("/static/style.css", has=b"color")),
    "websockets.md: WebSocket #0": (Talk(heard=("Hello, world!", 1000)),),
    "websockets.md: Iterating data #0": (
        Talk(said=("one", "", "zwölf"), heard=(*(f"Message text was: {said}" for said in ("one", "", "zwölf")), 1000)),
    ),
    "websockets.md: Send Denial Response #0": (
        Talk("/ws", subprotocols=TOKEN, heard=("Authorization", "Hello, world!", 1000)),
        Talk("/ws", heard=(401, b"Unauthorized")),
    ),
}

# Those that take their time. What is in the first piece, and in the last one.
STREAMS: dict[str, tuple[Ask, bytes, bytes]] = {
    "responses.md: StreamingResponse #0": (Ask(), b"<html><body><ul>", b"<li>10</li></ul></body></html>"),
    "sse-starlette: Quick Start #0": (Ask("/events"), b"data: Event 0\r\n\r\n", b"data: Event 9\r\n\r\n"),
}

NOT_TAKEN = {
    "config.md: #0": "needs a database",
    "config.md: A full example #0": "needs a database and two more files",
    "lifespan.md: Lifespan State #0": "asks a server on the Internet",
    "middleware.md: OpenTelemetry #0": "needs logfire, which is not installed",
    "middleware.md: OpenTelemetry #1": "needs the SDK of OpenTelemetry, which is not installed",
    "testclient.md: #0": "is a test, without a server",
    "testclient.md: HTTP trailers #0": "is a test, without a server",
    "testclient.md: Testing WebSocket sessions #0": "is a test, without a server",
    "testclient.md: Asynchronous tests #0": "is a test, without a server",
}

# What they expect to find where they are started.
FILES = {
    "statics/favicon.ico": b"icon" * 50_000,
    "static/style.css": b"body { color: black }",
    "templates/index.html": b"<link href=\"{{ url_for('static', path='/style.css') }}\" rel=\"stylesheet\">",
}


def application(code: str) -> str:
    """The name of its application; empty where it has none, or is no program: something is left out or is elsewhere."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return ""
    known, used = {*dir(builtins)}, set()
    # An ellipsis that stands alone does no harm.
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=value) if value is ... and id(node) not in alone:
                return ""
            case ast.Name(id=name, ctx=ast.Load()):
                used.add(name)
            case ast.Name(id=name) | ast.arg(arg=name):
                known.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                known.add(name)
            case ast.ExceptHandler(name=str(name)):
                known.add(name)
            case ast.alias(name=name, asname=other):
                known.add(other or name.partition(".")[0])
    found = re.search(r"^(?:async def |class )?(app|App)\b", code, re.MULTILINE)
    return found[1] if found and used <= known else ""


def programs(page: str, text: str) -> Iterator[tuple[str, str]]:
    """The fenced programs of a page, each by its name in TAKEN."""
    heading, count = "", 0
    for fence in re.finditer(r"^ *```(\w*)[^\n]*\n(.*?)^ *```$|^#+ ([^\n]*)$", text, re.MULTILINE | re.DOTALL):
        language, code, words = fence.groups()
        if words is not None:
            heading, count = f"{words} ", 0
        elif language == "python" and application(code):
            yield f"{page}: {heading}#{count}", code
            count += 1


@pytest.fixture(scope="module")
def examples() -> dict[str, str]:
    """All programs, by name."""
    found = dict(programs("sse-starlette", readme("sse-starlette")))
    with tarfile.open(source("starlette")) as archive:
        for member in archive:
            page = Path(member.name)
            # The notes on releases show programs of the past.
            if page.parts[1:2] == ("docs",) and page.suffix == ".md" and page.stem != "release-notes":
                file = archive.extractfile(member)
                assert file is not None
                found |= programs(page.name, file.read().decode())
    return found


@pytest.fixture
def started(examples: dict[str, str], tmp_path: Path) -> Callable[[str], AbstractContextManager[Stack]]:
    """An example under uvicorn, in a folder of its own, and unbuffer in front of it."""

    @contextmanager
    def start(name: str) -> Iterator[Stack]:
        for path, content in FILES.items():
            (tmp_path / path).parent.mkdir(exist_ok=True)
            (tmp_path / path).write_bytes(content)
        (tmp_path / "example.py").write_text(examples[name])
        # uvicorn imports from where it is started, and the examples find their files there.
        here = tmp_path / "python"
        here.write_text(f'#!/bin/sh\ncd "$(dirname "$0")" && exec "{python()}" "$@"\n')
        here.chmod(0o755)
        with (
            uvicorn(application=f"example:{application(examples[name])}", python=str(here)) as app,
            unbuffer(app.url) as proxy,
        ):
            yield Stack(app, proxy)

    return start


Fields = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """What a client gets, so far, and in which pieces."""

    status: int = 0
    fields: Fields = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


# Of this hop, of this moment, or what unbuffer sends with every answer or with a stream.
OF_NO_APPLICATION = {
    *(b"connection", b"keep-alive", b"transfer-encoding", b"date"),
    *(b"x-accel-buffering", b"x-content-type-options", b"incremental"),
}


def of_the_application(fields: Fields) -> Fields:
    kept = [(name, re.sub(rb"(^|, )no-transform$", b"", value)) for name, value in fields]
    # Where the application has no Cache-Control, unbuffer's own leaves an empty one.
    return sorted(each for each in kept if each[0] not in OF_NO_APPLICATION and each != (b"cache-control", b""))


@contextmanager
def asked(url: str, ask: Ask) -> Iterator[Iterator[Answer]]:
    """A request. It gives the answer at its head, and again with each piece; a read of the socket is one piece."""
    host, port = url.removeprefix("http://").split(":")
    client = h11.Connection(h11.CLIENT)
    # Both are asked as the same host, as links in an answer may name it.
    fields = [("Host", "example.org"), ("Connection", "close"), *ask.fields]
    if ask.parts:
        fields.append(("Transfer-Encoding", "chunked"))
    with socket.create_connection((host, int(port)), PATIENCE) as connection:
        head = h11.Request(method=ask.method, target=ask.path, headers=fields)
        # At once: an application may answer without having read all of it, and close after that.
        events = (head, *map(h11.Data, ask.parts), h11.EndOfMessage())
        connection.sendall(b"".join(client.send(event) or b"" for event in events))

        def read() -> Iterator[Answer]:
            answer = Answer()
            piece = b""
            while True:
                match client.next_event():
                    case h11.NEED_DATA:
                        if piece:
                            answer.pieces.append(piece)
                            piece = b""
                            yield answer
                        client.receive_data(connection.recv(1 << 20))
                    case h11.Response() as response:
                        answer.status, answer.fields = response.status_code, list(response.headers)
                        yield answer
                    case h11.Data(data=data):
                        piece += bytes(data)
                    case h11.EndOfMessage():
                        if piece:
                            answer.pieces.append(piece)
                        yield answer
                        return
                    case other:
                        raise AssertionError(other)

        yield read()


def whole(url: str, ask: Ask) -> Answer:
    with asked(url, ask) as answers:
        *_, answer = answers
        return answer


def meaning(answer: Answer) -> tuple[Fields, bytes]:
    """The application's fields and body. What separates several ranges is drawn by lot for each answer."""
    found = re.search(rb"boundary=(\w+)", dict(answer.fields).get(b"content-type", b""))
    lot = found[1] if found else b"\0"
    fields = [(name, value.replace(lot, b"BOUNDARY")) for name, value in of_the_application(answer.fields)]
    return fields, answer.body.replace(lot, b"BOUNDARY")


def messages(client: ClientConnection) -> Iterator[str | bytes]:
    """Those that come until it is closed."""
    with suppress(ConnectionClosed):
        while True:
            yield client.recv(PATIENCE)


def talked(url: str, talk: Talk) -> tuple[str | bytes | int, ...]:
    """All that a WebSocket hears, as Talk.heard has it; a subprotocol comes first."""
    heard: list[str | bytes | int] = []
    address = url.replace("http://", "ws://") + talk.path
    try:
        with connect(address, proxy=None, subprotocols=talk.subprotocols or None, open_timeout=PATIENCE) as client:
            heard += [client.subprotocol] if client.subprotocol else []
            for said in talk.said:
                client.send(said)
                heard.append(client.recv(PATIENCE))
            if talk.said:
                client.close()
            heard += messages(client)
            heard += [client.close_code or 0]
    except InvalidStatus as refused:
        heard += [refused.response.status_code, bytes(refused.response.body or b"")]
    return tuple(heard)


def test_the_examples_are_those_that_are_known(examples: dict[str, str]) -> None:
    assert examples.keys() == TAKEN.keys() | STREAMS.keys() | NOT_TAKEN.keys()


def test_the_source_is_that_of_the_installed_version() -> None:
    pins = (Path(__file__).parent / "sources.txt").read_text()
    assert re.findall(r"^(\S+)==(\S+)", pins, re.MULTILINE) == [("starlette", versions()["starlette"])]


@pytest.mark.parametrize("name", TAKEN)
def test_an_example_answers_as_it_does_without_unbuffer(
    started: Callable[[str], AbstractContextManager[Stack]], name: str
) -> None:
    with started(name) as stack:
        for each in TAKEN[name]:
            if isinstance(each, Talk):
                assert talked(stack.url, each) == talked(stack.app.url, each) == each.heard
                continue
            straight, through = whole(stack.app.url, each), whole(stack.url, each)
            assert (straight.status, each.has in straight.body) == (each.status, True), straight
            assert through.status == straight.status
            assert meaning(through) == meaning(straight)
            assert (b"x-content-type-options", b"nosniff") in through.fields


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_arrives_as_it_is_made(started: Callable[[str], AbstractContextManager[Stack]], name: str) -> None:
    ask, first, last = STREAMS[name]
    # They take seconds, so both are read at once.
    with started(name) as stack, ThreadPoolExecutor() as threads:
        straight, through = threads.map(lambda url: whole(url, ask), (stack.app.url, stack.url))
        assert through.status == straight.status == 200
        assert of_the_application(through.fields) == of_the_application(straight.fields)
        assert through.body == straight.body
        assert through.body.startswith(first)
        assert through.body.endswith(last)
        # Ten are made, half a second or more apart. On a busy machine some may be read together.
        assert len(through.pieces) > 3
        assert (b"incremental", b"?1") in through.fields


@pytest.mark.parametrize("name", STREAMS)
def test_what_has_arrived_of_a_stream_does_not_wait_for_the_rest(
    started: Callable[[str], AbstractContextManager[Stack]], name: str
) -> None:
    ask, first, last = STREAMS[name]
    with started(name) as stack, asked(stack.url, ask) as answers:
        answer = next(answer for answer in answers if len(answer.pieces) == 3)
        # Whoever makes the rest is no more. Should it come nevertheless, it was there before its beginning was sent.
        stack.app.process.end(SIGKILL)
        with pytest.raises((ConnectionError, h11.RemoteProtocolError)):
            list(answers)
        assert answer.body.startswith(first)
        assert last not in answer.body
