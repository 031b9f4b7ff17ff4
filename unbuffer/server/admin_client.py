"""Asks the admin port of a running process: for `unbuffer healthcheck`, `drain` and `reload`.

A container's health check starts it every few seconds: the standard library's sockets, and nothing that loads slowly.
"""

import socket

from unbuffer.settings.addresses import TCPAddress, parse_address

PATIENCE = 5.0
"""Seconds for an answer. Docker gives up a check after 30 s, Kubernetes after 1 s by default."""

# Where a server can be reached that listens on all interfaces.
_REACHED_AT = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - connected to, not bound


class AskError(Exception):
    """No answer; the text says from where and why."""


class AdminClient:
    """One admin port, by its address in the settings."""

    def __init__(self, address: str) -> None:
        """Raises ValueError for what is no address, and AskError for one that nobody can know."""
        self._text = address
        if address == "off":
            raise AskError("the admin port is off (admin.address)")
        self._address = parse_address(address)
        if isinstance(self._address, TCPAddress) and not self._address.port:
            raise AskError(f"the admin port of {address} is a different one at each start: give its number")

    def ask(self, method: str, path: str) -> tuple[int, str]:
        """Status and text of the answer. Raises AskError."""
        try:
            with self._connected(PATIENCE) as sock:
                sock.sendall(_request(method, path, "close"))
                answer = b"".join(iter(lambda: sock.recv(65536), b""))
        except OSError as error:
            raise AskError(f"no answer from the admin port {self._text}: {error.strerror or error}") from None
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1:2]
        if not head.startswith(b"HTTP/1.1 ") or not status[0].isdigit():
            raise AskError(f"the admin port {self._text} does not answer in HTTP")
        return int(status[0]), body.decode("utf-8", "replace")

    def wait_until_gone(self) -> None:
        """Wait for the end of the process: its admin port closes last."""
        while True:
            try:
                # A connection that is kept open tells when it closes, without being asked.
                with self._connected(None) as sock:
                    sock.sendall(_request("GET", "/livez", "keep-alive"))
                    while sock.recv(65536):
                        pass
            except ConnectionResetError:
                continue
            except OSError:
                return

    def _connected(self, timeout: float | None) -> socket.socket:
        address = self._address
        if isinstance(address, TCPAddress):
            return socket.create_connection((_REACHED_AT.get(address.host, address.host), address.port), timeout)
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.settimeout(timeout)
            sock.connect(address.path)
        except OSError:
            sock.close()
            raise
        return sock


def _request(method: str, path: str, connection: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n".encode("ascii")
