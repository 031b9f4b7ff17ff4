"""Values as people write them: the forms of durations, sizes, switches and the like, to and from text.

A form reads the text as it stands in the file, the environment or a flag; what YAML 1.1 would make of `off`,
`1:30` or `0x10` plays no part.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unbuffer.settings.addresses import (
    ADDRESS_PATTERN,
    SYSTEMD,
    UPSTREAM_PATTERN,
    check_host,
    parse_address,
    parse_upstream,
)
from unbuffer.settings.problems import quote, redact
from unbuffer.settings.store_url import MEMORY, STORE_PATTERN, parse_store

_DURATION = r"0|(?=[0-9])(?:([0-9]{1,13})h)?(?:([0-9]{1,13})m)?(?:([0-9]{1,13})s)?(?:([0-9]{1,13})ms)?"
# Milliseconds; 31 years. Has a meaning for every timer, and 13 digits in each unit.
_LONGEST = 10**12
_SIZE = r"([0-9]{1,15})(B|kB|KiB|MB|MiB|GB|GiB)?"
_COUNT = r"[0-9]{1,15}"

_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_BYTES = {"GiB": 1 << 30, "GB": 10**9, "MiB": 1 << 20, "MB": 10**6, "KiB": 1 << 10, "kB": 1000, "B": 1}
_DECODINGS = ("streams", "always", "never")
_SWITCHES = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Form:
    """How one kind of value is written.

    name: as the model's `Meta(extra={"form": ...})` has it.
    wanted: what a message asks for.
    pattern: of the text, as a regular expression for the JSON Schema; empty = JSON says it without.
    parse: text to value; raises ValueError with a whole sentence.
    show: value to the shortest plain data that YAML writes and `parse` reads back to the same value.
    """

    name: str
    wanted: str
    pattern: str
    parse: Callable[[str], Any]
    show: Callable[[Any], Any]


def parse_duration(text: str) -> float:
    """Seconds of `15s`, `250ms`, `2m`, `1h`, `1m30s` or 0; whole milliseconds. Raises ValueError."""
    match = re.fullmatch(_DURATION, text)
    if match is not None:
        counts = map(int, match.groups("0"))
        milliseconds = sum(count * one for count, one in zip(counts, _MILLISECONDS.values(), strict=True))
        if milliseconds <= _LONGEST:
            return milliseconds / 1000
    hint = f'; write "{text}s" for seconds' if re.fullmatch(_COUNT, text) else ""
    raise ValueError(f"want a duration such as 30s, got {quote(text)}{hint}")


def show_duration(seconds: float) -> str | int:
    """The duration in the largest unit that needs no fraction: `90s`, `2m`, `250ms`; 0 for none."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return 0
    unit = next(unit for unit, one in _MILLISECONDS.items() if milliseconds % one == 0)
    return f"{milliseconds // _MILLISECONDS[unit]}{unit}"


def parse_size(text: str) -> int:
    """Bytes of `64KiB`, `1MiB`, `2GiB`, `10kB`, `10MB` or a plain number. Raises ValueError."""
    match = re.fullmatch(_SIZE, text)
    if match is None:
        raise ValueError(f"want a size such as 64KiB, 10MB or a number of bytes, got {quote(text)}")
    return int(match[1]) * _BYTES[match[2] or "B"]


def show_size(size: int) -> str | int:
    """The size in the largest unit that needs no fraction: `64KiB`, `10MB`; a number where only bytes fit."""
    unit = next(unit for unit, one in _BYTES.items() if size % one == 0)
    return size if unit == "B" or size == 0 else f"{size // _BYTES[unit]}{unit}"


def choice(names: tuple[str, ...]) -> Form:
    """The form of a value that is one of these names."""
    wanted = f"{', '.join(names[:-1])} or {names[-1]}"

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(f"want {wanted}, got {quote(text)}")
        return text

    return Form("choice", wanted, "", parse, _as_it_is)


def _parse_decoding(text: str) -> str:
    if text in _DECODINGS:
        return text
    if text.lower() in _SWITCHES:
        return "always" if _SWITCHES[text.lower()] else "never"
    raise ValueError(f"want streams, always or never, got {quote(text)}")


def _parse_count(text: str) -> int:
    if not re.fullmatch(_COUNT, text):
        raise ValueError(f"want a whole number, got {quote(text)}")
    return int(text)


def _parse_switch(text: str) -> bool:
    if text.lower() not in _SWITCHES:
        raise ValueError(f"want true or false, got {quote(text)}")
    return _SWITCHES[text.lower()]


def _check_address(text: str) -> str:
    parse_address(text)
    return text


def _check_address_or_off(text: str) -> str:
    try:
        return "off" if text == "off" else _check_address(text)
    except ValueError as error:
        raise ValueError(f'{error}; "off" switches it off') from None


def _check_address_or_systemd(text: str) -> str:
    return SYSTEMD if text == SYSTEMD else _check_address(text)


def _check_upstream(text: str) -> str:
    parse_upstream(text)
    return text


def _check_store(text: str) -> str:
    if text != MEMORY:
        parse_store(text)
    return text


def _check_path(text: str) -> str:
    if "\0" in text:
        raise ValueError(f"want the path of a file, got {quote(text)}")
    return text


def _check_host(text: str) -> str:
    try:
        if text:
            check_host(text)
        return text
    except ValueError as why:
        raise ValueError(f"want a host name such as app.internal, or nothing, got {quote(text)}; {why}") from None


def _check_network(text: str) -> str:
    try:
        if text != "unix":
            ipaddress.ip_network(text)
        return text
    except ValueError as why:
        raise ValueError(f"want a network such as 10.0.0.0/8, or unix, got {quote(text)}; {why}") from None


def _as_it_is(value: Any) -> Any:
    return value


_FORMS = (
    Form("duration", "a duration such as 30s", f"^(?:{_DURATION})$", parse_duration, show_duration),
    Form("size", "a size such as 64KiB", f"^{_SIZE}$", parse_size, show_size),
    Form("count", "a whole number", "", _parse_count, _as_it_is),
    Form("switch", "true or false", "", _parse_switch, _as_it_is),
    Form("decoding", "streams, always or never", "", _parse_decoding, _as_it_is),
    Form("text", "text", "", str, _as_it_is),
    Form("path", "the path of a file", "", _check_path, _as_it_is),
    Form("address", "an address such as 127.0.0.1:8080", ADDRESS_PATTERN, _check_address, _as_it_is),
    Form(
        "address or off",
        "an address such as 127.0.0.1:4198, or off",
        f"^off$|{ADDRESS_PATTERN}",
        _check_address_or_off,
        _as_it_is,
    ),
    Form(
        "address or systemd",
        "an address such as 127.0.0.1:8080, or systemd",
        f"^{SYSTEMD}$|{ADDRESS_PATTERN}",
        _check_address_or_systemd,
        _as_it_is,
    ),
    Form("upstream", "a URL such as http://127.0.0.1:8000", UPSTREAM_PATTERN, _check_upstream, redact),
    Form("store", "memory, or a URL such as redis://127.0.0.1:6379", STORE_PATTERN, _check_store, redact),
    Form("host", "a host name such as app.internal, or nothing", "^[A-Za-z0-9._:-]*$", _check_host, _as_it_is),
    Form("network", "a network such as 10.0.0.0/8, or unix", "", _check_network, _as_it_is),
)
FORMS = {form.name: form for form in _FORMS}
"""Every form by its name."""
