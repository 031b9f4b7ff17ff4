"""The pages of an admin port on a port of their own, and aiohttp's client for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import ClientSession

from unbuffer.server.listeners import AdminListener
from unbuffer.server.pages import Pages


class Client:
    """Asks on one port."""

    def __init__(self, session: ClientSession, port: int) -> None:
        self.port = port
        self.request, self.get, self.post, self.head = session.request, session.get, session.post, session.head


@asynccontextmanager
async def listening(pages: Pages) -> AsyncIterator[int]:
    """The port, for as long as it is open."""
    listener = AdminListener(pages)
    await listener.open("127.0.0.1:0")
    try:
        (sock,) = listener.sockets
        yield sock.getsockname()[1]
    finally:
        await listener.close()


@asynccontextmanager
async def served(pages: Pages) -> AsyncIterator[Client]:
    """A client of these pages, as a kubelet or an operator with curl on this machine."""
    async with listening(pages) as port, ClientSession(f"http://127.0.0.1:{port}") as session:
        yield Client(session, port)
