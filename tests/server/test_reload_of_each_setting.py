"""Each setting is put in force by a reload, or reported as needing a restart; whoever adds one decides it here."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import pytest
import trustme

from unbuffer.relay.plane import Plane
from unbuffer.server.advice import Advice
from unbuffer.server.listeners import Listeners
from unbuffer.server.reload import AT_START_ONLY, Reloader
from unbuffer.server.upstream_check import UpstreamCheck
from unbuffer.server.watch import Watch
from unbuffer.settings.changes import replaced
from unbuffer.settings.fields import every_setting
from unbuffer.settings.model import Settings
from unbuffer.settings.route import Route
from unbuffer.totals import Totals

BY_TLS: Final = ("listen.tls.certificate", "listen.tls.key")
"""Reported only where a listener would begin or stop to speak TLS; tests/server/test_reload.py shows both."""

READ_AT_USE: Final = frozenset(
    (
        "listen.half_close",
        "listen.http2",
        "listen.proxy_scheme",
        "listen.proxy_https_ports",
        "timeouts.request_head",
        "timeouts.keep_alive",
        "limits.head",
        "limits.target",
        "limits.headers",
        "limits.streams",
        "limits.http2_streams",
        "limits.http2_frames",
        "limits.connections",
        "resume.total",
        "forwarded.rfc7239",
        "proxy_status_details",
        "drain.delay",
        "drain.timeout",
        "exec.grace",
        "metrics.openapi",
    )
)
"""Kept nowhere, but read from `plane.settings` whenever it is needed."""

Seen = Callable[["Process"], object]


@dataclass(frozen=True, slots=True)
class Case:
    """A setting of which something is made. value: another one than before. seen: what is made of it."""

    value: Any
    seen: Seen
    base: tuple[tuple[str, Any], ...] = ()
    """What must be set for it to matter."""


def of_policy(name: str, value: Any, *base: tuple[str, Any]) -> Case:
    return Case(value, lambda process: attrgetter(name)(process.plane.routes.match(b"GET", b"/")), base)


def of_pool(name: str, value: Any) -> Case:
    return Case(value, lambda process: attrgetter(name)(process.plane.pool))


TOKENS: Final = (("authorization.required", True), ("authorization.tokens", ("one",)))
QUERY: Final = (("credentials.query", "key"),)
PROBE: Final = (("probe.enabled", True),)
RESUME: Final = ("resume.window", 60.0)
HTTPS: Final = (("upstream.url", "https://app"),)

CASES: Final[dict[str, Case]] = {
    "upstream.url": Case(
        "http://127.0.0.1:1", lambda process: (process.plane.pool.target, process.upstream._dialer.target)
    ),
    "upstream.wait": of_pool("_settings.upstream.wait", 3.0),
    "upstream.wait_streams": of_pool("_settings.upstream.wait_streams", 3.0),
    "upstream.keep_alive": of_pool("_keep_alive", 3.0),
    "upstream.idle_connections": of_pool("_most_resting", 3),
    "upstream.tls.verify": Case(False, lambda process: process.tls.verify_mode, HTTPS),
    "upstream.tls.ca": Case("{authority}", lambda process: len(process.tls.get_ca_certs()), HTTPS),
    "upstream.tls.server_name": of_pool("dialer.server_name", "other"),
    "timeouts.connect": Case(
        3.0, lambda process: (process.plane.pool.dialer._timeout, process.upstream._dialer._timeout)
    ),
    "timeouts.request_body": of_policy("request_body_timeout", 3.0),
    "timeouts.response_head": of_policy("response_head_timeout", 3.0),
    "timeouts.silence": of_policy("silence_timeout", 3.0),
    "timeouts.client_stall": Case(
        300.0,
        lambda process: (process.plane.routes.match(b"GET", b"/").client_stall_timeout, patience_of(process)),
    ),
    "timeouts.tcp_user": Case(300.0, lambda process: (process.plane.pool.socket_options, patience_of(process))),
    "limits.body": of_policy("body_limit", 3),
    "limits.body_rate": of_policy("body_rate", 3),
    "decode": of_policy("decode", "never"),
    "sse.heartbeat": of_policy("heartbeat", 3.0),
    "sse.heartbeat_shape": of_policy("heartbeat_shape", "blank"),
    "sse.heartbeat_padding": of_policy("heartbeat_padding", 64),
    "sse.keepalive_events": of_policy("keepalive_events", ("ping",)),
    "sse.opening": of_policy("opening", True),
    "sse.error_event": of_policy("error_event", True),
    "resume.window": of_policy("resume", 3.0),
    "resume.bytes": of_policy("resume.size", 8192, RESUME),
    "resume.linger": of_policy("resume.linger", 3.0, RESUME),
    "resume.credentials": of_policy("resume.credentials", ("X-Key",), RESUME),
    "server_timing": of_policy("server_timing", True),
    "forwarded.trusted_proxies": Case(
        ("192.0.2.0/24", "unix"), lambda process: (process.plane.trust.networks, process.plane.trust.unix)
    ),
    "cors.origins": Case(("https://app.example",), lambda process: process.plane.origins),
    "credentials.query": of_policy("guard", "key"),
    "credentials.header": of_policy("guard.query", "X-Key", *QUERY),
    "credentials.scheme": of_policy("guard.query", "Token", *QUERY),
    "authorization.required": of_policy("guard", True, TOKENS[1]),
    "authorization.tokens": of_policy("guard.tokens", ("two",), *TOKENS),
    "authorization.tokens_file": of_policy("guard.tokens", "{tokens}", *TOKENS),
    "authorization.forward": of_policy("guard.tokens", True, *TOKENS),
    "probe.enabled": Case(True, lambda process: type(process.plane.probe)),
    "probe.path": Case("/test", lambda process: process.plane.routes.match(b"GET", b"/test").probe, PROBE),
    "probe.tokens": Case(
        ("one",), lambda process: process.plane.routes.match(b"GET", b"/_unbuffer/probe").guard, PROBE
    ),
    "probe.streams": Case(3, lambda process: getattr(process.plane.probe, "_most", 0), PROBE),
    "reload": Case("watch", lambda process: process.watch._end is not None),
    "log.level": Case("error", lambda process: logging.getLogger().level),
    "metrics.max_routes": Case(3, lambda process: process.plane.routes._room),
}

NOT_SHOWN: Final = ("upstream.tls.certificate", "upstream.tls.key")
"""A context does not tell which certificate it has. It is made by the function that reads upstream.tls.ca."""


def patience_of(process: "Process") -> set[int]:
    """Milliseconds in which the client of each listener has to acknowledge what it was sent."""
    return {sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) for sock in process.listeners.sockets}


class Process:
    """What a process makes of its settings, and then of others."""

    plane: Plane
    upstream: UpstreamCheck
    listeners: Listeners
    watch: Watch

    async def start(self, settings: Settings) -> None:
        self.plane = Plane(settings, Totals(), asyncio.get_running_loop(), lambda _: None)
        self.upstream = UpstreamCheck(self.plane.pool.dialer)
        self.listeners = Listeners(self.plane)
        await self.listeners.open(replaced(settings, "listen.address", ("127.0.0.1:0",)))
        self.watch = Watch(None)
        self.watch.apply(settings)
        logging.getLogger().setLevel(settings.log.level.upper())

    async def reload(self, settings: Settings) -> None:
        advice = Advice(lambda warn: settings)
        await Reloader(advice.read, advice, self.plane, self.upstream, self.listeners, self.watch, ()).reload()

    @property
    def tls(self) -> Any:
        return self.plane.pool.dialer.tls

    async def close(self) -> None:
        self.watch.close()
        await self.listeners.close()
        self.plane.close()


Start = Callable[[Settings], Awaitable[Process]]


@pytest.fixture
async def started() -> AsyncIterator[Start]:
    processes: list[Process] = []
    level = logging.getLogger().level

    async def start(settings: Settings) -> Process:
        processes.append(Process())
        await processes[-1].start(settings)
        return processes[-1]

    yield start
    for process in processes:
        await process.close()
    logging.getLogger().setLevel(level)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Of the values that are files, by their names in braces."""
    authority, tokens = tmp_path / "ca.pem", tmp_path / "tokens"
    trustme.CA().cert_pem.write_to_path(str(authority))
    tokens.write_text("three\n")
    return {"{authority}": str(authority), "{tokens}": str(tokens)}


def test_every_setting_is_decided_once() -> None:
    decided = [*AT_START_ONLY, *BY_TLS, *READ_AT_USE, *CASES, *NOT_SHOWN]
    assert sorted(decided) == sorted(path for path, _ in every_setting())


@pytest.mark.parametrize("path", CASES)
async def test_what_is_made_of_a_setting_is_made_anew(started: Start, files: dict[str, str], path: str) -> None:
    case = CASES[path]
    old = Settings()
    for name, value in case.base:
        old = replaced(old, name, value)
    new = replaced(old, path, files.get(case.value, case.value) if isinstance(case.value, str) else case.value)
    process = await started(old)
    before = case.seen(process)

    await process.reload(new)

    after = case.seen(process)
    assert after != before
    assert after == case.seen(await started(new))


async def test_routes_are_made_anew(started: Start) -> None:
    process = await started(Settings())
    await process.reload(Settings(routes=(Route(name="all", prefix="/"),)))
    assert process.plane.routes.match(b"GET", b"/").route == "all"


@pytest.mark.parametrize("path", AT_START_ONLY)
async def test_what_needs_a_restart_is_reported_and_stays(
    started: Start, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    old = Settings()
    value = attrgetter(path)(old)
    other: Any = {bool: True, int: 5, float: 5.0, str: "other", tuple: ("127.0.0.1:1",)}[type(value)]
    process = await started(old)

    await process.reload(replaced(old, path, other))

    assert attrgetter(path)(process.plane.settings) == value
    assert f"reload: {path} needs a restart; its old value stays in force" in caplog.text
