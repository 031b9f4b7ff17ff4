"""The file of bearer tokens: one a line, `#` begins a comment. No message quotes what stands in it."""

import re

from unbuffer.settings.files import open_file
from unbuffer.settings.kinds import BEARER

_TOKEN = re.compile(BEARER.encode("ascii"))

_LARGEST = 1 << 20
"""Bytes. Every token is compared with each request."""


def read_tokens(name: str) -> tuple[str, ...]:
    """The tokens of a file, at least one. Raises OSError, and ValueError with a whole sentence."""
    tokens = []
    with open_file(name) as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"{name} has more than {_LARGEST} bytes")
    for number, line in enumerate(data.splitlines(), 1):
        token = line.strip()
        if not token or token.startswith(b"#"):
            continue
        if not _TOKEN.fullmatch(token):
            raise ValueError(f"line {number} of {name} is no token of letters, digits and -._~+/ that may end with =")
        tokens.append(token.decode("ascii"))
    if not tokens:
        raise ValueError(f"{name} has no token in it")
    return tuple(tokens)
