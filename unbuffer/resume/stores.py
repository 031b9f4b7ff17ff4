"""Which store the settings ask for."""

from unbuffer.resume.store import MemoryStore, Store
from unbuffer.settings.model import Settings
from unbuffer.settings.store_url import MEMORY
from unbuffer.totals import Totals


def store_of(settings: Settings, totals: Totals) -> Store:
    """The store of `resume.store`, not yet started. totals: where it counts what it does."""
    if settings.resume.store.url == MEMORY:
        return MemoryStore()
    from unbuffer.resume.shared_store import SharedStore  # with a library of 7 MB

    return SharedStore(settings.resume, totals)
