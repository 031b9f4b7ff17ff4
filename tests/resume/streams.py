"""What the tests of resumable streams share: what an application sends, and a reader as the standard has it."""

import re
from typing import Final

from tests.peers import Peer

GET: Final = b"GET /chat?q=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer me\r\n"
POST: Final = b"POST /chat HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer me\r\nContent-Length: 2\r\n"


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(text: str) -> bytes:
    """An event without an id."""
    return b"data: %b\n\n" % text.encode()


def field(head: bytes, name: bytes) -> bytes:
    """The value of a field of this head; it has to have one."""
    found = re.search(rb"\r\n%b: ([^\r]*)\r\n" % name, head, re.IGNORECASE)
    assert found is not None, head
    return found[1]


def first_id(head: bytes) -> bytes:
    """What comes right behind this head."""
    return b"id: ub.%b.0\n" % field(head, b"Unbuffer-Stream")


def last_id(data: bytes) -> bytes:
    """The last id in these bytes."""
    found: list[bytes] = re.findall(rb"(?:^|\n|\r)id: ?([^\r\n]*)[\r\n]", data)
    return found[-1]


class EventReader:
    """Reads an event-stream as the HTML standard has it (section 9.2.6), over any number of connections."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []
        """Type and data of what reached a listener."""
        self.last_event_id = ""
        self._id = ""
        self._data: list[str] = []
        self._type = ""
        self._rest = b""
        self._after_cr = False
        self._begun = False

    @property
    def text(self) -> str:
        return "".join(data for _, data in self.events)

    def connected(self) -> None:
        """Another connection: what was under way is nothing."""
        self._rest, self._data, self._type, self._id = b"", [], "", self.last_event_id
        self._after_cr = self._begun = False

    def feed(self, data: bytes) -> None:
        """Read on."""
        if self._after_cr and data.startswith(b"\n"):
            data = data[1:]
        self._after_cr = data.endswith(b"\r") if data else self._after_cr
        text = self._rest + data
        if not self._begun and len(text) >= 3:
            self._begun = True
            text = text.removeprefix(b"\xef\xbb\xbf")
        *lines, self._rest = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._line(line.decode())

    def _line(self, line: str) -> None:
        if not line:
            self._dispatch()
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def _dispatch(self) -> None:
        self.last_event_id = self._id
        if self._data:
            self.events.append((self._type or "message", "\n".join(self._data)))
        self._data, self._type = [], ""


async def body_of(client: Peer) -> bytes:
    """The rest of a chunked body, up to its end."""
    body = b""
    while part := await client.chunk():
        body += part
    return body
