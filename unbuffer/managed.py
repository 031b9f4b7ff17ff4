"""The names of the fields that unbuffer manages, lower case: what it writes anew or takes away, and what frames."""

from typing import Final

HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""RFC 9110, section 7.6.1, and the names of older practice. Framing fields are hop-by-hop here: they are rebuilt."""

X_FORWARDED: Final = b"x-forwarded-"
"""How the names begin of what proxies say of a client."""

REQUEST: Final = HOP_BY_HOP | {b"accept-encoding", b"expect", b"forwarded", b"host", b"http2-settings", b"via"}
"""Those of a request beside X-Forwarded-*. No other field may be put in their place."""
