"""What a proxy says of a client before the client speaks: the header of the PROXY protocol, and nothing else.

With the header's last byte the connection is that of the client, and another protocol has it.
"""

import asyncio
import contextlib
import time
from collections.abc import Sequence

from unbuffer.outcome import Outcome
from unbuffer.record import Record
from unbuffer.relay import patience
from unbuffer.relay.downstream import DownstreamConnection
from unbuffer.relay.plane import Plane
from unbuffer.relay.proxy_header import ProxyHeaderError, read_proxy_header
from unbuffer.relay.refusals import note
from unbuffer.relay.tcp import OFF, client_options, reset, set_options
from unbuffer.relay.trust import Origin
from unbuffer.relay.upstream import readable
from unbuffer.relay.watchdog import NOT_WATCHED
from unbuffer.totals import BAD_PROXY_HEADER


def client_connection(plane: Plane) -> "Preface | DownstreamConnection":
    """The protocol that a connection to the data port begins with."""
    return Preface(plane) if plane.settings.listen.proxy_protocol else DownstreamConnection(plane)


class Preface(asyncio.Protocol):
    """A connection from accept to the end of its PROXY header, or to its loss. Nothing is ever written to it."""

    __slots__ = ("_closing", "_data", "_origin", "_since", "peer", "plane", "transport", "watched_slot")

    transport: asyncio.Transport

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.watched_slot = NOT_WATCHED
        self._data = b""
        self._closing = False
        self._since = 0.0
        """Start of the wait for the header, or for the end of the connection."""

    def __repr__(self) -> str:
        return f"<Preface {self.peer.address or 'unix'}{' ending' if self._closing else ''}>"

    # -- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass of asyncio's
        plane = self.plane
        if plane.clients.full(plane.settings.limits.connections):
            self._hand_over(DownstreamConnection(plane))  # it knows how to refuse
            return
        self._origin = Origin.of(transport)
        self.peer = plane.trust.peer(self._origin)
        plane.clients.joined(self)
        if self._origin.peername is None:
            self.abort()  # reset already, as HAProxy's health checks do: there is nobody to refuse
        elif not self.peer.trusted:
            # Only a trusted proxy may say who the client is.
            self._refuse("its sender is none of forwarded.trusted_proxies", Outcome.REQUEST_MALFORMED)
        else:
            self._rest()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        data = self._data + data
        try:
            header = read_proxy_header(data)
        except ProxyHeaderError as error:
            self._refuse(str(error), Outcome.REQUEST_MALFORMED)
            return
        if header is None:
            self._data = data
            return
        origin = Origin(self._origin.peername, self._origin.secure, header)
        self._leave()
        connection = DownstreamConnection(self.plane, origin)
        self._hand_over(connection)
        if len(data) > header.size:
            connection.data_received(data[header.size :])

    def connection_lost(self, exc: Exception | None) -> None:
        if self._data:
            note(self.plane, self.peer, self._since, Outcome.CLIENT_DISCONNECT, 0, "inside a PROXY header")
        self._data = b""
        self._closing = True
        self._leave()

    def _leave(self) -> None:
        self.plane.watchdog.forget(self)
        self.plane.clients.left(self)

    def _hand_over(self, connection: DownstreamConnection) -> None:
        self.transport.set_protocol(connection)
        connection.connection_made(self.transport)

    # -- as one of the clients: see `clients.Connection`

    @property
    def records(self) -> Sequence[Record]:
        """No stream runs."""
        return ()

    @property
    def unsent(self) -> int:
        """Nothing is ever written."""
        return 0

    def drain(self) -> None:
        """Close if nothing can be on its way, else once nothing has come."""
        if self._closing:
            return
        at_rest = time.monotonic() >= self._since + patience.CROSSING
        if at_rest and not readable(self.transport.get_extra_info("socket").fileno()):
            self._close()
        else:
            self._rest()

    def reload(self) -> None:
        """The settings have changed: who the sender is, and how long it may take."""
        self.peer = self.plane.trust.peer(self._origin)
        self.plane.watchdog.watch(self, time.monotonic())

    def reload_options(self) -> None:
        """The kernel's deadlines have changed."""
        with contextlib.suppress(OSError):  # of a connection that has just ended
            set_options(self.transport.get_extra_info("socket"), client_options(self.plane.settings) or OFF)

    def end_streams(self, outcome: Outcome) -> None:
        """There is no stream to end."""
        if not self._closing:
            self._close()

    # -- endings and deadlines

    def abort(self) -> None:
        """End the connection at once, by a reset."""
        self._data = b""
        self._closing = True
        reset(self.transport)

    def look(self, now: float) -> float:
        """Compare the deadline with the clock; the watchdog calls this."""
        if self._closing:
            due = self._since + patience.LINGER
            if due <= now:
                self.abort()
            return due if due > now else 0.0
        seconds = self._patience
        due = self._since + seconds if seconds else 0.0
        if not due or due > now:
            return due
        if self.plane.clients.closing:
            self._close()
        else:
            self._refuse("no PROXY header came in time", Outcome.REQUEST_HEAD_TIMEOUT)
        return self._since + patience.LINGER

    @property
    def _patience(self) -> float:
        """Seconds that the header may take; 0 = it may last."""
        return patience.CROSSING if self.plane.clients.closing else self.plane.settings.timeouts.request_head

    def _rest(self) -> None:
        self._since = time.monotonic()
        seconds = self._patience
        if seconds:
            self.plane.watchdog.watch(self, self._since + seconds)

    def _close(self) -> None:
        self._data = b""
        self._closing = True
        self._since = time.monotonic()
        self.transport.close()
        self.plane.watchdog.watch(self, self._since + patience.LINGER)

    def _refuse(self, detail: str, outcome: Outcome) -> None:
        """End a connection without a PROXY header that can be believed. Its sender expects no HTTP of its own."""
        self.plane.totals.rejected[BAD_PROXY_HEADER] += 1
        note(self.plane, self.peer, self._since, outcome, 0, detail)
        self.abort()
