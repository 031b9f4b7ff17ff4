"""What peers say again and again in their heads, read once: such lines, names and values are few.

Whoever always sends others has each memory begin anew now and then, and costs what reading costs.
"""

from typing import Final, TypeVar

MOST: Final = 256
"""Entries of one memory. When there are so many, it begins anew."""

LONGEST: Final = 128
"""Bytes of what is remembered, at the most: a memory that is full takes 50 kB, and what was read."""

Said = TypeVar("Said")
Read = TypeVar("Read")


def keep(memory: dict[Said, Read], said: Said, read: Read) -> Read:
    """Keep what was made of something that is never long. Returns it."""
    if len(memory) == MOST:
        memory.clear()
    memory[said] = read
    return read


def remember(memory: dict[bytes, Read], said: bytes, read: Read) -> Read:
    """Keep what was read. Returns it."""
    return keep(memory, said, read) if len(said) <= LONGEST else read


_lower: Final[dict[bytes, bytes]] = {}


def lower_name(name: bytes) -> bytes:
    """The name of a field in lower case."""
    lower = _lower.get(name)
    return lower if lower is not None else remember(_lower, name, name.lower())
