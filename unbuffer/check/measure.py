"""One request, and what was seen of its response."""

import asyncio
import contextlib
from dataclasses import dataclass, replace

from unbuffer import __version__
from unbuffer.check.body import LARGEST, Content
from unbuffer.check.messages import BrokenError, Http1, Http2, Request
from unbuffer.check.observation import Ending, Failure, Observation, printable
from unbuffer.check.port import spoken, tells, what_came
from unbuffer.check.target import Target
from unbuffer.check.variants import Variant
from unbuffer.check.wire import TlsError, UnreachableError, Way, Wire, connect

MORE_WORDS = 1.0
"""Seconds for the rest of a first line that is no HTTP."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What holds for all requests of a run.

    patience  seconds that a silence may last, before the head and inside the body
    enough    seconds of a stream that is not a probe's, from its first byte on, after which enough was seen
    fields    the user's own
    """

    way: Way
    method: str = "GET"
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    patience: float = 30.0
    enough: float = 10.0
    show: bool = False


async def measure(target: Target, variant: Variant, asking: Asking, kept: list[Observation]) -> Observation:
    """Ask once. What was seen is kept, also where this is cancelled; what goes wrong is told in it."""
    seen = _Seen(target, variant, asking)
    made = None
    try:
        made = await _measured(seen, target, variant, asking)
    finally:
        kept.append(made or seen.observation("interrupted", at=asyncio.get_running_loop().time()))
    return made


async def _measured(seen: "_Seen", target: Target, variant: Variant, asking: Asking) -> Observation:
    try:
        wire = await connect(target, asking.way, ("h2",) if variant.http2 else ("http/1.1",))
    except TlsError as error:
        hint = "" if error.refused else await spoken(target, asking.way)
        return seen.observation("failed", "; ".join(filter(None, (str(error), hint))), failure=error.failure)
    except UnreachableError as error:
        return seen.observation("failed", str(error), failure=error.failure)
    try:
        made = await seen.watch(wire)
    finally:
        await wire.close()
    # nginx, Apache and servers in Go tell a client that its request should have come by TLS, with 400.
    if not target.tls and (made.status == 400 or (made.ending == "failed" and not seen.by_http)):
        hint = await spoken(target, asking.way)
        return replace(made, detail="; ".join(filter(None, (made.detail, hint))))
    return made


async def offers_http2(target: Target, way: Way) -> bool:
    """Whether a server agrees on HTTP/2 by ALPN (RFC 7301)."""
    if not target.tls:
        return False
    try:
        wire = await connect(target, way, ("h2", "http/1.1"))
    except UnreachableError:
        return False
    agreed = wire.protocol
    await wire.close()
    return agreed == "h2"


class _Seen:
    """One response as it comes in; a `Taker`."""

    def __init__(self, target: Target, variant: Variant, asking: Asking) -> None:
        self._target = target
        self._variant = variant
        self._asking = asking
        self._method = variant.method or asking.method
        self._content = Content(asking.show)
        self._began = 0.0
        """On the loop's clock."""
        self._now = 0.0
        self._head: float | None = None
        self._version = "2" if variant.http2 else "1.1"
        self._status = 0
        self._fields: tuple[tuple[str, str], ...] = ()
        self.by_http = False
        """Whether what came begins as a response does."""

    async def watch(self, wire: Wire) -> Observation:
        """Send the request, and watch until nothing more is to be seen."""
        request = self._request()
        speaker = Http2(request, self) if self._variant.http2 else Http1(request, self)
        loop = asyncio.get_running_loop()
        data = speaker.start()
        self._began = loop.time()
        wire.transport.write(data)
        deadline = self._deadline
        while not speaker.over:
            try:
                async with asyncio.timeout(min(self._asking.patience, deadline - loop.time())):
                    read = await wire.read()
            except TimeoutError:
                late = loop.time() >= deadline and bool(self._content.reads)
                return self.observation("enough" if late else "silent", at=loop.time())
            if read is None:
                return self._closed(speaker, wire, loop.time())
            self._now, data = read
            try:
                answer = speaker.receive(data)
            except BrokenError as error:
                if self._head is None and isinstance(speaker, Http1):
                    said = await self._no_http(speaker.words, wire, str(error))
                    return self.observation("failed", said, failure="no_http")
                if self._head is None:
                    return self.observation("failed", str(error), failure="closed")
                return self.observation("cut", str(error))
            finally:
                self._content.read_over(self._now - self._began)
            if answer:
                wire.transport.write(answer)
            if self._content.reads and deadline == self._deadline and self._variant.plan is None:
                deadline = loop.time() + self._asking.enough
            if self._head is not None and self._status >= 300:
                deadline = min(deadline, loop.time() + 1.0)  # no stream: its body is of no interest
            if self._content.size >= LARGEST:
                return self.observation("enough", at=self._now)
        return self.observation("complete", at=self._now)

    @property
    def _deadline(self) -> float:
        """The latest end on the loop's clock, before anything has come."""
        plan = self._variant.plan
        lasts = plan.delay + plan.count * plan.gap * 1.1 if plan is not None else 0.0
        return self._began + lasts + self._asking.patience

    async def _no_http(self, words: bytes, wire: Wire, why: str) -> str:
        """Who speaks instead. A first line may come in pieces."""
        self.by_http = words.startswith(b"HTTP/")
        if self.by_http:
            return why
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(MORE_WORDS):
                while not tells(words) and (read := await wire.read()) is not None:
                    words += read[1]
        return f"what came is no HTTP/1.1: {what_came(words)}"

    def _closed(self, speaker: Http1 | Http2, wire: Wire, at: float) -> Observation:
        try:
            by_close = speaker.closed()
        except BrokenError as error:
            said = f"{error} ({_why(wire)})" if wire.error else str(error)
            return self.observation("failed", said, at, "closed")
        if by_close and wire.error is None:
            return self.observation("closed", at=at)
        return self.observation("cut", _why(wire), at)

    def _request(self) -> Request:
        target, variant, asking = self._target, self._variant, self._asking
        own = {name.lower() for name, _ in asking.fields}
        kind = variant.plan.kind if variant.plan is not None else ""
        fields = [
            ("User-Agent", f"unbuffer-check/{__version__}"),
            ("Accept", "text/event-stream" if kind == "event-stream" else "*/*"),
            ("Accept-Encoding", variant.encoding),
        ]
        if target.credentials:
            fields.append(("Authorization", f"Basic {target.credentials}"))
        fields = [field for field in fields if field[0].lower() not in own]
        path = target.asking(variant.plan)
        if asking.way.proxy is not None and not target.tls:
            path = f"{target.scheme}://{target.authority}{path}"
            if asking.way.proxy.credentials:
                fields.append(("Proxy-Authorization", f"Basic {asking.way.proxy.credentials}"))
        body = b"" if variant.plan is not None else asking.body
        return Request(self._method, target.scheme, target.authority, path, (*fields, *asking.fields), body)

    # -- what the response brings

    def head(self, version: str, status: int, fields: tuple[tuple[str, str], ...]) -> None:
        self._version, self._status = version, status
        self._fields = tuple((printable(name), printable(value)) for name, value in fields)
        self._head = self._now - self._began
        seen = self.observation("complete")
        self._content.begin(seen.media_type, seen.value("content-encoding"))

    def frame(self) -> None:
        self._content.frame()

    def body(self, data: bytes) -> None:
        self._content.take(data, self._now - self._began)

    def end(self) -> None:
        """Told by `over` as well."""

    def observation(
        self, ending: Ending, detail: str = "", at: float | None = None, failure: Failure = ""
    ) -> Observation:
        """What was seen so far. at: when it ended; None = with the latest read."""
        content, variant = self._content, self._variant
        return Observation(
            url=self._target.shown,
            variant=variant.name,
            method=self._method,
            http=self._version,
            encoding=variant.encoding,
            plan=variant.plan,
            group=variant.group,
            began=round(self._began, 6),
            head=None if self._head is None else round(self._head, 6),
            status=self._status,
            fields=self._fields,
            reads=tuple(content.reads),
            marks=tuple(content.marks),
            beats=tuple(content.beats),
            of=content.of,
            names=tuple(sorted(content.names)),
            partial=content.partial,
            damage=content.damage,
            unended=content.unended and ending in ("complete", "closed"),
            end=round((self._now if at is None else at) - self._began, 6) if self._began else 0.0,
            ending=ending,
            detail=detail or content.note,
            failure=failure,
            shown=tuple(content.shown),
        )


def _why(wire: Wire) -> str:
    error = wire.error
    if error is None:
        return "the connection was closed"
    return "the connection was reset" if isinstance(error, ConnectionError) else f"the connection broke: {error}"
