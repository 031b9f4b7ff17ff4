"""unbuffer behind the load balancers that can be run here, each on the file that deploy/load-balancers/ ships for it.

Promptness is proved in lock-step, so whatever holds something back stops a test. Beside each property stands a control:
a change of the file, or the application without unbuffer, for which it does not hold.
"""

import itertools
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGTERM

import httpx
import pytest
import trustme
from websockets.sync.client import connect

from tests.deploy.balancers import (
    BALANCERS,
    CLIENT,
    Changes,
    Front,
    Instances,
    checked,
    free_port,
    hosts,
    instance,
    instance_alone,
    running_balancer,
)
from tests.e2e.stack import App, Gate, Unbuffer, uvicorn_h11
from tests.peers import PATIENCE, eventually

pytestmark = pytest.mark.process

EVENTS = {"sse": "data: event {}\n\n", "ndjson": '{{"event": {}}}\n', "text": "event {}\n"}

HELD = 1.0
"""Seconds after which something counts as held back, where that is what a test expects. Nothing else takes as long."""

NGINX = ("nginx", "nginx-1.31")
"""Debian 12's 1.22, and the newest."""


def of_nginx(changes: Changes) -> dict[str, Changes]:
    """The same changes for each of them."""
    return {name: changes for name in NGINX}  # noqa: C420 - as the others are, one by one


IMPATIENT: dict[str, Changes] = {
    **of_nginx({"proxy_read_timeout 10m": "proxy_read_timeout 1s"}),
    "haproxy": {"timeout server 10m": "timeout server 1s"},
    "envoy": {"stream_idle_timeout: 600s": "stream_idle_timeout: 1s"},
    "caddy": {"import unbuffer 10m": "import unbuffer 1s"},
    "apache": {"timeout=600": "timeout=1"},
}
"""The longest silence of a stream is a second. Traefik has no limit for it."""

BUFFERING: Changes = {
    "service: streams\n      middlewares: [again]": "service: streams\n      middlewares: [hold]",
    "  middlewares:\n    compress:": """  middlewares:
    hold: {buffering: {maxRequestBodyBytes: 1000000}}
    compress:""",
}
"""Traefik holds requests and responses on the route of the streams."""

LIMITED: dict[str, Changes] = {
    **of_nginx({"client_max_body_size 100m": "client_max_body_size 1k"}),
    "haproxy": {"gt 104857600": "gt 1024"},
    "caddy": {"max_size 100MiB": "max_size 1KiB"},
}
"""A request body may have 1 KiB. The others leave it to unbuffer: Envoy and Traefik would have to collect the body
first, and httpd counts no bodies that it passes on."""

ASKING: dict[str, Changes] = {
    "haproxy": {"inter 5s": "inter 200ms"},
    "envoy": {"interval: 5s": "interval: 0.2s"},
    "caddy": {"health_interval 5s": "health_interval 200ms"},
    "traefik": {"interval: 5s": "interval: 200ms"},
}
"""Those that ask for health do so more often. nginx and httpd cannot ask at the admin port."""

CARELESS: dict[str, Changes] = {
    **of_nginx({"proxy_next_upstream   error timeout": "proxy_next_upstream off"}),
    "haproxy": {
        "option redispatch 1": "",
        "retries 3": "retries 0",
        "check port 4198 inter 5s fall 2 rise 1": "weight 1",
    },
    "envoy": {"num_retries: 2": "num_retries: 0", "path: /readyz,": "path: /livez,"},
    "caddy": {"lb_try_duration 5s": "", "fail_duration 10s": "", "health_uri /readyz": "health_uri /livez"},
    "traefik": {"attempts: 3": "attempts: 1", "path: /readyz": "path: /livez"},
}
"""Neither asks for readiness nor gives a refused request to another instance."""


@pytest.fixture(scope="session")
def plain_app() -> Iterator[App]:
    """On h11, which sends each chunk as it comes, also to HTTP/1.0."""
    with uvicorn_h11() as app:
        yield app


@pytest.fixture(scope="session")
def beating(app: App) -> Iterator[Instances]:
    """unbuffer with a heartbeat for which no test waits long."""
    with instance_alone(app, "--set", "sse.heartbeat=250ms") as both:
        yield both


@pytest.fixture(scope="session")
def silent(app: App) -> Iterator[Instances]:
    """unbuffer without a heartbeat."""
    with instance_alone(app, "--set", "sse.heartbeat=0") as both:
        yield both


@pytest.fixture(scope="session")
def limiting(app: App) -> Iterator[Instances]:
    """unbuffer with a limit of 1 KiB for a request body."""
    with instance_alone(app, "--set", "limits.body=1KiB") as both:
        yield both


@pytest.fixture(scope="session")
def survivor(app: App) -> Iterator[Instances]:
    """An instance that goes on while another one with the same ports, on a host of its own, does not. It is both."""
    with instance_alone(app, "--set", "listen.health=true") as both:
        yield both


def beside(survivor: Instances) -> Instances:
    """A new host, with the same ports, and the survivor."""
    (host,) = hosts(1)
    return Instances((host, survivor.hosts[1]), survivor.port, survivor.admin)


@pytest.fixture(scope="session")
def half_ready(app: App, survivor: Instances) -> Iterator[Instances]:
    """An instance whose application is not there, and the survivor."""
    both = beside(survivor)
    host = both.hosts[0]
    with instance(app, host, both.port, both.admin, "--upstream", f"http://{host}:{free_port(host)}"):
        yield both


Start = Callable[..., Front]


@pytest.fixture
def start(authority: trustme.CA, tmp_path: Path) -> Iterator[Start]:
    """Starts a load balancer: its name, what is behind it, changes of its file."""
    with ExitStack() as running:

        def get(name: str, behind: Instances, *changes: Changes) -> Front:
            merged = dict(itertools.chain.from_iterable(each.items() for each in changes))
            return running.enter_context(running_balancer(name, authority, behind, tmp_path, merged))

        yield get


@pytest.fixture(params=BALANCERS)
def front(front_of: Callable[[str], Front], request: pytest.FixtureRequest) -> Front:
    """Every load balancer in turn."""
    return front_of(request.param)


@pytest.fixture(params=[True, False], ids=["h2", "http/1.1"])
def http2(request: pytest.FixtureRequest) -> bool:
    """Whether the client speaks HTTP/2."""
    spoken: bool = request.param
    return spoken


def passes_in_lockstep(client: httpx.Client, gate: Gate, kind: str) -> httpx.Response:
    body = b""
    with client.stream("GET", gate.path(kind)) as response:
        parts = response.iter_bytes()
        for number in range(5):
            expected = "".join(map(EVENTS[kind].format, range(number + 1))).encode()
            while len(body) < len(expected):
                body += next(parts)
            assert body == expected
            gate.next() if number < 4 else gate.end()
        assert b"".join(parts) == b""
    return response


@pytest.mark.parametrize("name", BALANCERS)
def test_the_program_itself_finds_nothing_wrong_with_its_file(name: str, authority: trustme.CA, tmp_path: Path) -> None:
    result = checked(name, authority, tmp_path)

    assert result.returncode == 0, result.stderr
    assert "warn" not in result.stderr.lower()


@pytest.mark.parametrize("kind", EVENTS)
def test_each_event_arrives_before_the_next_one_exists(front: Front, app: App, http2: bool, kind: str) -> None:
    with front.client(http2) as client:
        response = passes_in_lockstep(client, app.gate(), kind)

    assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    assert "content-encoding" not in response.headers


NGINX_BUFFERS = {"proxy_buffering         off;": ""}
NGINX_DEFAULTS = {"proxy_http_version 1.1;": ""} | NGINX_BUFFERS
CADDY_BUFFERS = {"lb_policy least_conn": "lb_policy least_conn\n\t\tresponse_buffers 1MiB"}

ALONE: dict[str, Changes] = {
    "nginx": NGINX_DEFAULTS,
    "caddy": CADDY_BUFFERS | {"health_uri /readyz": "health_uri /plain/1"},
    "traefik": {**BUFFERING, "path: /readyz": "path: /plain/1"},
}
"""What holds a stream back: nginx 1.22 as it is by default, Caddy and Traefik if they are told to. The others have
nothing that does."""


@pytest.mark.parametrize("name", ALONE)
def test_a_stream_of_the_application_alone_is_held(name: str, start: Start, plain_app: App) -> None:
    gate = plain_app.gate()
    with start(name, Instances.of(plain_app), ALONE[name]).client(timeout=HELD) as client:
        with pytest.raises(httpx.ReadTimeout):
            passes_in_lockstep(client, gate, "text")
        gate.taken(1)  # the first event was there to be had


@pytest.mark.parametrize(("name", "changes"), [("nginx", NGINX_BUFFERS), ("nginx-1.31", NGINX_DEFAULTS)])
def test_nginx_that_speaks_http_1_1_holds_no_stream_of_the_application_alone(
    name: str, changes: Changes, start: Start, plain_app: App
) -> None:
    """It does by default since 1.29.7."""
    with start(name, Instances.of(plain_app), changes).client() as client:
        passes_in_lockstep(client, plain_app.gate(), "text")


@pytest.mark.parametrize("name", NGINX)
def test_nginx_by_default_lets_a_stream_of_unbuffer_pass(name: str, start: Start, app: App, behind: Instances) -> None:
    with start(name, behind, NGINX_DEFAULTS).client(http2=False) as client:
        passes_in_lockstep(client, app.gate(), "text")


def test_traefik_by_default_holds_nothing_that_has_no_length(start: Start, app: App, behind: Instances) -> None:
    flush = "        responseForwarding:\n          flushInterval: -1ms\n"
    with start("traefik", behind, {flush: ""}).client() as client:
        passes_in_lockstep(client, app.gate(), "text")


def test_caddy_refuses_to_hold_a_stream_of_unbuffer(start: Start, app: App, behind: Instances) -> None:
    """Incremental (RFC 10036) asks it not to."""
    with start("caddy", behind, CADDY_BUFFERS).client() as client:
        assert client.get(app.gate().path("text")).status_code == 501


COMPRESSING: dict[str, Changes] = {
    **of_nginx({"            gzip off;\n": "            gzip_types text/event-stream;\n"}),
    "haproxy": {
        "# The longest silence; unbuffer": "compression algo gzip\n    compression type text/event-stream\n    #",
    },
    "envoy": {
        "(stream|ws)/.*": "ws/.*",
        "                      compressor_library:": """
                      response_direction_config: {common_config: {content_type: [text/event-stream]}}
                      compressor_library:""",
    },
    "caddy": {"handle @streams {": "handle @streams {\n\t\tencode"},
    "apache": {
        '"^/(?!(stream|ws)/)"': '"^/"',
        "DEFLATE application/json": "DEFLATE text/event-stream application/json",
    },
    "traefik": {
        "middlewares: [again]": "middlewares: [compress, again]",
        "        excludedContentTypes: [text/event-stream]": "        encodings: [gzip]",
    },
}
"""Compression for event-streams as well."""

HEEDING: dict[str, Changes] = {
    "haproxy": {"GET /readyz": "GET /plain/1"},
    "envoy": {"path: /readyz,": "path: /plain/1,"},
    "caddy": {"health_uri /readyz": "health_uri /plain/1"},
}
"""Those whose compression leaves alone what says `no-transform`, and how they find the application alone healthy."""


def codes_in_lockstep(front: Front, gate: Gate) -> str | None:
    """The coding of an event-stream of which each event could be decoded before the next one existed."""
    with front.client() as client:
        client.headers["Accept-Encoding"] = "gzip"
        coding: str | None = passes_in_lockstep(client, gate, "sse").headers.get("content-encoding")
    return coding


@pytest.mark.parametrize("name", HEEDING)
def test_only_a_stream_of_unbuffer_is_left_uncompressed(name: str, start: Start, app: App, behind: Instances) -> None:
    assert codes_in_lockstep(start(name, behind, COMPRESSING[name]), app.gate()) is None
    with (
        start(name, Instances.of(app), COMPRESSING[name], HEEDING[name]).client() as client,
        client.stream("GET", app.gate().path("sse"), headers={"Accept-Encoding": "gzip"}) as response,
    ):
        assert response.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("name", [name for name in BALANCERS if name not in HEEDING])
def test_who_heeds_no_no_transform_compresses_a_stream_of_unbuffer_and_flushes_each_event(
    name: str, start: Start, app: App, behind: Instances
) -> None:
    assert codes_in_lockstep(start(name, behind, COMPRESSING[name]), app.gate()) == "gzip"


def test_caddy_flushes_each_event_that_it_compresses(start: Start, app: App) -> None:
    front = start("caddy", Instances.of(app), COMPRESSING["caddy"], HEEDING["caddy"])
    assert codes_in_lockstep(front, app.gate()) == "gzip"


def test_haproxy_holds_the_end_of_each_event_that_it_compresses(start: Start, app: App) -> None:
    """In 2.6."""
    gate = app.gate()
    with (
        start("haproxy", Instances.of(app), COMPRESSING["haproxy"], HEEDING["haproxy"]).client(timeout=HELD) as client,
        client.stream("GET", gate.path("sse"), headers={"Accept-Encoding": "gzip"}) as response,
    ):
        parts: list[bytes] = []
        with pytest.raises(httpx.ReadTimeout):
            parts.extend(response.iter_bytes())
        body = b"".join(parts)
        # A few bytes wait for the next ones, so that the empty line is not there, and it is no event yet.
        assert body.startswith(b"data: ")
        assert b"\n\n" not in body


def upload(client: httpx.Client, gate: Gate, arrived: Callable[[int], None]) -> httpx.Response:
    """Send a body of which each piece is sent when `arrived`, told the bytes so far, returns."""

    def pieces() -> Iterator[bytes]:
        # httpd collects the first 16 KiB of a body.
        piece = b"piece\n" * 4000
        for number in range(1, 6):
            yield piece
            arrived(number * len(piece))

    return client.put(f"/stream/{gate.name}/pieces", content=pieces())


def test_the_application_has_each_piece_of_an_upload_before_the_next_one_exists(
    front: Front, app: App, http2: bool
) -> None:
    gate = app.gate()
    with front.client(http2) as client:
        assert upload(client, gate, gate.taken).json() == 120_000


COLLECTING: dict[str, Changes] = {
    **of_nginx({"proxy_request_buffering off;": ""}),
    "envoy": {
        "                  - name: envoy.filters.http.compressor": """
                  - name: envoy.filters.http.buffer
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer
                      max_request_bytes: 1000000
                  - name: envoy.filters.http.compressor"""
    },
    "caddy": {"lb_policy least_conn": "lb_policy least_conn\n\t\trequest_buffers 1MiB"},
    "apache": {
        "LoadModule deflate_module": "LoadModule env_module modules/mod_env.so\nLoadModule deflate_module",
        "ProxyPreserveHost On": "ProxyPreserveHost On\nSetEnv proxy-sendcl 1",
    },
    "traefik": BUFFERING,
}
"""nginx as it is by default, the others if they are told to."""


@pytest.mark.parametrize("name", COLLECTING)
def test_an_upload_is_held_to_its_end(name: str, start: Start, app: App, behind: Instances) -> None:
    gate = app.gate()

    def arrived(size: int) -> None:
        gate.app.get(f"/gate/{gate.name}/taken/{size}", timeout=HELD)

    with (
        start(name, behind, COLLECTING[name]).client(http2=False) as client,
        pytest.raises(httpx.ReadTimeout),
    ):
        upload(client, gate, arrived)


def test_haproxy_by_default_delays_the_pieces_of_an_upload(start: Start, app: App, behind: Instances) -> None:
    """By 200 ms, and never less: it has the kernel wait for more."""
    gate = app.gate()
    late = []

    def arrived(size: int) -> None:
        try:
            gate.app.get(f"/gate/{gate.name}/taken/{size}", timeout=0.05)
        except httpx.ReadTimeout:
            late.append(size)
            gate.taken(size)

    with start("haproxy", behind, {"    option http-no-delay\n": ""}).client(http2=False) as client:
        upload(client, gate, arrived)
    assert late


def test_websocket_messages_come_back_one_by_one(front: Front) -> None:
    address = front.url.replace("https://", "wss://") + "/ws/echo"
    with connect(address, ssl=front.context(), proxy=None, max_size=None, open_timeout=PATIENCE) as socket:
        for message in ("word", b"\x00\xff\r\n", "t" * 100_000):
            socket.send(message)
            assert socket.recv(PATIENCE) == message


@pytest.mark.parametrize("name", IMPATIENT)
def test_heartbeats_carry_a_stream_over_a_silence(name: str, start: Start, app: App, beating: Instances) -> None:
    gate = app.gate()
    body = b""
    accept = {"Accept": "text/event-stream"}  # such a client is sent comments
    with (
        start(name, beating, IMPATIENT[name]).client() as client,
        client.stream("GET", gate.path("sse"), headers=accept) as response,
    ):
        parts = response.iter_raw()
        # One in 250 ms, and after a second the load balancer would cut.
        while body.count(b":\n") < 6:
            body += next(parts)
        gate.next()
        while b"event 1" not in body:
            body += next(parts)
        gate.end()
        assert b"".join(parts) == b""


@pytest.mark.parametrize("name", IMPATIENT)
def test_a_silence_without_heartbeats_is_cut(name: str, start: Start, app: App, silent: Instances) -> None:
    gate = app.gate()
    with (
        start(name, silent, IMPATIENT[name]).client(http2=False) as client,
        client.stream("GET", gate.path("sse")) as response,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        list(response.iter_raw())
    assert gate.over() == "cancelled"


HURRIED: dict[str, Changes] = {
    "envoy": {"timeout: 0s": "timeout: 1s"},
    "traefik": {"writeTimeout: 0s": "writeTimeout: 1s"},
}
"""A response may take a second in all. Envoy's limit is 15 s where a route has none of its own."""


@pytest.mark.parametrize("name", HURRIED)
def test_no_heartbeat_helps_against_a_limit_on_the_whole_response(
    name: str, start: Start, app: App, beating: Instances
) -> None:
    with (
        start(name, beating, HURRIED[name]).client() as client,
        client.stream("GET", app.gate().path("sse")) as response,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        list(response.iter_raw())


@pytest.mark.parametrize("name", BALANCERS)
def test_a_stream_that_fails_is_cut_for_its_client(name: str, front_of: Callable[[str], Front], app: App) -> None:
    gate = app.gate()
    # HAProxy 2.6 ends such a stream as if it were complete, where the client speaks HTTP/2.
    with (
        front_of(name).client(http2=name != "haproxy") as client,
        client.stream("GET", gate.path("text")) as response,
    ):
        parts = response.iter_raw()
        assert next(parts) == b"event 0\n"
        gate.fail()
        with pytest.raises(httpx.RemoteProtocolError):
            list(parts)


@pytest.mark.parametrize("name", NGINX)
def test_nginx_tells_of_a_cut_stream_over_http2_with_the_next_thing_that_it_sends_there(
    name: str, front_of: Callable[[str], Front], app: App
) -> None:
    """If another stream is open on the connection, and silent; where there is none, at once (above)."""
    cut, other = app.gate(), app.gate()
    endings: queue.Queue[Exception] = queue.Queue()

    def read(parts: Iterator[bytes]) -> None:
        try:
            list(parts)
        except httpx.HTTPError as error:
            endings.put(error)

    with (
        front_of(name).client() as client,
        client.stream("GET", other.path("text")) as silent,
        client.stream("GET", cut.path("text")) as response,
    ):
        assert next(silent.iter_raw()) == b"event 0\n"
        parts = response.iter_raw()
        assert next(parts) == b"event 0\n"
        reader = threading.Thread(target=read, args=(parts,))
        reader.start()
        cut.fail()
        cut.over()
        with pytest.raises(queue.Empty):
            endings.get(timeout=HELD)
        other.next()
        assert isinstance(endings.get(timeout=PATIENCE), httpx.RemoteProtocolError)
        reader.join()


def test_an_error_event_tells_a_client_of_haproxy_what_its_http2_does_not(start: Start, app: App) -> None:
    gate = app.gate()
    with instance_alone(app, "--set", "sse.error_event=true") as behind:
        front = start("haproxy", behind)
        with front.client() as client, client.stream("GET", gate.path("sse")) as response:
            parts = response.iter_raw()
            assert next(parts) == b"data: event 0\n\n"
            gate.fail()
            body = b""
            while b"event: error\n" not in body:
                body += next(parts)


@pytest.mark.parametrize("name", [name for name in BALANCERS if name != "apache"])
def test_a_client_that_leaves_ends_its_stream_in_the_application(
    name: str, front_of: Callable[[str], Front], app: App, http2: bool
) -> None:
    gate = app.gate()
    with front_of(name).client(http2) as client, client.stream("GET", gate.path("text")) as response:
        next(response.iter_raw())

    assert gate.over() == "cancelled"


def test_a_client_that_leaves_httpd_ends_its_stream_at_a_heartbeat(
    start: Start, app: App, beating: Instances, http2: bool
) -> None:
    gate = app.gate()
    with start("apache", beating).client(http2) as client, client.stream("GET", gate.path("sse")) as response:
        next(response.iter_raw())

    assert gate.over() == "cancelled"


def test_the_application_learns_of_the_client_and_believes_no_forgery(front: Front) -> None:
    with front.client() as client:
        seen = client.get("/forwarded", headers={"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "http"}).json()

    *_, nearest, balancer = (address.strip() for address in seen["x-forwarded-for"].split(","))
    assert balancer == "127.0.0.1"
    # Envoy gives its machine's own address for a client on loopback.
    assert nearest == CLIENT or (front.name == "envoy" and nearest != "203.0.113.7")
    assert seen["x-forwarded-proto"] == "https"
    assert seen["x-forwarded-host"] == front.url.removeprefix("https://")


def test_the_rest_is_compressed(front: Front) -> None:
    with front.client() as client:
        response = client.get("/plain/20000")

    assert response.headers["content-encoding"] in ("gzip", "zstd")
    assert response.text == "x" * 20_000


def refuses_a_long_body(front: Front, unknown_length: bool = True) -> None:
    def answer(body: bytes | Iterator[bytes]) -> httpx.Response:
        # On a connection of its own: who refuses a body may close it, and the next request would meet that.
        with front.client(http2=False) as client:
            return client.post("/upload", content=body)

    assert answer(b"x" * 1024).json()["size"] == 1024
    assert answer(b"x" * 1025).status_code == 413
    if unknown_length:
        assert answer(iter([b"x" * 1025])).status_code == 413


@pytest.mark.parametrize("name", LIMITED)
def test_a_body_that_is_too_large_for_the_load_balancer_is_refused(name: str, start: Start, behind: Instances) -> None:
    refuses_a_long_body(start(name, behind, LIMITED[name]), unknown_length=name != "haproxy")


@pytest.mark.parametrize("name", BALANCERS)
def test_a_body_that_is_too_large_for_unbuffer_is_refused(name: str, start: Start, limiting: Instances) -> None:
    refuses_a_long_body(start(name, limiting))


@pytest.mark.parametrize("name", ASKING)
async def test_an_instance_that_is_not_ready_gets_no_requests(name: str, start: Start, half_ready: Instances) -> None:
    with start(name, half_ready, ASKING[name]).client() as client:
        await eventually(lambda: all(client.get("/plain/1").is_success for _ in range(20)))


class Load:
    """Clients that send one request after another, each in a thread of its own."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._changed = threading.Condition()
        self._over = False
        self._done: list[int] = []
        self.failures: list[str] = []

    def _run(self, number: int) -> None:
        with self._front.client(http2=number % 2 == 0) as client:
            while not self._over:
                try:
                    for response in (client.get("/plain/1"), client.post("/upload", content=b"x")):
                        response.raise_for_status()
                except httpx.HTTPError as error:
                    self.failures.append(repr(error))
                with self._changed:
                    self._done[number] += 1
                    self._changed.notify_all()

    def more(self, count: int) -> None:
        """Wait until every client has sent so many more pairs of requests."""
        with self._changed:
            wanted = [done + count for done in self._done]
            reached = lambda: all(done >= want for done, want in zip(self._done, wanted, strict=True))  # noqa: E731
            assert self._changed.wait_for(reached, PATIENCE)

    @contextmanager
    def running(self, clients: int = 4) -> Iterator["Load"]:
        """Inside the block."""
        self._done = [0] * clients
        threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._over = True
            for thread in threads:
                thread.join()


def active(unbuffer: Unbuffer) -> float:
    """Streams that run."""
    return sum(value for (name, _), value in unbuffer.samples().items() if name == "unbuffer_active_streams")


@contextmanager
def drained(
    start: Start, app: App, survivor: Instances, name: str, *changes: Changes, delay: str = "1s"
) -> Iterator[tuple[Load, Unbuffer]]:
    """Inside the block one of two instances is past the delay of its drain, after requests have been sent all the time
    and a stream has been running in it; after the block it has ended well."""
    both = beside(survivor)
    options = ("--set", f"drain.delay={delay}", "--set", "drain.timeout=1h", "--set", "listen.health=true")
    with instance(app, both.hosts[0], both.port, both.admin, *options) as one:
        front = start(name, both, *changes)
        with ExitStack() as open_streams:
            client = open_streams.enter_context(front.client())
            gates, bodies = [], []
            while not active(one):
                gates.append(app.gate())
                stream = open_streams.enter_context(client.stream("GET", gates[-1].path("text")))
                bodies.append(stream.iter_raw())
                assert next(bodies[-1]) == b"event 0\n"
            with Load(front).running() as load:
                load.more(5)
                one.process.signal(SIGTERM)
                one.process.err.match("draining: running streams")
                load.more(5)
                yield load, one
            for gate, body in zip(gates, bodies, strict=True):
                gate.next()
                assert next(body) == b"event 1\n"
                gate.end()
                assert b"".join(body) == b""
        assert one.process.exit_code() == 0


@pytest.mark.parametrize("name", BALANCERS)
def test_no_request_fails_and_no_stream_is_cut_when_an_instance_drains(
    name: str, start: Start, app: App, survivor: Instances
) -> None:
    with drained(start, app, survivor, name, ASKING.get(name, {})) as (load, one):
        pass

    assert load.failures == []
    assert not [line for line in one.process.out.all() if '"unbuffer.outcome":"completed"' not in line]


HTTP2: dict[str, Changes] = {
    # It asks for health in the same way, which the admin port does not understand.
    "caddy": {"dial_timeout 5s": "dial_timeout 5s\n\t\t\tversions h2c", "health_port 4198": ""},
    "envoy": {
        "explicit_http_config: {http_protocol_options: {}}": "explicit_http_config: {http2_protocol_options: {}}"
    },
}
"""What has a load balancer speak HTTP/2 to unbuffer."""


@pytest.mark.parametrize("name", HTTP2)
def test_no_request_fails_when_an_instance_drains_that_is_spoken_to_in_http_2(
    name: str, start: Start, app: App, survivor: Instances
) -> None:
    with drained(start, app, survivor, name, ASKING.get(name, {}), HTTP2[name]) as (load, one):
        pass

    assert load.failures == []
    lines = one.process.out.all()
    assert lines
    assert not [line for line in lines if '"unbuffer.outcome":"completed"' not in line]
    assert not [line for line in lines if '"network.protocol.version":"2"' not in line]


@pytest.mark.parametrize("name", CARELESS)
def test_requests_fail_when_nobody_looks_after_a_drain(name: str, start: Start, app: App, survivor: Instances) -> None:
    with drained(start, app, survivor, name, CARELESS[name], delay="0") as (load, _):
        pass

    assert load.failures
