"""SIGHUP, `unbuffer reload` and `reload: watch`: the sources of the start are read once more.

Everything that may change does, in one turn, or nothing.
"""

import asyncio
import logging
import time
from collections.abc import Callable

from unbuffer.relay.plane import Plane
from unbuffer.server.advice import Advice
from unbuffer.server.errors import StartError
from unbuffer.server.listeners import Listeners
from unbuffer.server.tls import naming_upstream
from unbuffer.server.upstream_check import UpstreamCheck
from unbuffer.server.watch import Watch
from unbuffer.settings.changes import keep
from unbuffer.settings.model import Settings
from unbuffer.settings.problems import Problem, SettingsError

log = logging.getLogger("unbuffer")

AT_START_ONLY = (
    "listen.address",
    "listen.backlog",
    "listen.proxy_protocol",
    "listen.health",
    "admin.address",
    "resume.store.url",
    "resume.store.user",
    "resume.store.password",
    "resume.store.password_file",
    "resume.store.ca",
    "resume.store.prefix",
    "resume.store.lost_after",
    "log.format",
    "log.keys",
    "metrics.otlp",
    "metrics.otlp_interval",
    "metrics.otlp_temporality",
    "tracing.otlp",
)
"""What belongs to open sockets and running threads."""


class Reloader:
    """Puts new settings in force. For successful and at see `observe.family.Reloads`."""

    def __init__(
        self,
        read: Callable[[], Settings],
        advice: Advice,
        plane: Plane,
        upstream: UpstreamCheck,
        listeners: Listeners,
        watch: Watch,
        fixed: tuple[str, ...],
    ) -> None:
        """advice: what is said of the settings in force. fixed: more settings that may not change."""
        self.successful = True
        self.at = time.time()
        self._read = read
        self._advice = advice
        self._plane = plane
        self._upstream = upstream
        self._listeners = listeners
        self._watch = watch
        self._failure = ""
        self._fixed = (*AT_START_ONLY, *fixed)
        self._one_at_a_time = asyncio.Lock()
        self._asking: asyncio.Future[None] | None = None

    async def run(self, asked: asyncio.Event) -> None:
        """Reload whenever it is asked for, one after the other."""
        try:
            while True:
                await asked.wait()
                asked.clear()
                await self.reload()
        finally:
            if self._asking is not None:
                self._asking.cancel()

    async def run_watching(self) -> None:
        """Reload whenever a file has changed."""
        while True:
            await self._watch.changed.wait()
            self._watch.changed.clear()
            await self.reload(asked=False)

    async def reload(self, asked: bool = True) -> tuple[bool, str]:
        """Read and put in force; on any problem the settings from before stay. Whether it went well, and what the log
        says of it. Where nobody has asked for it and nothing has changed, it says the same of a problem only once."""
        async with self._one_at_a_time:
            return await self._reload(asked)

    async def _reload(self, asked: bool) -> tuple[bool, str]:
        url = self._plane.settings.upstream.url
        try:
            # In a thread: a file may be on a slow disk, and the streams go on meanwhile.
            settings = await asyncio.to_thread(self._read)
            if not asked and (file := self._watch.empty_file()):
                raise SettingsError([Problem(file, "empty; if that is meant, say so with `unbuffer reload`")])
            settings, kept = keep(self._plane.settings, settings, self._paths_to_keep(settings))
            self._put_in_force(settings)
        except Exception as error:
            self.successful, self._watch.failed = False, True
            told = isinstance(error, SettingsError | StartError)
            text = f"reload failed, the settings from before stay in force:\n{error}"
            if asked or not self._watch.again or text != self._failure:
                log.error("%s", text, exc_info=not told)
            self._failure = text
            return False, text
        self.successful, self._watch.failed = True, False
        self._failure = ""
        self.at = time.time()
        needs = [f"reload: {path} needs a restart; its old value stays in force" for path in kept]
        for text in needs:
            log.warning("%s", text)
        but = f", except {', '.join(kept)}" if kept else ""
        text = f"reloaded{but}: upstream {settings.upstream.url}"
        log.info("%s", text)
        self._advice.tell()
        if settings.upstream.url != url:
            # Who waits for the reload does not wait for the upstream.
            self._asking = asyncio.ensure_future(self._advice.ask(self._upstream))
        return True, "\n".join((*needs, text))

    def _paths_to_keep(self, new: Settings) -> tuple[str, ...]:
        """A listener cannot begin or stop to speak TLS; another certificate it can take."""
        if bool(new.listen.tls.certificate) == (self._listeners.context is not None):
            return self._fixed
        return (*self._fixed, "listen.tls.certificate", "listen.tls.key")

    def _put_in_force(self, settings: Settings) -> None:
        self._watch.using(settings)
        self._listeners.check(settings)
        with naming_upstream(settings.upstream.tls):
            self._plane.reload(settings)
        self._listeners.apply(settings)
        self._upstream.retarget(self._plane.pool.dialer)
        self._watch.apply(settings)
        logging.getLogger().setLevel(settings.log.level.upper())
