"""Which store the settings ask for."""

from unbuffer.resume.store import MemoryStore, Store
from unbuffer.settings.model import Settings
from unbuffer.totals import Totals


def store_of(settings: Settings, totals: Totals) -> Store:
    """The store of `resume.store`, not yet started. totals: where it counts what it does."""
    return MemoryStore()
