"""How the C library keeps freed memory: large reads are as cheap as small ones when their pages are there already."""

import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

_TRIM = 4 << 20
"""Bytes at the end of the heap that are kept. By itself glibc gives back what is above 128 KiB, and takes it again for
the next read: of a large body, a page fault for each 4 KiB of each copy."""

_MMAP = 1 << 20
"""Bytes from which on a block is mapped by itself, and unmapped when it is freed. A read has 256 KiB at most."""


def keep_read_buffers() -> None:
    """Have malloc keep the memory of some large reads; glibc only, elsewhere nothing happens.

    It costs 150 KB for ctypes, and up to `_TRIM` after a time of large bodies.
    """
    if sys.platform != "linux":
        return
    try:
        import ctypes
    except ImportError:  # a Python that was built without libffi
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _TRIM)
        mallopt(_M_MMAP_THRESHOLD, _MMAP)
