"""The files that settings name. Whoever reads one must not have to wait for it."""

import errno
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

from unbuffer.settings.fields import Block, fields
from unbuffer.settings.kinds import Section


def named_files(section: Section) -> Iterator[str]:
    """The paths that stand in these settings: certificates, keys, tokens."""
    for name, field in fields(type(section)).items():
        value = getattr(section, name)
        if isinstance(field, Block):
            for inner in value if field.many else (value,):
                yield from named_files(inner)
        elif field.form.name == "path" and value:
            yield value


def open_file(name: str) -> BinaryIO:
    """The file with this name, for reading. Raises OSError, also for what is no regular file.

    Without O_NONBLOCK the mere opening of a FIFO waits for somebody who writes into it (fifo(7)). What comes through
    one cannot be read again at a reload, either.
    """
    fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return open(fd, "rb")
    os.close(fd)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    raise OSError(errno.EINVAL, "it is no regular file", name)
