"""What a token is made of (RFC 9110, section 5.6.2), as a piece of a pattern."""

from typing import Final

TCHAR: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
