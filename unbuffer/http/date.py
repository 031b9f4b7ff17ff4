"""The field Date, written once a second and only when a head wants it (RFC 9110, sections 5.6.7 and 6.6.1)."""

import time
from typing import Final

# strftime would take the names from the locale.
_DAYS: Final = (b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun")
_MONTHS: Final = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")


class _Latest:
    """The field as it was written last, and the second that it tells."""

    __slots__ = ("line", "second")

    def __init__(self) -> None:
        self.line = b""
        self.second = -1


_latest: Final = _Latest()


def date_line() -> bytes:
    """The field with the time of now, as a line of a head."""
    second = int(time.time())
    if second != _latest.second:
        _latest.line = date_at(second)
        _latest.second = second
    return _latest.line


def date_at(second: int) -> bytes:
    """The field with this time, in seconds since 1970."""
    year, month, day, hour, minute, sec, weekday = time.gmtime(second)[:7]
    return b"Date: %b, %02d %b %04d %02d:%02d:%02d GMT\r\n" % (
        _DAYS[weekday],
        day,
        _MONTHS[month - 1],
        year,
        hour,
        minute,
        sec,
    )
