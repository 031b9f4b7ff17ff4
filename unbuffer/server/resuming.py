"""Resumable streams where a route has them: who has none need not have them in memory."""

from unbuffer.relay.plane import Plane
from unbuffer.relay.resumption import Resumption
from unbuffer.server.errors import StartError


def kept_for(plane: Plane) -> Resumption:
    """What keeps the resumable streams of a data plane."""
    from unbuffer.resume.registry import Registry

    return Registry(plane)


async def start(plane: Plane) -> None:
    """Before the first request. Raises StartError where the store is there and will never do."""
    if plane.resumption is None:
        return
    from unbuffer.resume.store import StoreError

    try:
        await plane.resumption.start()
    except StoreError as error:
        raise StartError(str(error)) from None


async def finish(plane: Plane) -> None:
    """After `plane.close`. A reload may have brought them only then."""
    if plane.resumption is not None:
        await plane.resumption.finish()
