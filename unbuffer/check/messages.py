"""Requests out, responses in: HTTP/1.1, and HTTP/2 where the library `h2` is installed and the server offers it."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import httptools

WINDOW = 1 << 24
"""Bytes that an HTTP/2 server may send before it is told to go on: flow control must hold nothing back here."""

FIRST_WORDS = 64
"""Bytes that are kept of the beginning, to tell who speaks if it is no HTTP."""

LONGEST_HEAD = 1 << 18
"""Bytes of response heads, interim ones among them, after which there is no more to wait for."""

ResetCodes = {0: "NO_ERROR", 1: "PROTOCOL_ERROR", 2: "INTERNAL_ERROR", 7: "REFUSED_STREAM", 8: "CANCEL"}


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent. target: path and query; for a proxy in clear text the whole URL."""

    method: str
    scheme: str
    authority: str
    target: str
    fields: tuple[tuple[str, str], ...]
    body: bytes


class Taker(Protocol):
    """Takes what a response brings."""

    def head(self, version: str, status: int, fields: tuple[tuple[str, str], ...]) -> None: ...
    def frame(self) -> None: ...
    def body(self, data: bytes) -> None: ...
    def end(self) -> None: ...


class BrokenError(Exception):
    """The response breaks off, or is none."""


class Http1:
    """One request and its response by HTTP/1.1 (RFC 9112)."""

    def __init__(self, request: Request, taker: Taker) -> None:
        self._taker = taker
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._fields: list[tuple[str, str]] = []
        self._delimited = False
        """Whether the body ends by its own framing and not with the connection."""
        self._begun = False
        self.over = False
        self._heads = 0
        """Bytes that have come before the final head was whole."""
        self.words = b""
        """How all that came begins."""

    def start(self) -> bytes:
        """The request as it is sent."""
        request = self._request
        lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {request.authority}"]
        lines += [f"{name}: {value}" for name, value in request.fields]
        if request.body or request.method not in ("GET", "HEAD", "DELETE", "OPTIONS"):
            lines.append(f"Content-Length: {len(request.body)}")
        return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + request.body

    def receive(self, data: bytes) -> bytes:
        """Take what came; what is to be sent in answer. Raises BrokenError."""
        if len(self.words) < FIRST_WORDS:
            self.words += data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise BrokenError("the server switched protocols") from None
        except httptools.HttpParserError as error:
            raise BrokenError(f"what came is no HTTP/1.1: {error}") from None
        if not self._begun:
            self._heads += len(data)
            if self._heads > LONGEST_HEAD:
                raise BrokenError(f"the response head is longer than {LONGEST_HEAD >> 10} KiB")
        return b""

    def closed(self) -> bool:
        """Nothing more comes. Returns whether the response was ended by that, as it may be. Raises BrokenError."""
        if not self._begun:
            raise BrokenError("the connection was closed without a response")
        return not self._delimited

    # -- what the parser tells

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        fields, self._fields = tuple(self._fields), []
        status = self._parser.get_status_code()
        if status < 200:
            return
        names = {name.lower(): value.lower() for name, value in fields}
        self._delimited = "content-length" in names or "chunked" in names.get("transfer-encoding", "")
        self._begun = True
        self._taker.head(self._parser.get_http_version(), status, fields)

    def on_chunk_header(self) -> None:
        self._taker.frame()

    def on_body(self, data: bytes) -> None:
        self._taker.body(data)

    def on_message_complete(self) -> None:
        if self._begun and not self.over:
            self.over = True
            self._taker.end()


def http2_installed() -> bool:
    """Whether the library is there."""
    return importlib.util.find_spec("h2") is not None


class Http2:
    """One request and its response by HTTP/2 (RFC 9113), on a connection of its own."""

    def __init__(self, request: Request, taker: Taker) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection

        self._taker = taker
        self._request = request
        self._connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._begun = False
        self.over = False

    def start(self) -> bytes:
        """The preface and the request."""
        from h2.settings import SettingCodes

        request, connection = self._request, self._connection
        connection.local_settings[SettingCodes.INITIAL_WINDOW_SIZE] = WINDOW
        connection.local_settings[SettingCodes.ENABLE_PUSH] = 0
        connection.initiate_connection()
        connection.increment_flow_control_window(WINDOW)
        fields = [
            (":method", request.method),
            (":scheme", request.scheme),
            (":authority", request.authority),
            (":path", request.target),
            *((name.lower(), value) for name, value in request.fields),
        ]
        connection.send_headers(1, fields, end_stream=not request.body)
        if request.body:
            connection.send_data(1, request.body, end_stream=True)
        return connection.data_to_send()

    def receive(self, data: bytes) -> bytes:
        """Take what came; what is to be sent in answer. Raises BrokenError."""
        from h2 import events
        from h2.exceptions import ProtocolError

        try:
            for event in self._connection.receive_data(data):
                if isinstance(event, events.ResponseReceived):
                    self._head(tuple((str(name), str(value)) for name, value in event.headers or ()))
                elif isinstance(event, events.DataReceived):
                    self._taker.frame()
                    self._taker.body(event.data or b"")
                    if event.flow_controlled_length:
                        self._connection.acknowledge_received_data(event.flow_controlled_length, 1)
                elif isinstance(event, events.StreamEnded):
                    self.over = True
                    self._taker.end()
                elif isinstance(event, events.StreamReset):
                    raise BrokenError(f"the stream was reset ({_code(event.error_code)})")
                elif isinstance(event, events.ConnectionTerminated) and event.error_code:
                    raise BrokenError(f"the server ended the connection ({_code(event.error_code)})")
        except ProtocolError as error:
            raise BrokenError(f"what came is no HTTP/2: {error}") from None
        return self._connection.data_to_send()

    def closed(self) -> bool:
        """Nothing more comes: HTTP/2 has no end by that. Raises BrokenError."""
        if not self._begun:
            raise BrokenError("the connection was closed without a response")
        return False

    def _head(self, fields: tuple[tuple[str, str], ...]) -> None:
        self._begun = True
        status = next((value for name, value in fields if name == ":status"), "0")
        self._taker.head("2", int(status), tuple(field for field in fields if not field[0].startswith(":")))


def _code(code: object) -> str:
    number = int(code) if isinstance(code, int) else -1
    return ResetCodes.get(number, f"error {number}")


Speaker = Callable[[Request, Taker], Http1 | Http2]
