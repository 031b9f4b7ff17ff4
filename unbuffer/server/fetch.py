"""One GET to the upstream, dialed and read by the relay's own means: what they refuse of an application, this does."""

import asyncio
from collections import Counter

from unbuffer import __version__
from unbuffer.http.coding import CodingError, Decoder, decodable
from unbuffer.http.response import ResponseHead
from unbuffer.relay.dial import ConnectError, Dialer
from unbuffer.relay.response_reader import BadResponse, ResponseReader
from unbuffer.settings.model import Limits


class NoAnswer(Exception):
    """The upstream gave none that can be read; it may give one later."""


class UnusableBody(Exception):
    """The body cannot be decoded."""


class LargeBody(Exception):
    """The body has more bytes than were allowed."""


async def fetch(dialer: Dialer, path: str, accept: str, limits: Limits, largest: int) -> tuple[int, bytes]:
    """The status of a GET, and its body for a 200. Redirects are not followed.

    largest: bytes of the decoded body. Raises NoAnswer, UnusableBody and LargeBody.
    """
    request = (
        f"GET {path} HTTP/1.1\r\nHost: {dialer.target.host_field}\r\nAccept: {accept}\r\nAccept-Encoding: identity\r\n"
        f"User-Agent: unbuffer/{__version__}\r\nConnection: close\r\n\r\n"
    ).encode("ascii")
    try:
        answer = await dialer.open(lambda: _Answer(request, limits, largest))
    except ConnectError as error:
        raise NoAnswer(error.detail) from None
    try:
        return await answer.whole
    finally:
        answer.transport.abort()


class _Answer(asyncio.Protocol):
    """The connection of one request. whole: its status and its body, or why there is none."""

    transport: asyncio.Transport

    def __init__(self, request: bytes, limits: Limits, largest: int) -> None:
        self.whole: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._request = request
        self._reader = ResponseReader(limits, False, Counter())
        self._decoder = Decoder(())
        self._body = bytearray()
        self._largest = largest

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.whole.done():
            try:
                self._read(data)
            except (BadResponse, NoAnswer) as error:
                self._fail(NoAnswer(str(error)))
            except CodingError as error:
                self._fail(UnusableBody(str(error)))
            except Exception as error:
                self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.whole.done():
            return
        if exc is None and self._reader.ends_with_connection:
            try:
                self._finish()
            except CodingError as error:
                self._fail(UnusableBody(str(error)))
        else:
            self._fail(NoAnswer(str(exc or "the upstream closed the connection before its answer was whole")))

    def _read(self, data: bytes) -> None:
        reader = self._reader
        while not reader.begun:
            head, data = reader.read_head(data)
            if head is None:
                return
            if reader.begun:
                self._begin(head)
        if self.whole.done():
            return
        if data and not reader.over:
            self._take(reader.read_body(data))
        if reader.damage:
            raise NoAnswer(reader.damage)
        if reader.over:
            self._finish()

    def _begin(self, head: ResponseHead) -> None:
        if head.status != 200:
            self.whole.set_result((head.status, b""))
        elif not decodable(head.codings):
            raise CodingError(f"the content coding {', '.join(head.codings)}")
        else:
            self._decoder = Decoder(head.codings)

    def _take(self, data: bytes) -> None:
        """A few bytes may stand for many: the body never grows beyond what is allowed by more than a piece."""
        self._decoder.feed(data)
        while piece := self._decoder.read():
            self._body += piece
            if len(self._body) > self._largest:
                raise LargeBody(f"it has more than {self._largest} bytes")

    def _finish(self) -> None:
        self._decoder.finish()
        self.whole.set_result((200, bytes(self._body)))

    def _fail(self, error: Exception) -> None:
        self.whole.set_exception(error)
