"""The server of a shared store: Valkey, Redis or what speaks as they do, by way of the library redis.

The library is loaded with the first store that is made, and repeats nothing by itself: what is sent again, and when, is
decided here. So a server that is gone is noticed at once, and one that does not answer after `TIMEOUT`.
"""

import asyncio
import contextlib
import logging
import time
from typing import Any, Final

from unbuffer.resume.script import WRITE, Keys
from unbuffer.resume.store import StoreError
from unbuffer.settings.resume import ResumeStore
from unbuffer.settings.store_url import parse_store
from unbuffer.totals import DENIED, FULL, GONE, READ_ONLY, REFUSED, SLOW, UNREACHABLE, Totals

log = logging.getLogger("unbuffer")

TIMEOUT: Final = 2.0
"""Seconds that an answer may take. Whoever waits for a stream waits no longer than that either."""

_QUIET: Final = 60.0
"""Seconds between two lines of the log that say that the store has trouble."""

_RIGHTS: Final = "its user may not do all that is needed; docs/resume.md has the line of an ACL that does"

_HOPELESS: Final = (
    ("user executing the script", _RIGHTS),
    ("WRONGPASS", "user or password is wrong: look at resume.store.user, .password and .password_file"),
    ("Authentication required", "it asks for a password: set resume.store.password_file"),
    ("invalid username-password pair", "user or password is wrong: look at resume.store.user and .password_file"),
    ("without any password configured", "it has no password: take away resume.store.password or .password_file"),
    ("no permissions", _RIGHTS),
    ("NOPERM", _RIGHTS),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted: look at resume.store.ca"),
    ("CROSSSLOT", "it is a cluster; name one that is none, or a primary with all the slots"),
    ("MOVED", "it is a cluster; name one that is none, or a primary with all the slots"),
    ("DB index is out of range", "there is no such database: look at the number at the end of resume.store.url"),
    ("unknown command", "it is too old: Redis 6.2, Valkey 7.2 or newer is needed"),
    ("syntax error", "it is too old: Redis 6.2, Valkey 7.2 or newer is needed"),
    ("Protocol Error", "it does not speak the protocol of Redis"),
)
"""What no waiting mends, by what the server says, and what to do."""


class Trouble(Exception):
    """The server could not do it. reason: as the metric has it. lost: whether it may have done it all the same."""

    def __init__(self, reason: str, text: str, lost: bool) -> None:
        super().__init__(text)
        self.reason = reason
        self.lost = lost


class Server:
    """One server, as one process uses it. process: the name of this one."""

    def __init__(self, settings: ResumeStore, totals: Totals, process: bytes) -> None:
        self.keys = Keys(settings.prefix)
        self.process = process
        self.where = parse_store(settings.url).shown
        self.since = 0.0
        """When it last came to work; 0.0 = it does not."""
        self._totals = totals
        self._told_at = 0.0
        self._failed_at = 0.0
        self._client: Any = _client(settings)
        self._sha: bytes = b""

    # -- what is asked of it

    async def write(self, orders: bytes, data: bytes) -> list[bytes]:
        """Have the script carry out a batch. Returns why the latest order failed, and the names of those that did.
        Raises Trouble."""
        if not self._sha:
            self._sha = await self.ask(b"SCRIPT", b"LOAD", WRITE)
        try:
            answer = await self.ask(b"EVALSHA", self._sha, 0, self.keys.prefix, orders, data)
        except Trouble as trouble:
            if not str(trouble).startswith("NOSCRIPT"):
                raise
            self._sha = b""  # it was started anew, or another one has taken its place
            return await self.write(orders, data)
        assert isinstance(answer, list)
        return answer

    async def ask(self, *words: Any) -> Any:
        """One command. Raises Trouble."""
        try:
            return await self._client.execute_command(*words)
        except Exception as error:
            raise await self._understood(error) from None

    async def ask_all(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        """Many commands at once. Raises Trouble where one fails."""
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            answers: list[Any] = await pipeline.execute()
        except Exception as error:
            raise await self._understood(error) from None
        return answers

    async def _understood(self, error: Exception) -> Trouble:
        from redis import exceptions

        text = str(error)
        if isinstance(error, exceptions.NoScriptError):
            return Trouble(GONE, f"NOSCRIPT {text}", False)
        # redis-py takes the code off some of the errors that it knows.
        if isinstance(error, exceptions.AuthenticationError | exceptions.NoPermissionError):
            return Trouble(DENIED, f"{'NOPERM ' * isinstance(error, exceptions.NoPermissionError)}{text}", False)
        if isinstance(error, exceptions.ReadOnlyError) or "READONLY" in text:
            # What was the primary is so no more; its name may lead to another one by now.
            await self._client.connection_pool.disconnect()
            return Trouble(READ_ONLY, text, False)
        if isinstance(error, exceptions.OutOfMemoryError):
            return Trouble(FULL, text, False)
        if isinstance(error, exceptions.TimeoutError | TimeoutError):
            return Trouble(SLOW, f"no answer within {TIMEOUT:g}s", True)
        if isinstance(error, exceptions.ConnectionError | OSError):
            return Trouble(UNREACHABLE, text, True)
        return Trouble(REFUSED, text or type(error).__name__, False)

    # -- how it does

    def works(self) -> None:
        """It has done what it was asked to."""
        if not self.since:
            self.since = time.monotonic()
            if self._told_at:
                log.info("resume.store: %s works again, after %.0fs", self.where, self.since - self._failed_at)
                self._told_at = 0.0

    def trouble(self, reason: str, text: str) -> None:
        """It has not. One line a minute says so."""
        self._totals.resume_store_errors[reason] += 1
        now = time.monotonic()
        if self.since or not self._failed_at:
            self._failed_at = now
        self.since = 0.0
        if not self._told_at or now - self._told_at >= _QUIET:
            self._told_at = now
            log.warning(
                "resume.store: %s: %s: %s; streams go on, and can be come back to on the replica that has them",
                self.where,
                reason.replace("_", " "),
                text,
            )

    async def start(self) -> None:
        """Try all that will be needed. Raises StoreError where waiting mends nothing."""
        name = b"start" + self.process
        orders = (
            b"lease %b 1000\ncreate %b 1 1000 0 d 0 0\nadd %b 2 0 d 0 0\nrenew %b 1000\nfinish %b 3 1000 0 0\n"
            b"note %b 10 1000 0\n" % (self.process, name, name, name, name, name)
        )
        try:
            why, *failed = await self.write(orders, b"")
            if not failed:
                await self.ask_all(
                    [
                        (b"XREAD", b"COUNT", 1, b"STREAMS", self.keys.events(name), b"0-0"),
                        (b"XRANGE", self.keys.events(name), b"-", b"+", b"COUNT", 1),
                        (b"GET", self.keys.about(name)),
                        (b"EXISTS", self.keys.lease(self.process)),
                    ]
                )
                why, *failed = await self.write(b"drop %b\ndrop %b\n" % (name, name), b"")
        except Trouble as trouble:
            self._hopeless(str(trouble))
            self.trouble(trouble.reason, str(trouble))
            return
        if failed:
            text = why.decode(errors="replace")
            self._hopeless(text)
            self.trouble(reason_of(text), text)
        else:
            self.works()

    def _hopeless(self, text: str) -> None:
        for mark, what_to_do in _HOPELESS:
            if mark.lower() in text.lower():
                raise StoreError(f"resume.store: {self.where}: {what_to_do} ({text})")

    async def close(self) -> None:
        """Let go of its connections."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(1.0):
                await self._client.aclose()


def reason_of(text: str) -> str:
    """What the metric calls this error of the server's."""
    for mark, reason in (
        ("OOM", FULL),
        ("READONLY", READ_ONLY),
        ("NOPERM", DENIED),
        ("ERR ACL", DENIED),
        ("ERR The user executing", DENIED),
        ("gone", GONE),
    ):
        if text.startswith(mark):
            return reason
    return REFUSED


def _client(settings: ResumeStore) -> Any:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    where = parse_store(settings.url)
    password = settings.password or where.password
    if settings.password_file:
        with open(settings.password_file, encoding="utf-8") as file:
            password = file.read().strip()
    return Redis(
        host=where.host or "localhost",
        port=where.port,
        db=where.database,
        unix_socket_path=where.path or None,
        username=settings.user or where.user or None,
        password=password or None,
        ssl=where.tls,
        ssl_ca_certs=settings.ca or None,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        client_name="unbuffer",
        max_connections=8,
    )
