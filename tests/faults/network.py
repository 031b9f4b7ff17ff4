"""Two hosts with a wire between them, as network namespaces of their own, and a way to cut the wire without a word."""

import ctypes
import os
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from socket import socket
from typing import Any

_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Wire:
    """here and there: names of namespaces, with the addresses 192.0.2.1 and 192.0.2.2 (TEST-NET-1)."""

    here: str
    there: str

    def cut(self) -> None:
        """From now on nothing of what `there` says arrives, and nothing arrives there."""
        _ip("-n", self.there, "link", "set", "wire", "down")


def why_not() -> str:
    """What is missing for namespaces here; empty if nothing is."""
    if not which("ip"):
        return "ip (iproute2) is not installed"
    name = f"ub-{uuid.uuid4().hex[:8]}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return "network namespaces need root"
    _ip("netns", "del", name)
    return ""


@contextmanager
def wire() -> Iterator[Wire]:
    """A new one; nothing is left of it."""
    tag = uuid.uuid4().hex[:8]
    names = (f"ub-{tag}-a", f"ub-{tag}-b")
    try:
        for name in names:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        here, there = names
        _ip("-n", here, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", there)
        for number, name in enumerate(names, 1):
            _ip("-n", name, "address", "add", f"192.0.2.{number}/24", "dev", "wire")
            _ip("-n", name, "link", "set", "wire", "up")
        yield Wire(here, there)
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def socket_in(namespace: str) -> socket:
    """A TCP socket of this namespace. A namespace belongs to a thread, a socket stays in that of its making."""
    made: list[Any] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(Path("/run/netns", namespace), os.O_RDONLY)
        try:
            failed = libc.setns(descriptor, _CLONE_NEWNET)
            made.append(OSError(ctypes.get_errno(), "setns") if failed else socket())
        finally:
            os.close(descriptor)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    (found,) = made
    if isinstance(found, OSError):
        raise found
    assert isinstance(found, socket)
    return found
